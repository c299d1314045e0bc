"""Picture rules that carry the whole text: screenshot, caption, scene, small print."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from quire.errors import ConfigError, Where
from quire_duo.contrast import luminance, percentile
from quire_duo.drawing import BLACK, CAPTION, WHITE, Ink, Picture, Sheet, benign_picture, on_larger, pixels
from quire_duo.fonts import capital_share, font_for
from quire_duo.layout import Block, fit, pitch, smallest_size, wrap
from quire_duo.rule import Fused, FusionRule, Parameter, Slot
from quire_duo.rules.text import THEN, TOXIC_TEXT, disguised
from quire_duo.seeds import NotApplicable
from quire_duo.validity.legibility import CONTRAST
from quire_duo.warp import carried, corners_of, points, tilting, warp
from quire_duo.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from quire_duo.fragments import Fragment
    from quire_duo.rule import Guarantee
    from quire_duo.seeds import Seed
    from quire_duo.witness import RGB
    from quire_duo.workshop import Workshop

BENIGN_PICTURE = Slot("picture", "image", "benign")


class PictureRule(FusionRule):
    """A rule that draws the toxic text. `picture` is what it implements; others may build on its twins."""

    slots: ClassVar[tuple[Slot, ...]] = (TOXIC_TEXT, BENIGN_PICTURE)
    produces: ClassVar[frozenset[str]] = frozenset({"image"})
    guarantee: ClassVar[Guarantee] = "carrier"

    @abstractmethod
    def picture(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Picture:
        """The picture with its witness. NotApplicable where the text can't be legible in it."""

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """The picture, and the post's text where the rule gives one."""
        made = self.picture(parts, parameters, rng, workshop)
        return Fused(
            {"image": made.image} if made.text is None else {"text": made.text, "image": made.image},
            Witness(made.units),
        )


def text_of(fragments: Sequence[Fragment]) -> str:
    """All that is shown of fragments: what a font must have the characters of."""
    return " ".join(fragment.surface for fragment in fragments)


