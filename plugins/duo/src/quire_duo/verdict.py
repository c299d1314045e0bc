"""From a target's probabilities to a verdict: flagged or passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from quire.errors import ConfigError, QuireError, nearest
from quire.model import Classifier, ItemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from quire_duo.options import DuoOptions

_TOLERANCE = 1e-4  # of bounds and sums of probabilities in single precision
ALL = ""
"""The kind under which labels stand that are toxic whatever the kind."""


class TargetFault(QuireError):
    """A target that answers what no classifier may; the message shows the raw answer (exit code 1)."""

    exit_code = 1


@dataclass(frozen=True)
class Verdict:
    """What came of one case, asked once or several times.

    score: the toxic score, in 0..1; of several, their mean. flaky: the repeats did not all say the same.
    """

    flagged: bool
    score: float
    flaky: bool = False


@dataclass(frozen=True)
class Policy:
    """How a target's answers are read (section 9): which labels count as toxic, and from which score a case is flagged.

    The toxic score is the sum of the toxic labels' probabilities where labels exclude each other, else their maximum.
    toxic: kind -> labels; those under ALL hold for every other kind. thresholds: label -> the target's own; `threshold`,
    where given, overrules them. A target that gives single labels thresholds flags where any toxic label reaches its own.
    """

    labels: tuple[str, ...]
    toxic: Mapping[str, frozenset[str]]
    label_kind: Literal["multiclass", "multilabel"] = "multiclass"
    threshold: float | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    decision: Literal["threshold", "argmax"] = "threshold"

    @classmethod
    def of(cls, target: Classifier, options: DuoOptions) -> Policy:
        """The policy of a target. ConfigError where no label is known to be toxic, or one is none of the target's."""
        chosen = options.toxic_labels or tuple(sorted(target.toxic_labels))
        by_kind = chosen if isinstance(chosen, Mapping) else {ALL: chosen}
        named = [label for labels in by_kind.values() for label in labels]
        if not named:
            raise ConfigError(
                "the target does not say which of its labels are toxic",
                remedy=f"Name some of them by the option toxic_labels: {', '.join(target.labels)}.",
            )
        for label in named:
            if label not in target.labels:
                message = f"toxic_labels has {label!r}, which is no label of the target{nearest(label, target.labels)}"
                raise ConfigError(message, remedy=f"Its labels are {', '.join(target.labels)}.")
        if options.decision == "argmax" and target.label_kind == "multilabel":
            raise ConfigError("decision=argmax has no sense for labels that do not exclude each other")
        return cls(
            target.labels,
            {kind: frozenset(labels) for kind, labels in by_kind.items()},
            target.label_kind,
            options.threshold,
            dict(target.thresholds),
            options.decision,
        )

    def toxic_of(self, kind: str) -> frozenset[str]:
        """The labels that are toxic for a kind. ConfigError if none are named for it."""
        if kind not in self.toxic and ALL not in self.toxic:
            raise ConfigError(f"toxic_labels names no label for the kind {kind!r}")
        return self.toxic.get(kind, self.toxic.get(ALL, frozenset()))

    def score(self, row: NDArray[np.float32], kind: str) -> float:
        """The toxic score of one row of probabilities, float32 [classes]."""
        toxic = [index for index, label in enumerate(self.labels) if label in self.toxic_of(kind)]
        values = row[toxic].astype(np.float64)
        return float(min(1.0, values.sum()) if self.label_kind == "multiclass" else values.max())

    def flags(self, row: NDArray[np.float32], kind: str) -> bool:
        """Whether one answer flags the case."""
        toxic = self.toxic_of(kind)
        if self.decision == "argmax":
            return self.labels[int(row.argmax())] in toxic
        if self.threshold is not None:
            return self.score(row, kind) >= self.threshold
        own = {label: self.thresholds[label] for label in toxic if label in self.thresholds}
        if any(row[self.labels.index(label)] >= threshold for label, threshold in own.items()):
            return True
        others = toxic - own.keys()
        if not others:
            return False
        return (
            self.score(row, kind) >= 0.5 if not own else any(row[self.labels.index(label)] >= 0.5 for label in others)
        )

    def judge(self, rows: Sequence[NDArray[np.float32]], kind: str) -> Verdict:
        """The majority's verdict over repeats, flagged if they are even."""
        votes = [self.flags(row, kind) for row in rows]
        flagged = 2 * sum(votes) >= len(votes)
        score = float(np.mean([self.score(row, kind) for row in rows]))
        return Verdict(flagged, score, flaky=len(set(votes)) > 1)


def check_answers(
    answers: Sequence[NDArray[np.float32] | ItemError], asked: int, target: Classifier, policy: Policy
) -> None:
    """TargetFault, with the raw answer, for one that is not `asked` rows of probabilities of the same labels."""
    if tuple(target.labels) != policy.labels:
        raise TargetFault(f"the target's labels were {list(policy.labels)} and are now {list(target.labels)}")
    if len(answers) != asked:
        raise TargetFault(f"the target gave {len(answers)} answers to {asked} cases: {_raw(answers)}")
    for answer in answers:
        if isinstance(answer, ItemError):
            continue
        row = np.asarray(answer)
        fault = _fault(row, policy)
        if fault:
            raise TargetFault(f"the target's answer {fault}: {_raw(row)}")


def _fault(row: NDArray[np.float32], policy: Policy) -> str | None:
    if row.shape != (len(policy.labels),):
        return f"has the shape {list(row.shape)} where one probability for each of {len(policy.labels)} labels is due"
    if not np.isfinite(row).all():
        return "is not finite"
    if (row < -_TOLERANCE).any() or (row > 1 + _TOLERANCE).any():
        return "lies outside 0..1"
    if policy.label_kind == "multiclass" and abs(float(row.sum(dtype=np.float64)) - 1) > _TOLERANCE:
        return "does not sum to one"
    return None


def _raw(answer: object) -> str:
    text = repr(answer.tolist() if isinstance(answer, np.ndarray) else answer)
    return text if len(text) <= 500 else f"{text[:500]}..."
