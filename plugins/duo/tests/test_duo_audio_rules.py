"""Speech, sound and the rules of audio: levels, durations, words, and what happens without a synthesiser."""

from __future__ import annotations

import inspect
import itertools
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from quire.errors import ConfigError
from quire.evaluator import wilson
from quire.modality import Audio, Waveform
from quire_duo import sound, speech
from quire_duo.case import Case
from quire_duo.rule import FusionRule
from quire_duo.rules import audio as rules
from quire_duo.seeds import Lexicon, NotApplicable, Seed
from quire_duo.speech import EspeakSynthesizer
from quire_duo.validity import audibility
from quire_duo.witness import AudioInterval, Witness
from quire_duo.workshop import Speech, Workshop

TEXT = "The glorps are ruining all of our towns, we should not let them in."
WORKSHOP = Workshop(lexicon=Lexicon({"glorps": "hate"}))
RULES = [
    rule()
    for _, rule in inspect.getmembers(rules, inspect.isclass)
    if issubclass(rule, FusionRule) and not inspect.isabstract(rule)
]
DATA = os.environ.get("QUIRE_DATA")
needs_speech = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


def text(value=TEXT, name="text", toxic=True, language=None):
    return Seed(name, "hate", toxic, "text", value, language=language)


def recording(seconds=1.0, rate=8000, name="recording", toxic=False, seed=0, channels=1, frequency=None):
    rng = np.random.default_rng(seed)
    if frequency is None:
        samples = 0.1 * rng.standard_normal((channels, round(seconds * rate)))
    else:
        samples = np.tile(0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate), (channels, 1))
    return Seed(name, "hate", toxic, "audio", Waveform(samples.astype(np.float32), rate))


def parts_for(rule, toxic_text=None):
    parts = {}
    for slot in rule.slots:
        if slot.role == "toxic":
            parts[slot.name] = [(toxic_text or text()) if slot.modality == "text" else recording(0.8, toxic=True)]
        elif slot.modality == "text":
            parts[slot.name] = [text("It was a nice day by the sea.", "a", toxic=False), text("Good soup.", "b", False)]
        else:
            parts[slot.name] = [recording(0.5 + i / 10, seed=i + 1, name=f"bed-{i}") for i in range(min(slot.most, 3))]
    return parts


def fuse(rule, parts=None, parameters=None, seed=0, workshop=WORKSHOP):
    parts = parts or parts_for(rule)
    return rule.apply(parts, rule.check(parameters or {}), np.random.default_rng(seed), workshop)


def case_of(rule, fused):
    return Case(rule.id, {}, (text(),), "hate", "toxic", rule.guarantee, fused.content, fused.witness, 0)


def interval(start=0.0, end=4.0, level=-20.0, bed=None, words=10):
    return AudioInterval(start, end, level, bed, words)


# --- speech -----------------------------------------------------------------------------------------------------------


@needs_speech
def test_speech_is_the_same_every_time_and_as_fast_as_asked():
    voice = EspeakSynthesizer()
    slow, again, fast = (voice.speak(TEXT, voice="en", rate=rate, pitch=50) for rate in (140, 140, 220))
    assert slow.rate == 22050
    assert slow.samples.dtype == np.float32
    assert np.array_equal(slow.samples, again.samples)
    assert fast.seconds < 0.8 * slow.seconds
    assert 100 < len(TEXT.split()) / slow.seconds * 60 < 200


@needs_speech
def test_a_text_is_never_taken_for_options_or_phonemes():
    voice = EspeakSynthesizer()
    said = voice.speak("-v nothing --version", voice="en", rate=175, pitch=50)
    assert said.seconds > 1
    brackets = voice.speak("[[h@l'oU]] there", voice="en", rate=175, pitch=50)
    assert brackets.seconds > voice.speak("there", voice="en", rate=175, pitch=50).seconds
    assert speech.speakable("a\x00b\n[[c") == "a b [ [c"


@needs_speech
def test_what_cannot_be_spoken_is_said():
    voice = EspeakSynthesizer()
    for nothing in ("", "  \n", "... !?", "—"):
        with pytest.raises(NotApplicable, match="can be spoken"):
            voice.speak(nothing, voice="en", rate=175, pitch=50)
    with pytest.raises(ConfigError, match=r"can't speak with the voice 'klingonese'.*espeak-ng --voices"):
        voice.speak("hello", voice="klingonese", rate=175, pitch=50)


