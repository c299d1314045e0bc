"""Rules of films and of text, picture and speech together: frames, times, regions, and how sentences are cut."""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import shutil
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from quire.modality import Audio, Frames, Video
from quire.modality import Image as ImageModality
from quire_duo import film
from quire_duo.case import Case
from quire_duo.rule import FusionRule
from quire_duo.rules import audio, mixed, video
from quire_duo.seeds import Lexicon, NotApplicable, Seed
from quire_duo.validity import audibility, exposure, legibility
from quire_duo.witness import Unit, VideoInterval, Witness, tokens_of
from quire_duo.workshop import Workshop

TEXT = "The glorps are ruining all of our towns, we should not let them in."
WORKSHOP = Workshop(lexicon=Lexicon({"glorps": "hate"}))
FIELDS = {"image": ImageModality(), "audio": Audio(), "video": Video()}


def rules_of(*modules):
    return [
        rule()
        for module in modules
        for _, rule in inspect.getmembers(module, inspect.isclass)
        if issubclass(rule, FusionRule) and rule.__module__ == module.__name__ and not inspect.isabstract(rule)
    ]


FILM_RULES, MIXED_RULES = rules_of(video), rules_of(mixed)
needs_speech = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


def text(value=TEXT, name="text", toxic=True):
    return Seed(name, "hate", toxic, "text", value)


def picture(width=200, height=150, colour=(200, 40, 40), name="picture", toxic=False):
    image = Image.new("RGB", (width, height), colour)
    return Seed(name, "porn", toxic, "image", image)


def clip(frames=40, width=320, height=240, fps=5.0, name="clip", toxic=False):
    # Every frame has a grey of its own, so that it is known again.
    value = np.zeros((frames, height, width, 3), np.uint8) + (np.arange(frames) % 120)[:, None, None, None].astype(
        np.uint8
    )
    return Seed(name, "porn", toxic, "video", Frames(value, fps))


def parts_for(rule):
    made = {"text": text, "image": picture, "video": clip}
    return {slot.name: [made[slot.modality](toxic=slot.role == "toxic")] for slot in rule.slots}


def fuse(rule, parts=None, parameters=None, seed=0, workshop=WORKSHOP):
    return rule.apply(parts or parts_for(rule), rule.check(parameters or {}), np.random.default_rng(seed), workshop)


def case_of(rule, fused):
    return Case(rule.id, {}, (text(),), "hate", "toxic", rule.guarantee, fused.content, fused.witness, 0)


def frames_of(place, fps):
    return round(place.start * fps), round(place.end * fps)


# --- every rule -------------------------------------------------------------------------------------------------------


@needs_speech
@pytest.mark.parametrize("rule", FILM_RULES + MIXED_RULES, ids=lambda rule: rule.id)
@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_rule_at_every_strength_holds_to_its_contract(rule, level):
    parameters = {one.name: one.grid[min(level, len(one.grid) - 1)] for one in rule.parameters}
    fused, again = fuse(rule, parameters=parameters), fuse(rule, parameters=parameters)
    assert set(fused.content) == rule.produces
    for kind, modality in FIELDS.items():
        if kind in fused.content:
            value, other = (modality.validate(one.content[kind]) for one in (fused, again))
            suffix = modality.writes[0]
            assert modality.to_bytes(value, suffix) == modality.to_bytes(other, suffix)
    assert fused.witness == again.witness
    assert Witness.from_json(fused.witness.to_json()) == fused.witness
    toxic = parts_for(rule)[rule.toxic_slot.name][0]
    if rule.id != "V.flash":  # the same picture several times
        assert fused.witness.tokens == toxic.tokens
    checks = [module.check(case_of(rule, fused)) for module in (legibility, audibility, exposure)]
    assert [check.detail for check in checks if check is not None and not check.passed] == []
    assert any(check is not None for check in checks)
    if rule.guarantee == "split":
        assert len(fused.witness.units) > 1


