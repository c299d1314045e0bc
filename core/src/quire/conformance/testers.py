"""Rules for testers, held with targets whose faults are known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from quire import registry
from quire.conformance.evaluators import (
    labelled_vectors,
    require_left_out,
    require_readable,
    require_self_contained,
)
from quire.conformance.options import check_options_have_defaults
from quire.conformance.subject import NotApplicable, Subject, differences, listed, once, resting_on
from quire.dataset import InMemory, Subset
from quire.discovery import reader_options, readers
from quire.errors import InvalidSample, QuireError, TaskMismatch, Where
from quire.modality import Label, Vector
from quire.model import Classifier
from quire.task import TEXT_CLASSIFICATION, VECTOR_CLASSIFICATION, Task
from quire.tester import FindingStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from quire.dataset import Dataset
    from quire.modality import Sample
    from quire.tester import Finding, Tester, TestReport

SEEDS = 4  # of every label


class _Target(Classifier):
    """Gives every sample the label that `answer` says; the last label is the toxic one.

    Asked again after `stop_after` calls, it does as if the user had pressed Ctrl-C.
    """

    def __init__(self, task: Task, labels: tuple[str, ...], answer: Callable[[Sample], str], name: str) -> None:
        super().__init__()
        self.task = task
        self.calls = 0
        self.stop_after: int | None = None
        self._labels = labels
        self._answer = answer
        self._name = name

    @property
    def labels(self) -> tuple[str, ...]:
        return self._labels

    @property
    def toxic_labels(self) -> frozenset[str]:
        """The last one."""
        return frozenset(self._labels[-1:])

    def fit(self, *_: Any, **__: Any) -> Self:
        return self

    def predict_proba(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        if self.calls == self.stop_after:
            raise KeyboardInterrupt
        self.calls += 1
        columns = [self._labels.index(self._answer(sample)) for sample in samples]
        return np.eye(len(self._labels), dtype=np.float32)[columns]

    def state(self) -> dict[str, Any]:
        return {"name": self._name, "labels": list(self._labels)}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""


class TesterSubject(Subject):
    """A tester, seeds that it can begin with, and what it finds in a target with a fault that was planted.

    A tester whose searches take long says in a class attribute `quick` with which options one takes seconds.
    """

    cls: type[Tester]

    def new(self) -> Tester:
        """A tester with the options of its `quick` searches."""
        return self.cls(**self.cls.quick)

    @once
    def setting(self) -> tuple[Dataset, Task]:
        """Seeds, and the task of a target that the tester takes with them: the first of those that might do.

        Where it takes none, the first that it refuses for another reason than fields that do not fit.
        """
        self.rest_on(check_options_have_defaults)
        refused: list[tuple[Dataset, Task]] = []
        reason = "no installed data set has labels for seeds"
        for seeds, task in self._settings():
            try:
                self.new().test(forgetful(seeds, task), seeds)
            except TaskMismatch as error:
                reason = str(error)
            except QuireError:
                refused.append((seeds, task))
            except Exception:  # what check_planted_fault reports
                return seeds, task
            else:
                return seeds, task
        if refused:
            return refused[0]
        raise NotApplicable(f"no stand-in for a target suits it: {reason}")

    def _settings(self) -> Iterator[tuple[Dataset, Task]]:
        """The tester's own seeds for targets of their task and of text, then what is installed, and labelled vectors."""
        home = [entry.distribution for entry in registry.descriptions("tester") if entry.name == self.name]
        own = [entry.name for entry in registry.descriptions("dataset") if entry.distribution in home]
        for name in [self.cls.seeds] if self.cls.seeds is not None else own:
            seeds = self._sampled(registry.get(name, "dataset"), None)
            if seeds is not None:
                yield from ((seeds, task) for task in dict.fromkeys((seeds.task, TEXT_CLASSIFICATION)))
        if self.cls.seeds is not None:
            return
        if self.cls.task is None:
            yield labelled_vectors(), VECTOR_CLASSIFICATION
        task = self.cls.task or TEXT_CLASSIFICATION
        for _, reader in readers(task):
            seeds = self._sampled(reader, task)
            if seeds is not None:
                yield seeds, task

    def _sampled(self, reader: type[Dataset], task: Task | None) -> Dataset | None:
        """The sample of a reader for `task`; None where it has none, or no labels that a target could confuse."""
        try:
            path = reader.sample(self.new_folder() / "release", seed=0)
            splits = reader.splits(path)
            options = {} if task is None else reader_options(reader, task)
            data = reader.open(path, split="test" if "test" in splits else splits[0], **options)
        except QuireError:
            return None
        return _few(data) if isinstance(data.task.target, Label) and len(data.labels) > 1 else None

    @property
    def seeds(self) -> Dataset:
        """Where a search begins."""
        return self.setting[0]

    @property
    def target_task(self) -> Task:
        """What a target takes."""
        return self.setting[1]

    def forgetful(self) -> _Target:
        """A target that knows the seeds by heart and nothing else."""
        return forgetful(self.seeds, self.target_task)

    def search(self, target: _Target, seeds: Dataset | None = None, folder: Path | None = None) -> TestReport:
        """What a new tester reports."""
        return self.new().test(target, self.seeds if seeds is None else seeds, folder=folder)

    @once
    def report(self) -> TestReport:
        """The report on the target with the planted fault."""
        target = self.forgetful()
        with resting_on("check_planted_fault"):
            return self.search(target)

    @property
    def findings(self) -> list[Finding]:
        """What it found there."""
        if not self.report.findings:
            raise NotApplicable("check_planted_fault comes first: nothing was found")
        return self.report.findings


