"""Accuracy over folds, as LFW's View 2 asks for it (sec. 5): the threshold of each fold is chosen on the other ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from quire.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Flags = NDArray[np.bool_]

Variant = Literal["exact", "sphereface", "insightface"]


@dataclass(frozen=True)
class FoldAccuracy:
    """Accuracy and threshold of each fold. The spread is the population's, as peers give it."""

    accuracies: Values
    thresholds: Values

    @property
    def mean(self) -> float:
        """Of the folds' accuracies."""
        return float(self.accuracies.mean())

    @property
    def std(self) -> float:
        """The folds' population standard deviation."""
        return float(self.accuracies.std())

    @property
    def standard_error(self) -> float:
        """Of the mean, with the sample's standard deviation; NaN for one fold."""
        n = len(self.accuracies)
        return float(self.accuracies.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")


def fold_accuracy(
    scores: Sequence[float] | Values, same: Sequence[bool] | Flags, folds: Sequence[int], *, variant: Variant = "exact"
) -> FoldAccuracy:
    """The accuracy of every fold at the threshold that is best on all others.

    exact: candidates are the midpoints of sorted distinct scores and one beyond each end; of equally good ones the
    middle (of two the lower); accepted is score >= threshold. sphereface: a grid -1..1 in steps of 1e-4, the mean of the
    best, strict comparisons on both sides. insightface: 2 - 2 score below a grid 0..4 in steps of 0.01, the first best.
    DataError where a fold has pairs of one kind only or there is one fold.
    """
    values, flags, parts = np.asarray(scores, np.float64), np.asarray(same, bool), np.asarray(folds)
    names = np.unique(parts)
    if len(names) < 2:
        raise DataError("one fold leaves no other one to choose a threshold on", remedy="Give at least two folds.")
    for name in names.tolist():
        kinds = np.unique(flags[parts == name])
        if len(kinds) == 1:
            kind = "one person" if kinds[0] else "different people"
            raise DataError(f"fold {name} has pairs of {kind} only")
    choose, judge = _VARIANTS[variant]
    accuracies, thresholds = [], []
    for name in names.tolist():
        mine = parts == name
        threshold = choose(values[~mine], flags[~mine])
        thresholds.append(threshold)
        accuracies.append(judge(values[mine], flags[mine], threshold))
    return FoldAccuracy(np.array(accuracies), np.array(thresholds))


def best_threshold(scores: Values, same: Flags) -> float:
    """The threshold of the variant "exact": the middle one of the best midpoints."""
    order = np.argsort(scores, kind="stable")
    values, counts = np.unique(scores, return_counts=True)
    ends = np.cumsum(counts)
    genuine_below = np.append(0, np.cumsum(same[order])[ends - 1])
    impostors_below = np.append(0, ends - genuine_below[1:])
    right = int(same.sum()) - genuine_below + impostors_below  # at a candidate below, between and above all values
    gaps = (values[:-1] + values[1:]) / 2
    candidates = np.concatenate([[values[0] - 1.0], gaps, [values[-1] + 1.0]])
    best = np.flatnonzero(right == right.max())
    return float(candidates[best[(len(best) - 1) // 2]])


def _accuracy(scores: Values, same: Flags, threshold: float) -> float:
    return float(((scores >= threshold) == same).mean())


def _sphereface_threshold(scores: Values, same: Flags) -> float:
    grid = np.arange(-10000, 10001) / 10000
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    right = len(genuine) - np.searchsorted(genuine, grid, side="right") + np.searchsorted(impostor, grid, side="left")
    return float(grid[right == right.max()].mean())


def _sphereface_accuracy(scores: Values, same: Flags, threshold: float) -> float:
    return float(
        (np.count_nonzero(scores[same] > threshold) + np.count_nonzero(scores[~same] < threshold)) / len(scores)
    )


def _insightface_threshold(scores: Values, same: Flags) -> float:
    grid = np.arange(0, 4, 0.01)
    distances = 2 - 2 * scores
    genuine, impostor = np.sort(distances[same]), np.sort(distances[~same])
    right = np.searchsorted(genuine, grid, side="left") + len(impostor) - np.searchsorted(impostor, grid, side="left")
    return float(grid[int(np.argmax(right))])


def _insightface_accuracy(scores: Values, same: Flags, threshold: float) -> float:
    return float(((2 - 2 * scores < threshold) == same).mean())


_VARIANTS: dict[str, tuple[Callable[[Values, Flags], float], Callable[[Values, Flags, float], float]]] = {
    "exact": (best_threshold, _accuracy),
    "sphereface": (_sphereface_threshold, _sphereface_accuracy),
    "insightface": (_insightface_threshold, _insightface_accuracy),
}


def insightface_val(
    scores: Sequence[float] | Values, same: Sequence[bool] | Flags, folds: Sequence[int], *, far: float = 1e-3
) -> tuple[float, float, float]:
    """insightface's VAL: (mean, std, achieved FAR) over folds of the rate of genuine pairs at the threshold of `far`.

    The threshold is interpolated on a grid of squared distances 0..4 in steps of 0.001, on the other folds; it is 0 where
    these never reach `far`.
    """
    distances, flags = 2 - 2 * np.asarray(scores, np.float64), np.asarray(same, bool)
    parts = np.asarray(folds)
    grid = np.arange(0, 4, 0.001)
    rates, fars = [], []
    for name in np.unique(parts).tolist():
        mine = parts == name
        others = np.sort(distances[~mine & ~flags])
        reached = np.searchsorted(others, grid, side="left") / max(1, len(others))
        threshold = float(np.interp(far, reached, grid)) if reached.max() >= far else 0.0
        rates.append((distances[mine & flags] < threshold).mean())
        fars.append((distances[mine & ~flags] < threshold).mean())
    return float(np.mean(rates)), float(np.std(rates)), float(np.mean(fars))


def centred_fold_scores(
    left: NDArray[np.float32], right: NDArray[np.float32], folds: Sequence[int]
) -> dict[int, tuple[Values, Values]]:
    """Fold -> (scores of all other folds, scores of the fold), cosines after the mean of the other folds is subtracted.

    SphereFace's mean-centring: left and right [n, dim] are the embeddings of each pair.
    """
    parts = np.asarray(folds)
    result = {}
    for name in np.unique(parts).tolist():
        mine = parts == name
        mean = np.concatenate([left[~mine], right[~mine]]).mean(axis=0)
        one, other = (_unit(side - mean) for side in (left, right))
        scores = np.einsum("ij,ij->i", one, other)
        result[name] = (scores[~mine], scores[mine])
    return result


def centred_accuracy(
    left: NDArray[np.float32], right: NDArray[np.float32], same: Sequence[bool] | Flags, folds: Sequence[int]
) -> FoldAccuracy:
    """SphereFace's accuracy over folds, mean-centred."""
    flags, parts = np.asarray(same, bool), np.asarray(folds)
    accuracies, thresholds = [], []
    for name, (others, mine) in centred_fold_scores(left, right, folds).items():
        threshold = _sphereface_threshold(others, flags[parts != name])
        thresholds.append(threshold)
        accuracies.append(_sphereface_accuracy(mine, flags[parts == name], threshold))
    return FoldAccuracy(np.array(accuracies), np.array(thresholds))


def _unit(vectors: NDArray[np.float32]) -> Values:
    wide = vectors.astype(np.float64)
    unit: Values = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return unit
