"""Synthetic confounder memes: the label is the exclusive or of a factor of the image and one of the text.

Every picture stands with a text of either kind and every text with a picture of either kind, equally often, so that each
modality alone is at chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

SIDE = 56
_WHO = ("we", "all", "you")
_VERBS = (("avoid", "skip", "dump"), ("love", "enjoy", "adore"))


@dataclass(frozen=True)
class ConfounderMeme:
    """One meme: a red ellipse (shape 1) or a blue rectangle (0), a kind (1) or unkind (0) text, and what they make."""

    image: Image.Image
    text: str
    shape: int
    mood: int

    @property
    def label(self) -> int:
        """1 where exactly one of the factors is 1."""
        return self.shape ^ self.mood

    @property
    def caption(self) -> str:
        """What the picture shows, in words."""
        return f"a {'red ellipse' if self.shape else 'blue rectangle'} on a pale ground"


def confounder_memes(count: int, rng: np.random.Generator) -> Iterator[ConfounderMeme]:
    """`count` memes; of every four in a row, each pair of factors comes once, in random order."""
    for start in range(0, count, 4):
        for pair in rng.permutation(4)[: count - start].tolist():
            shape, mood = divmod(pair, 2)
            yield ConfounderMeme(draw(shape, rng), _text(mood, rng), shape, mood)


def draw(shape: int, rng: np.random.Generator) -> Image.Image:
    """A picture of 56 x 56 pixels: radius 10 to 16, centre 18 to 38, on a pale ground of any colour."""
    ground = tuple(rng.integers(200, 256, size=3).tolist())
    picture = Image.new("RGB", (SIDE, SIDE), ground)
    radius = int(rng.integers(10, 17))
    x, y = rng.integers(18, 39, size=2).tolist()
    box = (x - radius, y - radius, x + radius, y + radius)
    pen = ImageDraw.Draw(picture)
    if shape:
        pen.ellipse(box, fill=(220, 20, 20))
    else:
        pen.rectangle(box, fill=(20, 20, 220))
    return picture


def _text(mood: int, rng: np.random.Generator) -> str:
    return f"{rng.choice(_WHO)} {rng.choice(_VERBS[mood])} it"
