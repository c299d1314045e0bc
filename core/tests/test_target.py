"""What a tester can aim at: every form of a target opens as a classifier, and none is trusted."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.dataset import InMemory
from quire.errors import ConfigError, InvalidSample, MissingExtra, RunError, TargetError, TaskMismatch
from quire.model import Classifier, ItemError, Limits
from quire.run import Run
from quire.target import (
    CallableDeclaration,
    CallableTarget,
    CommandTarget,
    Moderator,
    TokenBucket,
    Wrapper,
    open_target,
    run_behind,
)
from quire.target.answers import Refusal, checked_row
from quire.task import IMAGE_TEXT_CLASSIFICATION, TEXT_CLASSIFICATION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from quire.modality import Sample

TEXTS: list[Any] = [{"text": "a bad one", "id": "1"}, {"text": "fine", "id": "2"}, {"text": "bad", "id": "3"}]
LABELS = ("ham", "spam")


def spam(samples: list[Any]) -> list[dict[str, float]]:
    """One dict of scores a sample."""
    return [{"spam": float("bad" in sample["text"]), "ham": float("bad" not in sample["text"])} for sample in samples]


def target(function: Callable[[list[Sample]], Any], **declared: Any) -> CallableTarget:
    config = CallableDeclaration(**{"labels": LABELS, **declared})
    return CallableTarget(function, config, task=TEXT_CLASSIFICATION)


def reasons(answers: Sequence[Any]) -> list[str | None]:
    return [answer.reason if isinstance(answer, ItemError) else None for answer in answers]


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_mapping_is_brought_into_the_order_of_the_labels() -> None:
    row = checked_row({"spam": 0.25, "ham": 0.75}, LABELS, "multiclass", who="it")
    assert row.dtype == np.float32
    assert row.tolist() == [0.75, 0.25]


def test_what_rounding_lacks_is_spread() -> None:
    row = checked_row([0.333, 0.333, 0.333], ("a", "b", "c"), "multiclass", who="it")
    assert row.tolist() == [np.float32(1 / 3)] * 3
    assert checked_row([0.1, 0.25], LABELS, "multilabel", who="it").tolist() == [np.float32(0.1), 0.25]


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=0, max_size=4))
def test_a_row_is_made_of_probabilities_or_refused(scores: list[float]) -> None:
    if len(scores) == 2 and all(-1e-6 <= score <= 1 + 1e-6 for score in scores):
        assert np.allclose(checked_row(scores, LABELS, "multilabel", who="it"), np.clip(scores, 0, 1))
    else:
        with pytest.raises(TargetError, match="it gave"):
            checked_row(scores, LABELS, "multilabel", who="it")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([0.5, 0.25, 0.25], r"it gave 3 scores for 2 labels: \[0.5, 0.25, 0.25\]"),
        ([float("nan"), 1.0], r"no probability: \[nan, 1.0\]"),
        ([1.5, -0.5], "no probability"),
        ([0.6, 0.6], "add up to 1.2, not to one"),
        ({"ham": 1.0, "spm": 0.0}, r"unknown label 'spm' \(did you mean 'spam'\?\)"),
        ({"ham": 1.0}, "no score for 'spam'"),
    ],
)
def test_an_answer_that_contradicts_the_declaration_ends_the_work(answer: object, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        checked_row(answer, LABELS, "multiclass", who="it")


@pytest.mark.parametrize("answer", [None, "spam", 0.5, ["high", "low"], [True, False], {"ham": "1", "spam": "0"}])
def test_an_answer_without_scores_is_one_sample_s(answer: object) -> None:
    with pytest.raises(Refusal):
        checked_row(answer, LABELS, "multilabel", who="it")


# --- functions --------------------------------------------------------------------------------------------------------


def test_a_function_answers_with_dicts_or_rows() -> None:
    dicts = target(spam).predict_proba(TEXTS)
    rows = target(lambda samples: np.array([[1 - v, v] for v in ("bad" in s["text"] for s in samples)])).predict_proba(
        TEXTS
    )
    assert dicts.tolist() == rows.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert dicts.dtype == np.float32
    assert target(spam).predict(TEXTS) == ["spam", "ham", "spam"]
    assert target(spam).predict_proba([]).shape == (0, 2)


def test_what_a_function_raises_costs_its_sample_alone() -> None:
    def picky(samples: list[Any]) -> list[dict[str, float]]:
        if any(sample["text"] == "fine" for sample in samples):
            raise ValueError("too fine")
        return spam(samples)

    answers = target(picky).answer_each([*TEXTS, {"text": 3}])
    assert reasons(answers)[1].endswith("failed (ValueError: too fine)")  # type: ignore[union-attr]
    assert reasons(answers)[3] == "sample 3, field text: expected text, got int"
    assert [row.tolist() for row in (answers[0], answers[2]) if not isinstance(row, ItemError)] == [[0, 1], [0, 1]]
    with pytest.raises(InvalidSample, match=r"sample 2: .* gave no answer: .*too fine"):
        target(picky).predict_proba(TEXTS)


def test_a_function_that_lies_ends_the_work() -> None:
    with pytest.raises(TargetError, match="gave 2 answers for 3 samples"):
        target(lambda samples: spam(samples)[1:]).answer_each(TEXTS)
    with pytest.raises(TargetError, match="unknown label 'eggs'"):
        target(lambda samples: [{"eggs": 1.0} for _ in samples]).answer_each(TEXTS)
    with pytest.raises(TargetError, match="gave dict, not one answer a sample"):
        target(lambda samples: spam(samples)[0]).answer_each(TEXTS)


def test_batches_are_no_larger_than_the_limit_and_keep_their_order() -> None:
    sizes = []

    def counted(samples: list[Any]) -> list[dict[str, float]]:
        sizes.append(len(samples))
        if len(samples) == 1:
            raise ValueError("alone")
        return spam(samples)

    answers = target(counted, limits={"batch": 2}).answer_each(TEXTS)
    assert sizes == [2, 1]
    assert isinstance(answers[2], ItemError)
    assert answers[2].index == 2


def test_a_function_may_declare_itself() -> None:
    def declared(samples: list[Any]) -> list[list[float]]:
        return [[0.9, 0.2] for _ in samples]

    vars(declared).update(
        labels=["rude", "ad"], task="text-classification", toxic_labels=("rude",), label_kind="multilabel"
    )
    opened = CallableTarget(declared)
    assert opened.labels == ("rude", "ad")
    assert opened.task == TEXT_CLASSIFICATION
    assert opened.toxic_labels == {"rude"}
    assert opened.predict_proba(TEXTS[:1]).tolist() == [[np.float32(0.9), np.float32(0.2)]]
    overruled = CallableTarget(declared, CallableDeclaration(toxic_labels=("ad",)))
    assert overruled.toxic_labels == {"ad"}


def test_thresholds_decide_before_probabilities() -> None:
    for threshold in (0.3, 0.4):
        opened = target(lambda samples: [[0.6, 0.4] for _ in samples], thresholds={"spam": threshold})
        assert opened.predict(TEXTS[:1]) == ["spam"]
    assert target(lambda samples: [[0.6, 0.4] for _ in samples], thresholds={"spam": 0.5}).predict(TEXTS[:1]) == ["ham"]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"labels": ()}, "does not say its labels. Name them"),
        ({"toxic_labels": ("spm",)}, r"'spm' is none of the target's labels \(did you mean 'spam'\?\)"),
        ({"thresholds": {"eggs": 0.5}}, "'eggs' is none"),
    ],
)
def test_a_declaration_that_can_not_be_is_refused(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        target(spam, **declared)


def test_what_is_not_declared_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"does not say what it takes. Name its task with --task"):
        CallableTarget(spam, CallableDeclaration(labels=LABELS))
    with pytest.raises(ConfigError, match=r"there is no modality 'txt' \(did you mean 'text'\?\)"):
        CallableTarget(spam, CallableDeclaration(labels=LABELS, fields={"text": "txt"}))
    fields = CallableTarget(spam, CallableDeclaration(labels=LABELS, fields={"text": "text", "picture": "image"}))
    assert fields.required_fields == {"text", "picture"}


def test_limits_are_those_declared_else_those_of_the_fields() -> None:
    limits = target(spam, limits={"text_characters": 280, "batch": 4}).limits
    assert limits == Limits(text_characters=280, batch=4)


def test_a_target_outside_of_quire_is_neither_trained_nor_saved(tmp_path: Path) -> None:
    opened = target(spam)
    data = InMemory([{"text": "x", "target": "ham"}], task=TEXT_CLASSIFICATION)
    for attempt in (
        lambda: opened.fit(data),
        lambda: opened.save(tmp_path),
        lambda: CallableTarget.load(tmp_path),
        opened.state,
        lambda: opened.restore({}),
    ):
        with pytest.raises(RunError):
            attempt()


def test_the_fingerprint_follows_declaration_and_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a compiled file of the same second and size hides a change
    source = "def answer(samples):\n    return [[{}, {}] for _ in samples]\nanswer.labels = ['a', 'b']\n"
    prints = []
    for number, scores in enumerate(((0.5, 0.5), (1.0, 0.0))):
        Path("moderation.py").write_text(source.format(*scores))
        sys.modules.pop("moderation", None)
        opened = open_target("moderation:answer", task="text-classification")
        assert opened.predict_proba(TEXTS[:1]).tolist() == [list(scores)]
        prints += [opened.fingerprint(), open_target("moderation:answer", task=TEXT_CLASSIFICATION).fingerprint()]
        assert prints[2 * number] == prints[2 * number + 1]
    prints.append(open_target("moderation:answer", task=TEXT_CLASSIFICATION, toxic_labels=["a"]).fingerprint())
    assert len(set(prints)) == 3
    sys.modules.pop("moderation")


# --- commands ---------------------------------------------------------------------------------------------------------

PROGRAM = """
import json, os, sys, time
for line in sys.stdin:
    question = json.loads(line)
    text = question["text"]
    answer = {"id": question["id"], "scores": {"ham": float("bad" not in text), "spam": float("bad" in text)}}
    if text == "sleep":
        time.sleep(60)
    if text == "die":
        sys.exit("out of memory")
    if text == "chatter":
        print("loading the model")
    if text == "refuse":
        answer = {"id": question["id"], "error": "too rude"}
    if text == "other":
        answer["id"] = "0"
    if text == "row":
        answer = {"id": question["id"], "labels": ["ham", "spam"], "probabilities": [0.5, 0.5]}
    if text == "swapped":
        answer = {"id": question["id"], "labels": ["spam", "ham"], "probabilities": [0.5, 0.5]}
    if text == "who":
        answer = {"id": question["id"], "error": f"{sorted(question)} {os.environ.get('SHELL_RAN', 'no shell')}"}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "moderate it.py"
    path.write_text(PROGRAM)
    return f"cmd:'{sys.executable}' '{path}'"


