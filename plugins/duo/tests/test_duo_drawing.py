"""Contrast, layout, maps and backgrounds: what pictures of text are made of, against slower or closed forms."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from quire_duo import contrast as wcag
from quire_duo.drawing import Ink, Sheet, benign_picture
from quire_duo.fonts import default_font, load
from quire_duo.fragments import plain
from quire_duo.layout import fit, wrap
from quire_duo.rules.images_split import tile_boxes
from quire_duo.seeds import NotApplicable, Seed
from quire_duo.warp import corners_of, points, rotation, tilting, warp
from quire_duo.witness import ImageRegion
from quire_duo.workshop import Workshop

WORDS = st.lists(st.text("abcdefgHIJ£é0.,", min_size=1, max_size=14), min_size=1, max_size=20)


def test_contrasts_of_the_guidelines() -> None:
    assert wcag.contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21.0)
    assert round(wcag.contrast((0x76, 0x76, 0x76), (255, 255, 255)), 2) == 4.54
    assert wcag.contrast((12, 200, 7), (12, 200, 7)) == 1.0


@settings(max_examples=50, deadline=None)
@given(colour=st.tuples(*[st.integers(0, 255)] * 3), seed=st.integers(0, 99), opacity=st.sampled_from((1.0, 0.35)))
def test_local_contrast_is_the_percentile_of_pixelwise_ratios(
    colour: tuple[int, int, int], seed: int, opacity: float
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (37, 3), dtype=np.uint8)

    def linear(value: float) -> float:
        share = value / 255
        return share / 12.92 if share <= 0.04045 else float(((share + 0.055) / 1.055) ** 2.4)

    ratios = []
    for under in pixels:
        over = [round(opacity * c + (1 - opacity) * int(u)) for c, u in zip(colour, under, strict=True)]
        a, b = (sum(w * linear(v) for w, v in zip((0.2126, 0.7152, 0.0722), one, strict=True)) for one in (over, under))
        ratios.append((max(a, b) + 0.05) / (min(a, b) + 0.05))
    assert wcag.local_contrast(colour, pixels, opacity) == pytest.approx(np.percentile(ratios, 5), rel=0.02)


@settings(max_examples=20, deadline=None)
@given(tokens=WORDS, width=st.integers(120, 500), height=st.integers(40, 300))
def test_fit_is_within_a_pixel_of_the_largest_size_that_fits(tokens: list[str], width: int, height: int) -> None:
    font, fragments = default_font(), plain(tokens)

    def fits(size: float) -> bool:
        block = wrap(fragments, font, size, width)
        return (
            len(tokens) <= len(" ".join(tokens))
            and block.height <= height
            and block.width <= width
            and max(load(font, size).getlength(token) for token in tokens) <= width
        )

    try:
        block = fit(fragments, font, width, height, 60)
    except NotApplicable:
        assert not fits(17)
        return
    assert block.height <= height
    assert all(load(font, block.size).getlength(line.surface) <= width + 1e-6 for line in block.lines)
    assert 17 <= block.size <= 60
    assert not any(fits(size) for size in range(int(block.size) + 3, 61))  # two sizes are what hinting may hide


def test_a_map_takes_pixels_where_it_takes_points() -> None:
    sheet = np.zeros((80, 120), np.uint8)
    sheet[20:23, 90:93] = 255  # its middle is (91.5, 21.5)
    for matrix, size in (rotation(33, (120, 80)), tilting((120, 80), 25, 1.0)):
        shown = np.asarray(warp(Image.fromarray(sheet), matrix, size, 0), float)
        ys, xs = np.mgrid[: shown.shape[0], : shown.shape[1]] + 0.5
        found = np.array([(shown * xs).sum(), (shown * ys).sum()]) / shown.sum()
        assert points(matrix, np.array([[91.5, 21.5]]))[0] == pytest.approx(found, abs=0.1)
        corners = points(matrix, corners_of((120, 80)))
        assert corners.min() >= -1e-6
        assert (corners <= np.array(size) + 1e-6).all()


def test_a_quarter_turn_is_exact() -> None:
    matrix, size = rotation(90, (30, 20))
    assert size == (20, 30)
    assert points(matrix, np.array([[30.0, 0.0]]))[0] == pytest.approx([0, 0], abs=1e-9)


def test_tiles_are_disjoint_and_in_reading_order() -> None:
    for count in range(1, 17):
        boxes = tile_boxes((640, 480), count)
        assert len(boxes) == count
        assert all(0 <= box[0] < box[2] <= 640 and 0 <= box[1] < box[3] <= 480 for box in boxes)
        assert all((one[1], one[0]) < (two[1], two[0]) for one, two in pairwise(boxes))
        assert all(one[2] <= two[0] or one[3] <= two[1] for one, two in pairwise(boxes))


def test_backgrounds_are_scaled_to_the_canvas() -> None:
    workshop = Workshop()
    for given_size, expected in (
        ((1, 1), (480, 480)),
        ((100, 50), (640, 320)),
        ((700, 500), (700, 500)),
        ((4000, 2000), (2048, 1024)),
    ):
        assert (
            benign_picture(Seed("p", "hate", False, "image", Image.new("RGB", given_size)), workshop).size == expected
        )
    assert benign_picture(Seed("p", "hate", False, "image", Image.new("RGB", (4000, 10))), workshop).size == (2048, 512)


def test_outlines_are_what_outlined_letters_lie_on() -> None:
    sheet = Sheet(Image.new("RGB", (300, 80), "white"))
    block = wrap(plain(["glorps"]), default_font(), 40, 280)
    (unit,) = sheet.write(block, (10, 10, 290, 70), Ink((255, 255, 255), outline=2))
    made, region = sheet.picture(), unit.place
    assert isinstance(region, ImageRegion)
    assert region.contrast == pytest.approx(21)
    assert wcag.drawn_contrast(made.image, made.backdrop, made.ground, region.quad) > 10
    assert wcag.drawn_contrast(made.image, made.backdrop, made.backdrop, region.quad) < 1.5  # white on white
    assert wcag.drawn_contrast(made.backdrop, made.backdrop, made.ground, region.quad) == 1
