"""Classifiers held against each other over many data sets: ranks, tests, diagrams, published figures.

`read_results` reads a table of results, `align` makes of it the scores [data sets x models] that all others take.
"""

from __future__ import annotations

from .compare import Comparison, compare
from .diagram import plot_critical_difference
from .groups import GroupTable, group_table, plot_groups
from .pairs import plot_pair
from .ranks import rank_table, wins
from .results import align, read_results, summarise
from .significance import (
    Friedman,
    Pair,
    Significance,
    cliques,
    critical_difference,
    friedman_test,
    nemenyi,
    significance,
    wilcoxon_bonferroni,
    wilcoxon_holm,
)

__all__ = [
    "Comparison",
    "Friedman",
    "GroupTable",
    "Pair",
    "Significance",
    "align",
    "cliques",
    "compare",
    "critical_difference",
    "friedman_test",
    "group_table",
    "nemenyi",
    "plot_critical_difference",
    "plot_groups",
    "plot_pair",
    "rank_table",
    "read_results",
    "significance",
    "summarise",
    "wilcoxon_bonferroni",
    "wilcoxon_holm",
    "wins",
]
