"""Verification figures of streamed pairs (sec. 5): thresholds at false-accept rates, ROC, AUC, EER, accuracy, d'.

Every figure is the exact one of all pairs. Genuine scores are kept; of each, the impostor scores at or above it are
counted while these stream by, which is the whole ROC.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from quire.errors import ConfigError
from quire.evaluator import wilson
from quire_amsoftmax.evaluate.ranks import MOST_KEPT, Largest, RankCounter
from quire_amsoftmax.evaluate.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from quire_amsoftmax.evaluate.streams import Floats, Ints, PairStream

FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
FEW = 30  # impostor scores above a threshold, below which it is known badly


@dataclass(frozen=True)
class OperatingPoint:
    """The threshold at one false-accept rate, and how many genuine pairs reach it.

    far: as asked for; k = round(far * impostor pairs), and k of them are at or above `threshold` (more where scores tie).
    vr: share of genuine pairs with score >= threshold, with its Wilson interval. Where k = 0 the rate is below what the
    pairs can resolve. threshold_low and _high: of the ranks in the 95 % interval of a Poisson count k, where k is small.
    """

    far: float
    k: int
    threshold: float
    achieved_far: float
    vr: float
    vr_low: float
    vr_high: float
    threshold_low: float | None = None
    threshold_high: float | None = None

    @property
    def resolvable(self) -> bool:
        """Whether at least one impostor pair is in the rate."""
        return self.k > 0


@dataclass(frozen=True)
class Verification:
    """What is known of a stream of pairs, exactly. Figures that one kind of pair alone can't give are None.

    genuine: float32 [n], ascending; at_or_above, above: int64 [n], impostor pairs with a score >= or > each.
    """

    genuine: Floats
    n_impostor: int
    at_or_above: Ints
    above: Ints
    impostor_mean: float
    impostor_variance: float
    largest_impostor: float
    points: list[OperatingPoint]
    edges: NDArray[np.float64] = field(repr=False)
    impostor_histogram: Ints = field(repr=False)

    @property
    def n_genuine(self) -> int:
        """Pairs of one person."""
        return len(self.genuine)

    @property
    def reason(self) -> str | None:
        """Why there are no rates; None where there are."""
        if not self.n_genuine:
            return "there is no pair of one person"
        return None if self.n_impostor else "there is no pair of different people"

    @cached_property
    def auc(self) -> float | None:
        """The area under the ROC: the probability that a genuine pair scores higher, ties counting half."""
        if self.reason:
            return None
        below = self.n_impostor - (self.at_or_above + self.above) / 2
        return float(below.mean() / self.n_impostor)

    @cached_property
    def eer(self) -> float | None:
        """The rate at which false accepts and false rejects are equal, on the ROC's straight segments."""
        if self.reason:
            return None
        rejected = np.searchsorted(self.genuine, self.genuine, side="left") / self.n_genuine
        rejected_too = np.searchsorted(self.genuine, self.genuine, side="right") / self.n_genuine
        # Of each genuine score, two corners of the ROC: accepted (>= it), and just not accepted (> it).
        far = np.column_stack([self.at_or_above, self.above]).ravel() / self.n_impostor
        frr = np.column_stack([rejected, rejected_too]).ravel()
        far, frr = np.append(np.append(1.0, far), 0.0), np.append(np.append(0.0, frr), 1.0)
        crossed = int(np.argmax(frr >= far))
        if crossed == 0:
            return float(far[0])
        far_before, far_after = far[crossed - 1], far[crossed]
        frr_before, frr_after = frr[crossed - 1], frr[crossed]
        share = (far_before - frr_before) / ((far_before - far_after) + (frr_after - frr_before))
        return float(far_before + share * (far_after - far_before))

    @cached_property
    def best_accuracy(self) -> float | None:
        """The largest share of right decisions that one threshold gives (chosen on these very pairs)."""
        if self.reason:
            return None
        accepted = self.n_genuine - np.searchsorted(self.genuine, self.genuine, side="left")
        right = accepted + self.n_impostor - self.at_or_above
        most = max(int(right.max()), self.n_impostor, self.n_genuine)
        return most / (self.n_genuine + self.n_impostor)

    @cached_property
    def d_prime(self) -> float | None:
        """The distance of the two means over the root of the mean variance."""
        if self.reason:
            return None
        variance = (float(self.genuine.var(dtype=np.float64)) + self.impostor_variance) / 2
        difference = float(self.genuine.mean(dtype=np.float64)) - self.impostor_mean
        return difference / math.sqrt(variance) if variance > 0 else None

    def roc(self, n: int = 400) -> list[tuple[float, float, float, int]]:
        """At most n rows (far, vr, threshold, k) from a small rate to 1, at thresholds that are genuine scores."""
        if self.reason:
            return []
        ks, last = np.unique(self.at_or_above, return_index=True)  # of equal k the smallest score: the largest VR
        wanted = np.unique(np.round(np.geomspace(1, max(1, ks[-1]), n - 1)).astype(np.int64))
        chosen = np.unique(np.append(0, np.searchsorted(ks, wanted, side="right") - 1).clip(0))
        rows = []
        for k, index in zip(ks[chosen].tolist(), last[chosen].tolist(), strict=True):
            threshold = self.genuine[index]
            rows.append((k / self.n_impostor, self.vr_at(float(threshold)), float(threshold), k))
        return rows

    def vr_at(self, threshold: float) -> float:
        """The share of genuine pairs with score >= threshold."""
        return 1 - int(np.searchsorted(self.genuine, np.float32(threshold), side="left")) / self.n_genuine

    def far_at(self, threshold: float, stream: PairStream) -> tuple[float, int]:
        """The share and number of impostor pairs with score >= threshold, by another pass over `stream`."""
        k = sum(int(np.count_nonzero(block >= np.float32(threshold))) for block in stream.impostor_blocks())
        return k / self.n_impostor, k


