"""Rules of pictures: legible by measures that are taken again here, true witnesses, any picture as a background."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from quire.errors import ConfigError
from quire_duo.fonts import capital_share, default_font, font_for, missing
from quire_duo.rule import Fused, FusionRule, find_rules
from quire_duo.rules.images import PictureRule
from quire_duo.rules.images_split import tile_boxes
from quire_duo.seeds import Lexicon, NotApplicable, Seed
from quire_duo.witness import ImageRegion, Unit, Witness, tokens_of
from quire_duo.workshop import Canvas, Workshop

TEXT = "The glorps are ruining all of our towns"
RULES = {rule.id: rule for rule in find_rules(("TI.*", "II.*", "IT.*"))}
DRAWING = sorted(name for name, rule in RULES.items() if isinstance(rule, PictureRule) and "rebus" not in name)
BENIGN_TEXTS = [Seed(f"t{index}", "hate", False, "text", f"A lovely day number {index}") for index in range(10)]


def picture(width: int = 640, height: int = 480, seed: int = 0) -> Image.Image:
    """Smooth and rather dark, so that white letters and watermarks can be read."""
    coarse = np.random.default_rng(seed).integers(20, 110, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def benign(image: Image.Image) -> Seed:
    return Seed("p", "hate", False, "image", image)


PICTURES = [benign(picture(seed=seed)) for seed in range(3)]


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    Image.new("RGBA", (40, 20), (255, 160, 0, 255)).save(tmp_path / "icon.png")
    icons = {"glorps": str(tmp_path / "icon.png")}
    return Workshop(lexicon=Lexicon({"glorps": "hate"}), tables={"icons": icons})


def apply(
    name: str, text: str, workshop: Workshop, *, on: list[Seed] | None = None, draw: int = 0, **values: object
) -> Fused:
    rule: FusionRule = RULES[name]
    benign_seeds = {"text": BENIGN_TEXTS, "image": PICTURES if on is None else on}
    parts = {
        slot.name: [Seed("s", "hate", True, "text", text)]
        if slot.role == "toxic"
        else benign_seeds[slot.modality][: slot.most]
        for slot in rule.slots
    }
    return rule.apply(parts, rule.check(values), np.random.default_rng(draw), workshop)


def region(unit: Unit) -> ImageRegion:
    assert isinstance(unit.place, ImageRegion)
    return unit.place


def regions(witness: Witness) -> list[ImageRegion]:
    return [unit.place for unit in witness.units if isinstance(unit.place, ImageRegion)]


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


# --- contrast


def test_a_screenshot_reports_its_colours_contrast(workshop: Workshop) -> None:
    for ink, expected in (("#000000", 21.0), ("#767676", 4.54), ("#e1e1e1", 1.31)):
        fused = apply("TI.screenshot", TEXT, workshop, ink=ink)
        assert {round(one.contrast or 0, 2) for one in regions(fused.witness)} == {expected}


# --- what every rule keeps to


@pytest.mark.parametrize("name", DRAWING)
def test_every_point_of_the_grid_keeps_the_tokens_inside_the_picture(name: str, workshop: Workshop) -> None:
    rule = RULES[name]
    for parameter in rule.parameters:
        for value in parameter.grid:
            fused = apply(name, TEXT, workshop, **{parameter.name: value})
            assert set(fused.content) == rule.produces
            assert fused.witness.tokens == tokens_of(TEXT)
            image = fused.content["image"]
            assert image.mode == "RGB"
            assert max(image.size) <= 2048
            for one in regions(fused.witness):
                assert all(-0.5 <= x <= image.width + 0.5 and -0.5 <= y <= image.height + 0.5 for x, y in one.quad)


@pytest.mark.parametrize("name", [*DRAWING, "TI.rebus", "TI.rebus_post"])
def test_all_ink_is_inside_the_quads_and_every_quad_has_some(name: str, workshop: Workshop) -> None:
    rule = RULES[name]
    assert isinstance(rule, PictureRule)
    parts = {
        slot.name: [Seed("s", "hate", True, "text", TEXT)]
        if slot.role == "toxic"
        else ({"text": BENIGN_TEXTS, "image": PICTURES}[slot.modality][: slot.most])
        for slot in rule.slots
    }
    made = rule.picture(parts, rule.check({}), np.random.default_rng(3), workshop)
    ink = np.abs(np.asarray(made.image, int) - np.asarray(made.backdrop, int)).max(axis=2) > 8
    inside = Image.new("L", made.image.size)
    for one in regions(Witness(made.units)):
        shape = Image.new("L", made.image.size)
        for mask in (shape, inside):
            ImageDraw.Draw(mask).polygon(one.quad, fill=255)
        assert ink[np.asarray(shape) > 0].any()
    near = np.asarray(inside.filter(ImageFilter.MaxFilter(3))) > 0  # what interpolation spreads over slanting edges
    if name != "TI.watermark":  # whose other tiles are no units
        assert not ink[~near].any()


@pytest.mark.parametrize("name", sorted(RULES.keys() - {"TI.compose", "II.collage", "IT.benign_text"}))
def test_the_same_seed_of_the_generator_gives_the_same_bytes(name: str, workshop: Workshop) -> None:
    first, second = (apply(name, TEXT, workshop, draw=7) for _ in range(2))
    assert png(first.content["image"]) == png(second.content["image"])
    assert first.witness == second.witness


@pytest.mark.parametrize("name", DRAWING)
def test_words_are_disguised_before_they_are_drawn(name: str, workshop: Workshop) -> None:
    fused = apply(name, TEXT, workshop, then="T.noise")
    assert fused.witness.tokens == tokens_of(TEXT)
    surfaces = " ".join(unit.surface for unit in fused.witness.units)
    assert "gl.or.ps" in surfaces


@pytest.mark.parametrize(
    "name", [name for name in DRAWING if any(slot.modality == "image" for slot in RULES[name].slots)]
)
@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (1, 1), "navy"),
        Image.new("L", (3000, 9), 60),
        Image.fromarray((np.arange(120_000) // 4).reshape(300, 400).astype(np.uint16)),
        Image.new("RGBA", (150, 700), (0, 60, 0, 200)),
        Image.new("P", (64, 64)),
        Image.new("RGB", (2500, 1200), "maroon"),
    ],
    ids=["one pixel", "flat grey", "16-bit", "transparent", "palette", "huge"],
)
def test_any_picture_is_a_background(name: str, image: Image.Image, workshop: Workshop) -> None:
    before = png(image)
    fused = apply(name, "the glorps", workshop, on=[benign(image)])
    assert fused.content["image"].mode == "RGB"
    assert max(fused.content["image"].size) <= 2048
    assert png(image) == before
    assert all((one.glyph_height or 0) >= 12 for one in regions(fused.witness))


WORDS = st.lists(st.text("abcdefgHIJ£é0.,", min_size=1, max_size=14), min_size=1, max_size=20)


@settings(max_examples=12, deadline=None)
@given(tokens=WORDS, name=st.sampled_from(["TI.split_caption", "TI.grid", "TI.acrostic"]), keyword=st.booleans())
def test_parts_of_any_text_join_to_its_tokens(tokens: list[str], name: str, keyword: bool) -> None:
    words = Lexicon({token.casefold().strip(".,"): "hate" for token in tokens[::3]})
    values = (
        {"inside_keyword": keyword}
        if name == "TI.split_caption"
        else {"unit": ("word", "letter")[keyword]}
        if name == "TI.acrostic"
        else {}
    )
    try:
        fused = apply(name, " ".join(tokens), Workshop(lexicon=words), **values)
    except NotApplicable:
        return
    assert fused.witness.tokens == tuple(tokens)
    assert len(fused.witness.units) > 1
    if name == "TI.split_caption":
        assert fused.content["text"] == fused.witness.units[0].surface


# --- heights


def ink_rows(image: Image.Image, axis: int) -> int:
    dark = np.asarray(image.convert("L")) < 128
    rows = np.flatnonzero(dark.any(axis=axis))
    return int(rows[-1] - rows[0] + 1)


def test_heights_are_those_of_the_drawn_capitals(workshop: Workshop) -> None:
    assert capital_share(default_font()) == pytest.approx(0.729, abs=0.001)
    fused = apply("TI.screenshot", "HHHH", workshop, size=60)
    (one,) = regions(fused.witness)
    assert ink_rows(fused.content["image"], axis=1) == pytest.approx(one.glyph_height, abs=1)
    turned = apply("TI.degrade", "HHHH", workshop, rotate=90)
    (one,) = regions(turned.witness)
    assert one.glyph_height == pytest.approx(24 * 0.729, abs=0.05)
    assert ink_rows(turned.content["image"], axis=0) == pytest.approx(one.glyph_height, abs=1.5)
    assert turned.content["image"].size == apply("TI.screenshot", "HHHH", workshop).content["image"].size[::-1]
    small = apply("TI.degrade", "HHHH", workshop, rotate=0, downscale=0.5)
    (one,) = regions(small.witness)
    assert one.glyph_height == pytest.approx(12 * 0.729, abs=0.2)
    assert ink_rows(small.content["image"], axis=1) == pytest.approx(one.glyph_height, abs=1.5)
    assert one.quad[2][1] - one.quad[0][1] == pytest.approx(one.glyph_height, abs=1)


def test_small_print_is_as_high_as_asked_for_and_in_a_corner(workshop: Workshop) -> None:
    for draw in range(4):
        fused = apply("TI.small_print", TEXT, workshop, draw=draw)
        width, height = fused.content["image"].size
        assert max(width, height) == 1024
        boxes = regions(fused.witness)
        assert all(one.glyph_height == pytest.approx(14) for one in boxes)
        left, right = min(one.quad[0][0] for one in boxes), max(one.quad[1][0] for one in boxes)
        top, bottom = min(one.quad[0][1] for one in boxes), max(one.quad[2][1] for one in boxes)
        assert min(left, width - right) < 40
        assert min(top, height - bottom) < 40


def test_a_tilt_makes_letters_on_the_far_side_smaller(workshop: Workshop) -> None:
    flat, tilted = (
        [one.glyph_height or 0 for one in regions(apply("TI.scene", TEXT, workshop, tilt=tilt).witness)]
        for tilt in (0, 25)
    )
    assert flat == pytest.approx([flat[0]] * len(flat))
    assert min(tilted) < flat[0]
    assert min(tilted) >= 12


# --- fonts, and texts that are hard to place


def test_a_text_that_no_font_covers_names_code_points_and_a_package(workshop: Workshop) -> None:
    with pytest.raises(NotApplicable, match=r"U\+13000.*Egyptian") as caught:
        apply("TI.screenshot", "\U00013000 glorps", workshop)
    assert "fonts-noto-core" in str(caught.value)
    assert missing("a\u4e00\u200b\n\u0301", default_font()) == ("U+4E00",)
    with pytest.raises(ConfigError, match="can't be read as a font"):
        font_for("a", Workshop(fonts=(Path(__file__),)))


def test_text_from_right_to_left_stands_on_the_right(workshop: Workshop) -> None:
    (one,) = regions(apply("TI.screenshot", "שלום עולם", workshop).witness)
    assert one.quad[1][0] > 600
    assert one.quad[0][0] > 400


def test_a_text_that_cannot_be_legible_is_refused() -> None:
    little = Workshop(canvas=Canvas(width=320, height=240, max=320))
    for name in ("TI.screenshot", "TI.caption_overlay", "TI.scene", "TI.watermark", "TI.split_caption", "TI.grid"):
        with pytest.raises(NotApplicable):
            apply(name, "so many words " * 300, little)
    with pytest.raises(NotApplicable, match="corner"):
        apply("TI.small_print", "so many words " * 300, little)


def test_a_long_text_gets_a_larger_picture_or_smaller_letters(workshop: Workshop) -> None:
    fused = apply("TI.caption_overlay", "many words " * 120, workshop)
    assert 640 < fused.content["image"].width <= 2048
    high = apply("TI.screenshot", "many words " * 500, workshop)
    assert high.content["image"].height <= 2048
    assert all((one.glyph_height or 0) < 24 * 0.729 for one in regions(high.witness))


def test_a_single_word_is_not_split(workshop: Workshop) -> None:
    for name in ("TI.split_caption", "TI.grid", "TI.acrostic", "TI.rebus"):
        with pytest.raises(NotApplicable):
            apply(name, "glorps", workshop)
    fused = apply("TI.split_caption", "glorps", workshop, inside_keyword=True)
    assert (fused.content["text"], fused.witness.units[1].surface) == ("glo", "rps")


# --- the rules one by one


def test_a_meme_has_halves_at_both_edges(workshop: Workshop) -> None:
    fused = apply("TI.caption_overlay", TEXT, workshop)
    boxes = regions(fused.witness)
    assert boxes[0].quad[0][1] < 30
    assert boxes[-1].quad[2][1] > 440
    assert [one.contrast for one in boxes] == pytest.approx([21.0] * len(boxes))
    top = apply("TI.caption_overlay", TEXT, workshop, position="top")
    assert all(one.quad[2][1] < 240 for one in regions(top.witness))


def test_a_grid_has_a_word_on_each_tile(workshop: Workshop) -> None:
    fused = apply("TI.grid", TEXT, workshop)
    assert [unit.surface for unit in fused.witness.units] == TEXT.split()
    boxes = tile_boxes((640, 480), 8)
    for one, (left, top, right, bottom) in zip(regions(fused.witness), boxes, strict=True):
        assert all(left <= x <= right and top <= y <= bottom for x, y in one.quad)
    longer = apply("TI.grid", " ".join(f"w{index}" for index in range(40)), workshop, tiles=4)
    assert len(longer.witness.units) >= 4


def test_the_first_words_are_the_post(workshop: Workshop) -> None:
    assert apply("TI.split_caption", TEXT, workshop).content["text"] == "The glorps are ruining"
    assert apply("TI.split_caption", TEXT, workshop, m=3).content["text"] == "The glorps are"
    assert apply("TI.split_caption", TEXT, workshop, inside_keyword=True).content["text"] == "The glo"
    with pytest.raises(NotApplicable, match="no part after the first 8"):
        apply("TI.split_caption", TEXT, workshop, m=8)


def test_a_watermark_has_translucent_letters_in_many_places(workshop: Workshop) -> None:
    fused = apply("TI.watermark", "the glorps", workshop)
    (one,) = regions(fused.witness)
    assert (one.opacity, one.rotation) == (0.35, 30.0)
    slope = np.arctan2(one.quad[0][1] - one.quad[1][1], one.quad[1][0] - one.quad[0][0])
    assert np.rad2deg(slope) == pytest.approx(30, abs=0.01)
    assert (one.contrast or 0) > 3
    changed = np.asarray(fused.content["image"], int) - np.asarray(picture(), int)
    assert (np.abs(changed).max(axis=2) > 30).mean() > 0.02
    bright = apply("TI.watermark", "the glorps", workshop, on=[benign(Image.new("RGB", (640, 480), "white"))])
    assert (regions(bright.witness)[0].contrast or 0) == pytest.approx(2.43, abs=0.02)  # 255 on .65 * 255


@pytest.mark.parametrize(("target", "low"), [(7.0, 6.5), (4.5, 4.4), (3.0, 3.0)])
def test_degraded_contrast_is_what_was_asked_for(target: float, low: float, workshop: Workshop) -> None:
    for base in ("TI.screenshot", "TI.caption_overlay"):
        fused = apply("TI.degrade", TEXT, workshop, base=base, rotate=0, contrast=target)
        assert low <= min(one.contrast or 0 for one in regions(fused.witness)) <= target + 0.3


def test_degradations_are_measured(workshop: Workshop) -> None:
    def least(**values: object) -> float:
        fused = apply("TI.degrade", TEXT, workshop, **{"rotate": 0, **values})
        return min(one.contrast or 0 for one in regions(fused.witness))

    assert least() == pytest.approx(21, abs=0.2)
    blurred = [least(blur=sigma) for sigma in (0.5, 1.0, 2.0, 4.0)]
    assert all(stronger < weaker for weaker, stronger in pairwise(blurred))
    assert blurred[2] > 3 > blurred[3]
    assert least(noise=50.0) < least(noise=10.0) < 21
    assert 10 < least(jpeg=30) < 21


def test_lines_cover_a_seventh_and_are_no_background(workshop: Workshop) -> None:
    fused = apply("TI.degrade", TEXT, workshop, rotate=0, lines=7)
    rows = np.asarray(fused.content["image"].convert("L")).max(axis=1) == 0
    for one in regions(fused.witness):
        top, bottom = int(one.quad[0][1]), int(one.quad[2][1])
        assert one.covered == pytest.approx(rows[top:bottom].mean(), abs=0.05)
        assert one.contrast == pytest.approx(21, abs=0.2)
    assert np.diff(np.flatnonzero(rows)).tolist() == [7] * (rows.sum() - 1)


def test_what_cannot_be_degraded(workshop: Workshop) -> None:
    for base in ("TI.grid", "TI.degrade", "TI.split_caption", "II.collage", "TI.*"):
        with pytest.raises(ConfigError):
            apply("TI.degrade", TEXT, workshop, base=base)
    with pytest.raises(NotApplicable, match="needs a benign image"):
        apply("TI.degrade", TEXT, workshop, base="TI.scene", on=[])
    assert apply("TI.degrade", TEXT, workshop, on=[]).content["image"].width > 640


def test_a_rebus_has_numbered_icons_in_the_place_of_words(workshop: Workshop) -> None:
    fused = apply("TI.rebus", TEXT, workshop)
    icon = region(fused.witness.units[1])
    assert (fused.witness.units[1].surface, fused.witness.units[1].tokens) == ("[1]", ("glorps",))
    x, y = (sum(values) / 4 for values in zip(*icon.quad, strict=True))
    assert fused.content["image"].getpixel((int(x), int(y))) == (255, 160, 0)
    post = apply("TI.rebus_post", TEXT, workshop)
    assert post.content["text"] == "The [1] are ruining all of our towns"
    assert post.witness.tokens == tokens_of(TEXT)
    assert [unit.kind for unit in post.witness.units[:3]] == ["text", "image", "text"]
    with pytest.raises(NotApplicable, match="no word"):
        apply("TI.rebus", "nothing here", workshop)
    assert "icons" in (RULES["TI.rebus"].unavailable(Workshop()) or "")


def test_a_composed_pair_stays_as_it_is(workshop: Workshop) -> None:
    rule, image = RULES["TI.compose"], picture(300, 200)
    one = [Seed("p", "hate", True, "pair", {"text": "look at them", "image": image})]
    two = [Seed("a", "hate", True, "text", "look at them"), Seed("b", "hate", True, "image", image)]
    for pair in (one, two):
        fused = rule.apply({"pair": pair}, {}, np.random.default_rng(0), workshop)
        assert fused.content["text"] == "look at them"
        assert np.array_equal(np.asarray(fused.content["image"]), np.asarray(image))
        assert fused.witness.tokens == ("look", "at", "them")
    with pytest.raises(NotApplicable, match="lacks"):
        rule.apply({"pair": two[:1]}, {}, np.random.default_rng(0), workshop)


def test_a_collage_shows_the_whole_picture_in_its_share(workshop: Workshop) -> None:
    rule = RULES["II.collage"]
    toxic = Seed("x", "porn", True, "image", Image.new("L", (300, 200), 99))
    places = set()
    for draw in range(5):
        parts = {"toxic": [toxic], "picture": PICTURES[:1]}
        fused = rule.apply(parts, rule.check({}), np.random.default_rng(draw), workshop)
        (one,) = regions(fused.witness)
        (left, top), (right, bottom) = one.quad[0], one.quad[2]
        assert (right - left) * (bottom - top) == pytest.approx(0.25 * 640 * 480, rel=0.01)
        assert (np.asarray(fused.content["image"].crop((left, top, right, bottom))) == 99).all()
        places.add((left, top))
    assert len(places) == 5
    flat = Seed("x", "porn", True, "image", Image.new("L", (3000, 20), 99))
    with pytest.raises(NotApplicable, match="a side below 64"):
        rule.apply({"toxic": [flat], "picture": PICTURES[:1]}, rule.check({}), np.random.default_rng(0), workshop)


def test_a_toxic_picture_under_a_benign_text(workshop: Workshop) -> None:
    toxic = Seed("x", "porn", True, "image", Image.new("L", (300, 200), 99))
    parts = {"toxic": [toxic], "post": BENIGN_TEXTS[:1]}
    fused = RULES["IT.benign_text"].apply(parts, {}, np.random.default_rng(0), workshop)
    assert fused.content["text"] == BENIGN_TEXTS[0].text
    assert fused.content["image"].size == (300, 200)
    assert regions(fused.witness)[0].quad[2] == (300.0, 200.0)