def _few(data: Dataset) -> Dataset:
    """The first samples of every label."""
    by_label: dict[str, list[int]] = {}
    for index in range(len(data)):
        by_label.setdefault(data.target(index), []).append(index)
    return Subset(data, sorted(index for members in by_label.values() for index in members[:SEEDS]))


def forgetful(seeds: Dataset, task: Task) -> _Target:
    """A target with a fault: it knows `seeds` by heart, and gives everything else the first label."""
    known = {_key(seed, seeds.task): seed["target"] for seed in seeds}

    def answer(sample: Sample) -> str:
        label: str = known.get(_key(sample, task), seeds.labels[0])
        return label

    return _Target(task, seeds.labels, answer, "knows the seeds alone")


def check_planted_fault(subject: TesterSubject) -> None:
    """A target that knows the seeds by heart and nothing else is found to be at fault."""
    report = subject.search(subject.forgetful())
    subject.require(
        report.n_failures > 0 and bool(report.findings),
        "finds nothing in a target that is right on the seeds and says the same of everything else",
        "Change the seeds, ask the target, and put what it gets wrong into the report's findings.",
    )


def check_perfect_target(subject: TesterSubject) -> None:
    """Nothing is found in a target that is always right: all seeds have one label, and it gives no other."""
    label = subject.seeds.labels[-1]
    alike = [index for index in range(len(subject.seeds)) if subject.seeds.target(index) == label]
    target = _Target(subject.target_task, subject.seeds.labels, lambda _: label, f"always says {label}")
    seeds = Subset(subject.seeds, alike)
    try:
        report = subject.search(target, seeds)
    except QuireError as error:
        raise NotApplicable(f"it does not begin with seeds of one label: {error}") from error
    subject.require(
        not report.n_failures,
        f"finds {report.n_failures} faults in a target that is always right",
        "Expect of a changed seed the label of the seed, and report what differs from that alone.",
    )


def check_repeatable(subject: TesterSubject) -> None:
    """The same options, seeds and target give the same findings."""
    findings = subject.findings
    again = subject.search(subject.forgetful())
    different = list(differences(_contents(findings), _contents(again.findings)))
    subject.require(
        not different,
        f"finds something else when it searches again: {listed(different)}",
        "Draw from generators that an option seeds, and let no order depend on time.",
    )


def check_findings(subject: TesterSubject) -> None:
    """Every finding has an id of its own, a sample of the target's task, and the wrong label that the target gives it."""
    target, findings = subject.forgetful(), subject.findings
    ids = [finding.id for finding in findings]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    subject.require(not twice, f"gives several findings one id: {listed(twice)}", "Name the seed and what was done.")
    for finding in findings:
        what = f"reports {finding.id!r}"
        try:
            sample = target.task.check({**finding.sample, "id": finding.id})
        except InvalidSample as error:
            subject.require(False, f"{what}, which is no sample: {error}", "Keep the fields that the target was asked.")
        subject.require(
            finding.expected in target.labels and finding.expected != finding.got,
            f"{what}, where {finding.expected!r} is expected and {finding.got!r} was given",
            "A finding is an answer that differs from the label of the seed.",
        )
        (given,) = target.predict([sample])
        subject.require(
            given == finding.got,
            f"{what} as {finding.got!r}, but the target says {given!r} of it",
            "Keep the sample as the target was asked, and its answer.",
        )