@pytest.mark.parametrize("rule", FILM_RULES, ids=lambda rule: rule.id)
def test_units_stand_within_the_film(rule):
    fused = fuse(rule)
    made = fused.content["video"]
    assert made.fps == 5
    for unit in fused.witness.units:
        assert 0 <= unit.place.start < unit.place.end <= made.seconds + 1e-9


@pytest.mark.parametrize("rule", FILM_RULES, ids=lambda rule: rule.id)
def test_seeds_are_left_alone(rule):
    parts = parts_for(rule)
    before = {name: np.array(getattr(seed.value, "frames", 0)) for name, (seed,) in parts.items()}
    fuse(rule, parts)
    for name, (seed,) in parts.items():
        assert np.array_equal(before[name], getattr(seed.value, "frames", 0))


# --- films ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "each"), [(0.6, 3), (0.5, 3), (0.4, 2)])
def test_one_word_at_a_time_takes_the_planned_frames(seconds, each):
    fused = fuse(video.WordFrames(), parameters={"seconds": seconds})
    tokens = tokens_of(TEXT)
    assert len(fused.content["video"].frames) == each * len(tokens)
    assert [unit.tokens for unit in fused.witness.units] == [(token,) for token in tokens]
    starts = [frames_of(unit.place, 5) for unit in fused.witness.units]
    assert starts == [(index * each, (index + 1) * each) for index in range(len(tokens))]


def test_a_word_is_drawn_while_it_is_shown_and_no_longer():
    fused = fuse(video.WordFrames(), {"toxic": [text("aa bb")], "picture": [picture()]})
    first, second = fused.content["video"].frames[[0, 3]]
    plain = np.array([200, 40, 40])
    for frame, unit in zip((first, second), fused.witness.units, strict=True):
        drawn = (frame != plain).any(axis=2)
        (left, top), _, (right, bottom), _ = unit.place.region.quad
        rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
        assert left - 1 <= columns[0] < columns[-1] <= right + 1
        assert top - 1 <= rows[0] < rows[-1] <= bottom + 1
    assert (first != second).any()


def test_words_that_stand_together_stand_longer():
    workshop = Workshop(tables={"abbreviations": {}})
    words = parts_for(video.WordFrames())
    fragment = video.WordFrames._seconds
    from quire_duo.fragments import Fragment

    assert fragment(Fragment(("one",), "one"), 0.4) == 0.4
    assert fragment(Fragment(("by", "the", "way"), "btw"), 0.4) == pytest.approx(1.2)
    with pytest.raises(NotApplicable, match="one word can't be split"):
        fuse(video.WordFrames(), {**words, "toxic": [text("glorp")]}, workshop=workshop)


@pytest.mark.parametrize("frames", [3, 40, 200])
def test_subtitles_stand_long_enough_whatever_the_film(frames):
    fused = fuse(video.Subtitle(), {"toxic": [text(" ".join([TEXT] * 3))], "film": [clip(frames)]})
    pages = {(unit.place.start, unit.place.end): unit.place.words for unit in fused.witness.units}
    assert sum(pages.values()) == 3 * len(tokens_of(TEXT))
    assert len(pages) > 1
    for (start, end), words in pages.items():
        assert end - start >= max(1, 0.6 * words) - 1e-9
    assert all(after[0] == before[1] for before, after in itertools.pairwise(sorted(pages)))
    assert len(fused.content["video"].frames) >= frames
    written = {index for unit in fused.witness.units for index in range(*frames_of(unit.place, 5))}
    untouched = set(range(frames)) - written
    for index in untouched:
        assert (fused.content["video"].frames[index] == index % 120).all()