def verify_pairs(stream: PairStream, fars: Sequence[float] = FARS, *, most_kept: int = MOST_KEPT) -> Verification:
    """All verification figures of `stream`: one pass over the impostor scores, two for rates of very many of them."""
    for far in fars:
        if not 0 <= far <= 1:
            raise ConfigError(f"a false-accept rate is within 0..1, not {far}")
    genuine = np.sort(stream.genuine())
    counts = {far: round(far * stream.n_impostor) for far in fars}
    ranks = _ranks(counts.values(), stream.n_impostor)
    keeps = not ranks or max(ranks) <= most_kept
    largest, counter = Largest(max(ranks, default=0) if keeps else 1), RankCounter()
    tally = Tally(genuine)
    for block in stream.impostor_blocks():
        largest.add(block)
        if not keeps:
            counter.add(block)
        tally.add(block)
    values = largest.values()
    top = float(values[0]) if len(values) else -math.inf
    if not ranks:
        at: dict[int, float] = {}
    elif keeps:
        at = {rank: float(values[rank - 1]) for rank in ranks}
    else:
        at = counter.values_at(ranks, stream.impostor_blocks())
    points = []
    if len(genuine) and stream.n_impostor:
        points = [_point(far, k, genuine, stream.n_impostor, at, top) for far, k in counts.items()]
    counted = tally.counted()
    if counted.n != stream.n_impostor:
        raise AssertionError(f"{counted.n} scores of {stream.n_impostor} impostor pairs")
    return Verification(
        genuine,
        counted.n,
        counted.at_or_above,
        counted.above,
        counted.mean,
        counted.variance,
        top,
        points,
        counted.edges,
        counted.histogram,
    )


def _ranks(counts: Any, n: int) -> list[int]:
    """The ranks whose scores are needed: each k, and those of its interval where k is small; 1 is always there."""
    from scipy.stats import poisson

    ranks = {1} if n else set()
    for k in counts:
        if k:
            ranks.add(k)
        if 0 < k < FEW:
            ranks |= {max(1, int(poisson.ppf(0.025, k))), min(n, int(poisson.ppf(0.975, k)))}
    return sorted(ranks)


def _point(far: float, k: int, genuine: Floats, n: int, at: dict[int, float], top: float) -> OperatingPoint:
    """The operating point of the k-th largest impostor score (sec. 5, BLUFR)."""
    if k == 0:
        threshold = _above_all(genuine, top)
    else:
        threshold = at[k]
        if k == n:
            threshold = min(threshold, float(genuine[0]))
    accepted = len(genuine) - int(np.searchsorted(genuine, np.float32(threshold), side="left"))
    low, high = wilson(accepted, len(genuine))
    interval: tuple[float | None, float | None] = (None, None)
    if 0 < k < FEW:
        from scipy.stats import poisson

        interval = (
            at[min(n, int(poisson.ppf(0.975, k)))],
            at[max(1, int(poisson.ppf(0.025, k)))],
        )
    return OperatingPoint(far, k, threshold, k / n, accepted / len(genuine), low, high, *interval)


def _above_all(genuine: Floats, top: float) -> float:
    """A threshold that no impostor reaches: halfway to the next genuine score, or just above the largest impostor."""
    higher = genuine[genuine > np.float32(top)]
    threshold = np.float32((top + float(higher[0])) / 2 if len(higher) else top + 1e-8)
    return float(threshold if threshold > np.float32(top) else np.nextafter(np.float32(top), np.float32(np.inf)))
