"""Adapters: what the inner classifier is asked, what becomes of its answers, and what they are for (section 10C)."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from pydantic import BaseModel

from quire.dataset import InMemory
from quire.errors import ConfigError, InvalidSample, MissingExtra, RunError, TargetError, TaskMismatch
from quire.modality import Frames, Waveform
from quire.model import Classifier, ItemError
from quire.target import CallableDeclaration, CallableTarget, Moderator
from quire.task import (
    AUDIO_CLASSIFICATION,
    IMAGE_CLASSIFICATION,
    IMAGE_TEXT_CLASSIFICATION,
    TEXT_CLASSIFICATION,
    VECTOR_CLASSIFICATION,
    Task,
)
from quire_duo.adapters import (
    AdapterOption,
    AdapterOptions,
    Alone,
    AsrText,
    Concat,
    FrameSampler,
    OcrText,
    SpeechTrack,
    adapt,
    sampled_frames,
)
from quire_duo.content import Placement
from quire_duo.ensemble import OrEnsemble, toxicity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

needs_tesseract = pytest.mark.skipif(shutil.which("tesseract") is None, reason="the program tesseract is not installed")


class Scripted(Classifier):
    """Answers with the row that a function gives for a sample, and keeps what it was asked."""

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], Sequence[float]],
        task: Task = TEXT_CLASSIFICATION,
        *,
        labels: tuple[str, ...] = ("fine", "toxic"),
        toxic: tuple[str, ...] = ("toxic",),
        kind: Any = "multiclass",
        thresholds: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.answer, self.task, self._labels, self._toxic, self._kind = answer, task, labels, toxic, kind
        self._thresholds = thresholds or {}
        self.asked: list[dict[str, Any]] = []
        self.fitted: list[Any] = []

    labels = property(lambda self: self._labels)  # type: ignore[assignment]
    toxic_labels = property(lambda self: frozenset(self._toxic))  # type: ignore[assignment]
    label_kind = property(lambda self: self._kind)  # type: ignore[assignment]
    thresholds = property(lambda self: self._thresholds)  # type: ignore[assignment]

    def predict_proba(self, samples: Sequence[dict[str, Any]]) -> Any:
        self.asked += samples
        return np.array([self.answer(sample) for sample in samples], dtype=np.float32).reshape(-1, len(self._labels))

    def fit(self, train: Any, *_: Any, **__: Any) -> Self:
        self.fitted.append(train)
        return self

    def state(self) -> dict[str, Any]:
        return {"labels": list(self._labels)}

    def restore(self, state: dict[str, Any]) -> None:
        pass


def row(toxic: bool | float) -> list[float]:
    return [1 - float(toxic), float(toxic)]


def keyword(word: str = "glorp", **options: Any) -> Scripted:
    return Scripted(lambda sample: row(word in sample["text"]), **options)


def written(text: str) -> Image.Image:
    image = Image.new("RGB", (640, 100), "white")
    ImageDraw.Draw(image).text((20, 20), text, fill="black", font=ImageFont.load_default(size=48))
    return image


def sign(text: str) -> Image.Image:
    """A picture that `reads` reads without tesseract: the text stands in its pixels."""
    data = np.zeros((1, 64, 3), dtype=np.uint8)
    raw = np.frombuffer(text.encode(), dtype=np.uint8)
    data[0, : len(raw), 0] = raw
    return Image.fromarray(data)


def reads(image: Image.Image) -> str:
    raw = np.asarray(image)[0, :, 0]
    return bytes(raw[raw > 0]).decode()


def hears(sound: Waveform) -> str:
    return f"{sound.rate} words"


SOUND = Waveform(np.zeros((1, 80), dtype=np.float32), 8000)


def film(*signs: str, fps: float = 2.0) -> Frames:
    return Frames(np.stack([np.asarray(sign(text)) for text in signs]), fps)


def reasons(answers: Any) -> list[str | None]:
    return [answer.reason if isinstance(answer, ItemError) else None for answer in answers]


# --- one content as another -------------------------------------------------------------------------------------------


@needs_tesseract
def test_ocr_text_judges_what_tesseract_reads() -> None:
    inner = keyword("spam")
    target = OcrText(inner)
    assert Placement.of(target).fields == {"image": "image"}
    assert target.predict([{"image": written("cheap spam here")}, {"image": written("see you at noon")}]) == [
        "toxic",
        "fine",
    ]
    assert [sample["text"] for sample in inner.asked] == ["cheap spam here", "see you at noon"]


def test_without_tesseract_an_adapter_that_reads_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    for kind in ("ocr-text", "concat", "or"):
        with pytest.raises(MissingExtra, match="tesseract-ocr"):
            adapt(keyword(), AdapterOptions(kind=kind))  # type: ignore[arg-type]
    assert OcrText(keyword(), reads).predict([{"image": sign("glorp")}]) == ["toxic"]


def test_asr_text_judges_what_is_heard_and_a_deaf_recogniser_costs_its_sample() -> None:
    inner = keyword("words")
    assert AsrText(inner, hears).predict([{"audio": SOUND, "id": "a"}]) == ["toxic"]
    assert inner.asked == [{"id": "a", "text": "8000 words"}]

    def moody(sound: Waveform) -> Any:
        if sound.rate == 8000:
            raise RuntimeError("too quiet")
        return 3 if sound.rate == 4000 else "words"

    sounds = [{"audio": Waveform(SOUND.samples, rate)} for rate in (8000, 16000, 4000)]
    answers = AsrText(inner, moody).answer_each(sounds)
    assert reasons(answers) == [
        "the speech recogniser failed (RuntimeError: too quiet)",
        None,
        "the speech recogniser gave int, not text",
    ]
    with pytest.raises(InvalidSample, match="sample 0: the speech recogniser failed"):
        AsrText(inner, moody).predict_proba(sounds)


def test_a_speech_track_is_heard_with_and_without_its_film() -> None:
    inner = Scripted(lambda sample: row(sample["audio"].rate == 8000), AUDIO_CLASSIFICATION)
    target = SpeechTrack(inner)
    assert target.required_fields == {"audio"}
    assert target.predict([{"audio": SOUND, "video": film("x")}, {"audio": SOUND}]) == ["toxic", "toxic"]
    assert [set(sample) for sample in inner.asked] == [{"audio"}, {"audio"}]
    assert reasons(target.answer_each([{"video": film("x")}])) == ["sample 0, field audio: the field is missing"]


@given(
    n=st.integers(1, 40), fps=st.sampled_from([0.5, 1.0, 5.0, 12.5, 29.97]), every=st.sampled_from([0.2, 0.5, 1.0, 3.0])
)
def test_frames_are_those_shown_at_their_times(n: int, fps: float, every: float) -> None:
    frames = np.arange(n, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    seen = [int(np.asarray(image)[0, 0, 0]) for image in sampled_frames(Frames(frames, fps), every)]
    expected: list[int] = []
    for number in range(n):  # the frame is on show from number / fps until the next one
        first = number / fps
        if any(first - 1e-9 <= k * every < first + 1 / fps - 1e-9 for k in range(int(n / fps / every) + 2)):
            expected.append(number)
    assert seen == expected
    assert seen[0] == 0


def test_a_film_is_as_toxic_as_its_most_toxic_frame_that_is_looked_at() -> None:
    inner = Scripted(
        lambda sample: row({"good": 0.1, "bad": 0.9, "worse": 1.0}[reads(sample["image"])]), IMAGE_CLASSIFICATION
    )
    shown = film("good", "worse", "bad", "good")  # two frames a second: 0.0, 0.5, 1.0, 1.5 s
    assert FrameSampler(inner).predict_proba([{"video": shown}]).tolist() == [[np.float32(1 - 0.9), np.float32(0.9)]]
    assert FrameSampler(inner, every=0.5).predict_proba([{"video": shown}])[0, 1] == 1
    mean = FrameSampler(inner, every=0.5, aggregate="mean").predict_proba([{"video": shown}])
    assert np.allclose(mean, [[1 - 0.525, 0.525]])
    assert len(inner.asked) == 2 + 4 + 4


def test_of_labels_that_do_not_exclude_each_other_the_highest_of_each_counts() -> None:
    answers = {"a": [0.2, 0.9], "b": [0.8, 0.1]}
    inner = Scripted(lambda sample: answers[reads(sample["image"])], IMAGE_CLASSIFICATION, kind="multilabel", toxic=())
    assert np.allclose(FrameSampler(inner).predict_proba([{"video": film("a", "b", fps=1)}]), [[0.8, 0.9]])


def test_one_bad_sample_costs_no_other_and_a_fault_of_the_target_ends_all() -> None:
    def broken(sample: dict[str, Any]) -> Any:
        if sample["text"] == "bad":
            raise InvalidSample("can't be judged")
        if sample["text"] == "lie":
            raise TargetError("it lies")
        return row(0)

    target = OcrText(Scripted(broken), reads)
    pictures = [{"image": sign("a")}, {"image": "no picture"}, {"image": sign("bad")}, {"image": sign("b")}]
    told = reasons(target.answer_each(pictures))
    assert told == [None, "sample 1, field image: expected an image, got str", "can't be judged", None]
    with pytest.raises(TargetError, match="it lies"):
        target.answer_each([{"image": sign("lie")}])


def test_what_is_trained_and_saved_is_the_inner_classifier() -> None:
    inner = keyword()
    data = InMemory([{"text": "x", "target": "fine"}], task=TEXT_CLASSIFICATION)
    target = OcrText(inner, reads)
    assert target.fit(data) is target
    assert inner.fitted == [data]
    assert target.state() == inner.state()
    with pytest.raises(RunError):
        OcrText.load(Path("anywhere"))


def test_declarations_are_those_of_the_inner_classifier_and_fingerprints_tell_apart() -> None:
    inner = keyword(thresholds={"toxic": 0.7})
    ocr, joined = OcrText(inner, reads), Concat(inner, reader=reads)
    assert ocr.labels == inner.labels
    assert ocr.toxic_labels == {"toxic"}
    assert ocr.thresholds == {"toxic": 0.7}
    assert ocr.task.target is inner.task.target
    pictures = Scripted(lambda _: row(0), IMAGE_CLASSIFICATION)
    prints = [
        inner.fingerprint(),
        ocr.fingerprint(),
        OcrText(inner, lambda _: "").fingerprint(),
        joined.fingerprint(),
        Concat(inner, reader=reads, separators=["", " "]).fingerprint(),
        Concat(inner, reader=reads, asr=hears).fingerprint(),
        AsrText(inner, hears).fingerprint(),
        OrEnsemble([inner, ocr]).fingerprint(),
        FrameSampler(pictures).fingerprint(),
        FrameSampler(pictures, every=2.0).fingerprint(),
        FrameSampler(pictures, aggregate="mean").fingerprint(),
    ]
    assert len(set(prints)) == len(prints)
    assert OcrText(inner, reads).fingerprint() == ocr.fingerprint()


# --- whole posts ------------------------------------------------------------------------------------------------------


def test_concat_joins_what_a_person_takes_in_in_this_order() -> None:
    inner = keyword()
    target = Concat(inner, reader=reads, asr=hears, every=0.5)
    assert target.required_fields == frozenset()
    target.predict([{"audio": SOUND, "image": sign("on the picture"), "text": " in the post "}])
    target.predict([{"video": film("one", "one", "two", "one"), "text": "film:"}])
    target.predict([{"image": sign("")}])
    assert [sample["text"] for sample in inner.asked] == [
        "in the post on the picture 8000 words",
        "film: one two one",
        "",
    ]
    assert "audio" not in Placement.of(Concat(inner, reader=reads)).fields


@given(st.text(alphabet="abcdefgh", min_size=2, max_size=12), st.data())
def test_a_message_that_is_cut_in_a_word_passes_the_ensemble_and_not_the_concatenation(word: str, data: Any) -> None:
    cut = data.draw(st.integers(1, len(word) - 1))
    post = {"text": f"xx {word[:cut]}", "image": sign(f"{word[cut:]} yy")}
    inner = keyword(word)
    alone = OrEnsemble([inner, OcrText(inner, reads)])
    joined = Concat(inner, reader=reads, separators=(" ", ""))
    assert alone.predict([post]) == ["fine"]
    assert joined.predict([post]) == ["toxic"]
    assert alone.predict([{"text": f"a {word}", "image": sign("yy")}]) == ["toxic"]
    assert alone.predict([{"text": "xx", "image": sign(word)}]) == ["toxic"]


@needs_tesseract
def test_the_same_with_a_picture_that_tesseract_reads() -> None:
    inner = keyword("glorp")
    target = adapt(inner, AdapterOptions(kind="concat", separators=("", " ")))
    ensemble = adapt(inner, AdapterOptions(kind="or"))
    post = {"text": "the glo", "image": written("rp is bad")}
    assert target.predict([post]) == ["toxic"]
    assert ensemble.predict([post]) == ["fine"]
    assert ensemble.predict([{"image": written("glorp is bad")}]) == ["toxic"]


# --- each alone -------------------------------------------------------------------------------------------------------


@given(
    scores=st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2),
    thresholds=st.lists(st.floats(0.01, 1), min_size=2, max_size=2),
)
def test_an_ensemble_flags_if_and_only_if_a_member_does(scores: list[float], thresholds: list[float]) -> None:
    text = Scripted(
        lambda _: row(scores[0]), labels=("ham", "spam"), toxic=("spam",), thresholds={"spam": thresholds[0]}
    )
    image = Scripted(lambda _: row(scores[1]), IMAGE_CLASSIFICATION, thresholds={"toxic": thresholds[1]})
    ensemble = OrEnsemble([text, image])
    assert ensemble.labels == ("passed", "flagged")
    probabilities = ensemble.predict_proba([{"text": "x", "image": sign("x")}])
    flagged = any(np.float32(score) >= np.float32(bound) for score, bound in zip(scores, thresholds, strict=True))
    assert (probabilities[0, 1] >= 0.5) == flagged
    assert abs(probabilities.sum() - 1) < 1e-6


def test_how_toxic_an_answer_is_by_labels_and_thresholds() -> None:
    def of(answer: list[float], **options: Any) -> float:
        labels = ("fine", "hate", "ads")
        target = Scripted(lambda _: answer, labels=labels, toxic=("hate", "ads"), **options)
        return toxicity(target, np.array(answer, dtype=np.float32))

    assert of([0.4, 0.3, 0.3]) == pytest.approx(0.6)
    assert of([0.4, 0.3, 0.3], kind="multilabel") == pytest.approx(0.3)
    assert of([0.4, 0.3, 0.3], thresholds={"hate": 0.3}) == pytest.approx(0.5, abs=1e-6)
    assert of([0.4, 0.3, 0.3], thresholds={"hate": 0.6}) == pytest.approx(0.3)
    assert of([1.0, 0.0, 0.0]) == 0
    assert of([0.0, 1.0, 0.0], thresholds={"hate": 1.0}) == 1


def test_members_that_speak_alike_keep_their_labels() -> None:
    inner = Scripted(lambda sample: row(0.9 if "glorp" in sample["text"] else 0.2), thresholds={"toxic": 0.8})
    ensemble = OrEnsemble([inner, OcrText(inner, reads)])
    assert ensemble.labels == ("fine", "toxic")
    assert ensemble.thresholds == {"toxic": 0.8}
    answers = ensemble.predict_proba([{"text": "a", "image": sign("glorp")}, {"text": "a"}])
    assert np.allclose(answers, [row(0.9), row(0.2)])


def test_what_no_member_can_answer_has_no_answer_unless_another_flags() -> None:
    def deaf(_: Waveform) -> str:
        raise RuntimeError("no ears")

    inner = keyword()
    ensemble = OrEnsemble([inner, AsrText(inner, deaf)])
    answers = ensemble.answer_each([{"text": "a glorp", "audio": SOUND}, {"text": "a", "audio": SOUND}, {"text": "a"}])
    assert reasons(answers) == [None, "the speech recogniser failed (RuntimeError: no ears)", None]
    inputs = {**TEXT_CLASSIFICATION.inputs, **IMAGE_CLASSIFICATION.inputs}
    both = Scripted(lambda _: row(0), Task("pair", inputs, TEXT_CLASSIFICATION.target))
    (reason,) = reasons(OrEnsemble([both]).answer_each([{"text": "alone"}]))
    assert reason == "no member takes this content alone (members: pair)"


def test_a_classifier_of_both_is_shown_one_at_a_time() -> None:
    def fused(sample: dict[str, Any]) -> list[float]:
        return row("text" in sample and "image" in sample)

    inner = Scripted(fused, IMAGE_TEXT_CLASSIFICATION)
    post = {"text": "x", "image": sign("x"), "id": "p"}
    assert inner.predict([post]) == ["toxic"]
    alone = OrEnsemble([Alone(inner, "text"), Alone(inner, "image"), OcrText(inner, reads)])
    assert alone.predict([post]) == ["fine"]
    assert [set(sample) - {"id"} for sample in inner.asked[1:]] == [{"text"}, {"image"}, {"text"}]


def test_an_ensemble_is_not_trained_as_a_whole() -> None:
    ensemble = OrEnsemble([keyword()])
    for attempt in (lambda: ensemble.fit(None), ensemble.state, lambda: ensemble.restore({})):
        with pytest.raises(RunError, match="Train and save its members"):
            attempt()


# --- from the command line --------------------------------------------------------------------------------------------


class Holder(BaseModel):
    """As a tester's options hold it."""

    adapter: AdapterOption | None = None


