"""Which models differ: Friedman's test over all, a test for every pair, and the sets of models that do not differ."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.stats import friedmanchisquare, norm, rankdata, studentized_range, wilcoxon

from quire.errors import ConfigError, Where

from .ranks import TIE, levels, rank_table
from .results import require_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pandas as pd

Floats = np.ndarray[Any, np.dtype[np.float64]]
Test = Literal["holm", "bonferroni", "nemenyi"]

EXACT = 50
"""Up to so many data sets Wilcoxon's p values are exact; beyond, by the normal approximation."""


@dataclass(frozen=True)
class Friedman:
    """Friedman's chi-square (corrected for ties) of the hypothesis that all models rank alike."""

    statistic: float
    p_value: float
    n_models: int
    n_datasets: int


@dataclass(frozen=True)
class Pair:
    """Two models held against each other; `first` has the better mean rank.

    `wins`, `ties`, `losses`: data sets on which the first is better, equal (to 1e-6), worse. `critical`: the p value
    that had to be met; `adjusted`: the p value that, held against alpha, gives the same decision.
    """

    first: str
    second: str
    wins: int
    ties: int
    losses: int
    p_value: float
    critical: float
    adjusted: float
    significant: bool


@dataclass(frozen=True)
class Significance:
    """All that a critical-difference diagram shows.

    `mean_ranks`: best first; `friedman` is None for two models. `pairs` by rising p value; empty where Friedman's test
    does not reject. `bars`: the maximal sets of models of which no two differ, best first; a set may jump over a model
    whose mean rank lies between. `critical_difference`: of mean ranks, for Nemenyi's test only.
    """

    mean_ranks: dict[str, float]
    n_datasets: int
    friedman: Friedman | None
    test: Test
    alpha: float
    pairs: tuple[Pair, ...]
    bars: tuple[tuple[str, ...], ...]
    critical_difference: float | None
    message: str

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


def friedman_test(scores: pd.DataFrame) -> Friedman:
    """Friedman's test of scores [data sets x models], three models or more; equal to 1e-6 is tied.

    Where all models tie everywhere the statistic is 0 and p is 1. Raises DataError for fewer models, gaps or double
    names.
    """
    require_scores(scores, models=3)
    places = np.array([levels(row) for row in scores.to_numpy(dtype=np.float64)])
    if not places.any():
        return Friedman(0.0, 1.0, scores.shape[1], len(scores))
    result = friedmanchisquare(*places.T)
    return Friedman(float(result.statistic), float(result.pvalue), scores.shape[1], len(scores))


def wilcoxon_holm(scores: pd.DataFrame, *, alpha: float = 0.05) -> tuple[Pair, ...]:
    """Two-sided Wilcoxon signed-rank test (Pratt's zeros) of every pair, Holm's step-down over all m pairs.

    p values are exact up to 50 data sets, ties and zeros included, and by the normal approximation beyond. Sorted by p:
    p_(i) is significant while p_(i) <= alpha / (m - i), i from 0, up to the first that is not. Raises
    DataError for scores with gaps, double names or one model; ConfigError for an alpha outside (0, 1).
    """
    pairs = _wilcoxon_pairs(scores, alpha)
    decided: list[Pair] = []
    rejecting, adjusted = True, 0.0
    for index, (first, second, counts, p) in enumerate(pairs):
        critical = alpha / (len(pairs) - index)
        rejecting = rejecting and p <= critical
        adjusted = max(adjusted, min(1.0, p * (len(pairs) - index)))
        decided.append(Pair(first, second, *counts, p, critical, adjusted, rejecting))
    return tuple(decided)


def wilcoxon_bonferroni(scores: pd.DataFrame, *, alpha: float = 0.05) -> tuple[Pair, ...]:
    """As `wilcoxon_holm`, with the one critical value alpha / m for all m pairs."""
    pairs = _wilcoxon_pairs(scores, alpha)
    critical = alpha / len(pairs)
    return tuple(
        Pair(first, second, *counts, p, critical, min(1.0, p * len(pairs)), p <= critical)
        for first, second, counts, p in pairs
    )