@pytest.mark.parametrize("seconds", [1.0, 2.0])
@pytest.mark.parametrize("fps", [5.0, 12.5])
def test_every_word_of_a_ticker_can_be_seen_whole(seconds, fps):
    rule = video.Scroll()
    fused = fuse(rule, {"toxic": [text("buy glorp pills now")], "film": [clip(fps=fps)]}, {"seconds": seconds})
    made = fused.content["video"].frames
    for unit in fused.witness.units:
        assert unit.place.end - unit.place.start >= seconds - 1e-9
        first, last = frames_of(unit.place, fps)
        (left, top), _, (right, bottom), _ = unit.place.region.quad
        box = made[first, int(top) : int(bottom), int(left) : int(right)]
        assert (box > 200).any()  # white letters where the region says
        lit = [int((frame[int(top) : int(bottom)] > 128).all(axis=2).sum()) for frame in made[first:last]]
        assert min(lit) > 0
    assert made[-1, -1].max() == 0  # all of it ran through


def test_a_ticker_needs_a_film_wider_than_its_words():
    wide = text("a" * 60 + " b")
    with pytest.raises(NotApplicable, match="too wide for a film of 320 pixels"):
        fuse(video.Scroll(), {"toxic": [wide], "film": [clip()]})


@pytest.mark.parametrize(
    ("frames", "seconds", "every"), [(100, 0.5, 5.0), (100, 0.4, 10.0), (2, 0.5, 5.0), (30, 1.0, 2.0)]
)
def test_flashes_are_as_many_as_there_is_room_for(frames, seconds, every):
    parts = {"toxic": [picture(toxic=True)], "film": [clip(frames)]}
    for seed in range(5):
        fused = fuse(video.Flash(), parts, {"seconds": seconds, "every": every}, seed)
        made = fused.content["video"].frames
        shown, period = film.frames_for(seconds, 5), film.frames_for(every, 5)
        starts = [frames_of(unit.place, 5)[0] for unit in fused.witness.units]
        assert starts
        assert starts[0] < period
        assert np.all(np.diff(starts) == period)
        assert len(made) == max(frames, 2 * shown)
        # The red picture is in these frames and in no others.
        red = np.flatnonzero([frame[120, 160].tolist() == [200, 40, 40] for frame in made])
        assert red.tolist() == [start + index for start in starts for index in range(shown)]


def test_a_picture_that_is_shown_always_does_not_flash():
    with pytest.raises(NotApplicable, match="is the film"):
        fuse(video.Flash(), parameters={"seconds": 5.0, "every": 5.0})


@pytest.mark.parametrize("share", [0.25, 0.15])
@pytest.mark.parametrize("size", [(200, 150), (100, 300), (40, 10)])
def test_the_picture_in_the_picture_has_the_share_and_the_proportions(share, size):
    parts = {"toxic": [picture(*size, toxic=True)], "film": [clip()]}
    try:
        fused = fuse(video.Pip(), parts, {"share": share})
    except NotApplicable:
        aspect = size[0] / size[1]
        assert np.sqrt(share * 320 * 240 * aspect) > 320 or np.sqrt(share * 320 * 240 / aspect) > 240
        return
    (left, top), _, (right, bottom), _ = fused.witness.units[0].place.region.quad
    assert (right - left) * (bottom - top) / (320 * 240) == pytest.approx(share, abs=0.005)
    assert (right - left) / (bottom - top) == pytest.approx(size[0] / size[1], rel=0.05)
    made = fused.content["video"].frames
    red = (made == [200, 40, 40]).all(axis=3)
    assert red[:, int(top) : int(bottom), int(left) : int(right)].all()
    assert red[0].sum() == (right - left) * (bottom - top)


def test_a_toxic_film_runs_at_its_own_speed():
    toxic = clip(20, 160, 120, fps=10.0, toxic=True)  # two seconds
    fused = fuse(video.PipFilm(), {"toxic": [toxic], "film": [clip(3)]})
    place = fused.witness.units[0].place
    assert (place.start, place.end) == (0, 2)
    assert len(fused.content["video"].frames) == 10
    (left, top), *_ = place.region.quad
    seen = fused.content["video"].frames[:, int(top) + 2, int(left) + 2, 0]
    assert seen.tolist() == list(range(0, 20, 2))


