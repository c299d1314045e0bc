"""Sentences that are cut between post, picture and speech, and films of one picture."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from quire_duo import film
from quire_duo.rules import audio, mixed
from quire_duo.seeds import Lexicon, NotApplicable, Seed
from quire_duo.witness import TextSpan, Witness, tokens_of
from quire_duo.workshop import Workshop

TEXT = "The glorps are ruining all of our towns, we should not let them in."
WORKSHOP = Workshop(lexicon=Lexicon({"glorps": "hate"}))
needs_speech = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


def text(value=TEXT, name="text", toxic=True):
    return Seed(name, "hate", toxic, "text", value)


def picture():
    return Seed("picture", "hate", False, "image", Image.new("RGB", (200, 150), (200, 40, 40)))


def fuse(rule, parts=None, parameters=None):
    usual = {"toxic": [text()], "picture": [picture()]}
    return rule.apply(parts or usual, rule.check(parameters or {}), np.random.default_rng(0), WORKSHOP)


TOKENS = st.lists(
    st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=9).filter(
        lambda word: len(word.split()) == 1
    ),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)
@given(TOKENS, st.floats(0, 1), st.booleans(), st.sets(st.integers(0, 11)))
def test_a_cut_text_joins_to_itself(words, share, inside, chosen):
    seed = text(" ".join(words))
    lexicon = Lexicon({words[index].casefold(): "hate" for index in chosen if index < len(words)})
    try:
        parts = mixed.cut_once(seed, {"share": share, "inside": inside}, Workshop(lexicon=lexicon))
    except NotApplicable:
        assert inside or len(words) == 1
        return
    witness = Witness(tuple(part.at(TextSpan(0, 1)) for part in parts))
    assert witness.tokens == seed.tokens
    assert all(part.surface for part in parts)
    assert parts[1].glued == inside


@settings(deadline=None)
@given(TOKENS, st.floats(0, 1))
def test_a_text_cut_in_three_joins_to_itself(words, share):
    if len(words) < 3:
        with pytest.raises(NotApplicable, match="can't be split in three"):
            mixed.cut_twice(" ".join(words), share)
        return
    parts = mixed.cut_twice(" ".join(words), share)
    assert Witness(tuple(part.at(TextSpan(0, 1)) for part in parts)).tokens == tuple(words)
    assert all(part.tokens for part in parts)


@needs_speech
def test_parts_go_where_they_are_said_to_go():
    fused = fuse(mixed.TextSplit(), parameters={"share": 0.25})
    assert fused.content["text"] == "The glorps are ruining"[: len(fused.content["text"])]
    assert [unit.kind for unit in fused.witness.units] == ["text", "audio"]
    whole = audio.heard(text(), WORKSHOP)
    assert fused.content["audio"].seconds < whole.seconds
    inside = fuse(mixed.TextSplit(), parameters={"inside": True})
    assert inside.content["text"] == "The glo"
    assert inside.witness.units[1].surface.startswith("rps are")
    three = fuse(mixed.ThreeSplit())
    assert list(dict.fromkeys(unit.kind for unit in three.witness.units)) == ["text", "image", "audio"]


@needs_speech
def test_benign_posts_carry_toxic_speech():
    post = text("Have a nice day.", "post", toxic=False)
    fused = fuse(mixed.BenignText(), {"toxic": [text()], "post": [post]})
    assert fused.content["text"] == "Have a nice day."
    assert fused.witness.units[0].surface == TEXT


@needs_speech
def test_a_film_of_a_picture_lasts_as_long_as_the_speech():
    for rule, words in ((mixed.SlideshowFilm(), 0), (mixed.PictureSplitFilm(), 2)):
        fused = fuse(rule, parameters={"share": words / len(tokens_of(TEXT))} if words else {})
        shown, said = fused.content["video"], fused.content["audio"]
        assert len(shown.frames) == film.frames_for(said.seconds, 5)
        assert shown.frames.shape[1:3] == (240, 320)
        assert (shown.frames == shown.frames[0]).all()


@needs_speech
def test_a_caption_is_shown_as_long_as_it_takes_to_read():
    words = " ".join(["glorp"] * 20) + " go"
    fused = fuse(mixed.PictureSplitFilm(), {"toxic": [text(words)], "picture": [picture()]}, {"share": 0.95})
    assert fused.content["video"].seconds >= 20 * 0.4


@needs_speech
def test_single_words_cannot_be_split_but_inside():
    parts = {"toxic": [text("glorps")]}
    with pytest.raises(NotApplicable, match="one word"):
        fuse(mixed.TextSplit(), parts)
    assert fuse(mixed.TextSplit(), parts, {"inside": True}).witness.tokens == ("glorps",)
