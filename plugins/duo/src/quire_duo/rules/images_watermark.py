"""The watermark: a text many times across a picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageChops

from quire_duo.contrast import blended, pixels_inside, translucent_contrast, translucent_ratios
from quire_duo.drawing import BLACK, CAPTION, WHITE, Picture, Sheet, benign_picture, moved, on_larger
from quire_duo.fonts import font_for
from quire_duo.layout import fit, smallest_size
from quire_duo.rule import Parameter
from quire_duo.rules.images import PictureRule, text_of
from quire_duo.rules.text import THEN, disguised
from quire_duo.seeds import NotApplicable
from quire_duo.validity.legibility import CONTRAST
from quire_duo.warp import carried, rotation, warp
from quire_duo.witness import ImageRegion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from quire_duo.fragments import Fragment
    from quire_duo.seeds import Seed
    from quire_duo.witness import Unit
    from quire_duo.workshop import Workshop

_GAP = 24
"""Between tiles, in pixels."""
_COARSE = 4
_LARGEST = 24.0
"""Of the font, in pixels per em."""


class Watermark(PictureRule):
    """The text many times across the picture, translucent and slanting."""

    id = "TI.watermark"
    summary = "The text as a tiled, translucent watermark"
    parameters = (
        Parameter("alpha", (0.35,), "opacity", low=0.05, high=1.0),
        Parameter("angle", (30,), "degrees, anticlockwise", low=-90, high=90),
        THEN,
    )

    def picture(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Picture:
        """White letters with a dark outline, both translucent: at an opacity of 0.35 neither alone would have a contrast
        of 3:1 on any background. The witness is the tile that is read best.
        """
        fragments = disguised(parts["toxic"][0], parameters["then"], rng, workshop)
        font = font_for(text_of(fragments), workshop, bold=True)
        alpha, angle = float(parameters["alpha"]), float(parameters["angle"])

        def draw(image: Image.Image) -> Picture:
            for largest in (_LARGEST, smallest_size(font)):  # smaller tiles find more places
                tile = _tile(fragments, font, angle, image.size, largest)
                offsets, units = _arranged(image, tile, alpha, rng)
                if _worst(units) >= CONTRAST:
                    break
            return _watermarked(image, tile, offsets, units, alpha)

        return on_larger(benign_picture(parts["picture"][0], workshop), workshop, draw)


@dataclass(frozen=True)
class _Tile:
    """Masks of the letters and of the letters with their outlines, both turned, and the units in them."""

    letters: Image.Image
    outlined: Image.Image
    units: list[Unit]


def _tile(fragments: Sequence[Fragment], font: Path, angle: float, most: tuple[int, int], largest: float) -> _Tile:
    block = fit(fragments, font, 0.55 * most[0], 0.6 * most[1], largest)
    margin = CAPTION.outline + 1
    size = (round(block.width) + 2 * margin, block.height + 2 * margin)
    sheet = Sheet(Image.new("RGB", size, BLACK))
    ink = replace(CAPTION, around=(0, 0, 255))  # red then holds the letters alone, blue also their outlines
    sheet.write(block, (margin, margin, size[0] - margin, size[1]), ink, "center")
    matrix, turned = rotation(angle, size)
    if turned[0] > most[0] or turned[1] > most[1]:
        raise NotApplicable("the turned text is larger than the picture")
    letters, _, outlined = warp(sheet.image, matrix, turned, BLACK).split()
    return _Tile(letters, outlined, [carried(unit, matrix, angle) for unit in sheet.units])


def _arranged(
    image: Image.Image, tile: _Tile, alpha: float, rng: np.random.Generator
) -> tuple[list[tuple[int, int]], list[Unit]]:
    """Where the tiles stand, and the units of the one that is read best, of those that lie wholly inside."""
    size = tile.letters.size
    offsets = _offsets(image.size, size, _legible_place(image, size, alpha, rng))
    candidates = [
        [_measured(moved(unit, (x, y)), image, alpha) for unit in tile.units]
        for x, y in offsets
        if 0 <= x <= image.width - size[0] and 0 <= y <= image.height - size[1]
    ]
    return offsets, max(candidates, key=_worst)


def _watermarked(
    image: Image.Image, tile: _Tile, offsets: Sequence[tuple[int, int]], units: Sequence[Unit], alpha: float
) -> Picture:
    letters, outlined = (_tiled(mask, image.size, offsets, alpha) for mask in (tile.letters, tile.outlined))
    backdrop = image.copy()
    backdrop.paste(BLACK, mask=outlined)
    made = image.copy()
    made.paste(BLACK, mask=ImageChops.subtract(outlined, letters))
    made.paste(WHITE, mask=letters)
    return Picture(made, backdrop, image, tuple(units))


def _legible_place(
    image: Image.Image, tile: tuple[int, int], alpha: float, rng: np.random.Generator
) -> tuple[int, int]:
    """Where a tile has the least of the ground that is too bright or too dark for letters; of equal places a random one.

    On every fourth pixel, with sums over boxes from the cumulative sums of the picture (Crow, 1984).
    """
    bad = translucent_ratios(image.reduce(_COARSE), alpha) < CONTRAST
    sums = np.pad(bad, ((1, 0), (1, 0))).astype(np.int64).cumsum(axis=0).cumsum(axis=1)
    width, height = (min(-(-part // _COARSE), whole) for part, whole in zip(tile, bad.shape[::-1], strict=True))
    counts = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    rows, columns = np.nonzero(counts == counts.min())
    chosen = int(rng.integers(len(rows)))
    left, top = int(columns[chosen]) * _COARSE, int(rows[chosen]) * _COARSE
    return min(left, image.width - tile[0]), min(top, image.height - tile[1])


def _offsets(size: tuple[int, int], tile: tuple[int, int], first: tuple[int, int]) -> list[tuple[int, int]]:
    """The upper left corners of the tiles of a grid through the picture, one of which is `first`."""
    columns, rows = (
        range(start - (start // (part + _GAP) + 1) * (part + _GAP), whole, part + _GAP)
        for start, whole, part in zip(first, size, tile, strict=True)
    )
    return [(x, y) for y in rows for x in columns]


def _tiled(mask: Image.Image, size: tuple[int, int], offsets: Sequence[tuple[int, int]], alpha: float) -> Image.Image:
    whole = Image.new("L", size)
    faint = mask.point(np.rint(alpha * np.arange(256)).astype(int).tolist())
    for offset in offsets:
        whole.paste(faint, offset)
    return whole


def _measured(unit: Unit, image: Image.Image, alpha: float) -> Unit:
    """The unit with its opacity and its contrast: of translucent white against translucent black where it stands."""
    region = unit.place
    assert isinstance(region, ImageRegion)
    under = pixels_inside(image, region.quad)
    measured = translucent_contrast(WHITE, under, alpha, blended(BLACK, under, alpha)) if len(under) else 1.0
    return replace(unit, place=replace(region, opacity=alpha, contrast=measured))


def _worst(units: Iterable[Unit]) -> float:
    return min(unit.place.contrast or 0.0 for unit in units if isinstance(unit.place, ImageRegion))
