"""Ranks of models within data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from .results import require_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

TIE = 1e-6
"""Scores that differ by no more are equal: means over runs carry rounding noise."""


def levels(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Place of each value, from 0 for the smallest; values within TIE of their neighbour share one. [n] -> [n]."""
    order = np.argsort(values, kind="stable")
    steps = np.diff(values[order]) > TIE
    places = np.empty(len(values), dtype=np.int64)
    places[order] = np.concatenate([[0], np.cumsum(steps)])
    return places


def rank_table(
    scores: pd.DataFrame, *, method: Literal["average", "min"] = "average", decimals: int | None = None
) -> pd.DataFrame:
    """Ranks of the models within each data set, float64 [data sets x models]; the highest score has rank 1.

    `method`: ties share the mean of their ranks, or the best of them. `decimals`: scores are rounded first. The paper's
    mean ranks are the column means of the defaults; its tables by theme, length and size use method="min" on accuracies
    of two decimals. Raises DataError for scores with gaps or double names.
    """
    require_scores(scores, models=1)
    values = scores.to_numpy(dtype=np.float64)
    if decimals is not None:
        # unlike numpy's, this rounding is exact: .995, stored as .99499..., is .99 as in the paper's tables
        values = np.array([[round(float(value), decimals) for value in row] for row in values])
    ranks = np.array([rankdata(-levels(row), method=method) for row in values], dtype=np.float64)
    return pd.DataFrame(ranks, index=scores.index, columns=scores.columns)


def wins(scores: pd.DataFrame) -> pd.Series[int]:
    """On how many data sets each model alone has rank 1, int [models]. Raises DataError as `rank_table` does."""
    return (rank_table(scores) == 1.0).sum()
