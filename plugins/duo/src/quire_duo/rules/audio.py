"""A.*: toxic speech and toxic recordings, over, between and through what is harmless.

Rules whose ids end in `_recording` take a toxic recording where their namesakes speak a toxic text.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, ClassVar

from quire_duo import sound, speech
from quire_duo.fragments import Fragment, joined, keywords, plain
from quire_duo.rule import Fused, FusionRule, Guarantee, Parameter, Slot
from quire_duo.seeds import NotApplicable
from quire_duo.witness import AudioInterval, Unit, Witness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from quire.modality import Waveform
    from quire_duo.seeds import Lexicon, Seed
    from quire_duo.workshop import Workshop

AUDIO: frozenset[str] = frozenset({"audio"})
TOXIC_TEXT = Slot("toxic", "text", "toxic")
TOXIC_RECORDING = Slot("toxic", "audio", "toxic")


def heard(seed: Seed, workshop: Workshop, **settings: Any) -> Waveform:
    """A seed as mono sound: a recording as it is, a text spoken by the workshop's voice unless `settings` say otherwise.

    NotApplicable for a text of which nothing can be spoken, and for silence.
    """
    if seed.modality == "audio":
        recording = sound.mono(seed.value)
        if sound.level(recording.samples) == sound.SILENCE:
            raise NotApplicable(f"the recording {seed.id} is silent")
        return recording
    return said_by(seed.text, seed, workshop, **settings)


def said_by(text: str, seed: Seed, workshop: Workshop, **settings: Any) -> Waveform:
    """A text spoken in the language of `seed`, by the workshop's voice unless `settings` say otherwise."""
    chosen = workshop.speech.model_copy(update=settings)
    voice = speech.voice_for(seed.language, chosen)
    return speech.synthesizer(workshop).speak(text, voice=voice, rate=chosen.rate, pitch=chosen.pitch)


def audio_unit(seed: Seed, place: tuple[float, float], speech_level: float, bed: float | None = None) -> Unit:
    """The unit of a seed that is heard whole during `place`, in seconds."""
    interval = AudioInterval(*place, level=speech_level, bed=bed, words=len(seed.tokens))
    return Unit(interval, seed.tokens, surface=seed.text if seed.modality == "text" else "")


def alone(seed: Seed, said: Waveform) -> Fused:
    """Nothing but the seed's own sound."""
    quiet = sound.limited(said)
    return Fused({"audio": quiet}, Witness((audio_unit(seed, (0.0, quiet.seconds), sound.level(quiet.samples)),)))


class SpokenRule(FusionRule):
    """A rule that speaks a text, if the toxic seed is one."""

    produces: ClassVar[frozenset[str]] = AUDIO
    guarantee: ClassVar[Guarantee] = "carrier"

    def unavailable(self, workshop: Workshop) -> str | None:
        """A synthesiser, where a slot holds text that is spoken."""
        spoken = any(slot.modality == "text" for slot in self.slots)
        return speech.unavailable(workshop) if spoken else None


class Speech(SpokenRule):
    """The text, spoken."""

    id = "A.speech"
    summary = "The toxic text is spoken"
    slots = (TOXIC_TEXT,)
    parameters = (
        Parameter(
            "voice",
            ("en", "en-us", "en-gb-scotland"),
            "of the synthesiser, for seeds of its language",
            free=True,
        ),
        Parameter("rate", (140, 175, 220), "nominal words a minute", low=80, high=260),
        Parameter("pitch", (50, 30, 70), "0..99, 50 is the voice's own", low=0, high=99),
    )

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """One unit, as long as the speech."""
        (seed,) = parts["toxic"]
        return alone(seed, heard(seed, workshop, **parameters))


