"""Models by kind and size of data: tables and figures by theme, series length, train size and number of classes."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from quire.errors import ConfigError, DataError, Where, nearest
from quire.report import Table, subplots
from quire_tsc.catalogue import catalogue
from quire_tsc.reference import TITLES, archive_name

from .ranks import rank_table
from .results import listed, require_scores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

Property = Literal["theme", "length", "n_train", "n_classes"]
Measure = Literal["rank", "share_won"]

EDGES = {"length": (81, 251, 451, 701, 1001), "n_train": (100, 400, 800), "n_classes": (3, 4, 6, 8, 13)}
"""Where the paper's groups of sizes begin."""

_TITLES = {
    "theme": "theme",
    "length": "length of series",
    "n_train": "number of training series",
    "n_classes": "number of classes",
}
_MEASURES = {"rank": "Mean rank", "share_won": "Share of data sets won (%)"}


@dataclass(frozen=True)
class GroupTable:
    """A figure for each group of data sets and each model: `values` float64 [groups x models].

    `counts`: data sets in each group; `left_out`: those whose property is not known.
    """

    by: Property
    measure: Measure
    values: pd.DataFrame
    counts: dict[str, int]
    left_out: tuple[str, ...]

    @property
    def title(self) -> str:
        """What the table shows."""
        return f"{_MEASURES[self.measure]} by {_TITLES[self.by]}"

    @property
    def note(self) -> str:
        """Which data sets are not in it."""
        if not self.left_out:
            return ""
        names = listed(self.left_out)
        return f"{len(self.left_out)} data sets are left out, as their {_TITLES[self.by]} is not known: {names}"

    def to_table(self) -> Table:
        """As a table of a report, one row per group."""
        rows = [
            [group, self.counts[group], *map(float, values)]
            for group, values in zip(self.values.index, self.values.to_numpy(), strict=True)
        ]
        return Table(self.title, [_TITLES[self.by], "data sets", *self.values.columns], rows, self.note)


def group_table(
    scores: pd.DataFrame,
    by: Property,
    *,
    measure: Measure | None = None,
    properties: Mapping[str, str | int] | None = None,
    decimals: int | None = 2,
) -> GroupTable:
    """Mean rank of each model, or the share of data sets on which no other is better (in %), by groups of data sets.

    scores [data sets x models]. By default shares by theme and ranks by size, on accuracies of two decimals with ties
    at their best rank, as in the paper's tables. `properties`: data set -> theme or size, where the catalogue of the
    UCR archive does not tell it. Raises ConfigError for an unknown `by` or `measure`; DataError where no data set's
    property is known, and for scores with gaps or double names.
    """
    for field, value, known in (("by", by, _TITLES), ("measure", measure or "rank", _MEASURES)):
        if value not in known:
            fault = f"there is no {value!r}{nearest(value, known)}"
            raise ConfigError(fault, where=Where(field=field), remedy=f"Choose one of {', '.join(known)}.")
    require_scores(scores)
    measure = measure or ("share_won" if by == "theme" else "rank")
    found = {str(name): _property(str(name), by, properties or {}) for name in scores.index}
    left_out = tuple(name for name, value in found.items() if value is None)
    if len(left_out) == len(found):
        raise DataError(
            f"the {_TITLES[by]} of no data set is known ({listed(left_out)})",
            where=Where(field="properties"),
            remedy="Tell them: properties={data set: value}.",
        )
    groups, order = _groups({name: value for name, value in found.items() if value is not None}, by)
    ranks = rank_table(scores, method="min", decimals=decimals).drop(index=list(left_out))
    figures = ranks if measure == "rank" else (ranks == 1.0) * 100.0
    grouped = figures.groupby([groups[str(name)] for name in figures.index])
    sizes = grouped.size()
    return GroupTable(by, measure, grouped.mean().loc[order], {name: int(sizes[name]) for name in order}, left_out)


def plot_groups(table: GroupTable, *, titles: Mapping[str, str] | None = None) -> Figure:
    """The table as shaded cells, one row per model (best on top) and one column per group; the best in bold."""
    ranks = table.measure == "rank"
    mean = table.values.mul(pd.Series(table.counts), axis="index").sum()
    values = table.values[mean.sort_values(ascending=ranks, kind="stable").index].T
    figure, axes = subplots(size=(1.1 + 0.85 * values.shape[1], 0.8 + 0.27 * values.shape[0]))
    colours, low, high = ("Blues_r", 1.0, float(len(values))) if ranks else ("Blues", 0.0, 100.0)
    shades = axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto")
    figures = values.to_numpy(dtype=np.float64)
    best = figures.min(axis=0) if ranks else figures.max(axis=0)
    for row, column in product(range(values.shape[0]), range(values.shape[1])):
        value = figures[row, column]
        red, green, blue, _ = shades.to_rgba([value])[0]
        axes.text(
            column,
            row,
            f"{value:.2f}" if ranks else f"{value:.0f}",
            ha="center",
            va="center",
            fontsize=8.5,
            fontweight="bold" if value == best[column] else "normal",
            color="white" if 0.3 * red + 0.59 * green + 0.11 * blue < 0.5 else "black",
        )
    axes.set_xticks(range(values.shape[1]), [f"{group}\n(n = {table.counts[group]})" for group in values.columns])
    axes.set_yticks(range(values.shape[0]), [(titles or TITLES).get(model, model) for model in values.index])
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    axes.set_title(table.title, pad=8, fontsize=10)
    return figure


def _property(name: str, by: Property, given: Mapping[str, str | int]) -> str | int | None:
    if name in given:
        return given[name]
    entry = catalogue().get(archive_name(name.removeprefix("ucr85/").removeprefix("ucr128/")))
    value: str | int | None = getattr(entry, by, None)
    return value


def _groups(found: Mapping[str, str | int], by: Property) -> tuple[dict[str, str], list[str]]:
    """Each data set's group, and the groups that occur, in their order."""
    if by == "theme":
        themes = {name: str(value).lower() for name, value in found.items()}
        themes = {name: "ECG" if theme == "ecg" else theme for name, theme in themes.items()}
        return themes, sorted(set(themes.values()), key=str.lower)
    edges = EDGES[by]
    names = [f"< {edges[0]}", *(f"{a}–{b - 1}" if b - a > 1 else f"{a}" for a, b in pairwise(edges))]
    names.append(f"> {edges[-1] - 1}")
    places = {name: bisect_right(edges, int(value)) for name, value in found.items()}
    return {name: names[place] for name, place in places.items()}, [
        names[place] for place in sorted(set(places.values()))
    ]
