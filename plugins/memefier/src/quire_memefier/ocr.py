"""The texts of memes that come without one, each image read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from quire.storage import content_hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image

MOST_REMEMBERED = 2**16


@dataclass
class RememberingReader:
    """A reader of text that is asked once for each image: of the last ones, the texts are kept in memory."""

    reader: Callable[[Image], str]
    texts: dict[str, str] = field(default_factory=dict)

    def __call__(self, image: Image) -> str:
        """The text in the image."""
        key = content_hash(np.asarray(image))
        if key not in self.texts:
            if len(self.texts) >= MOST_REMEMBERED:
                del self.texts[next(iter(self.texts))]
            self.texts[key] = self.reader(image)
        return self.texts[key]
