"""How many impostor scores are at or above each genuine one, counted while they stream by.

Scores are counted in narrow bins of equal width. Only those that share a bin with a genuine score are compared with it:
they are kept for a while and sorted. So the counts are exact, and most scores are never sorted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from quire_amsoftmax.evaluate.streams import Floats, Ints

FINE = 1 << 19
COARSE = 128  # bins of the histogram that is drawn
_MOST_WAITING = 1 << 20


@dataclass(frozen=True)
class Counted:
    """n impostor scores, their mean and variance, and for each genuine score those that are >= and > it.

    histogram: int64 [128] between `edges`, the first and the last with what lies beyond.
    """

    n: int
    at_or_above: Ints
    above: Ints
    mean: float
    variance: float
    edges: NDArray[np.float64]
    histogram: Ints


class Tally:
    """Counts of impostor scores against `genuine`, float32, ascending."""

    def __init__(self, genuine: Floats) -> None:
        self._distinct, self._inverse = np.unique(genuine, return_inverse=True)
        self._low = min(-1.0, float(genuine[0])) if len(genuine) else -1.0
        self._high = max(1.0, float(genuine[-1])) if len(genuine) else 1.0
        self._scale = np.float32(FINE / (self._high - self._low))
        self._counts = np.zeros(FINE, np.int64)
        self._bins = self._bin(self._distinct)
        self._shared = np.zeros(FINE, bool)
        self._shared[self._bins] = True
        self._at_or_above = np.zeros(len(self._distinct), np.int64)  # among the scores in shared bins
        self._above = self._at_or_above.copy()
        self._waiting: list[Floats] = []
        self._n_waiting = self._n = 0
        self._sum = self._squares = 0.0

    def add(self, block: Floats) -> None:
        """Take in scores of any shape; -inf is none."""
        scores = block[block > -np.inf]
        bins = self._bin(scores)
        self._counts += np.bincount(bins, minlength=FINE)
        shared = scores[self._shared[bins]]
        self._waiting.append(shared)
        self._n_waiting += len(shared)
        if self._n_waiting > _MOST_WAITING:
            self._compare()
        wide = scores.astype(np.float64)
        self._n += len(scores)
        self._sum += float(wide.sum())
        self._squares += float(np.dot(wide, wide))

    def counted(self) -> Counted:
        """What was counted."""
        self._compare()
        # Above a genuine score are all scores of higher bins, and those of its own that were compared. What was compared
        # is everything in shared bins, so that higher shared bins are in both.
        higher = _after(self._counts)[self._bins] - _after(np.where(self._shared, self._counts, 0))[self._bins]
        mean = self._sum / self._n if self._n else math.nan
        return Counted(
            self._n,
            (higher + self._at_or_above)[self._inverse],
            (higher + self._above)[self._inverse],
            mean,
            max(0.0, self._squares / self._n - mean * mean) if self._n else math.nan,
            np.linspace(self._low, self._high, COARSE + 1),
            self._counts.reshape(COARSE, -1).sum(axis=1),
        )

    def _bin(self, scores: Floats) -> NDArray[np.int64]:
        """The bin of each score: of a larger score never a smaller one, whatever is rounded."""
        with np.errstate(over="ignore"):
            place = (scores - np.float32(self._low)) * self._scale
        return np.clip(place, 0, FINE - 1, out=place).astype(np.int64)

    def _compare(self) -> None:
        waiting = np.sort(np.concatenate([np.zeros(0, np.float32), *self._waiting]))
        self._at_or_above += len(waiting) - np.searchsorted(waiting, self._distinct, side="left")
        self._above += len(waiting) - np.searchsorted(waiting, self._distinct, side="right")
        self._waiting, self._n_waiting = [], 0


def _after(counts: Ints) -> Ints:
    """For each bin, what is in all bins behind it."""
    after: Ints = counts.sum() - np.cumsum(counts)
    return after
