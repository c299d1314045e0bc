"""An ensemble of classifiers, each of which judges what it takes alone, as most deployed pipelines do it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

import numpy as np

from quire.errors import ConfigError, InvalidSample, RunError, Where
from quire.modality import Label
from quire.model import Classifier, ItemError, Limits, limits_of
from quire.storage import content_hash
from quire.target.answers import given_label
from quire.task import Task
from quire_duo.content import Placement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from quire.modality import Modality, Sample
    from quire.runtime import Runtime

    Row = NDArray[np.float32]

PASSED, FLAGGED = "passed", "flagged"
"""The labels of an ensemble whose members don't share theirs."""


class OrEnsemble(Classifier):
    """Each content judged alone, by the members that take it; flagged if any member flags, by its own thresholds.

    This is what most deployed pipelines do. Where all members have the same labels, thresholds and toxic labels, these
    are the ensemble's, and the most toxic answer is its own; otherwise its labels are "passed" and "flagged". A sample
    that no member flags and some member could not answer for has no answer. It is its members that are trained.
    """

    def __init__(self, members: Sequence[Classifier]) -> None:
        super().__init__()
        if not members:
            raise ConfigError("an ensemble needs a member")
        for member in members:
            if not member.toxic_labels:
                raise ConfigError(
                    f"{member.task.name} does not say which of its labels are toxic, so that nobody knows when it flags",
                    remedy=f"Name some of them with --toxic-labels: {', '.join(member.labels)}.",
                )
        self.members = tuple(members)
        self._placements = [Placement.of(member) for member in members]
        inputs: dict[str, Modality[Any]] = {}
        for placement in self._placements:
            for kind, modality in placement.modalities.items():
                inputs.setdefault(kind, modality)
        first = members[0]
        self._shared = all(_speaks_as(member, first) for member in members)
        target = first.task.target if self._shared else Label(labels=(PASSED, FLAGGED))
        self.task = Task("or", inputs, target, optional=frozenset(inputs), summary="each content judged alone")

    @property
    def labels(self) -> tuple[str, ...]:
        """The members', or passed and flagged."""
        return self.members[0].labels if self._shared else (PASSED, FLAGGED)

    @property
    def label_kind(self) -> Literal["multiclass", "multilabel"]:
        """The members'; passed and flagged exclude each other."""
        return self.members[0].label_kind if self._shared else "multiclass"

    @property
    def toxic_labels(self) -> frozenset[str]:
        """The members', or flagged."""
        return self.members[0].toxic_labels if self._shared else frozenset({FLAGGED})

    @property
    def thresholds(self) -> dict[str, float]:
        """The members', where they are shared."""
        return dict(self.members[0].thresholds) if self._shared else {}

    @property
    def limits(self) -> Limits:
        """Those of what it takes; of samples at once, the tightest member's."""
        batches = [member.limits.batch for member in self.members if member.limits.batch is not None]
        return replace(limits_of(self.task), batch=min(batches, default=None))

    @property
    def deterministic(self) -> bool:
        """Whether all members are."""
        return all(member.deterministic for member in self.members)

    @property
    def runtime(self) -> Runtime:
        """The first member's."""
        return self.members[0].runtime

    @runtime.setter
    def runtime(self, runtime: Runtime) -> None:
        for member in self.members:
            member.runtime = runtime

    def answer_each(self, samples: Sequence[Sample]) -> list[Row | ItemError]:
        """One row a sample, or why there is none; each member is asked once for all samples that it takes."""
        checked = [_checked(self.task, sample, index) for index, sample in enumerate(samples)]
        opinions: list[list[tuple[Classifier, Row]]] = [[] for _ in samples]
        failures = [[part] if isinstance(part, str) else [] for part in checked]
        for member, placement in zip(self.members, self._placements, strict=True):
            asked = [
                (index, _shown(placement, sample))
                for index, sample in enumerate(checked)
                if not isinstance(sample, str) and _takes(placement, sample)
            ]
            answers = member.answer_each([sample for _, sample in asked])
            for (index, _), answer in zip(asked, answers, strict=True):
                if isinstance(answer, ItemError):
                    failures[index].append(answer.reason)
                else:
                    opinions[index].append((member, answer))
        return [
            self._decided(index, opinion, failed)
            for index, (opinion, failed) in enumerate(zip(opinions, failures, strict=True))
        ]

    def _decided(self, index: int, opinions: list[tuple[Classifier, Row]], failures: list[str]) -> Row | ItemError:
        scores = [toxicity(member, row) for member, row in opinions]
        highest = max(scores, default=0.0)
        if failures and highest < 0.5:
            return ItemError(index, failures[0])
        if not opinions:
            return ItemError(index, f"no member takes this content alone (members: {self._members()})")
        if not self._shared:
            return np.array([1 - highest, highest], dtype=np.float32)
        if self.label_kind == "multilabel":
            merged: Row = np.max(np.stack([row for _, row in opinions]), axis=0)
            return merged
        return opinions[scores.index(highest)][1]

    def _members(self) -> str:
        return ", ".join(member.task.name for member in self.members)

    def predict_proba(self, samples: Sequence[Sample]) -> Row:
        """Probabilities, float32 [samples, classes]. InvalidSample for the first sample that gets none."""
        return all_rows(self.answer_each(samples), samples, len(self.labels))

    def predict(self, samples: Sequence[Sample]) -> list[str]:
        """The most probable label that reaches its threshold, or of those without one."""
        return [given_label(row, self.labels, self.thresholds) for row in self.predict_proba(samples)]

    def fingerprint(self) -> str:
        """A hash of the members'."""
        return content_hash("or", [member.fingerprint() for member in self.members])

    def fit(self, *_: Any, **__: Any) -> Self:
        """RunError."""
        self._refuse()

    def state(self) -> dict[str, Any]:
        """RunError."""
        self._refuse()

    def restore(self, state: dict[str, Any]) -> None:
        """RunError."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise RunError("an ensemble is neither trained nor saved", remedy="Train and save its members.")


def toxicity(target: Classifier, row: Row) -> float:
    """How toxic the target finds what it gave `row` for, in [0, 1]: 0.5 or more where it flags it, else less.

    Flagged is what reaches the target's own threshold: that of a single toxic label where the target has some, 0.5 for
    the others' sum where labels exclude each other and none has its own, and for each of them otherwise.
    """
    scores = dict(zip(target.labels, row.astype(np.float64).tolist(), strict=True))
    own = {label: threshold for label, threshold in target.thresholds.items() if label in target.toxic_labels}
    others = [scores[label] for label in target.labels if label in target.toxic_labels and label not in own]
    if not own and target.label_kind == "multiclass":
        others = [min(1.0, sum(others))]
    return max((*(_centred(scores[name], bound) for name, bound in own.items()), *others), default=0.0)


def all_rows(answers: Sequence[Row | ItemError], samples: Sequence[Sample], n_labels: int) -> Row:
    """The answers as an array, float32 [samples, labels]. InvalidSample for the first sample that has none."""
    for answer in answers:
        if isinstance(answer, ItemError):
            raise InvalidSample(answer.reason, where=Where(sample=samples[answer.index].get("id", answer.index)))
    return np.array(answers, dtype=np.float32).reshape(len(answers), n_labels)


def _centred(score: float, threshold: float) -> float:
    """`score` moved so that what lies at `threshold`, in single precision, lies at 0.5."""
    threshold = float(np.float32(threshold))
    if score >= threshold:
        return 1.0 if threshold >= 1 else 0.5 + 0.5 * (score - threshold) / (1 - threshold)
    below = float(np.nextafter(np.float32(0.5), np.float32(0)))  # so that rounding to float32 can't reach 0.5
    return min(0.5 * score / threshold, below)


def _speaks_as(one: Classifier, other: Classifier) -> bool:
    return (
        one.labels == other.labels
        and one.label_kind == other.label_kind
        and one.toxic_labels == other.toxic_labels
        and dict(one.thresholds) == dict(other.thresholds)
    )


def _takes(placement: Placement, sample: Sample) -> bool:
    """Whether a member can be asked with what it takes of `sample`."""
    there = sample.keys() & placement.fields.keys()
    return bool(there) and placement.required <= there


def _shown(placement: Placement, sample: Sample) -> Sample:
    """What a member is shown of `sample`, in its own fields."""
    fields = {"id": "id", **placement.fields}
    return {field: sample[kind] for kind, field in fields.items() if kind in sample}


def _checked(task: Task, sample: Sample, index: int) -> Sample | str:
    """The fields of a sample, or what is wrong with it."""
    try:
        checked = task.check(sample, index=index)
    except InvalidSample as error:
        return str(error)
    return {name: value for name, value in checked.items() if name == "id" or name in task.inputs}