def test_a_written_film_has_the_planned_frames():
    pytest.importorskip("av", reason="films are written with PyAV")
    from quire_duo.media import encoded

    for rule in (video.WordFrames(), video.Scroll()):
        made = fuse(rule).content["video"]
        suffix, data = encoded(made, Video())
        again = Video().load(data)
        assert suffix == ".mp4"
        assert again.frames.shape == made.frames.shape
        assert again.fps == pytest.approx(made.fps)


def test_small_films_grow_until_letters_fit():
    fused = fuse(video.Subtitle(), {"toxic": [text("glorps out")], "film": [clip(20, 32, 24)]})
    assert fused.content["video"].frames.shape[1:3] == (240, 320)


def test_texts_that_take_too_long_are_not_shown():
    with pytest.raises(NotApplicable, match="longer than 300 s"):
        fuse(video.WordFrames(), {"toxic": [text("word " * 1000)], "picture": [picture()]})


@settings(deadline=None)
@given(st.floats(0.01, 20), st.floats(0.5, 60))
def test_frames_last_as_long_as_asked_and_hardly_longer(seconds, fps):
    count = film.frames_for(seconds, fps)
    assert count / fps >= seconds - 1e-5
    assert count == 1 or (count - 1) / fps < seconds


def test_exposure_judges_words_phrases_and_pictures():
    def judged(seconds, words):
        unit = Unit(VideoInterval(1.0, 1.0 + seconds, words=words))
        return exposure.check(Case("V.x", {}, (), "hate", "toxic", "carrier", {}, Witness((unit,)), 0))

    assert judged(0.4, 1).passed
    assert judged(0.3, 1).detail == "a word stands for 0.30 s, less than 0.40 s"
    assert not judged(0.9, 2).passed
    assert judged(1.0, 2).passed
    assert judged(1.9, 5).detail == "5 words stand for 1.90 s, less than 2.00 s"
    assert judged(0.4, 0).passed
    assert judged(0.2, 0).detail == "a picture stands for 0.20 s, less than 0.40 s"
    assert exposure.check(Case("T.x", {}, (), "hate", "toxic", "carrier", {"text": ""}, Witness(()), 0)) is None


def test_words_shown_too_shortly_are_dropped():
    fused = fuse(video.WordFrames(), parameters={"seconds": 0.2})
    assert not exposure.check(case_of(video.WordFrames(), fused)).passed


# --- what is not installed --------------------------------------------------------------------------------------------


def test_without_pyav_only_films_with_sound_are_unavailable(monkeypatch):
    known = importlib.util.find_spec
    hidden = lambda name, *rest: None if name == "av" else known(name, *rest)  # noqa: E731
    monkeypatch.setattr(mixed, "find_spec", hidden)
    monkeypatch.setattr(audio.speech, "unavailable", lambda workshop: None)
    missing = {rule.id: rule.unavailable(WORKSHOP) for rule in FILM_RULES + MIXED_RULES}
    assert {name for name, reason in missing.items() if reason} == {"IA.slideshow_film", "IA.split_film"}
    assert missing["IA.split_film"] == "install the video extra: pip install 'quire-duo[video]'"
    monkeypatch.setitem(sys.modules, "av", None)
    for rule in FILM_RULES:
        assert len(fuse(rule).content["video"].frames) > 1


@needs_speech
def test_without_soundfile_speech_is_the_same(monkeypatch):
    known = fuse(mixed.TextSplit()).content["audio"]
    monkeypatch.setitem(sys.modules, "soundfile", None)
    again = fuse(mixed.TextSplit()).content["audio"]
    assert again.rate == known.rate
    assert np.allclose(again.samples, known.samples, atol=1e-6)


def test_without_espeak_whatever_speaks_is_unavailable(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {rule.unavailable(WORKSHOP) for rule in MIXED_RULES} == {"install espeak-ng: apt-get install espeak-ng"}
    assert {rule.unavailable(WORKSHOP) for rule in FILM_RULES} == {None}
