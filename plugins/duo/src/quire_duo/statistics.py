"""Rates with their intervals, and what two targets or versions differ by on the same cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quire.evaluator import wilson
from quire.report import Score

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

FEW = 20
"""Rates of fewer cases than these are shown in grey: they say little."""


@dataclass(frozen=True)
class Rate:
    """`hits` of `n`."""

    hits: int
    n: int

    @classmethod
    def of(cls, outcomes: Iterable[bool]) -> Rate:
        """The share of outcomes that are true."""
        values = list(outcomes)
        return cls(sum(values), len(values))

    @property
    def value(self) -> float | None:
        """The rate; None of nothing."""
        return self.hits / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval."""
        return wilson(self.hits, self.n)

    def score(self, *, higher_is_better: bool | None = None, reason: str = "there is no case") -> Score:
        """The rate as a metric of a report."""
        if self.value is None:
            return Score(None, reason)
        low, high = self.interval
        return Score(self.value, low=low, high=high, higher_is_better=higher_is_better)

    def to_json(self) -> dict[str, float | int | None]:
        """Counts, rate and interval."""
        low, high = self.interval if self.n else (None, None)
        return {"hits": self.hits, "n": self.n, "rate": self.value, "low": low, "high": high}


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p of McNemar's test (1947): the discordant pairs against a fair coin.

    only_first: cases that fail for the first target alone; only_second: for the second alone. 1 without any.
    """
    from scipy.special import bdtr

    n = only_first + only_second
    return 1.0 if n == 0 else min(1.0, 2 * float(bdtr(min(only_first, only_second), n, 0.5)))


@dataclass(frozen=True)
class Difference:
    """second - first of a rate on the same cases, with a bootstrap 95 % interval, and McNemar's exact p."""

    value: float
    low: float
    high: float
    p: float
    n: int
    only_first: int
    only_second: int


def paired_difference(
    first: Sequence[bool],
    second: Sequence[bool],
    *,
    groups: Sequence[str] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """How the rate of `second` differs from that of `first`, outcome by outcome of the same cases.

    The percentile bootstrap draws cases with replacement; with `groups` (each case's seed) it draws whole groups, for
    cases of one seed are not independent. ValueError for outcomes that are not as many, or none.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if len(a) != len(b) or not len(a):
        raise ValueError(f"{len(a)} and {len(b)} outcomes are no pairs")
    gains = b.astype(np.float64) - a.astype(np.float64)
    sums, sizes = _by_group(gains, groups)
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    for draw in range(draws):
        chosen = rng.integers(0, len(sums), len(sums))
        means[draw] = sums[chosen].sum() / sizes[chosen].sum()
    low, high = np.quantile(means, [0.025, 0.975]).tolist()
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    p = mcnemar(only_first, only_second)
    return Difference(float(gains.mean()), low, high, p, len(a), only_first, only_second)


def _by_group(
    values: NDArray[np.float64], groups: Sequence[str] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The sum and the size of each group; every value is one of its own without groups."""
    if groups is None:
        return values, np.ones(len(values))
    _, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    sums = np.bincount(member, weights=values).astype(np.float64)
    return sums, np.bincount(member).astype(np.float64)


def fleiss_kappa(ratings: NDArray[np.int64]) -> float | None:
    """Fleiss' kappa (1971) of counts int64 [subjects, categories]: how many raters put a subject into a category.

    All subjects have equally many raters, at least two (ValueError). None where all ratings are of one category: then
    agreement by chance is complete, and kappa has no value.
    """
    counts = np.asarray(ratings, dtype=np.float64)
    raters = counts.sum(axis=1)
    if counts.ndim != 2 or not len(counts) or (raters != raters[0]).any() or raters[0] < 2:
        raise ValueError("every subject needs the same number of ratings, at least two")
    n = raters[0]
    observed = ((counts**2).sum(axis=1) - n).mean() / (n * (n - 1))
    chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    return None if chance == 1 else float((observed - chance) / (1 - chance))