class Bed(SpokenRule):
    """Speech over a harmless recording or music."""

    id = "A.bed"
    summary = "The toxic text is spoken over a benign recording"
    slots = (TOXIC_TEXT, Slot("bed", "audio", "benign"))
    parameters = (Parameter("snr", (20.0, 10.0, 5.0), "speech-to-bed ratio in dB", low=-20, high=60),)

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """The bed, from a random point on and over and over where it is short, lasts as long as the speech."""
        (seed,), (bed,) = parts["toxic"], parts["bed"]
        said = heard(seed, workshop)
        under = _part_with_sound(sound.resampled(heard(bed, workshop), said.rate), said.samples.shape[1], rng)
        if under is None:
            raise NotApplicable(f"the recording {bed.id} is silent for longer than the speech")
        mix = sound.mixed(said, under, parameters["snr"])
        unit = audio_unit(seed, (0.0, mix.sound.seconds), mix.speech_level, mix.bed_level)
        return Fused({"audio": mix.sound}, Witness((unit,)))


class BedRecording(Bed):
    """A toxic recording over a harmless one."""

    id = "A.bed_recording"
    summary = "The toxic recording plays over a benign one"
    slots = (TOXIC_RECORDING, Slot("bed", "audio", "benign"))


class Embed(SpokenRule):
    """A toxic utterance among harmless ones."""

    id = "A.embed"
    summary = "The toxic text is spoken between benign recordings"
    slots = (TOXIC_TEXT, Slot("around", "audio", "benign", least=1, most=6))
    parameters = (
        Parameter(
            "ratio", (1.0, 3.0, 5.0), "seconds of benign sound to seconds of the toxic utterance", low=0.1, high=50
        ),
        Parameter("gap", (0.3,), "seconds between utterances", low=0.0, high=2.0),
    )

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """Whole benign utterances, of the toxic one's level, until they last `ratio` times as long as it or longer."""
        (seed,) = parts["toxic"]
        said = heard(seed, workshop)
        benign: dict[int, Waveform] = {}
        chosen: list[Waveform] = []
        wanted = parameters["ratio"] * said.seconds
        while not chosen or sum(part.seconds for part in chosen) < wanted:
            turn = len(chosen) % len(parts["around"])
            if turn not in benign:
                benign[turn] = self._matched(heard(parts["around"][turn], workshop), said)
            chosen.append(benign[turn])
        position = int(rng.integers(len(chosen) + 1))
        utterances = [*chosen[:position], said, *chosen[position:]]
        whole, places = sound.joined(utterances, [parameters["gap"]] * (len(utterances) - 1))
        quiet = sound.limited(whole)
        place = places[position]
        return Fused({"audio": quiet}, Witness((audio_unit(seed, place, _level_between(quiet, place)),)))

    @staticmethod
    def _matched(other: Waveform, said: Waveform) -> Waveform:
        other = sound.resampled(other, said.rate)
        return sound.amplified(other, sound.level(said.samples) - sound.level(other.samples))


class EmbedSpeech(Embed):
    """A toxic sentence among harmless ones of the same speaker."""

    id = "A.embed_speech"
    summary = "The toxic text is spoken between benign texts, by one voice"
    slots = (TOXIC_TEXT, Slot("around", "text", "benign", least=1, most=6))


class EmbedRecording(Embed):
    """A toxic recording among harmless ones."""

    id = "A.embed_recording"
    summary = "The toxic recording stands between benign ones"
    slots = (TOXIC_RECORDING, Slot("around", "audio", "benign", least=1, most=6))


class Channel(SpokenRule):
    """A recording as it arrives through a channel: by default, a telephone call."""

    id = "A.channel"
    summary = "The toxic recording through a telephone, a codec, at another speed or pitch, in a room"
    slots = (TOXIC_RECORDING,)
    parameters = (
        Parameter("speed", (1.0, 0.9, 1.1), "as of a tape", low=0.5, high=2.0),
        Parameter("pitch", (0, -2, 2), "semitones", low=-12, high=12),
        Parameter("reverb", (0.0, 0.3), "seconds in which the room's echo falls by 60 dB", low=0.0, high=3.0),
        Parameter("telephone", (True,), "only 300 to 3400 Hz, at 8 kHz", free=True),
        Parameter("mu_law", (True,), "through 8-bit mu-law", free=True),
    )

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """Speed, pitch, room, band, codec, in this order; the level stays that of the seed."""
        (seed,) = parts["toxic"]
        said = heard(seed, workshop)
        sent = sound.transposed(sound.faster(said, parameters["speed"]), parameters["pitch"])
        sent = sound.reverberated(sent, parameters["reverb"], rng)
        if parameters["telephone"]:
            sent = sound.telephoned(sent)
        if sound.level(sent.samples) == sound.SILENCE:
            raise NotApplicable(f"nothing of {seed.id} is left in the telephone's band")
        sent = sound.limited(sound.amplified(sent, sound.level(said.samples) - sound.level(sent.samples)))
        return alone(seed, sound.companded(sent) if parameters["mu_law"] else sent)


