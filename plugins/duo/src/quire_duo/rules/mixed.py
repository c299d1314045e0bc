"""TA.*, IA.* and TIA.*: the toxic text spoken, or told in parts by text, picture and speech."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from quire_duo import sound
from quire_duo.drawing import Sheet, benign_picture, on_larger
from quire_duo.film import standing, still, timed
from quire_duo.fragments import Fragment, halves, halves_inside, joined, plain, require_tokens
from quire_duo.rule import Fused, Guarantee, Parameter, Slot
from quire_duo.rules.audio import SpokenRule, audio_unit, heard, said_by
from quire_duo.rules.images import BENIGN_PICTURE, write_caption
from quire_duo.rules.text import TOXIC_TEXT
from quire_duo.seeds import NotApplicable
from quire_duo.validity.exposure import needed_seconds
from quire_duo.witness import AudioInterval, TextSpan, Witness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from PIL import Image

    from quire.modality import Waveform
    from quire_duo.seeds import Seed
    from quire_duo.witness import Unit
    from quire_duo.workshop import Workshop

SHARE = Parameter("share", (0.5, 0.25, 0.75), "of the words that come first", low=0.0, high=1.0)
INSIDE = Parameter("inside", (False, True), "cut within the first keyword, not between words")
FILM_EXTRA = "install the video extra: pip install 'quire-duo[video]'"


class BenignText(SpokenRule):
    """A harmless post with toxic speech."""

    id = "TA.benign_text"
    summary = "The toxic text is spoken beside a benign post"
    slots = (TOXIC_TEXT, Slot("post", "text", "benign"))
    produces: ClassVar[frozenset[str]] = frozenset({"text", "audio"})

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """The whole toxic seed in the sound."""
        seed = parts["toxic"][0]
        speech = sound.limited(heard(seed, workshop))
        return Fused({"text": parts["post"][0].text, "audio": speech}, Witness((_whole(seed, speech),)))


class TextSplit(SpokenRule):
    """A sentence that begins in the post and ends in the recording."""

    id = "TA.split"
    summary = "The text's first part is written, the rest spoken"
    slots = (TOXIC_TEXT,)
    produces: ClassVar[frozenset[str]] = frozenset({"text", "audio"})
    guarantee: ClassVar[Guarantee] = "split"
    parameters = (SHARE, INSIDE)

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """Two units."""
        seed = parts["toxic"][0]
        written, spoken = cut_once(seed, parameters, workshop)
        speech, unit = _spoken(spoken, seed, workshop)
        return Fused({"text": written.surface, "audio": speech}, Witness((_text_unit(written), unit)))


class Slideshow(SpokenRule):
    """A harmless picture with toxic speech."""

    id = "IA.slideshow"
    summary = "The toxic text is spoken beside a benign picture"
    slots = (TOXIC_TEXT, BENIGN_PICTURE)
    produces: ClassVar[frozenset[str]] = frozenset({"image", "audio"})

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """The whole toxic seed in the sound."""
        seed, picture = parts["toxic"][0], parts["picture"][0]
        speech = sound.limited(heard(seed, workshop))
        return Fused({**self._shown(picture, speech, workshop), "audio": speech}, Witness((_whole(seed, speech),)))

    def _shown(self, picture: Seed, speech: Waveform, workshop: Workshop) -> dict[str, Any]:
        return {"image": benign_picture(picture, workshop)}


class SlideshowFilm(Slideshow):
    """A film of one harmless picture with toxic speech."""

    id = "IA.slideshow_film"
    summary = "The toxic text is spoken in a film that shows a benign picture"
    produces: ClassVar[frozenset[str]] = frozenset({"video", "audio"})

    def unavailable(self, workshop: Workshop) -> str | None:
        """A synthesiser, and what writes films with sound."""
        return super().unavailable(workshop) or film_unavailable()

    def _shown(self, picture: Seed, speech: Waveform, workshop: Workshop) -> dict[str, Any]:
        return {"video": standing(still(picture, workshop), speech.seconds, workshop.film.fps)}


class PictureSplit(SpokenRule):
    """A sentence that begins in the picture and ends in the recording."""

    id = "IA.split"
    summary = "The text's first part is drawn into a benign picture, the rest spoken"
    slots = (TOXIC_TEXT, BENIGN_PICTURE)
    produces: ClassVar[frozenset[str]] = frozenset({"image", "audio"})
    guarantee: ClassVar[Guarantee] = "split"
    parameters = (SHARE, INSIDE)

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """A unit per line of the caption, one for the speech."""
        seed = parts["toxic"][0]
        drawn, spoken = cut_once(seed, parameters, workshop)
        sheet = captioned(benign_picture(parts["picture"][0], workshop), drawn, workshop)
        speech, unit = _spoken(spoken, seed, workshop)
        return Fused({"image": sheet.image, "audio": speech}, Witness((*sheet.units, unit)))


class PictureSplitFilm(PictureSplit):
    """A sentence that begins in the film's picture and ends in its sound."""

    id = "IA.split_film"
    summary = "The text's first part is drawn into the picture of a film, the rest spoken"
    produces: ClassVar[frozenset[str]] = frozenset({"video", "audio"})

    def unavailable(self, workshop: Workshop) -> str | None:
        """A synthesiser, and what writes films with sound."""
        return super().unavailable(workshop) or film_unavailable()

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """The caption stands as long as the speech lasts, and as long as it takes to read."""
        seed = parts["toxic"][0]
        drawn, spoken = cut_once(seed, parameters, workshop)
        sheet = captioned(still(parts["picture"][0], workshop), drawn, workshop)
        speech, unit = _spoken(spoken, seed, workshop)
        words, fps = len(drawn.tokens), workshop.film.fps
        film = standing(sheet.image, max(speech.seconds, needed_seconds(words)), fps)
        lines = [timed(line, 0, len(film.frames), fps, words) for line in sheet.units]
        return Fused({"video": film, "audio": speech}, Witness((*lines, unit)))


