"""Adapters: a classifier of single contents aimed at fused input, as deployed pipelines do it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from PIL import Image as PillowImage
from pydantic import BeforeValidator, Field, PositiveFloat

from quire.config import Config
from quire.errors import (
    ConfigError,
    InvalidSample,
    MissingExtra,
    QuireError,
    TargetError,
    TaskMismatch,
)
from quire.modality import Audio, Image, Text, Video
from quire.model import Classifier, ItemError, Limits, limits_of
from quire.ocr import find_program, read_text
from quire.storage import content_hash
from quire.target import Wrapper
from quire.target.answers import given_label
from quire.target.callables import import_callable
from quire.task import Task
from quire_duo.content import Placement
from quire_duo.ensemble import OrEnsemble, all_rows, toxicity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from quire.modality import Frames, Modality, Sample, Waveform

    Row = NDArray[np.float32]
    Reader = Callable[[PillowImage.Image], str]
    Recogniser = Callable[[Waveform], str]


class AdapterOptions(Config):
    """Which adapter stands before the target, and how it works."""

    kind: Literal["ocr-text", "asr-text", "frames", "sound-track", "or", "concat"] = Field(
        description="ocr-text, asr-text: what a text classifier reads or hears; frames: an image classifier on a film; "
        "sound-track: a sound classifier on a film; or: each content judged alone; concat: all texts joined"
    )
    asr: str | None = Field(None, description="package.module:function, from a Waveform to the words spoken in it")
    every: PositiveFloat = Field(1.0, description="seconds from one frame of a film that is looked at to the next")
    aggregate: Literal["max", "mean"] = Field("max", description="of frames: the most toxic one, or their mean")
    separators: tuple[str, ...] = Field(
        (" ",), min_length=1, description="what concat puts between texts; of several, the most toxic answer counts"
    )


AdapterOption = Annotated[
    AdapterOptions, BeforeValidator(lambda value: {"kind": value} if isinstance(value, str) else value)
]
"""The type of an option that takes the adapter's name, or its options with the name as `kind`."""


def adapt(target: Classifier, options: AdapterOptions) -> Classifier:
    """`target` behind the adapter that `options` describe.

    Raises TaskMismatch where the target does not take what the adapter gives, ConfigError where an option is missing,
    MissingExtra where a program is.
    """
    asr = None if options.asr is None else import_callable(options.asr)
    match options.kind:
        case "ocr-text":
            return OcrText(target)
        case "asr-text":
            return AsrText(target, _needed(asr, options.kind))
        case "frames":
            return FrameSampler(target, every=options.every, aggregate=options.aggregate)
        case "sound-track":
            return SpeechTrack(target)
        case "concat":
            return Concat(target, asr=asr, separators=options.separators, every=options.every)
    return OrEnsemble(_alone(target, asr, options))


class Adapter(Wrapper):
    """Makes of one sample the samples that the inner classifier is asked about, and of its answers one.

    Its task has a field for each kind of content that it takes, named as the kind.
    """

    def __init__(
        self, inner: Classifier, name: str, inputs: dict[str, Modality[Any]], *, optional: frozenset[str] = frozenset()
    ) -> None:
        task = Task(name, inputs, inner.task.target, optional=optional, summary=f"{inner.task.name} by {name}")
        super().__init__(inner, task=task)

    @abstractmethod
    def expand(self, sample: Sample) -> list[Sample]:
        """What the inner classifier is asked about, one sample or more. InvalidSample where nothing can be asked."""

    def merge(self, rows: Sequence[Row]) -> Row:
        """One answer of those to one sample's: of several, the most toxic."""
        if len(rows) > 1 and self.label_kind == "multilabel":
            highest: Row = np.max(np.stack(rows), axis=0)
            return highest
        return max(rows, key=lambda row: toxicity(self.inner, row))

    def answer_each(self, samples: Sequence[Sample]) -> list[Row | ItemError]:
        """One row a sample, or why there is none; the inner classifier is asked once for all."""
        expanded: list[list[Sample] | str] = []
        for index, sample in enumerate(samples):
            try:
                made = self.expand(self.task.check(sample, index=index))
                expanded.append([_known_as(sample, inner, number) for number, inner in enumerate(made)])
            except (TargetError, MissingExtra):
                raise
            except QuireError as error:
                expanded.append(str(error))
        asked = [inner for made in expanded if not isinstance(made, str) for inner in made]
        answers = iter(self.inner.answer_each(asked))
        return [self._answer(index, made, answers) for index, made in enumerate(expanded)]

    def _answer(self, index: int, made: list[Sample] | str, answers: Any) -> Row | ItemError:
        if isinstance(made, str):
            return ItemError(index, made)
        own = [next(answers) for _ in made]
        failed = [answer.reason for answer in own if isinstance(answer, ItemError)]
        return ItemError(index, failed[0]) if failed else self.merge(own)

    def predict_proba(self, samples: Sequence[Sample]) -> Row:
        """Probabilities, float32 [samples, classes]. InvalidSample for the first sample that gets none."""
        return all_rows(self.answer_each(samples), samples, len(self.labels))

    def predict(self, samples: Sequence[Sample]) -> list[str]:
        """The most probable label that reaches its threshold, or of those without one."""
        return [given_label(row, self.labels, self.thresholds) for row in self.predict_proba(samples)]

    @property
    def limits(self) -> Limits:
        """Those of what it takes; of samples at once, the inner classifier's."""
        return replace(limits_of(self.task), batch=self.inner.limits.batch)

    def _require_toxic(self) -> None:
        if not self.inner.toxic_labels:
            raise ConfigError(
                f"the target does not say which of its labels are toxic, which {self.task.name} must know",
                remedy=f"Name some of them with --toxic-labels: {', '.join(self.inner.labels)}.",
            )


