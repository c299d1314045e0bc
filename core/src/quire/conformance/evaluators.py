"""Rules for evaluators, held with a stand-in model that knows every answer."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from quire.conformance.options import check_options_have_defaults
from quire.conformance.subject import NotApplicable, Subject, differences, listed, once, resting_on
from quire.dataset import InMemory
from quire.discovery import reader_options, readers
from quire.errors import InvalidSample, QuireError, TaskMismatch, Where
from quire.model import Classifier, Embedder, Model
from quire.report import Report
from quire.task import VECTOR_CLASSIFICATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from quire.dataset import Dataset
    from quire.evaluator import Evaluator
    from quire.modality import Sample
    from quire.task import Task


class EvaluatorSubject(Subject):
    """An evaluator, data that it can judge a model on, and its report on a model that is always right."""

    cls: type[Evaluator]

    @once
    def data(self) -> Dataset:
        """Labelled vectors for an evaluator of any task, else the sample of an installed reader for its task."""
        if self.cls.task is None:
            return labelled_vectors()
        for _, reader in readers(self.cls.task):
            try:
                path = reader.sample(self.new_folder() / "release", seed=0)
                options = reader_options(reader, self.cls.task)
                data = reader.open(path, split=reader.splits(path)[-1], **options)
                self.cls.task.require_fit(data.task, this=self.name, that=data.name)
            except QuireError:
                continue
            return data
        raise NotApplicable(f"no installed data set is of the task {self.cls.task.name}")

    def judge(self, data: Dataset, *, mistakes: frozenset[str] = frozenset()) -> Report:
        """The report on the stand-in's answers for `data`, of which those for the ids in `mistakes` are wrong."""
        self.rest_on(check_options_have_defaults)
        try:
            return self.cls().evaluate(stand_in(self.data, mistakes), data)
        except TaskMismatch as error:
            raise NotApplicable(f"the stand-in for a model does not suit it: {error}") from error

    @once
    def report(self) -> Report:
        """The report on all of the data."""
        with resting_on("check_report"):
            return self.judge(self.data)

    @once
    def mistaken(self) -> tuple[float, Report]:
        """The share of right answers, and the report on answers of which every third one is wrong."""
        samples = [self.data[index] for index in range(len(self.data))]
        wrong = frozenset(str(sample.get("id", index)) for index, sample in enumerate(samples) if index % 3 == 1)
        with resting_on("check_report"):
            return 1 - len(wrong) / len(samples), self.judge(self.data, mistakes=wrong)