def nemenyi(scores: pd.DataFrame, *, alpha: float = 0.05) -> tuple[Pair, ...]:
    """Nemenyi's test: two models differ when their mean ranks differ by at least the critical difference.

    The p values hold for all pairs together (studentised range; Demsar, 2006, section 3.2.2). Raises as
    `wilcoxon_holm` does.
    """
    require_scores(scores)
    _require_alpha(alpha)
    k, n = scores.shape[1], len(scores)
    ranks = _ordered_ranks(scores)
    scale = np.sqrt(k * (k + 1) / (6.0 * n)) / np.sqrt(2.0)
    pairs = []
    for first, second in combinations(ranks, 2):
        p = float(studentized_range.sf((ranks[second] - ranks[first]) / scale, k, np.inf))
        pairs.append(Pair(first, second, *_counts(scores, first, second), p, alpha, p, p <= alpha))
    return tuple(sorted(pairs, key=lambda pair: (pair.p_value, pair.first, pair.second)))


def critical_difference(
    n_models: int, n_datasets: int, *, alpha: float = 0.05, test: Literal["nemenyi", "bonferroni"] = "nemenyi"
) -> float:
    """Least difference of mean ranks that is significant (Demsar, 2006): q_alpha sqrt(k (k + 1) / 6 N).

    "nemenyi": between any two of the k models; "bonferroni": between one of them, the control, and any other
    (Bonferroni-Dunn). Raises ConfigError for fewer than two models, no data set, or an alpha outside (0, 1).
    """
    _require_alpha(alpha)
    if n_models < 2 or n_datasets < 1:
        raise ConfigError("a critical difference needs two models or more and a data set or more")
    if test == "nemenyi":
        q = float(studentized_range.ppf(1 - alpha, n_models, np.inf)) / np.sqrt(2.0)
    else:
        q = float(norm.isf(alpha / (2 * (n_models - 1))))
    return float(q * np.sqrt(n_models * (n_models + 1) / (6.0 * n_datasets)))


def cliques(models: Sequence[str], pairs: Iterable[Pair]) -> tuple[tuple[str, ...], ...]:
    """The maximal sets of two or more models of which no two differ significantly.

    Members, and sets by their members, come in the order of `models`. As tests of pairs need not follow the ranks, a
    set may jump over a model.
    """
    alike: dict[str, set[str]] = {model: set() for model in models}
    for pair in pairs:
        if not pair.significant:
            alike[pair.first].add(pair.second)
            alike[pair.second].add(pair.first)

    def grow(members: set[str], candidates: set[str], done: set[str]) -> list[set[str]]:  # Bron and Kerbosch (1973)
        if not candidates and not done:
            return [members]
        found = []
        for model in sorted(candidates):
            found += grow(members | {model}, candidates & alike[model], done & alike[model])
            candidates, done = candidates - {model}, done | {model}
        return found

    place = {model: index for index, model in enumerate(models)}
    sets = [sorted(members, key=place.__getitem__) for members in grow(set(), set(models), set()) if len(members) > 1]
    return tuple(tuple(members) for members in sorted(sets, key=lambda members: [place[model] for model in members]))