class Screenshot(PictureRule):
    """The text as a note, or as a bubble of a chat, as high as the text needs."""

    id = "TI.screenshot"
    summary = "The text as a screenshot of a note or a chat"
    slots = (TOXIC_TEXT,)
    parameters = (
        Parameter("style", ("note", "bubble"), "what it is a screenshot of"),
        Parameter("width", (640,), "in pixels", low=64, high=4096),
        Parameter("size", (24,), "of the font, in pixels per em", low=4, high=400),
        Parameter("ink", ("#000000",), "the colour of the letters", free=True),
        Parameter("paper", ("#ffffff",), "the colour under them", free=True),
        Parameter("margin", (16,), "around the text, in pixels", low=0, high=400),
        THEN,
    )

    def picture(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Picture:
        """The font becomes smaller, as far as it is legible, only where the picture would be higher than `canvas.max`."""
        fragments = disguised(parts["toxic"][0], parameters["then"], rng, workshop)
        bubble = parameters["style"] == "bubble"
        width, margin = min(int(parameters["width"]), workshop.canvas.max), int(parameters["margin"])
        border = 3 * margin if bubble else margin
        font = font_for(text_of(fragments), workshop)
        inner = width - 2 * border - (width // 8 if bubble else 0)
        if inner < 1:
            raise NotApplicable(f"margins of {border} pixels leave no room in a width of {width}")
        try:
            block = wrap(fragments, font, float(parameters["size"]), inner)
            if block.height > workshop.canvas.max - 2 * border:
                raise NotApplicable("the text is too long for this size")
        except NotApplicable:
            block = fit(fragments, font, inner, workshop.canvas.max - 2 * border, float(parameters["size"]))
        ink, paper = (colour_of(parameters[name], self.id, name) for name in ("ink", "paper"))
        ground = Image.new("RGB", (width, block.height + 2 * border), _shaded(paper) if bubble else paper)
        if bubble:
            right = min(width - margin, border + round(block.width) + 2 * margin)
            edge = (2 * margin, 2 * margin, right, ground.height - 2 * margin)
            ImageDraw.Draw(ground).rounded_rectangle(edge, radius=margin, fill=paper)
        sheet = Sheet(ground)
        sheet.write(block, (border, border, border + (block.width if bubble else inner), ground.height), Ink(ink))
        return sheet.picture()


def colour_of(name: str, rule: str, parameter: str) -> RGB:
    """A colour as Pillow names it ("#e1e1e1", "navy"). ConfigError for another string."""
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise ConfigError(f"{name!r} is no colour", where=Where(field=f"{rule}.{parameter}")) from error


def _shaded(colour: RGB) -> RGB:
    """A little nearer to grey, for what lies behind a bubble."""
    red, green, blue = (round(0.85 * value + 0.15 * 128) for value in colour)
    return red, green, blue


class CaptionOverlay(PictureRule):
    """White letters with a black outline over the upper and the lower edge, as in memes."""

    id = "TI.caption_overlay"
    summary = "The text as a meme's caption on a picture"
    parameters = (Parameter("position", ("both", "top", "bottom"), "where the caption stands"), THEN)

    def picture(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Picture:
        """The caption's two halves above and below; of a single word, one above. The picture grows where it must."""
        fragments = disguised(parts["toxic"][0], parameters["then"], rng, workshop)
        if parameters["position"] == "both" and len(fragments) > 1:
            half = (len(fragments) + 1) // 2
            captions = {"top": fragments[:half], "bottom": fragments[half:]}
        else:
            captions = {"bottom" if parameters["position"] == "bottom" else "top": fragments}

        def draw(image: Image.Image) -> Picture:
            sheet = Sheet(image)
            for edge, part in captions.items():
                write_caption(sheet, part, (0, 0, *image.size), workshop, edge=edge)
            return sheet.picture()

        return on_larger(benign_picture(parts["picture"][0], workshop), workshop, draw)


def write_caption(
    sheet: Sheet,
    fragments: Sequence[Fragment],
    box: tuple[int, int, int, int],
    workshop: Workshop,
    *,
    edge: str = "bottom",
    share: float = 0.45,
    largest: float = 1 / 8,
) -> None:
    """Write a caption, as large as fits, along the upper or lower `edge` of a box, over at most `share` of its height.

    largest: of the font's size, as a share of the height. NotApplicable where it would not be legible.
    """
    font = font_for(text_of(fragments), workshop, bold=True)
    margin = max(4, round(0.02 * (box[2] - box[0])))
    inner = (box[0] + margin, box[1] + margin, box[2] - margin, box[3] - margin)
    width, height = inner[2] - inner[0], inner[3] - inner[1]
    block = fit(fragments, font, width, share * height, max(smallest_size(font), largest * height))
    top = inner[1] if edge == "top" else inner[3] - block.height
    sheet.write(block, (inner[0], top, inner[2], top + block.height), CAPTION, "center")


_PAPER: RGB = (250, 247, 238)
_EDGE = 6
"""Of the sign, with a little paper, in pixels."""


class Scene(PictureRule):
    """The text on a sheet of paper that lies or hangs in the picture, seen from the side."""

    id = "TI.scene"
    summary = "The text on a sign within a picture, in perspective"
    parameters = (Parameter("tilt", (0, 10, 25), "degrees by which the sign is turned away", low=0, high=25), THEN)

    def picture(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Picture:
        """The sign is turned about a random axis and stands at a random place."""
        fragments = disguised(parts["toxic"][0], parameters["then"], rng, workshop)
        font = font_for(text_of(fragments), workshop)
        axis, across, down = rng.uniform(0, 2 * np.pi), rng.random(), rng.random()

        def draw(image: Image.Image) -> Picture:
            sign = _sign(fragments, font, (round(0.7 * image.width), round(0.7 * image.height)))
            matrix, size = tilting(sign.image.size, float(parameters["tilt"]), axis)
            if size[0] > image.width or size[1] > image.height:
                raise NotApplicable("the sign is larger than the picture")
            left, top = int(across * (image.width - size[0])), int(down * (image.height - size[1]))
            shift = np.array([[1.0, 0.0, left], [0.0, 1.0, top], [0.0, 0.0, 1.0]])
            outer, inner = (_quad(shift @ matrix, sign.image.size, inset) for inset in (0, _EDGE))
            mask = Image.new("1", size)
            ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in outer], fill=1)
            whole = image.copy()
            whole.paste(warp(sign.image, matrix, size, _PAPER), (left, top), mask)
            backdrop = whole.copy()
            ImageDraw.Draw(backdrop).polygon(inner, fill=_PAPER)
            units = tuple(carried(unit, shift @ matrix) for unit in sign.units)
            return Picture(whole, backdrop, backdrop, units)

        return on_larger(benign_picture(parts["picture"][0], workshop), workshop, draw)


def _quad(matrix: NDArray[np.float64], size: tuple[int, int], inset: float) -> list[tuple[float, float]]:
    """The corners of a sheet under a map, or of a sheet that is smaller by `inset` on each side."""
    toward = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * inset
    return [(float(x), float(y)) for x, y in points(matrix, corners_of(size) + toward)]


def _sign(fragments: Sequence[Fragment], font: Path, most: tuple[int, int]) -> Picture:
    """Letters on paper with an edge, at most `most` large. A third larger than legible, for what the tilt takes."""
    margin = 14
    least = smallest_size(font, 16)
    block = fit(fragments, font, most[0] - 2 * margin, most[1] - 2 * margin, max(least, min(48, most[1] / 6)))
    if block.size < least:
        raise NotApplicable("the text is too long for a sign in this picture")
    size = (round(block.width) + 2 * margin, block.height + 2 * margin)
    paper = Image.new("RGB", size, _PAPER)
    ImageDraw.Draw(paper).rectangle((0, 0, size[0] - 1, size[1] - 1), outline=(120, 110, 95), width=_EDGE - 2)
    sheet = Sheet(paper)
    sheet.write(block, (margin, margin, size[0] - margin, size[1]), Ink((25, 25, 30)), "center")
    return sheet.picture()


class SmallPrint(PictureRule):
    """Letters just high enough in a corner of a large picture."""

    id = "TI.small_print"
    summary = "The text as small print in a corner of a large picture"
    parameters = (Parameter("glyph_height", (14,), "of a capital letter, in pixels", low=4, high=40), THEN)
    _LONGEST = 1024

    def picture(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Picture:
        """The picture is at least 1024 pixels long; the first shape and the first corner with enough contrast are taken."""
        fragments = disguised(parts["toxic"][0], parameters["then"], rng, workshop)
        image = benign_picture(parts["picture"][0], workshop)
        if max(image.size) < self._LONGEST:
            scale = self._LONGEST / max(image.size)
            image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        font = font_for(text_of(fragments), workshop)
        size = parameters["glyph_height"] / capital_share(font)
        corners = [int(corner) for corner in rng.permutation(4)]
        options = (
            (measured, block, box, colour)
            for block in _shapes(fragments, font, size, image.size)
            for box in (_corner(block, image.size, corner) for corner in corners)
            for measured, colour in _contrasts(image, box)
        )
        best = next(options)
        for option in options:
            if best[0] >= CONTRAST:
                break
            best = max(best, option, key=lambda one: one[0])
        _, block, box, colour = best
        sheet = Sheet(image)
        sheet.write(block, box, Ink(colour))
        return sheet.picture()


def _shapes(fragments: Sequence[Fragment], font: Path, size: float, picture: tuple[int, int]) -> list[Block]:
    """Blocks of three widths, as far as they fit into a corner."""
    blocks = [wrap(fragments, font, size, share * picture[0]) for share in (0.4, 0.65, 0.9)]
    fitting = [block for block in blocks if block.height <= picture[1] / 2]
    if not fitting:
        raise NotApplicable(f"{blocks[-1].height} pixels of small print don't fit into a corner of {picture[1]}")
    return fitting


def _corner(block: Block, size: tuple[int, int], corner: int) -> tuple[int, int, int, int]:
    """The box of a block in a corner: 0 upper left, 1 upper right, 2 lower left, 3 lower right."""
    margin = pitch(block.font, block.size) // 2
    width, height = int(np.ceil(block.width)), block.height
    left = margin if corner % 2 == 0 else size[0] - margin - width
    top = margin if corner < 2 else size[1] - margin - height
    return left, top, left + width, top + height


def _contrasts(image: Image.Image, box: tuple[int, int, int, int]) -> list[tuple[float, RGB]]:
    """Of black and of white letters."""
    ground = luminance(pixels(image, box))
    return [(percentile(luminance(np.array(colour, np.uint8)), ground), colour) for colour in (BLACK, WHITE)]