class Alone(Adapter):
    """A classifier of several contents that is shown only one of them."""

    def __init__(self, inner: Classifier, kind: str) -> None:
        self._field = _field_of(inner, kind, f"{kind} alone")
        super().__init__(inner, f"{kind} alone", {kind: inner.task.inputs[self._field]})
        self._kind = kind

    def expand(self, sample: Sample) -> list[Sample]:
        """The one content."""
        return [{self._field: sample[self._kind]}]

    def fingerprint(self) -> str:
        """A hash of the inner classifier and of what it is shown."""
        return content_hash(super().fingerprint(), self._kind)


class OcrText(Adapter):
    """A text classifier that judges what can be read in an image; `reader` (by default tesseract) reads it."""

    def __init__(self, inner: Classifier, reader: Reader = read_text) -> None:
        super().__init__(inner, "ocr-text", {"image": Image(mode="RGB")})
        self._field = _field_of(inner, "text", self.task.name)
        self.reader = _ready(reader)

    def expand(self, sample: Sample) -> list[Sample]:
        """The text in the image."""
        return [{self._field: self.reader(sample["image"])}]

    def fingerprint(self) -> str:
        """A hash of the inner classifier and of which reader it is, as far as its name tells."""
        return content_hash(super().fingerprint(), _named(self.reader))


class AsrText(Adapter):
    """A text classifier that judges what is said in a recording; `asr` writes it down."""

    def __init__(self, inner: Classifier, asr: Recogniser) -> None:
        super().__init__(inner, "asr-text", {"audio": Audio()})
        self._field = _field_of(inner, "text", self.task.name)
        self.asr = asr

    def expand(self, sample: Sample) -> list[Sample]:
        """The words in the recording."""
        return [{self._field: _heard(self.asr, sample["audio"])}]

    def fingerprint(self) -> str:
        """A hash of the inner classifier and of which recogniser it is, as far as its name tells."""
        return content_hash(super().fingerprint(), _named(self.asr))


class FrameSampler(Adapter):
    """An image classifier that looks at a film's frames, `every` so many seconds from the first one on.

    aggregate: "max" answers with the most toxic frame (of labels that don't exclude each other, with the highest
    probability of each), "mean" with the mean of all.
    """

    def __init__(self, inner: Classifier, *, every: float = 1.0, aggregate: Literal["max", "mean"] = "max") -> None:
        super().__init__(inner, "frames", {"video": Video()})
        self._field = _field_of(inner, "image", self.task.name)
        self.every = every
        self.aggregate = aggregate
        if aggregate == "max" and inner.label_kind == "multiclass":
            self._require_toxic()

    def expand(self, sample: Sample) -> list[Sample]:
        """The frames that are looked at."""
        return [{self._field: image} for image in sampled_frames(sample["video"], self.every)]

    def merge(self, rows: Sequence[Row]) -> Row:
        """As `aggregate` says."""
        return super().merge(rows) if self.aggregate == "max" else np.mean(np.stack(rows), axis=0, dtype=np.float32)

    def fingerprint(self) -> str:
        """A hash of the inner classifier and of how frames are chosen and their answers joined."""
        return content_hash(super().fingerprint(), self.every, self.aggregate)


class SpeechTrack(Adapter):
    """A classifier of sound that judges a film, whose frames it does not look at, by its sound."""

    def __init__(self, inner: Classifier) -> None:
        field = _field_of(inner, "audio", "sound-track")
        inputs: dict[str, Modality[Any]] = {"video": Video(), "audio": inner.task.inputs[field]}
        super().__init__(inner, "sound-track", inputs, optional=frozenset({"video"}))
        self._field = field

    def expand(self, sample: Sample) -> list[Sample]:
        """The sound."""
        return [{self._field: sample["audio"]}]