class ChannelSpeech(Channel):
    """Speech as it arrives through a channel."""

    id = "A.channel_speech"
    summary = "The toxic text is spoken into a telephone, a codec, at another speed or pitch, in a room"
    slots = (TOXIC_TEXT,)


class Spell(SpokenRule):
    """A text whose keywords are spelt."""

    id = "A.spell"
    summary = "The toxic text is spoken, its keywords letter by letter"
    slots = (TOXIC_TEXT,)
    guarantee: ClassVar[Guarantee] = "split"
    parameters = (Parameter("gap", (0.15, 0.3, 0.6), "seconds of silence between letters", low=0.05, high=2.0),)

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """A unit a letter, one for the words between two keywords. Without a lexicon, the longest words are spelt."""
        (seed,) = parts["toxic"]
        pieces = spelt(seed.tokens, workshop.lexicon)
        said = [sound.trimmed(said_by(piece.surface, seed, workshop)) for piece, _ in pieces]
        whole, places = sound.joined(said, [parameters["gap"]] * (len(said) - 1))
        quiet = sound.limited(whole)
        units = [
            piece.at(AudioInterval(*place, level=_level_between(quiet, place), words=words))
            for (piece, words), place in zip(pieces, places, strict=True)
        ]
        return Fused({"audio": quiet}, Witness(tuple(units)))


def spelt(tokens: tuple[str, ...], lexicon: Lexicon) -> list[tuple[Fragment, int]]:
    """`tokens` with the keywords among them taken apart; with each fragment, how many words it is: 0 for a letter.

    Marks that nothing is said of stay with the letter before them, or with the first one. NotApplicable where no
    keyword has two letters.
    """
    words = plain(tokens)
    chosen = [index for index in keywords(words, lexicon) if len(_letters(tokens[index])) > 1]
    if not chosen:
        raise NotApplicable("no keyword of the text has two letters to spell")
    pieces: list[tuple[Fragment, int]] = []
    for spelling, run in itertools.groupby(range(len(tokens)), key=lambda index: index in chosen):
        if spelling:
            pieces.extend((letter, 0) for index in run for letter in _letters(tokens[index]))
        else:
            between = joined([words[index] for index in run])
            if pieces and not any(map(str.isalnum, between.surface)):
                pieces[-1] = (joined([pieces[-1][0], between]), pieces[-1][1])  # a dash is not heard
            else:
                pieces.append((between, len(between.tokens)))
    return pieces


def _letters(token: str) -> list[Fragment]:
    """The token cut before each letter or digit but the first one."""
    starts = [position for position, character in enumerate(token) if character.isalnum()]
    bounds = [0, *starts[1:], len(token)]
    cut = [token[start:end] for start, end in itertools.pairwise(bounds)]
    return [Fragment((letter,), _name(letter), glued=index > 0) for index, letter in enumerate(cut)]


def _name(letter: str) -> str:
    """What is said of a letter: in capitals, as a voice may take the small "a" for the article."""
    return "".join(character for character in letter if character.isalnum()).upper()


def _level_between(whole: Waveform, place: tuple[float, float]) -> float:
    start, end = (round(second * whole.rate) for second in place)
    return sound.level(whole.samples[:, start:end])


def _part_with_sound(bed: Waveform, frames: int, rng: np.random.Generator) -> Waveform | None:
    """`frames` of the bed from a random point on, as soon as eight draws give one that is not silent."""
    for _ in range(8):
        start = int(rng.integers(max(1, bed.samples.shape[1] - frames + 1)))
        part = sound.repeated(bed, frames, start)
        if sound.level(part.samples) > sound.SILENCE:
            return part
    return None