def opened_command(program: str, **options: Any) -> CommandTarget:
    opened = open_target(program, task="text-classification", labels=LABELS, **options)
    assert isinstance(opened, CommandTarget)
    return opened


def test_a_program_answers_line_by_line_and_starts_again_after_a_fault(program: str) -> None:
    texts = ["fine", "die", "bad", "chatter", "bad", "refuse", "other", "row", "fine"]
    opened = opened_command(program)
    answers = opened.answer_each([{"text": text} for text in texts])
    opened.close()
    told = dict(zip(texts, reasons(answers), strict=True))
    assert told["die"] == "the program ended (exit code 1: out of memory)"
    assert told["chatter"] == "the answer is no JSON: loading the model"
    assert told["refuse"] == "too rude"
    assert "has not the id '7'" in str(told["other"])
    rows = [answer.tolist() for answer in answers if not isinstance(answer, ItemError)]
    assert rows == [[1, 0], [0, 1], [0, 1], [0.5, 0.5], [1, 0]]


def test_a_late_answer_is_not_taken_for_the_next_one(program: str) -> None:
    opened = opened_command(program, timeout=1.5)
    begun = time.monotonic()
    answers = opened.answer_each([{"text": "fine"}, {"text": "sleep"}, {"text": "bad"}])
    opened.close()
    assert time.monotonic() - begun < 30
    assert reasons(answers) == [None, "no answer within 1.5 seconds", None]
    assert answers[2].tolist() == [0, 1]  # type: ignore[union-attr]