def test_an_adapter_is_named_alone_or_with_its_options() -> None:
    assert Holder.model_validate({"adapter": "concat"}).adapter == AdapterOptions(kind="concat")
    given_whole = Holder.model_validate({"adapter": {"kind": "frames", "every": 0.5}}).adapter
    assert given_whole == AdapterOptions(kind="frames", every=0.5)
    with pytest.raises(ValueError, match="ocr-text"):
        Holder.model_validate({"adapter": "ocr"})


@needs_tesseract
def test_or_is_made_of_all_that_the_target_can_judge_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("ears.py").write_text("def listen(sound):\n    return 'glorp'\n")

    def members(target: Classifier, **options: Any) -> list[str]:
        ensemble = adapt(target, AdapterOptions(kind="or", **options))
        assert isinstance(ensemble, OrEnsemble)
        return [member.task.name for member in ensemble.members]

    assert members(keyword()) == ["text-classification", "ocr-text"]
    assert members(keyword(), asr="ears:listen") == ["text-classification", "ocr-text", "asr-text"]
    assert members(Scripted(lambda _: row(0), IMAGE_CLASSIFICATION)) == ["image-classification", "frames"]
    assert members(Scripted(lambda _: row(0), AUDIO_CLASSIFICATION)) == ["sound-track"]
    both = Scripted(lambda _: row(0), IMAGE_TEXT_CLASSIFICATION)
    assert members(both) == ["image alone", "text alone", "ocr-text", "frames"]
    heard = adapt(keyword(), AdapterOptions(kind="asr-text", asr="ears:listen"))
    assert heard.predict([{"audio": SOUND}]) == ["toxic"]
    sys.modules.pop("ears")


