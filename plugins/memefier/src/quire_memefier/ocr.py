"""The text of a meme that comes without one, read from its image."""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import dataclass, field
from os import environ
from typing import TYPE_CHECKING

import numpy as np

from quire.errors import DataError, MissingExtra
from quire.storage import content_hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image

SECONDS = 60.0  # for one image; a meme takes less than one
MOST_REMEMBERED = 2**16


def read_text(image: Image) -> str:
    """What the program tesseract reads in the image as one block of text, in single blanks; "" for nothing.

    MissingExtra where the program is not installed, DataError where it fails or needs longer than a minute.
    """
    program = shutil.which("tesseract")
    if program is None:
        raise MissingExtra(
            "reading text from images (ocr=tesseract) needs the program tesseract, which is not installed",
            remedy="Install it, on Debian and Ubuntu with: apt-get install tesseract-ocr",
        )
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    remedy = "Give the meme's text, or leave out ocr=tesseract."
    try:
        done = subprocess.run(
            [program, "stdin", "stdout", "--psm", "6"],
            input=buffer.getvalue(),
            capture_output=True,
            check=True,
            timeout=SECONDS,
            env={**environ, "OMP_THREAD_LIMIT": "1"},  # more threads make it slower on images of this size
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"tesseract did not read an image within {SECONDS:g} seconds", remedy=remedy) from error
    except subprocess.CalledProcessError as error:
        cause = error.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise DataError(f"tesseract failed on an image: {cause}", remedy=remedy) from error
    return " ".join(done.stdout.decode(errors="replace").split())


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