def check_kept_findings(subject: TesterSubject) -> None:
    """With a folder, the findings stand in it as soon as they are found, whoever writes the report."""
    subject.rest_on(check_repeatable)
    folder = subject.new_folder() / "search"
    found = subject.search(subject.forgetful(), folder=folder)
    different = list(differences(_contents(subject.findings), _contents(found.findings)))
    mend = "Give every finding to a FindingStore at folder / 'findings' as it is found."
    subject.require(not different, f"finds something else with a folder: {listed(different)}", mend)
    lacking = {finding.id for finding in found.findings} - _kept(subject, folder)
    subject.require(not lacking, f"does not keep what it finds: {listed(sorted(lacking))}", mend)


def check_interruption(subject: TesterSubject) -> None:
    """A search that was interrupted and called again with its folder ends with the findings of one that was not."""
    subject.rest_on(check_findings)
    subject.rest_on(check_kept_findings)
    target, folder = subject.forgetful(), subject.new_folder() / "search"
    ids = {finding.id for finding in subject.search(target).findings}
    if target.calls < 2:
        raise NotApplicable("it asks the target only once")
    target.calls, target.stop_after = 0, target.calls // 2
    try:
        subject.search(target, folder=folder)
    except KeyboardInterrupt:
        target.stop_after = None
        subject.search(target, folder=folder)
    kept = _kept(subject, folder)
    subject.require(
        kept == ids,
        f"ends with other findings when it was interrupted: {listed(sorted(kept ^ ids))}",
        "Do again what the folder does not show to be done; a FindingStore keeps nothing twice.",
    )


def check_mismatch(subject: TesterSubject) -> None:
    """A target that does not take the seeds' fields is refused before anything is asked."""
    foreign = Task("foreign", {"foreign": Vector(dim=3)}, target=Label())
    first = subject.seeds.labels[0]
    target = _Target(foreign, subject.seeds.labels, lambda _: first, "of another task")
    mend = "Call self.prepare first: it raises TaskMismatch."
    try:
        subject.search(target)
    except QuireError:
        subject.require(not target.calls, "asks a target before it looks at its task", mend)
        return
    except Exception as error:
        subject.require(False, f"raises {type(error).__name__} for a target of another task", mend)
    subject.require(False, "tests a target of another task", mend)


def check_report(subject: TesterSubject) -> None:
    """The report says how many seeds it rests on, and its JSON is what quire.report.REPORT_SCHEMA describes."""
    subject.rest_on(check_findings)
    require_readable(subject, subject.report)


def check_page(subject: TesterSubject) -> None:
    """The report's page is self-contained: no script, and nothing that is loaded from outside."""
    require_self_contained(subject, subject.report)


def check_left_out(subject: TesterSubject) -> None:
    """Seeds that the reader left out are reported."""
    if subject.cls.seeds is not None:
        raise NotApplicable("its seeds are of a kind of their own")
    seeds = InMemory(list(subject.seeds), task=subject.seeds.task, name=subject.seeds.name)
    seeds.skipped.append(InvalidSample("can't be read", where=Where(sample="the bad one")))
    target = subject.forgetful()
    with resting_on("check_planted_fault"):
        report = subject.search(target, seeds)
    require_left_out(subject, report)


def _kept(subject: TesterSubject, folder: Path) -> set[str]:
    """The ids of the findings that stand in the folder of a search."""
    return FindingStore(folder / "findings", subject.target_task).ids


def _contents(findings: Sequence[Finding]) -> list[tuple[Any, ...]]:
    return [(each.id, each.sample, each.expected, each.got) for each in findings]


def _key(sample: Sample, task: Task) -> str:
    """The input fields of a sample as text: equal for equal inputs."""
    return json.dumps([task.inputs[name].encode(sample[name]) for name in task.inputs if sample.get(name) is not None])