class ThreeSplit(SpokenRule):
    """A sentence that begins in the post, goes on in the picture and ends in the recording."""

    id = "TIA.split"
    summary = "The text's parts are written, drawn into a benign picture and spoken"
    slots = (TOXIC_TEXT, BENIGN_PICTURE)
    produces: ClassVar[frozenset[str]] = frozenset({"text", "image", "audio"})
    guarantee: ClassVar[Guarantee] = "split"
    parameters = (
        Parameter("share", (0.34, 0.2, 0.6), "of the words that are written; the others are halved", low=0.0, high=1.0),
    )

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """A unit for the post, one per line of the caption, one for the speech."""
        seed = parts["toxic"][0]
        written, drawn, spoken = cut_twice(seed.text, parameters["share"])
        sheet = captioned(benign_picture(parts["picture"][0], workshop), drawn, workshop)
        speech, unit = _spoken(spoken, seed, workshop)
        content = {"text": written.surface, "image": sheet.image, "audio": speech}
        return Fused(content, Witness((_text_unit(written), *sheet.units, unit)))


def film_unavailable() -> str | None:
    """What to install before a film can have sound."""
    return None if find_spec("av") else FILM_EXTRA


def cut_once(seed: Seed, parameters: Mapping[str, Any], workshop: Workshop) -> tuple[Fragment, Fragment]:
    """The text of a seed in two parts, neither empty, by the parameters `share` and `inside`."""
    fragments = plain(require_tokens(seed.text))
    if parameters["inside"]:
        first, second = halves_inside(fragments, workshop.lexicon)
    else:
        size = min(max(1, round(parameters["share"] * len(fragments))), len(fragments) - 1)
        first, second = halves(fragments, size)
    return joined(first), joined(second)


def cut_twice(text: str, share: float) -> tuple[Fragment, Fragment, Fragment]:
    """A text in three parts, none empty: the first of about `share` of the words, the others equal."""
    fragments = plain(require_tokens(text))
    count = len(fragments)
    if count < 3:
        raise NotApplicable(f"a text of {count} words can't be split in three")
    first = min(max(1, round(share * count)), count - 2)
    second = first + (count - first) // 2
    return joined(fragments[:first]), joined(fragments[first:second]), joined(fragments[second:])


def captioned(image: Image.Image, caption: Fragment, workshop: Workshop) -> Sheet:
    """The picture, larger where it must be, with a caption along its lower edge."""
    words = _words_of(caption)

    def draw(ground: Image.Image) -> Sheet:
        sheet = Sheet(ground)
        write_caption(sheet, words, (0, 0, *ground.size), workshop)
        return sheet

    return on_larger(image, workshop, draw)


def _words_of(caption: Fragment) -> tuple[Fragment, ...]:
    """A fragment of undisguised words as one fragment a word."""
    first, *others = plain(caption.tokens)
    return (Fragment(first.tokens, first.surface, caption.glued), *others)


def _text_unit(written: Fragment) -> Unit:
    return written.at(TextSpan(0, len(written.surface)))


def _whole(seed: Seed, speech: Waveform) -> Unit:
    return audio_unit(seed, (0.0, speech.seconds), sound.level(speech.samples))


def _spoken(part: Fragment, seed: Seed, workshop: Workshop) -> tuple[Waveform, Unit]:
    speech = sound.limited(said_by(part.surface, seed, workshop))
    interval = AudioInterval(0.0, speech.seconds, sound.level(speech.samples), words=len(part.tokens))
    return speech, part.at(interval)
