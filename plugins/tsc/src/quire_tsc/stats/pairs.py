"""Two models over many data sets: a scatter of their accuracies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quire.errors import ConfigError, Where, nearest
from quire.report import COLOURS, subplots
from quire_tsc.reference import TITLES

from .diagram import p_text
from .ranks import TIE
from .significance import wilcoxon_bonferroni

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

_FIRST, _SECOND, _TIED = COLOURS[0], COLOURS[1], "0.35"
_PLACES = ((-5, 0, "right", "center"), (5, 0, "left", "center"), (0, -5, "center", "top"), (0, 5, "center", "bottom"))


def plot_pair(
    scores: pd.DataFrame,
    first: str,
    second: str,
    *,
    titles: Mapping[str, str] | None = None,
    annotate: int = 3,
) -> Figure:
    """Accuracy of `first` (upwards) against `second`, a point per data set, with wins, ties, losses and Wilcoxon's p.

    scores [data sets x models]; the p value is two-sided and of this pair alone. `annotate`: how many data sets are
    named on each side: those that differ most, where there is room. Raises ConfigError for a model that the scores do
    not hold or one that is compared with itself; DataError for scores with gaps or double names.
    """
    from matplotlib.ticker import MultipleLocator

    for name, field in ((first, "first"), (second, "second")):
        if name not in scores.columns:
            fault = f"the scores have no model {name!r}{nearest(name, map(str, scores.columns))}"
            raise ConfigError(fault, where=Where(field=field))
    if first == second:
        raise ConfigError(f"{first!r} can't be compared with itself", where=Where(field="second"))
    two = scores[[first, second]]
    (pair,) = wilcoxon_bonferroni(two)
    better, worse = (pair.wins, pair.losses) if pair.first == first else (pair.losses, pair.wins)
    upper, lower = ((titles or TITLES).get(name, name) for name in (first, second))
    difference = two[first] - two[second]
    low = max(0.0, float(two.to_numpy().min()) - 0.04)
    figure, axes = subplots(size=(4.4, 4.25))
    axes.plot([low, 1.0], [low, 1.0], color="0.6", linewidth=0.8, zorder=1)
    for chosen, colour, marker in (
        (difference > TIE, _FIRST, "o"),
        (difference < -TIE, _SECOND, "s"),
        (difference.abs() <= TIE, _TIED, "D"),
    ):
        points = two[chosen]
        axes.scatter(points[second], points[first], s=18, c=colour, marker=marker, alpha=0.75, linewidths=0, zorder=2)
    axes.set(xlim=(low, 1.02), ylim=(low, 1.02), aspect="equal")
    axes.set(xlabel=f"accuracy of {lower}", ylabel=f"accuracy of {upper}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(0.1 if low > 0.15 else 0.2))
    axes.set_title(f"{len(two)} data sets, {pair.ties} equal; Wilcoxon p {p_text(pair.p_value)}", fontsize=9)
    box: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 9}
    counts = [
        axes.text(0.03, 0.97, f"{upper} better: {better}", color=_FIRST, va="top", **box),
        axes.text(0.97, 0.03, f"{lower} better: {worse}", color=_SECOND, ha="right", **box),
    ]
    farthest = pd.concat([difference.nlargest(annotate), difference.nsmallest(annotate)])
    _annotate(figure, axes, two, [str(name) for name in farthest.index[farthest.abs() > TIE]], counts)
    return figure


def _annotate(figure: Figure, axes: Axes, points: pd.DataFrame, names: Sequence[str], texts: Sequence[Text]) -> None:
    """Name these points wherever a name meets no other text, no point, no diagonal and no edge; else leave it out."""
    figure.draw_without_rendering()  # lays the axes out, so that places in pixels are final
    diagonal = np.linspace(0.0, 1.0, 200)[:, None].repeat(2, axis=1)
    drawn = axes.transData.transform(np.concatenate([points.to_numpy(dtype=np.float64)[:, ::-1], diagonal]))
    taken = [text.get_window_extent() for text in texts]
    for name in dict.fromkeys(names):
        y, x = points.loc[name].to_numpy(dtype=np.float64).tolist()
        for across, up, ha, va in _PLACES:
            text = axes.annotate(
                name,
                (x, y),
                xytext=(across, up),
                textcoords="offset points",
                ha=ha,
                va=va,
                fontsize=7,
                color="0.3",
                in_layout=False,
            )
            extent = text.get_window_extent()
            inside = axes.bbox.containsx(extent.x0) and axes.bbox.containsx(extent.x1)
            if inside and not extent.padded(2).count_contains(drawn) and not extent.count_overlaps(taken):
                taken.append(extent)
                break
            text.remove()
