"""The critical-difference diagram: mean ranks on a line, and bars that join models that do not differ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

from quire.report import COLOURS, subplots
from quire_tsc.reference import TITLES

from .significance import Significance, Test, significance

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TEST_NAMES = {
    "holm": "Wilcoxon signed-rank test, Holm's correction",
    "bonferroni": "Wilcoxon signed-rank test, Bonferroni's correction",
    "nemenyi": "Nemenyi's test",
}
_BAR = COLOURS[0]
_JOINING: dict[str, Any] = {"linewidth": 2.6, "solid_capstyle": "butt"}
_PASSING: dict[str, Any] = {"linewidth": 1.1, "linestyle": (0, (2, 1.6))}
_DOTS: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 5.2,
    "markeredgecolor": "white",
    "markeredgewidth": 0.5,
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class _Layout:
    """Where things stand, in inches; y grows downwards from the axis of ranks, 1 to `last`, at 0."""

    width: float
    margin: float
    best: Literal["right", "left"]
    last: int

    bar_gap = 0.16
    row = 0.21
    tick = 0.07

    def x(self, rank: float) -> float:
        share = (rank - 1) / (self.last - 1)
        if self.best == "right":
            share = 1.0 - share
        return self.margin + share * (self.width - 2 * self.margin)


def plot_critical_difference(
    scores: pd.DataFrame,
    *,
    test: Test = "holm",
    alpha: float = 0.05,
    best: Literal["right", "left"] = "right",
    titles: Mapping[str, str] | None = None,
    width: float = 7.0,
    caption: bool = True,
) -> Figure:
    """Mean ranks of the models, and a bar for each maximal set of models of which no two differ significantly.

    scores [data sets x models], best rank at the right as in the paper; `width` in inches. A dot on a bar marks each of
    its members; where the bar passes a model that does not belong to it, it is dashed. Where Friedman's test does not
    reject, one bar joins all models and the caption says so. `titles`: what to call a model; `caption`: whether to say
    below what is shown. Raises as `significance` does.
    """
    found = significance(scores, test=test, alpha=alpha)
    names = {model: (titles or TITLES).get(model, model) for model in found.mean_ranks}
    margin = 0.55 + 0.075 * max(len(f"{name}  8.88") for name in names.values())
    layout = _Layout(width, margin, best, max(2, len(names)))
    rows = _rows(found)
    first_row = 0.12 + layout.bar_gap * (max(rows, default=-1) + 1)
    text = fill(_caption(found), width=round(width * 17)) if caption else ""
    top = 0.75 if found.critical_difference is not None else 0.42
    bottom = first_row + layout.row * (math.ceil(len(names) / 2) + 0.3)
    height = top + bottom + (0.15 * (text.count("\n") + 2) if caption else 0.0)
    figure, axes = subplots(size=(width, height))
    figure.set_layout_engine("none")
    axes.set_position((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0.0, width), ylim=(height - top, -top))
    axes.set_axis_off()
    _draw_axis(axes, layout)
    _draw_models(axes, layout, found, names, first_row)
    _draw_bars(axes, layout, found, rows)
    if found.critical_difference is not None:
        _draw_ruler(axes, layout, found.critical_difference)
    axes.text(width / 2, bottom, text, ha="center", va="top", fontsize=7.5, color="0.35", linespacing=1.3)
    return figure


def _rows(found: Significance) -> list[int]:
    """For each bar the row, from 0, in which it overlaps no other."""
    rows: list[int] = []
    for bar in found.bars:
        ends = [found.mean_ranks[model] for model in bar]
        taken = {
            row
            for row, other in zip(rows, found.bars, strict=False)
            if min(ends) <= max(found.mean_ranks[model] for model in other) + 0.1
            and max(ends) >= min(found.mean_ranks[model] for model in other) - 0.1
        }
        rows.append(next(row for row in range(len(rows) + 1) if row not in taken))
    return rows


def _draw_axis(axes: Axes, layout: _Layout) -> None:
    axes.plot([layout.x(1), layout.x(layout.last)], [0, 0], color="black", linewidth=1.0)
    for half in range(2, 2 * layout.last + 1):
        whole = half % 2 == 0
        axes.plot([layout.x(half / 2)] * 2, [0, -layout.tick * (1.0 if whole else 0.55)], color="black", linewidth=1.0)
        if whole:
            axes.text(layout.x(half / 2), -layout.tick - 0.04, str(half // 2), ha="center", va="bottom", fontsize=9)


def _draw_models(axes: Axes, layout: _Layout, found: Significance, names: Mapping[str, str], first_row: float) -> None:
    """A stem from each model's rank to its name: the better half at the best side, the outermost on top."""
    models = list(found.mean_ranks)
    half = len(models) // 2
    digits = max(len(f"{rank:.2f}") for rank in found.mean_ranks.values())
    for index, model in enumerate(models):
        better = index < half
        y = first_row + layout.row * ((index if better else len(models) - 1 - index) + 0.5)
        right = better == (layout.best == "right")
        x, rank = layout.x(found.mean_ranks[model]), f"{found.mean_ranks[model]:.2f}"
        side = 1 if right else -1
        edge = layout.x(1 if right == (layout.best == "right") else layout.last) + side * 0.12
        axes.plot([x, x, edge], [0, y, y], color="0.25", linewidth=0.9, solid_joinstyle="miter", zorder=2)
        place: dict[str, Any] = {"va": "center_baseline", "ha": "left" if right else "right"}
        axes.text(edge + side * 0.06, y, rank, fontsize=8, color="0.45", **place)
        axes.text(edge + side * (0.12 + 0.07 * digits), y, names[model], fontsize=9.5, **place)


