"""Sound as numbers, and whether it can be heard and followed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.modality import Waveform
from quire_duo import sound
from quire_duo.case import Case
from quire_duo.validity import audibility
from quire_duo.witness import AudioInterval, Unit, Witness


def interval(start=0.0, end=4.0, level=-20.0, bed=None, words=10):
    return AudioInterval(start, end, level, bed, words)


def judged(*units, guarantee="carrier", samples=0.5):
    content = {"audio": Waveform(np.full((1, 10), samples, np.float32), 10)}
    return audibility.check(Case("A.x", {}, (), "hate", "toxic", guarantee, content, Witness(tuple(units)), 0))


# --- sound ------------------------------------------------------------------------------------------------------------


def test_levels_of_known_sounds():
    sine = Waveform(0.3 * np.sin(2 * np.pi * 100 * np.arange(8000) / 8000, dtype=np.float32)[None], 8000)
    assert sound.level(sine.samples) == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)), abs=1e-3)
    assert sound.level(np.ones((1, 5), np.float32)) == pytest.approx(0)
    assert sound.level(np.zeros((1, 5), np.float32)) == sound.SILENCE
    assert sound.level(sound.amplified(sine, 6).samples) - sound.level(sine.samples) == pytest.approx(6, abs=1e-4)


@settings(deadline=None)
@given(st.floats(0.01, 30), st.integers(1, 50))
def test_limiting_keeps_peaks_and_proportions(scale, count):
    samples = (scale * np.linspace(-1, 0.5, count, dtype=np.float32))[None]
    quiet = sound.limited(Waveform(samples, 10)).samples
    assert np.abs(quiet).max() <= 0.99
    assert np.allclose(quiet * np.abs(samples).max(), samples * np.abs(quiet).max(), atol=1e-4 * scale)


def test_mu_law_is_exact_at_its_codes_and_has_256_of_them():
    ramp = Waveform(np.linspace(-1, 1, 20001, dtype=np.float32)[None], 8000)
    once = sound.companded(ramp)
    assert len(np.unique(once.samples)) == 256
    assert np.allclose(sound.companded(once).samples, once.samples, atol=1e-7)
    # 38 dB, the quality that the codec is known for, over a wide range of levels.
    for level in (0.02, 0.1, 0.5):
        noise = Waveform(
            (level * np.random.default_rng(0).standard_normal((1, 20000))).clip(-1, 1).astype(np.float32), 1
        )
        error = sound.companded(noise).samples - noise.samples
        assert sound.level(noise.samples) - sound.level(error) > 34


@settings(deadline=None)
@given(st.integers(1, 3000), st.sampled_from([8000, 11025, 16000, 22050, 44100]), st.sampled_from([8000, 22050]))
def test_resampling_gives_the_frames_it_promises(frames, old, new):
    made = sound.resampled(Waveform(np.ones((1, frames), np.float32), old), new)
    assert made.samples.shape == (1, max(1, round(frames * new / old)))


@settings(deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.lists(st.integers(0, 5), max_size=5))
def test_joined_parts_stand_where_they_are_said_to_stand(lengths, gaps):
    parts = [Waveform(np.full((1, count), index + 1, np.float32), 10) for index, count in enumerate(lengths)]
    whole, places = sound.joined(parts, [gap / 10 for gap in gaps])
    for index, (start, end) in enumerate(places):
        assert np.all(whole.samples[0, round(start * 10) : round(end * 10)] == index + 1)
    assert np.count_nonzero(whole.samples) == sum(lengths)
    assert whole.samples.shape[1] == sum(lengths) + sum(gaps[: len(lengths)])


def test_reverberation_fades_by_sixty_decibels():
    click = Waveform(np.eye(1, 16000, dtype=np.float32), 16000)
    echo = sound.reverberated(click, 0.5, np.random.default_rng(0)).samples[0, 1:]
    early, late = (sound.level(part[None]) for part in (echo[:800], echo[7200:7999]))
    assert early - late == pytest.approx(60 * 6800 / 8000, abs=5)


# --- audibility -------------------------------------------------------------------------------------------------------


def test_audibility_judges_levels_paces_peaks_and_gaps():
    words = ("seven",) * 10
    assert judged(Unit(interval(), words)).passed
    assert "the peak 0.995" in judged(Unit(interval(), words), samples=0.995).detail
    assert judged(Unit(interval(), words), samples=0.99).passed
    assert "300 words a minute" in judged(Unit(interval(end=2.0), words)).detail
    assert judged(Unit(interval(end=2.0, words=0), ())).passed  # a recording
    assert judged(Unit(interval(end=1.0), ("a",) * 10)).passed  # 200 standard words
    assert "dB above the bed" in judged(Unit(interval(bed=-22.0), words)).detail
    assert judged(Unit(interval(bed=-23.0), words)).passed
    assert "below -60 dB" in judged(Unit(interval(level=-70.0), words)).detail
    apart = (Unit(interval(), words), Unit(interval(start=6.5, end=10.5), words))
    assert judged(*apart).passed
    assert "2.50 s between two pieces" in judged(*apart, guarantee="split").detail


def test_nothing_heard_is_nothing_to_judge():
    assert audibility.check(Case("T.x", {}, (), "hate", "toxic", "carrier", {"text": "a"}, Witness(()), 0)) is None
