"""How embeddings lie on the sphere: angles within and between classes, and the paper's figure of two or three dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from quire.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MOST_DRAWN = 3000  # points: more are a blot


@dataclass(frozen=True)
class Geometry:
    """Angles in degrees, one a class in the order of `labels`.

    within: mean angle of the class's embeddings to its mean direction. nearest: angle to the nearest other mean direction.
    """

    labels: tuple[str, ...]
    within: NDArray[np.float64]
    nearest: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def mean_within(self) -> float:
        """The mean over all embeddings."""
        return float(np.average(self.within, weights=self.counts))

    @property
    def mean_nearest(self) -> float:
        """The mean over the classes."""
        return float(self.nearest.mean())


def measure_geometry(embeddings: NDArray[Any], labels: Sequence[str]) -> Geometry:
    """The geometry of embeddings [n, dim], of any length, with their labels. DataError for fewer than two classes."""
    unit = _unit(np.asarray(embeddings, dtype=np.float64))
    names, numbers = np.unique(np.asarray(labels), return_inverse=True)
    if len(names) < 2:
        raise DataError(f"{len(names)} class has no angle to another")
    counts = np.bincount(numbers)
    means = np.zeros((len(names), unit.shape[1]))
    np.add.at(means, numbers, unit)
    means = _unit(means)
    own = _degrees((unit * means[numbers]).sum(axis=1))
    between = _degrees(means @ means.T)
    np.fill_diagonal(between, np.inf)
    within = np.bincount(numbers, weights=own) / counts
    return Geometry(tuple(str(name) for name in names), within, between.min(axis=1), counts.astype(np.int64))


def draw_geometry(sets: Sequence[tuple[str, NDArray[Any], Sequence[str]]]) -> Figure:
    """One panel for each (title, embeddings [n, 2 or 3], labels): 2-D on the circle and inside, 3-D on the sphere.

    2-D panels show the embeddings' directions with their angle's histogram standing on the circle; 3-D panels the unit
    sphere. DataError for other dimensions.
    """
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(4 * len(sets), 4.2), layout="constrained")
    for number, (title, embeddings, labels) in enumerate(sets, start=1):
        dim = np.shape(embeddings)[1]
        if dim not in (2, 3):
            raise DataError(f"embeddings of {dim} numbers can't be drawn, only 2 or 3")
        unit = _unit(np.asarray(embeddings, dtype=np.float64))
        names, numbers = np.unique(np.asarray(labels), return_inverse=True)
        colours = _colours(len(names))[numbers]
        found = measure_geometry(embeddings, labels)
        heading = (
            f"{title}\nwithin {found.mean_within:.1f}\N{DEGREE SIGN}, nearest {found.mean_nearest:.1f}\N{DEGREE SIGN}"
        )
        step = max(1, -(-len(unit) // MOST_DRAWN))
        if dim == 3:
            _draw_sphere(figure, len(sets), number, unit[::step], colours[::step])
        else:
            _draw_circle(figure, len(sets), number, unit, numbers, _colours(len(names)))
        figure.axes[-1].set_title(heading, fontsize=10)
    return figure


def _draw_sphere(figure: Figure, panels: int, number: int, unit: NDArray[Any], colours: NDArray[Any]) -> None:
    axes: Any = figure.add_subplot(1, panels, number, projection="3d")
    around, up = np.mgrid[0 : 2 * np.pi : 25j, 0 : np.pi : 13j]
    grid = (np.cos(around) * np.sin(up), np.sin(around) * np.sin(up), np.cos(up))
    axes.plot_wireframe(*grid, color="0.85", linewidth=0.4)
    axes.scatter(*unit.T, c=colours, s=3, linewidths=0)
    axes.set_box_aspect((1, 1, 1), zoom=1.5)
    axes.set_axis_off()


def _draw_circle(
    figure: Figure, panels: int, number: int, unit: NDArray[Any], numbers: NDArray[Any], colours: NDArray[Any]
) -> None:
    axes: Any = figure.add_subplot(1, panels, number, projection="polar")
    angles = np.arctan2(unit[:, 1], unit[:, 0])
    edges = np.linspace(-np.pi, np.pi, 181)
    for which in np.unique(numbers):
        heights, _ = np.histogram(angles[numbers == which], edges)
        top = max(1, int(heights.max()))
        axes.bar(edges[:-1], heights / top, width=np.diff(edges), bottom=1.0, align="edge", color=colours[which])
    axes.set_yticks([])
    axes.set_ylim(0, 2)


def _colours(number: int) -> NDArray[Any]:
    from matplotlib import colormaps

    return np.asarray(colormaps["tab10" if number <= 10 else "hsv"](np.arange(number) / max(10, number)))


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(norms, 1e-12)


def _degrees(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.degrees(np.arccos(np.clip(cosines, -1, 1)))