class _Oracle(Embedder):
    """Answers every sample with its target or, where samples have none, with the input that could be one.

    The answers for the ids in `mistakes` are wrong: the next label, or what is right for another sample.
    """

    def __init__(self, data: Dataset, mistakes: frozenset[str]) -> None:
        super().__init__()
        self.task: Task = data.task
        self._labels = data.labels
        self._mistakes = mistakes
        self._elsewhere = self._right(data[0]) if len(data) else None

    def fit(self, *_: Any, **__: Any) -> Self:
        return self

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        return [
            self._wrong(self._right(sample)) if str(sample.get("id")) in self._mistakes else self._right(sample)
            for sample in samples
        ]

    def _right(self, sample: Sample) -> Any:
        alike = [name for name, kind in self.task.inputs.items() if type(kind) is type(self.task.target)]
        return next(sample[name] for name in ("target", *alike) if name in sample)

    def _wrong(self, right: Any) -> Any:
        if right in self._labels:
            return self._labels[(self._labels.index(right) + 1) % len(self._labels)]
        return self._elsewhere

    def embed(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """One direction for each target."""
        targets = [repr(output) for output in self.predict(samples)]
        known = list(self._labels and map(repr, self._labels)) or sorted(set(targets))
        return np.eye(len(known), dtype=np.float32)[[known.index(target) for target in targets]]

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""


class _LabelOracle(_Oracle, Classifier):
    """Gives the target's label all of the probability."""

    @property
    def labels(self) -> tuple[str, ...]:
        return self._labels

    def predict_proba(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        columns = [self._labels.index(output) for output in self.predict(samples)]
        return np.eye(len(self._labels), dtype=np.float32)[columns]


def stand_in(data: Dataset, mistakes: frozenset[str] = frozenset()) -> Model:
    """A model for samples like those of `data` that is right but for the ids in `mistakes`."""
    return _LabelOracle(data, mistakes) if data.labels else _Oracle(data, mistakes)


def check_report(subject: EvaluatorSubject) -> None:
    """The report says how many samples it rests on, and its JSON is what quire.report.REPORT_SCHEMA describes."""
    require_readable(subject, subject.judge(subject.data))


def require_readable(subject: Subject, report: Report) -> None:
    """Raise Broken unless the report counts its samples and can be written and read back."""
    subject.require(report.n_used > 0, "does not say how many samples it used", "Set n_used.")
    folder = subject.new_folder()
    report.write(folder)
    try:
        Report.read(folder)
    except QuireError as error:
        subject.require(False, f"writes a report.json that is no report: {error}", "Leave to_json to Report.")


def require_self_contained(subject: Subject, report: Report) -> None:
    """Raise Broken if the report's page runs a script or loads anything."""
    page = _Page(report.to_html())
    subject.require(
        not page.outside,
        f"makes a page that is not self-contained: {listed(page.outside)}",
        "Put drawings into the report as figures, and leave the page to Report.",
    )


def check_page(subject: EvaluatorSubject) -> None:
    """The report's page is self-contained: no script, and nothing that is loaded from outside."""
    require_self_contained(subject, subject.report)


def check_perfect_predictions(subject: EvaluatorSubject) -> None:
    """Predictions that are all right have an accuracy of 1."""
    if "accuracy" not in subject.report.metrics:
        raise NotApplicable("it measures no accuracy")
    value = subject.report.metrics["accuracy"].value
    subject.require(value == 1, f"gives perfect predictions an accuracy of {value}", "Compare outputs with targets.")


def check_known_mistakes(subject: EvaluatorSubject) -> None:
    """Predictions of which a known share is right have that accuracy."""
    subject.rest_on(check_perfect_predictions)
    share, report = subject.mistaken
    value = report.metrics["accuracy"].value
    subject.require(
        value is not None and bool(np.isclose(value, share)),
        f"gives predictions of which {share:.4g} are right an accuracy of {value}",
        "Divide the number of right predictions by the number of all.",
    )


def check_directions(subject: EvaluatorSubject) -> None:
    """No metric that says which way is better prefers predictions with mistakes to perfect ones."""
    _, mistaken = subject.mistaken
    wrong = []
    for name, perfect in subject.report.metrics.items():
        worse = mistaken.metrics[name]
        if perfect.value is None or worse.value is None or perfect.higher_is_better is None:
            continue
        gain = worse.value - perfect.value
        if (gain if perfect.higher_is_better else -gain) > 1e-6:
            wrong.append(f"{name} ({perfect.value:.4g} for perfect ones, {worse.value:.4g} with mistakes)")
    subject.require(
        not wrong, f"prefers predictions with mistakes, by {listed(wrong)}", "Set higher_is_better the other way round."
    )


def check_any_order(subject: EvaluatorSubject) -> None:
    """The metrics do not depend on the order of the samples."""
    samples = [subject.data[index] for index in range(len(subject.data))]
    report = subject.judge(InMemory(samples[::-1], task=subject.data.task, name=subject.data.name))
    values = [{name: score.value for name, score in each.metrics.items()} for each in (subject.report, report)]
    different = list(differences(*values, tolerance=1e-6))
    subject.require(
        not different,
        f"measures something else when the samples come in another order: {listed(different)}",
        "Let no metric depend on a sample's position; break ties in another way.",
    )


def check_no_samples(subject: EvaluatorSubject) -> None:
    """Without a sample every metric is n/a and says why."""
    report = subject.judge(InMemory([], task=subject.data.task, name="no samples"))
    claimed = [name for name, score in report.metrics.items() if score.value is not None or not score.reason]
    mend = "Give Score(None, reason) where there is nothing to measure."
    subject.require(not claimed, f"gives a value to {listed(claimed)} without a sample", mend)
    subject.require(report.n_used == 0, f"used {report.n_used} samples where there are none", "Count them in n_used.")


def check_left_out(subject: EvaluatorSubject) -> None:
    """Samples that the reader left out are reported."""
    samples = [subject.data[index] for index in range(len(subject.data))]
    data = InMemory(samples, task=subject.data.task, name=subject.data.name)
    data.skipped.append(InvalidSample("can't be read", where=Where(sample="the bad one")))
    report = subject.judge(data)
    require_left_out(subject, report)


def require_left_out(subject: Subject, report: Report) -> None:
    """Raise Broken unless the report names the one sample that the reader left out."""
    reported = report.n_left_out == 1 and any("the bad one" in message for message in report.left_out)
    mend = "Put the dataset's `skipped` into left_out: PredictionEvaluator does."
    subject.require(reported, "does not report a sample that was left out", mend)


def labelled_vectors() -> Dataset:
    """Twelve vectors [4] of three labels, for what takes data of any task."""
    rng = np.random.default_rng(0)
    labels = ("ant", "bee", "cat")
    samples = [
        {"vector": rng.normal(size=4).astype(np.float32), "target": label, "id": f"{label}-{number}"}
        for number in range(4)
        for label in labels
    ]
    return InMemory(samples, task=VECTOR_CLASSIFICATION, name="labelled vectors")


class _Page(HTMLParser):
    """Collects what a page runs, or would load when it is opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.feed(text)
        self.outside += re.findall(r"@import[^;]*|url\(\s*['\"]?(?!data:|#)[^)]*\)", text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed"):
            self.outside.append(f"<{tag}>")
        for name, value in attrs:
            loads = name in ("src", "srcset", "poster", "background") or (name.endswith("href") and tag != "a")
            if loads and not (value or "").startswith(("data:", "#")):
                self.outside.append(f"{name}={value}")
            if name.startswith("on"):
                self.outside.append(f"{name}=...")
