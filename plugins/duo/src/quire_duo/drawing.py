"""Drawing: letters on pictures, with a witness of where each line stands and how well it can be read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from PIL import Image, ImageDraw

from quire.modality import Image as ImageModality
from quire_duo.contrast import contrast, local_contrast
from quire_duo.fonts import load, missing
from quire_duo.layout import Block, length_of, right_to_left
from quire_duo.seeds import NotApplicable
from quire_duo.witness import ImageRegion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quire_duo.seeds import Seed
    from quire_duo.witness import RGB, Place, Quad, Unit
    from quire_duo.workshop import Workshop

BLACK: RGB = (0, 0, 0)
WHITE: RGB = (255, 255, 255)
Align = Literal["left", "center", "right"]
T = TypeVar("T")

_PLAIN = ImageModality(mode="RGB")
_FLATTEST = 0.25
"""The least height of a picture relative to its width, and the other way round; flatter ones get bars."""


@dataclass(frozen=True)
class Picture:
    """A picture with the toxic seed in it.

    backdrop: the same without the toxic letters; ground: the same without their outlines either, which is `backdrop`
    where they have none: both are what contrast is measured against when the picture is changed later. text: of the
    post that the picture belongs to.
    """

    image: Image.Image
    backdrop: Image.Image
    ground: Image.Image
    units: tuple[Unit, ...]
    text: str | None = None


@dataclass(frozen=True)
class Ink:
    """How letters are drawn. outline: the width in pixels of a line around them, of the colour `around`."""

    colour: RGB = BLACK
    outline: int = 0
    around: RGB = BLACK


CAPTION = Ink(WHITE, outline=2)


class Sheet:
    """A picture on which the toxic text is drawn. Keeps its twins without the letters and the witness's units.

    What is benign is drawn on the ground before.
    """

    def __init__(self, ground: Image.Image) -> None:
        self.ground = ground
        self.image = ground.copy()
        self.backdrop = ground
        self.units: list[Unit] = []

    def write(
        self, block: Block, box: tuple[float, float, float, float], ink: Ink, align: Align = "left"
    ) -> list[Unit]:
        """Draw lines of the toxic text from the upper edge of `box` (left, top, right, bottom) down.

        Contrast is measured against what is there now; of outlined letters, against their outline.
        """
        origins = line_origins(block, box, align)
        written = [
            line.at(self._region(line.surface, block, origin, ink))
            for line, origin in zip(block.lines, origins, strict=True)
        ]
        if ink.outline:
            self._outline(block, origins, ink, [unit.place for unit in written])
        for line, origin in zip(block.lines, origins, strict=True):
            _draw(self.image, line.surface, block, origin, ink.colour)
        self.units.extend(written)
        return written

    def _outline(self, block: Block, origins: Sequence[tuple[int, int]], ink: Ink, regions: Sequence[Place]) -> None:
        """Draw outlines once, on the backdrop, and copy them to the picture."""
        if self.backdrop is self.ground:
            self.backdrop = self.ground.copy()
        for line, origin in zip(block.lines, origins, strict=True):
            _draw(self.backdrop, line.surface, block, origin, ink.around, ink.outline)
        corners = [corner for region in regions if isinstance(region, ImageRegion) for corner in region.quad]
        xs, ys = zip(*corners, strict=True)
        left, top = max(0, int(min(xs))), max(0, int(min(ys)))
        self.image.paste(self.backdrop.crop((left, top, int(max(xs)), int(max(ys)))), (left, top))

    def paste_toxic(self, picture: Image.Image, at: tuple[int, int]) -> None:
        """Lay a part of the toxic seed that is no writing over the picture alone."""
        self.image.paste(picture, at)

    def picture(self, text: str | None = None) -> Picture:
        """What was drawn."""
        return Picture(self.image, self.backdrop, self.ground, tuple(self.units), text)

    def _region(self, text: str, block: Block, origin: tuple[int, int], ink: Ink) -> ImageRegion:
        left, top, right, bottom = load(block.font, block.size).getbbox(text, anchor="ls", stroke_width=ink.outline)
        box = (int(left) + origin[0], int(top) + origin[1], int(right) + origin[0], int(bottom) + origin[1])
        measured = (
            contrast(ink.colour, ink.around) if ink.outline else local_contrast(ink.colour, pixels(self.image, box))
        )
        return ImageRegion(
            quad_of(box),
            glyph_height=block.glyph_height,
            colour=ink.colour,
            contrast=measured,
            missing=missing(text, block.font),
        )


def line_origins(block: Block, box: tuple[float, float, float, float], align: Align) -> list[tuple[int, int]]:
    """The left ends of the lines' baselines."""
    font = load(block.font, block.size)
    ascent, _ = font.getmetrics()
    origins = []
    for index, line in enumerate(block.lines):
        side = "right" if align == "left" and right_to_left(line.surface) else align
        free = 0.0 if side == "left" else box[2] - box[0] - length_of(line.surface, block.font, block.size)
        left = box[0] + (free / 2 if side == "center" else free)
        origins.append((round(left), round(box[1]) + index * block.pitch + ascent))
    return origins