def _draw_bars(axes: Axes, layout: _Layout, found: Significance, rows: list[int]) -> None:
    for bar, row in zip(found.bars, rows, strict=True):
        y = 0.14 + layout.bar_gap * row
        for one, other in pairwise(bar):
            ends = [layout.x(found.mean_ranks[model]) for model in (one, other)]
            style = _PASSING if _passed(found, one, other) else _JOINING
            axes.plot(ends, [y, y], color=_BAR, zorder=3, **style)
        members = [layout.x(found.mean_ranks[model]) for model in bar]
        axes.plot(members, [y] * len(members), color=_BAR, zorder=4, **_DOTS)


def _passed(found: Significance, one: str, other: str) -> list[str]:
    """The models that rank between two neighbouring members of a bar, and so are no members."""
    models = list(found.mean_ranks)
    return models[models.index(one) + 1 : models.index(other)]


def _draw_ruler(axes: Axes, layout: _Layout, length: float) -> None:
    """The critical difference as a length, above the best end of the axis."""
    ends = [layout.x(1), layout.x(min(1 + length, layout.last))]
    axes.plot(ends, [-0.46, -0.46], color="black", linewidth=1.0, marker="|", markersize=6)
    axes.text(sum(ends) / 2, -0.52, f"CD = {length:.2f}", ha="center", va="bottom", fontsize=8)


def _caption(found: Significance) -> str:
    if not found.pairs:
        return found.message
    test = f"({_TEST_NAMES[found.test]}, α\u00a0=\u00a0{found.alpha:g})"
    said = [f"Mean ranks over {found.n_datasets} data sets."]
    if found.bars:
        said.append(f"Bars join models that do not differ significantly {test}, each marked by a dot.")
    else:
        said.append(f"All pairs of models differ significantly {test}.")
    if any(_passed(found, *two) for bar in found.bars for two in pairwise(bar)):
        said.append("A bar is dashed where it passes a model that does not belong to it.")
    if found.friedman is not None:
        freedom = f"χ²({found.friedman.n_models - 1})"
        said.append(
            f"Friedman {freedom}\u00a0=\u00a0{found.friedman.statistic:.2f}, p\u00a0{p_text(found.friedman.p_value)}."
        )
    return " ".join(said)


def p_text(p: float) -> str:
    """A p value with its relation, as in "= 0.031" or "= 2.5×10⁻⁵"."""
    if p == 0.0:
        return "<\u00a010⁻³⁰⁰"
    if p >= 0.001:
        return f"=\u00a0{p:.2g}"
    mantissa, exponent = f"{p:.1e}".split("e")
    return f"=\u00a0{mantissa}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
