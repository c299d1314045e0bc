"""What a target may answer for one sample, and what is wrong with the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Literal

import numpy as np

from quire.errors import TargetError, nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDING = 1e-6  # how far outside [0, 1] a score may lie
SUM_ROUNDING = 1e-2  # how far from one exclusive labels' scores may add up: services round them to two or three digits
SINGLE_PRECISION = 1e-5  # within which they are one, and are left as they are
SHOWN = 300  # characters of an answer in a message


class Refusal(Exception):
    """Why samples got no answer. `divisible`: one of them may be the cause, so that each is worth asking alone."""

    def __init__(self, reason: str, *, divisible: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.divisible = divisible


def shown(answer: object) -> str:
    """An answer, or as much of it as a message holds, on one line."""
    text = " ".join((answer if isinstance(answer, str) else repr(answer)).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def checked_row(
    answer: object, labels: tuple[str, ...], kind: Literal["multiclass", "multilabel"], *, who: str
) -> NDArray[np.float32]:
    """Probabilities float32 [labels] from an answer: a sequence in the order of `labels`, or label -> probability.

    Raises Refusal for what is no such answer, TargetError (with the answer) for one that contradicts `labels`, for
    scores that are NaN or outside [0, 1], and for those of exclusive labels that do not add up to one. What rounding
    lacks or adds is spread over all of them.
    """
    if isinstance(answer, Refusal):
        raise answer
    if isinstance(answer, Mapping):
        scores = _in_order(answer, labels, who)
    elif isinstance(answer, Sequence | np.ndarray) and not isinstance(answer, str | bytes):
        scores = list(answer)
    else:
        raise Refusal(f"the answer has no scores: {shown(answer)}")
    if len(scores) != len(labels):
        raise TargetError(f"{who} gave {len(scores)} scores for {len(labels)} labels: {shown(answer)}")
    if not all(isinstance(score, Real) and not isinstance(score, bool) for score in scores):
        raise Refusal(f"the scores are not all numbers: {shown(answer)}")
    row = np.array(scores, dtype=np.float64)
    if not ((row >= -ROUNDING) & (row <= 1 + ROUNDING)).all():
        raise TargetError(f"{who} gave a score that is no probability: {shown(answer)}")
    if kind == "multiclass" and not math.isclose(row.sum(), 1, abs_tol=SUM_ROUNDING):
        raise TargetError(
            f"{who} gave scores that add up to {row.sum():.4g}, not to one: {shown(answer)}",
            remedy="If its labels don't exclude each other, say so: label_kind=multilabel.",
        )
    row = row.clip(0, 1)
    rounded = kind == "multiclass" and abs(row.sum() - 1) > SINGLE_PRECISION
    return (row / row.sum() if rounded else row).astype(np.float32)


def given_label(row: NDArray[np.float32], labels: tuple[str, ...], thresholds: Mapping[str, float]) -> str:
    """The most probable label that reaches its threshold; where none with a threshold does, of those without.

    In the precision of the scores: 0.7 reaches 0.7.
    """
    scores = dict(zip(labels, row, strict=True))
    reached = [label for label in labels if label in thresholds and scores[label] >= np.float32(thresholds[label])]
    others = [label for label in labels if label not in thresholds]
    return max(reached or others or labels, key=scores.__getitem__)


def require_labels(given: object, labels: tuple[str, ...], *, who: str) -> None:
    """TargetError unless the labels that came with an answer are `labels`, in this order."""
    if not isinstance(given, list | tuple) or tuple(given) != labels:
        raise TargetError(f"{who} answers with other labels than {', '.join(labels)}: {shown(given)}")


def _in_order(answer: Mapping[object, object], labels: tuple[str, ...], who: str) -> list[object]:
    for name in answer:
        if name not in labels:
            similar = nearest(name, labels) if isinstance(name, str) else ""
            raise TargetError(f"{who} answers with an unknown label {name!r}{similar}: {shown(dict(answer))}")
    for label in labels:
        if label not in answer:
            raise TargetError(f"{who} gives no score for {label!r}: {shown(dict(answer))}")
    return [answer[label] for label in labels]