def significance(scores: pd.DataFrame, *, test: Test = "holm", alpha: float = 0.05) -> Significance:
    """Friedman's test and, where it rejects, a test of every pair of models and the sets that do not differ.

    scores [data sets x models]. Where Friedman's test does not reject, no pair is tested and one bar joins all models.
    Raises ConfigError for an unknown test or an alpha outside (0, 1); DataError for scores with gaps, double names or
    one model.
    """
    tests: dict[str, Callable[..., tuple[Pair, ...]]] = {
        "holm": wilcoxon_holm,
        "bonferroni": wilcoxon_bonferroni,
        "nemenyi": nemenyi,
    }
    if test not in tests:
        raise ConfigError(
            f"there is no test {test!r}", where=Where(field="test"), remedy=f"Choose one of {', '.join(tests)}."
        )
    require_scores(scores)
    _require_alpha(alpha)
    ranks = _ordered_ranks(scores)
    friedman = friedman_test(scores) if len(ranks) > 2 else None
    rejected = friedman is None or friedman.p_value < alpha
    pairs = tests[test](scores, alpha=alpha) if rejected else ()
    return Significance(
        mean_ranks=ranks,
        n_datasets=len(scores),
        friedman=friedman,
        test=test,
        alpha=alpha,
        pairs=pairs,
        bars=cliques(list(ranks), pairs) if rejected else (tuple(ranks),),
        critical_difference=critical_difference(*reversed(scores.shape), alpha=alpha) if test == "nemenyi" else None,
        message=_message(friedman, pairs, alpha),
    )


def _message(friedman: Friedman | None, pairs: tuple[Pair, ...], alpha: float) -> str:
    if friedman is not None and not friedman.p_value < alpha:
        return (
            f"Friedman's test does not reject that all models rank alike (p = {friedman.p_value:.3g}, alpha = {alpha:g}): "
            "no pair is tested, and one bar joins all models."
        )
    alike = sum(not pair.significant for pair in pairs)
    return f"{alike} of {len(pairs)} pairs of models do not differ significantly at alpha = {alpha:g}."


def _wilcoxon_pairs(scores: pd.DataFrame, alpha: float) -> list[tuple[str, str, tuple[int, int, int], float]]:
    require_scores(scores)
    _require_alpha(alpha)
    pairs = [
        (first, second, _counts(scores, first, second), _wilcoxon_p(_differences(scores, first, second)))
        for first, second in combinations(_ordered_ranks(scores), 2)
    ]
    return sorted(pairs, key=lambda pair: (pair[3], pair[0], pair[1]))


def _wilcoxon_p(differences: Floats) -> float:
    # The test uses ranks alone: places stand for sizes, so that rounding noise breaks no tie.
    places = levels(np.concatenate([[0.0], np.abs(differences)]))[1:]
    if not places.any():
        return 1.0
    if len(places) > EXACT:
        return float(wilcoxon(np.sign(differences) * places, zero_method="pratt").pvalue)
    ranks = rankdata(places)[places > 0]  # Pratt: zeros are ranked, and then left out
    return _signed_rank_p(ranks, float(ranks[differences[places > 0] > 0].sum()))


def _signed_rank_p(ranks: Floats, positive: float) -> float:
    """Two-sided p value of this sum of the positive ranks, when all signs are equally likely."""
    # scipy has no exact distribution for tied ranks; all are multiples of 1/2, so sums of doubled ranks are counted
    doubled = np.rint(2 * ranks).astype(np.int64)
    ways = np.ones(1)
    for rank in doubled:
        ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
    at = round(2 * positive)
    tail = min(ways[: at + 1].sum(), ways[at:].sum())
    return float(min(1.0, 2.0 * tail / ways.sum()))


def _differences(scores: pd.DataFrame, first: str, second: str) -> Floats:
    # in an order of its own, since the asymptotic p value's last digits depend on the order of summation
    return np.sort((scores[first] - scores[second]).to_numpy(dtype=np.float64))


def _counts(scores: pd.DataFrame, first: str, second: str) -> tuple[int, int, int]:
    differences = _differences(scores, first, second)
    better, worse = int((differences > TIE).sum()), int((differences < -TIE).sum())
    return better, len(differences) - better - worse, worse


def _ordered_ranks(scores: pd.DataFrame) -> dict[str, float]:
    ranks = rank_table(scores).mean()
    return dict(
        sorted(((str(model), float(rank)) for model, rank in ranks.items()), key=lambda item: (item[1], item[0]))
    )


def _require_alpha(alpha: float) -> None:
    if not 0.0 < alpha < 1.0:
        raise ConfigError(
            f"the level of significance {alpha:g} is not between 0 and 1",
            where=Where(field="alpha"),
            remedy="0.05 is usual.",
        )