class Concat(Adapter):
    """A text classifier that judges a whole post: its text, what can be read in its image and film, what is said in it.

    The texts are joined in this order, in which a person takes them in, with a separator; of several separators, the
    answer to the most toxic reading counts ("" finds a word that was cut in two). Sound is taken with `asr` alone; of a
    film, frames are read as FrameSampler looks at them, one after another that says the same counting once.
    """

    def __init__(
        self,
        inner: Classifier,
        *,
        reader: Reader = read_text,
        asr: Recogniser | None = None,
        separators: Sequence[str] = (" ",),
        every: float = 1.0,
    ) -> None:
        field = _field_of(inner, "text", "concat")
        inputs: dict[str, Modality[Any]] = {"text": Text(), "image": Image(mode="RGB"), "video": Video()}
        inputs |= {} if asr is None else {"audio": Audio()}
        super().__init__(inner, "concat", inputs, optional=frozenset(inputs))
        self._field = field
        self.reader, self.asr, self.every = _ready(reader), asr, every
        self.separators = tuple(separators)
        if len(self.separators) > 1 and inner.label_kind == "multiclass":
            self._require_toxic()

    def expand(self, sample: Sample) -> list[Sample]:
        """The joined texts, one sample for each separator that makes a difference."""
        parts = [sample["text"]] if "text" in sample else []
        if "image" in sample:
            parts.append(self.reader(sample["image"]))
        if "video" in sample:
            shown = [self.reader(frame) for frame in sampled_frames(sample["video"], self.every)]
            parts += [text for number, text in enumerate(shown) if number == 0 or text != shown[number - 1]]
        if "audio" in sample and self.asr is not None:
            parts.append(_heard(self.asr, sample["audio"]))
        said = [part.strip() for part in parts if part.strip()]
        return [{self._field: text} for text in dict.fromkeys(separator.join(said) for separator in self.separators)]

    def fingerprint(self) -> str:
        """A hash of the inner classifier and of how texts are found and joined."""
        asr = None if self.asr is None else _named(self.asr)
        return content_hash(super().fingerprint(), list(self.separators), self.every, _named(self.reader), asr)


def sampled_frames(film: Frames, every: float) -> list[PillowImage.Image]:
    """The frames that are shown at 0, every, 2 every, ... seconds."""
    times = np.arange(0, film.seconds, every)
    numbers = np.minimum((times * film.fps + 1e-6).astype(int), len(film.frames) - 1)
    return [PillowImage.fromarray(film.frames[number]) for number in dict.fromkeys(numbers.tolist())]


def _alone(target: Classifier, asr: Recogniser | None, options: AdapterOptions) -> list[Classifier]:
    """All ways in which a classifier can judge a single content."""
    placement = Placement.of(target)
    single = [kind for kind in placement.fields if not placement.missing({kind})]
    if not single:
        raise TaskMismatch(
            f"the target judges nothing alone: it needs {', '.join(sorted(placement.required))} together"
        )
    members: list[Classifier] = []
    for kind in single:
        if kind == "audio":  # a film's sound is sound
            members.append(SpeechTrack(target))
        else:
            members.append(target if len(placement.fields) == 1 else Alone(target, kind))
    if "text" in single:
        members.append(OcrText(target))
        members += [] if asr is None else [AsrText(target, asr)]
    if "image" in single:
        members.append(FrameSampler(target, every=options.every, aggregate=options.aggregate))
    return members


def _known_as(sample: Sample, made: Sample, number: int) -> Sample:
    """A sample for the inner classifier, under the id of the one that it is made of."""
    return {"id": f"{sample['id']}#{number}" if number else sample["id"], **made} if "id" in sample else made


def _field_of(inner: Classifier, kind: str, adapter: str) -> str:
    """The field of the inner classifier that takes the kind, with which alone it can answer."""
    placement = Placement.of(inner)
    missing = placement.missing({kind})
    if missing:
        takes = ", ".join(sorted(placement.fields))
        raise TaskMismatch(
            f"{adapter} gives {kind} to the target, which takes {takes} and lacks {', '.join(missing)} then",
            remedy=f"Aim it at a classifier of {kind}.",
        )
    return placement.fields[kind]


def _ready(reader: Reader) -> Reader:
    """The reader, if it can read at all. MissingExtra where its program is not installed."""
    if reader is read_text:
        find_program()
    return reader


def _heard(asr: Recogniser, sound: Waveform) -> str:
    """The words that a recogniser hears. InvalidSample where it fails or gives something else."""
    try:
        words = asr(sound)
    except QuireError:
        raise
    except Exception as error:  # whatever a user's function raises, it is this sample that has no answer
        raise InvalidSample(f"the speech recogniser failed ({type(error).__name__}: {error})") from error
    if not isinstance(words, str):
        raise InvalidSample(f"the speech recogniser gave {type(words).__name__}, not text")
    return words


def _needed(asr: Recogniser | None, adapter: str) -> Recogniser:
    if asr is None:
        raise ConfigError(
            f"the adapter {adapter} needs a speech recogniser",
            remedy="Name a function from a Waveform to text: --option adapter.asr=package.module:function",
        )
    return asr


def _named(function: object) -> str:
    kind = type(function)
    return f"{getattr(function, '__module__', kind.__module__)}:{getattr(function, '__qualname__', kind.__qualname__)}"