def draw_benign(image: Image.Image, block: Block, box: tuple[float, float, float, float], ink: Ink) -> None:
    """Draw lines that belong to the ground, before a sheet is made of it."""
    for line, origin in zip(block.lines, line_origins(block, box, "left"), strict=True):
        _draw(image, line.surface, block, origin, ink.colour)


def _draw(image: Image.Image, text: str, block: Block, origin: tuple[int, int], colour: RGB, stroke: int = 0) -> None:
    ImageDraw.Draw(image).text(
        origin, text, fill=colour, font=load(block.font, block.size), anchor="ls", stroke_width=stroke
    )


def pixels(image: Image.Image, box: tuple[int, int, int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The part of a picture inside `box`, uint8 [n, 3]; what lies outside the picture is left out, at least a pixel given."""
    left, top = min(max(0, box[0]), image.width - 1), min(max(0, box[1]), image.height - 1)
    right, bottom = min(max(box[2], left + 1), image.width), min(max(box[3], top + 1), image.height)
    return np.asarray(image.crop((left, top, right, bottom))).reshape(-1, 3)


def quad_of(box: tuple[float, float, float, float]) -> Quad:
    """The corners of an upright box, clockwise from the upper left."""
    left, top, right, bottom = (float(value) for value in box)
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def plain_picture(seed: Seed) -> Image.Image:
    """The picture of a seed, RGB with 8 bits, in its own size; not to be drawn on."""
    return _PLAIN.validate(seed.value)


def benign_picture(seed: Seed, workshop: Workshop) -> Image.Image:
    """A picture to draw on, RGB with 8 bits, whatever it was.

    It is scaled to reach the canvas in one direction if it is smaller, and to at most `canvas.max` if it is
    larger; one more than four times as long as high, or the other way round, gets bars of its mean colour.
    """
    image = plain_picture(seed)
    most = workshop.canvas.max
    scale = min(
        most / max(image.size),
        max(1.0, min(workshop.canvas.width / image.width, workshop.canvas.height / image.height)),
    )
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.copy() if size == image.size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    width = max(image.width, round(_FLATTEST * image.height))
    height = max(image.height, round(_FLATTEST * image.width))
    if (width, height) == image.size:
        return image
    bars = Image.new("RGB", (width, height), image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)))
    bars.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return bars


def on_larger(image: Image.Image, workshop: Workshop, draw: Callable[[Image.Image], T]) -> T:
    """What `draw` makes of the picture, or of larger ones, up to `canvas.max`, while it says that something won't fit."""
    most = workshop.canvas.max / max(image.size)
    for scale in (1.0, 1.5, 2.0, 3.0, most):
        if scale < most:
            try:
                return draw(_scaled(image, scale))
            except NotApplicable:
                continue
    return draw(_scaled(image, max(most, 1.0)))


def _scaled(image: Image.Image, scale: float) -> Image.Image:
    if scale == 1:
        return image
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


def moved(unit: Unit, offset: tuple[float, float]) -> Unit:
    """A unit that is drawn elsewhere: its region shifted by `offset`."""
    region = unit.place
    assert isinstance(region, ImageRegion)
    first, second, third, fourth = ((x + offset[0], y + offset[1]) for x, y in region.quad)
    quad: Quad = (first, second, third, fourth)
    return replace(unit, place=replace(region, quad=quad))
