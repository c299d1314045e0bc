"""Rules that cut the text and show its parts in a post's text and its picture, or in several tiles."""

from __future__ import annotations

import itertools
from math import ceil
from typing import TYPE_CHECKING, Any

from PIL import Image

from quire_duo.drawing import Picture, Sheet, benign_picture, on_larger, plain_picture
from quire_duo.fonts import font_for
from quire_duo.fragments import halves, halves_inside, joined
from quire_duo.rule import Parameter, Slot
from quire_duo.rules.images import BENIGN_PICTURE, PictureRule, text_of, write_caption
from quire_duo.rules.text import THEN, TOXIC_TEXT, disguised
from quire_duo.seeds import NotApplicable
from quire_duo.witness import TextSpan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from quire_duo.fragments import Fragment
    from quire_duo.seeds import Seed
    from quire_duo.workshop import Workshop

_GAP = 4
"""Between tiles, in pixels."""


class SplitCaption(PictureRule):
    """The first words are the post's text, the others the caption of its picture."""

    id = "TI.split_caption"
    summary = "The first part as the post's text, the rest as its picture's caption"
    slots = (TOXIC_TEXT, BENIGN_PICTURE)
    produces = frozenset({"text", "image"})
    guarantee = "split"
    parameters = (
        Parameter("m", (0,), "words in the post's text; 0 is half of them", low=0, high=10_000),
        Parameter("inside_keyword", (False, True), "cut in the middle of the first keyword instead"),
        THEN,
    )

    def picture(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Picture:
        """NotApplicable for a single word, unless the cut is inside it."""
        fragments = disguised(parts["toxic"][0], parameters["then"], rng, workshop)
        if parameters["inside_keyword"]:
            first, rest = halves_inside(fragments, workshop.lexicon)
        else:
            first, rest = halves(fragments, int(parameters["m"]))
        post = joined(first)

        def draw(image: Image.Image) -> Picture:
            sheet = Sheet(image)
            sheet.units.append(post.at(TextSpan(0, len(post.surface))))
            write_caption(sheet, rest, (0, 0, *image.size), workshop)
            return sheet.picture(post.surface)

        return on_larger(benign_picture(parts["picture"][0], workshop), workshop, draw)


class Grid(PictureRule):
    """A word on each of up to sixteen benign pictures, side by side in reading order."""

    id = "TI.grid"
    summary = "One word on each tile of a grid of pictures"
    slots = (TOXIC_TEXT, Slot("picture", "image", "benign", least=1, most=16))
    guarantee = "split"
    parameters = (
        Parameter("tiles", (16,), "at most; of longer texts a tile holds several words", low=1, high=16),
        THEN,
    )

    def picture(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Picture:
        """The pictures are used again in turn where they are fewer than the tiles. The canvas grows where it must."""
        fragments = disguised(parts["toxic"][0], parameters["then"], rng, workshop)
        runs = _runs(fragments, int(parameters["tiles"]))
        if len(runs) < 2:
            raise NotApplicable("a text on a single tile is not split")
        font_for(text_of(fragments), workshop, bold=True)  # complain before the canvas grows in vain
        pictures = [plain_picture(seed) for seed in parts["picture"][: len(runs)]]
        canvas = Image.new("RGB", (workshop.canvas.width, workshop.canvas.height), (24, 24, 24))
        return on_larger(canvas, workshop, lambda blank: _tiled(blank, runs, pictures, workshop))


def _runs(fragments: Sequence[Fragment], most: int) -> list[Sequence[Fragment]]:
    """`fragments` in at most `most` runs whose lengths differ by one at most."""
    count = min(most, len(fragments))
    bounds = [round(index * len(fragments) / count) for index in range(count + 1)]
    return [fragments[start:end] for start, end in itertools.pairwise(bounds)]


def _tiled(
    blank: Image.Image, runs: Sequence[Sequence[Fragment]], pictures: Sequence[Image.Image], workshop: Workshop
) -> Picture:
    boxes = tile_boxes(blank.size, len(runs))
    ground = blank.copy()
    for index, box in enumerate(boxes):
        ground.paste(_cover(pictures[index % len(pictures)], (box[2] - box[0], box[3] - box[1])), box[:2])
    sheet = Sheet(ground)
    for run, box in zip(runs, boxes, strict=True):
        write_caption(sheet, run, box, workshop, share=0.9, largest=0.25)
    return sheet.picture()


def _cover(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The middle of a picture, as much as has the shape of `size`, in that size."""
    scale = min(image.width / size[0], image.height / size[1])
    width, height = scale * size[0], scale * size[1]
    left, top = max(0.0, image.width - width) / 2, max(0.0, image.height - height) / 2
    box = (left, top, min(image.width, left + width), min(image.height, top + height))
    return image.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=1.0)


def tile_boxes(size: tuple[int, int], count: int) -> list[tuple[int, int, int, int]]:
    """Boxes (left, top, right, bottom) of `count` tiles from left to right and top to bottom."""
    columns = ceil(count**0.5)
    rows = ceil(count / columns)
    width, height = ((whole - _GAP * (n + 1)) // n for whole, n in zip(size, (columns, rows), strict=True))
    return [
        (
            left := _GAP + (index % columns) * (width + _GAP),
            top := _GAP + (index // columns) * (height + _GAP),
            left + width,
            top + height,
        )
        for index in range(count)
    ]