@pytest.mark.parametrize(
    ("options", "task", "error", "message"),
    [
        (
            {"kind": "ocr-text"},
            IMAGE_CLASSIFICATION,
            TaskMismatch,
            "ocr-text gives text to the target, which takes image",
        ),
        ({"kind": "frames"}, TEXT_CLASSIFICATION, TaskMismatch, "frames gives image to the target, which takes text"),
        ({"kind": "sound-track"}, TEXT_CLASSIFICATION, TaskMismatch, "gives audio to the target"),
        ({"kind": "asr-text"}, TEXT_CLASSIFICATION, ConfigError, "needs a speech recogniser"),
        ({"kind": "asr-text", "asr": "no_such:ears"}, TEXT_CLASSIFICATION, ConfigError, "can't be imported"),
        (
            {"kind": "concat"},
            VECTOR_CLASSIFICATION,
            TaskMismatch,
            "concat gives text to the target, which takes vector",
        ),
    ],
)
def test_an_adapter_that_does_not_fit(
    options: dict[str, Any], task: Task, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        adapt(Scripted(lambda _: row(0), task), AdapterOptions(**options))


def test_whoever_chooses_the_most_toxic_must_know_what_is_toxic() -> None:
    silent = keyword(toxic=())
    for make in (
        lambda: Concat(silent, reader=reads, separators=("", " ")),
        lambda: FrameSampler(Scripted(lambda _: row(0), IMAGE_CLASSIFICATION, toxic=())),
        lambda: OrEnsemble([silent]),
    ):
        with pytest.raises(ConfigError, match=r"which of its labels are toxic.*--toxic-labels: fine, toxic"):
            make()
    assert OrEnsemble([Moderator(silent, ["toxic"])]).toxic_labels == {"toxic"}


def test_a_target_outside_of_quire_is_adapted_like_any_other() -> None:
    def judge(samples: list[Any]) -> list[list[float]]:
        if any("crash" in sample["text"] for sample in samples):
            raise RuntimeError("no")
        return [row("glorp" in sample["text"]) for sample in samples]

    declared = CallableDeclaration(labels=("fine", "toxic"), toxic_labels=("toxic",))
    target = OcrText(CallableTarget(judge, declared, task=TEXT_CLASSIFICATION), reads)
    answers = target.answer_each([{"image": sign(text), "id": text} for text in ("glorp", "crash", "fine")])
    assert [answer.tolist() for answer in (answers[0], answers[2]) if not isinstance(answer, ItemError)] == [
        [0, 1],
        [1, 0],
    ]
    assert isinstance(answers[1], ItemError)
    with pytest.raises(RunError):
        target.fit(InMemory([{"text": "x", "target": "fine"}], task=TEXT_CLASSIFICATION))