def test_a_program_that_changes_its_labels_ends_the_work(program: str) -> None:
    with pytest.raises(TargetError, match="answers with other labels than ham, spam"):
        opened_command(program).answer_each([{"text": "swapped"}])


def test_a_program_that_never_answers_ends_the_work(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import sys\nsys.exit('no model here')\n")
    with pytest.raises(TargetError, match="ended with exit code 1 before its first answer: no model here"):
        opened_command(f"cmd:{sys.executable} {tmp_path / 'broken.py'}").answer_each(TEXTS)
    with pytest.raises(TargetError, match="nowhere-to-be-found can't be started"):
        opened_command("cmd:nowhere-to-be-found --fast").answer_each(TEXTS)


def test_a_program_is_told_no_id_and_runs_in_no_shell(program: str) -> None:
    opened = opened_command(f"{program} ; SHELL_RAN=yes")
    (reason,) = reasons(opened.answer_each([{"text": "who", "id": "toxic-1", "target": "spam"}]))
    opened.close()
    assert reason == "['id', 'text'] no shell"


def test_a_program_takes_a_text_larger_than_a_pipe(program: str) -> None:
    opened = opened_command(program)
    assert opened.predict([{"text": "x" * 300_000 + " bad"}]) == ["spam"]
    opened.close()


def test_a_program_s_fingerprint_follows_its_files(program: str, tmp_path: Path) -> None:
    before = opened_command(program).fingerprint()
    assert opened_command(program, timeout=3.0).fingerprint() == before
    (tmp_path / "moderate it.py").write_text(f"{PROGRAM}\n# another version")
    assert opened_command(program).fingerprint() != before


# --- opening ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(toy_plugin: Path, tmp_path: Path) -> Path:
    from quire import registry

    data = registry.get("toy-points", "dataset")
    points = data.open(data.sample(tmp_path / "points"))
    run = Run.create(tmp_path / "runs", model="toy", config={"n_epochs": 1}, name="one")
    with run.writing():
        registry.create("toy", n_epochs=1).fit(points, run=run).save(run.model_path)
        run.update(state="done")
    return run.path


def test_a_run_is_its_model(run: Path) -> None:
    opened = open_target(run)
    assert type(opened).__name__ == "Toy"
    assert opened.fingerprint() == open_target(str(run.parent / "latest")).fingerprint()
    assert run_behind(run.parent / "latest").path == run  # type: ignore[union-attr]
    assert run_behind("http://127.0.0.1:1") is None


def test_a_run_s_toxic_labels_are_the_user_s_choice(run: Path, tmp_path: Path) -> None:
    plain, opened = open_target(run), open_target(run, toxic_labels=["low"])
    points: list[Any] = [{"vector": np.ones(3, dtype=np.float32)}, {"vector": np.zeros(3, dtype=np.float32)}]
    assert isinstance(opened, Moderator)
    assert opened.toxic_labels == {"low"}
    assert opened.labels == plain.labels
    assert opened.fingerprint() == plain.fingerprint()
    assert np.array_equal(opened.predict_proba(points), plain.predict_proba(points))
    assert opened.predict(points) == plain.predict(points)
    assert opened.deterministic == plain.deterministic
    opened.save(tmp_path / "saved")
    assert type(plain).load(tmp_path / "saved").fingerprint() == plain.fingerprint()
    with pytest.raises(RunError):
        Moderator.load(tmp_path / "saved")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["a"]}, "has the task vector-classification and the labels .*. Leave out"),
        ({"task": "text-classification"}, "Leave out --task and --labels"),
        ({"toxic_labels": ["lo"]}, r"'lo' is none of the target's labels \(did you mean 'low'\?\)"),
        ({"rps": 3}, "'rps' is no option of a target that is a model"),
    ],
)
def test_a_run_needs_no_declaration(run: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_target(run, **options)


def test_a_run_of_something_else_is_no_target(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "load_model", lambda *_, **__: SimpleNamespace())
    with pytest.raises(TaskMismatch, match="is a run of toy, which is no classifier"):
        open_target(run)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("runs/nothing", "there is no target 'runs/nothing'. A target is a run's folder, http"),
        ("no_such_module:answer", r"no_such_module can't be imported \(ModuleNotFoundError"),
        ("json:dump_it", "json has no dump_it"),
        ("json:__name__", "json:__name__ is a str, not a function"),
        ("cmd:", "the command is empty"),
        ("cmd:'x", "can't be parted into words"),
        ("http://", "an address begins with http:// or https:// and a host"),
    ],
)
def test_a_spec_that_names_nothing(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_target(spec, task="text-classification", labels=LABELS)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run here"):
        open_target(tmp_path)


def test_a_classifier_object_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    Path("ready_made.py").write_text(
        "from quire.target import CallableTarget, CallableDeclaration\n"
        "from quire.task import TEXT_CLASSIFICATION\n"
        "model = CallableTarget(lambda samples: [[0.5, 0.5] for _ in samples], "
        "CallableDeclaration(labels=('a', 'b')), task=TEXT_CLASSIFICATION)\n"
    )
    assert open_target("ready_made:model").labels == ("a", "b")
    sys.modules.pop("ready_made")


# --- wrappers and turns -----------------------------------------------------------------------------------------------


class Broken(Classifier):
    """Raises `error`, whatever it is asked."""

    task = IMAGE_TEXT_CLASSIFICATION
    labels = LABELS
    error: Exception = TargetError("out of order")

    def predict_proba(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        raise self.error

    def fit(self, *_: Any, **__: Any) -> Self:
        return self

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


@pytest.mark.parametrize("error", [TargetError("out of order"), MissingExtra("needs a program")])
def test_what_is_no_sample_s_fault_is_raised(error: Exception) -> None:
    model = Broken()
    model.error = error
    with pytest.raises(type(error)):
        Wrapper(model).answer_each([{"text": "x"}])


class Clock:
    """Time that passes only while someone sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@given(rate=st.floats(0.1, 50), pauses=st.lists(st.floats(0, 3), min_size=2, max_size=40), steady=st.integers(20, 60))
@settings(deadline=None)
def test_turns_keep_the_rate(rate: float, pauses: list[float], steady: int) -> None:
    clock = Clock()
    bucket = TokenBucket(rate, clock=clock, sleep=clock.sleep)
    times = []
    for pause in [*pauses, *[0.0] * steady]:
        clock.sleep(pause)
        bucket.take()
        times.append(clock())
    gaps = np.diff(times)
    assert gaps.min() >= 1 / rate * (1 - 1e-6)  # idle time earns no burst
    assert np.isclose(np.mean(gaps[-steady + 1 :]), 1 / rate, rtol=0.05)  # and nobody waits longer than needed


def test_without_a_rate_nobody_waits() -> None:
    bucket = TokenBucket(None, sleep=lambda _: pytest.fail("it slept"))
    for _ in range(1000):
        bucket.take()