@needs_speech
def test_what_was_spoken_is_kept_in_the_cache(tmp_path, monkeypatch):
    voice = EspeakSynthesizer(tmp_path)
    first = voice.speak(TEXT, voice="en", rate=175, pitch=50)
    speech._version()

    def refuse(*args, **options):
        raise AssertionError("it was spoken again")

    monkeypatch.setattr(speech, "_run", refuse)
    kept = EspeakSynthesizer(tmp_path).speak(TEXT, voice="en", rate=175, pitch=50)
    assert np.array_equal(first.samples, kept.samples)
    assert kept.rate == first.rate
    with pytest.raises(AssertionError, match="spoken again"):
        voice.speak(TEXT, voice="en", rate=175, pitch=51)


@needs_speech
def test_threads_share_a_cache(tmp_path):
    texts = [f"number {index}" for index in range(4)] * 3
    speak = lambda value: EspeakSynthesizer(tmp_path).speak(value, voice="en", rate=175, pitch=50).samples  # noqa: E731
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(speak, texts))
    assert all(np.array_equal(said[index], said[index % 4]) for index in range(12))
    assert len(speech._store(tmp_path, speech._version())) == 4


def test_without_the_program_rules_say_what_to_install_and_recordings_go_on(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    speaking = {rule.id for rule in RULES if rule.unavailable(WORKSHOP) is not None}
    assert speaking == {"A.speech", "A.bed", "A.embed", "A.embed_speech", "A.channel_speech", "A.spell"}
    assert rules.Speech().unavailable(WORKSHOP) == "install espeak-ng: apt-get install espeak-ng"
    with pytest.raises(ConfigError, match="Install espeak-ng: apt-get install espeak-ng"):
        fuse(rules.Speech())
    for rule in RULES:
        if rule.id not in speaking:
            assert fuse(rule).content["audio"].seconds > 0


def test_seeds_of_another_language_have_a_voice_of_theirs():
    settings = Speech(voice="en-us")
    assert speech.voice_for(None, settings) == "en-us"
    assert speech.voice_for("en-GB", settings) == "en-us"
    assert speech.voice_for("de-CH", settings) == "de"


@needs_speech
def test_a_text_of_another_language_is_spoken_in_it():
    german = fuse(rules.Speech(), {"toxic": [text(language="de")]})
    expected = EspeakSynthesizer().speak(TEXT, voice="de", rate=140, pitch=50)
    assert german.content["audio"].samples.shape == expected.samples.shape


# --- rules ------------------------------------------------------------------------------------------------------------


@needs_speech
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_rule_at_every_strength_holds_to_its_contract(rule, level):
    parameters = {one.name: one.grid[min(level, len(one.grid) - 1)] for one in rule.parameters}
    fused, again = fuse(rule, parameters=parameters), fuse(rule, parameters=parameters)
    made = Audio(channels=1).check(fused.content["audio"], field="audio")
    assert set(fused.content) == rule.produces
    assert made.samples.tobytes() == again.content["audio"].samples.tobytes()
    assert fused.witness == again.witness
    assert np.abs(made.samples).max() <= 0.99
    toxic = parts_for(rule)[rule.toxic_slot.name][0]
    assert fused.witness.tokens == toxic.tokens
    assert Witness.from_json(fused.witness.to_json()) == fused.witness
    for unit in fused.witness.units:
        place = unit.place
        assert 0 <= place.start < place.end <= made.seconds + 1e-9
        inside = made.samples[:, round(place.start * made.rate) : round(place.end * made.rate)]
        if place.bed is None:
            assert sound.level(inside) == pytest.approx(place.level, abs=1e-6)
    assert audibility.check(case_of(rule, fused)).passed


@needs_speech
@pytest.mark.parametrize("snr", [20.0, 10.0, 5.0, 3.0])
@pytest.mark.parametrize("rule", [rules.Bed(), rules.BedRecording()], ids=lambda rule: rule.id)
def test_the_realised_ratio_is_the_one_asked_for(rule, snr):
    parts = parts_for(rule)
    fused = fuse(rule, parts, {"snr": snr})
    said = rules.heard(parts["toxic"][0], WORKSHOP).samples[0].astype(float)
    mix = fused.content["audio"].samples[0].astype(float)
    # Speech and bed are independent: what least squares leave of the mix is the bed.
    gain = mix @ said / (said @ said)
    realised = 20 * np.log10(np.std(gain * said) / np.std(mix - gain * said))
    place = fused.witness.units[0].place
    assert realised == pytest.approx(snr, abs=0.2)
    assert place.level - place.bed == pytest.approx(snr, abs=1e-3)
    assert fused.content["audio"].seconds == pytest.approx(len(said) / fused.content["audio"].rate)
    assert audibility.check(case_of(rule, fused)).passed


def test_a_bed_too_loud_is_heard_of():
    check = audibility.check(case_of(rules.BedRecording(), fuse(rules.BedRecording(), parameters={"snr": 2.0})))
    assert not check.passed
    assert "speech is 2.0 dB above the bed" in check.detail


@pytest.mark.parametrize("seconds", [0.05, 0.8, 30.0])
def test_beds_are_cut_or_repeated_to_the_speech(seconds):
    parts = {"toxic": [recording(0.8, toxic=True)], "bed": [recording(seconds, seed=3, rate=11025)]}
    fused = fuse(rules.BedRecording(), parts)
    assert fused.content["audio"].samples.shape == (1, 6400)


@needs_speech
@pytest.mark.parametrize("ratio", [1.0, 3.0, 5.0])
@pytest.mark.parametrize("rule", [rules.Embed(), rules.EmbedSpeech(), rules.EmbedRecording()], ids=lambda rule: rule.id)
def test_embedded_utterances_last_as_long_as_their_parts(rule, ratio):
    fused = fuse(rule, parameters={"ratio": ratio, "gap": 0.0}, seed=2)
    place = fused.witness.units[0].place
    parts = parts_for(rule)
    around = [sound.resampled(rules.heard(seed, WORKSHOP), fused.content["audio"].rate) for seed in parts["around"]]
    toxic = rules.heard(parts["toxic"][0], WORKSHOP)
    assert place.end - place.start == pytest.approx(toxic.seconds)
    benign = fused.content["audio"].seconds - toxic.seconds
    # Whole utterances in turn, until they last long enough.
    expected, index = around[0].seconds, 0
    while expected < ratio * toxic.seconds:
        index += 1
        expected += around[index % len(around)].seconds
    assert benign == pytest.approx(expected)


def test_the_toxic_utterance_stands_at_every_position_and_unchanged():
    rule, parts = rules.EmbedRecording(), parts_for(rules.EmbedRecording())
    starts = set()
    for seed in range(30):
        fused = fuse(rule, parts, {"ratio": 1.0, "gap": 0.5}, seed)
        place = fused.witness.units[0].place
        starts.add(round(place.start, 3))
        whole = fused.content["audio"]
        own = whole.samples[0, round(place.start * whole.rate) : round(place.end * whole.rate)]
        assert np.corrcoef(own, parts["toxic"][0].value.samples[0])[0, 1] == pytest.approx(1)
    assert len(starts) == 3


@needs_speech
@pytest.mark.parametrize("gap", [0.15, 0.3])
def test_keywords_are_spelt_with_pauses(gap):
    fused = fuse(rules.Spell(), parameters={"gap": gap})
    units = fused.witness.units
    assert [unit.surface for unit in units] == ["The", *"GLORPS", TEXT.partition("glorps ")[2]]
    assert [unit.glued for unit in units] == [False, False, *[True] * 5, False]
    whole = fused.content["audio"]
    for before, after in itertools.pairwise(units):
        assert after.place.start - before.place.end == pytest.approx(gap, abs=1e-3)
        pause = whole.samples[:, round(before.place.end * whole.rate) : round(after.place.start * whole.rate)]
        assert not pause.any()


WORDS = st.lists(
    st.text(st.characters(categories=("L", "N", "P", "S", "M"), exclude_characters="\u200d"), min_size=1, max_size=8),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(WORDS, st.sets(st.integers(0, 7)))
def test_spelling_loses_no_token(words, chosen):
    tokens = tuple(words)
    lexicon = Lexicon({token.casefold(): "hate" for index, token in enumerate(tokens) if index in chosen})
    try:
        pieces = rules.spelt(tokens, lexicon)
    except NotApplicable:
        return
    assert Witness(tuple(piece.at(interval()) for piece, _ in pieces)).tokens == tokens
    assert any(piece.glued for piece, _ in pieces)
    assert all(any(map(str.isalnum, piece.surface)) for piece, _ in pieces[1:])


@needs_speech
def test_the_telephone_leaves_its_band_alone():
    fused = fuse(rules.Channel(), {"toxic": [recording(2.0, rate=22050, toxic=True)]}, {"mu_law": False})
    made = fused.content["audio"]
    frequency, power = signal.welch(made.samples[0], made.rate, nperseg=512)
    inside = power[(frequency > 600) & (frequency < 3000)].mean()
    assert made.rate == 8000
    assert power[frequency < 150].mean() < 0.01 * inside


@pytest.mark.parametrize("speed", [0.9, 1.1, 2.0])
def test_speed_changes_duration_and_frequency(speed):
    seed = recording(1.0, rate=16000, toxic=True, frequency=440)
    made = fuse(rules.Channel(), {"toxic": [seed]}, {"speed": speed, "telephone": False, "mu_law": False})
    made = made.content["audio"]
    assert made.seconds == pytest.approx(1 / speed, abs=1e-4)
    assert np.abs(np.fft.rfft(made.samples[0])).argmax() / made.seconds == pytest.approx(440 * speed, abs=2)


@pytest.mark.parametrize("pitch", [-12, -2, 2, 7])
def test_pitch_changes_frequency_alone(pitch):
    seed = recording(1.0, rate=16000, toxic=True, frequency=440)
    made = fuse(rules.Channel(), {"toxic": [seed]}, {"pitch": pitch, "telephone": False, "mu_law": False})
    made = made.content["audio"]
    assert made.samples.shape == (1, 16000)
    assert np.abs(np.fft.rfft(made.samples[0])).argmax() == pytest.approx(440 * 2 ** (pitch / 12), abs=2)


def test_silent_recordings_are_not_applicable():
    silent = Seed("s", "hate", True, "audio", Waveform(np.zeros((1, 800), np.float32), 8000))
    for rule in (rules.BedRecording(), rules.EmbedRecording(), rules.Channel()):
        parts = {**parts_for(rule), "toxic": [silent]}
        with pytest.raises(NotApplicable, match="the recording s is silent"):
            fuse(rule, parts)


def test_channels_are_averaged_and_rates_brought_together():
    stereo = recording(0.5, rate=44100, channels=2, toxic=True)
    fused = fuse(rules.BedRecording(), {"toxic": [stereo], "bed": [recording(0.2, rate=8000)]})
    assert fused.content["audio"].rate == 44100
    assert fused.content["audio"].samples.shape == (1, 22050)


def test_short_sounds_go_through_every_channel():
    for frames in (1, 2, 7, 100):
        tiny = Seed("t", "hate", True, "audio", Waveform(np.full((1, frames), 0.1, np.float32), 22050))
        for parameters in ({}, {"pitch": 2}, {"reverb": 0.3}, {"speed": 1.1}, {"telephone": False}):
            try:
                made = fuse(rules.Channel(), {"toxic": [tiny]}, parameters).content["audio"]
            except NotApplicable:
                continue
            assert np.isfinite(made.samples).all()


# --- real recordings --------------------------------------------------------------------------------------------------


def features(waveform):
    """A log spectrogram of 20 bands x 12 frames."""
    samples = waveform.samples[0]
    _, _, power = signal.spectrogram(samples, waveform.rate, nperseg=256, noverlap=128, nfft=512)
    bands = np.stack([part.mean(axis=0) for part in np.array_split(power[1:], 20)])
    frames = np.linspace(0, bands.shape[1] - 1, 12).round().astype(int)
    return np.log(bands[:, frames] + 1e-10).ravel()


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="QUIRE_DATA does not name the folder with duo/fsdd")
def test_spoken_digits_end_to_end():
    """Digit 6 is toxic: what noise hides from a small classifier does not become less with more noise."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    files = sorted((Path(DATA) / "duo" / "fsdd").glob("*.wav"))
    seeds = {file.stem: Seed(file.stem, "hate", file.stem[0] == "6", "audio", Audio().read(file)) for file in files}
    index = {name: int(name.rpartition("_")[2]) for name in seeds}
    train, test = ([name for name in seeds if (index[name] >= 5) == first] for first in (True, False))
    clf = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    clf.fit([features(seeds[name].value) for name in train], [name[0] for name in train])
    flagged = lambda waveform: clf.predict([features(waveform)])[0] == "6"  # noqa: E731
    accuracy = clf.score([features(seeds[name].value) for name in test], [name[0] for name in test])
    assert accuracy > 0.75
    toxic = [seeds[name] for name in test if name[0] == "6" and flagged(seeds[name].value)]
    benign = [seeds[name] for name in test if name[0] != "6"]
    assert len(toxic) >= 20

    def error_rate(rule, slot=None, **parameters):
        errors = 0
        for number, seed in enumerate(toxic):
            parts = {"toxic": [seed]} | ({slot: [benign[number * 7 % len(benign)]]} if slot else {})
            fused = fuse(rule, parts, parameters, number)
            assert audibility.check(case_of(rule, fused)).passed
            errors += not flagged(fused.content["audio"])
        return errors

    by_ratio = [error_rate(rules.BedRecording(), "bed", snr=snr) for snr in (20.0, 10.0, 5.0)]
    intervals = [wilson(errors, len(toxic)) for errors in by_ratio]
    print(f"accuracy {accuracy:.3f}, EFR of {len(toxic)} at 20, 10, 5 dB: {[e / len(toxic) for e in by_ratio]}")
    assert all(high >= low for (low, _), (_, high) in itertools.pairwise(intervals))
    assert by_ratio[2] > by_ratio[0]
    channel = error_rate(rules.Channel(), telephone=True)
    embedded = error_rate(rules.EmbedRecording(), "around", ratio=3.0)
    print(f"EFR of A.channel {channel / len(toxic):.3f}, of A.embed_recording {embedded / len(toxic):.3f}")
    assert embedded > by_ratio[0]
