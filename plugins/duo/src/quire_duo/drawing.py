"""Drawing: letters on pictures, with a witness of where each line stands and how well it can be read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from PIL import Image, ImageDraw

from quire.modality import Image as ImageModality
from quire_duo.contrast import contrast, local_contrast
from quire_duo.fonts import load, missing
from quire_duo.layout import Block, right_to_left
from quire_duo.seeds import NotApplicable
from quire_duo.witness import ImageRegion

if TYPE_CHECKING:
    from collections.abc import Callable

    from quire_duo.seeds import Seed
    from quire_duo.witness import RGB, Quad, Unit
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
    """A picture that is drawn on. Keeps its twins without the toxic letters and the witness's units."""

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
        if ink.outline and self.backdrop is self.ground:
            self.backdrop = self.ground.copy()
        written = []
        for line, origin in zip(block.lines, _origins(block, box, align), strict=True):
            region = self._region(line.surface, block, origin, ink)
            if ink.outline:
                _draw(self.backdrop, line.surface, block, origin, ink.around, ink.outline)
                _draw(self.image, line.surface, block, origin, ink.around, ink.outline)
            _draw(self.image, line.surface, block, origin, ink.colour)
            written.append(line.at(region))
        self.units.extend(written)
        return written

    def write_benign(
        self, block: Block, box: tuple[float, float, float, float], ink: Ink, align: Align = "left"
    ) -> None:
        """Draw lines that belong to the background."""
        for line, origin in zip(block.lines, _origins(block, box, align), strict=True):
            for image in self._layers():
                if ink.outline:
                    _draw(image, line.surface, block, origin, ink.around, ink.outline)
                _draw(image, line.surface, block, origin, ink.colour)

    def paste(self, picture: Image.Image, at: tuple[int, int]) -> None:
        """Lay a benign picture over everything."""
        for image in self._layers():
            image.paste(picture, at)

    def paste_toxic(self, picture: Image.Image, at: tuple[int, int]) -> None:
        """Lay a part of the toxic seed that is no writing over the picture alone."""
        self.image.paste(picture, at)

    def picture(self, text: str | None = None) -> Picture:
        """What was drawn."""
        return Picture(self.image, self.backdrop, self.ground, tuple(self.units), text)

    def _layers(self) -> list[Image.Image]:
        return [self.image, self.ground, *([] if self.backdrop is self.ground else [self.backdrop])]

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


def _origins(block: Block, box: tuple[float, float, float, float], align: Align) -> list[tuple[int, int]]:
    """The left ends of the lines' baselines."""
    font = load(block.font, block.size)
    ascent, _ = font.getmetrics()
    origins = []
    for index, line in enumerate(block.lines):
        free = box[2] - box[0] - font.getlength(line.surface)
        side = "right" if align == "left" and right_to_left(line.surface) else align
        left = box[0] + {"left": 0.0, "center": free / 2, "right": free}[side]
        origins.append((round(left), round(box[1]) + index * block.pitch + ascent))
    return origins


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


def benign_picture(seed: Seed, workshop: Workshop, *, longest: int | None = None) -> Image.Image:
    """A picture to draw on, RGB with 8 bits, whatever it was.

    It is scaled to reach the canvas in one direction if it is smaller, and to at most `canvas.max` (or to `longest`) if
    it is larger; one more than four times as long as high, or the other way round, gets bars of its mean colour.
    """
    image = _PLAIN.validate(seed.value)
    most = longest or workshop.canvas.max
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
