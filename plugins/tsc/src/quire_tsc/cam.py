"""Class activation maps: which time steps speak for a class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from quire.errors import ConfigError, Where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

    from quire_tsc.networks import PooledNetwork

Scale = Literal["series", "shared"]
POINTS = 2000


def class_activation_map(
    network: PooledNetwork, x: Tensor, mask: Tensor | None = None, classes: Tensor | None = None
) -> Tensor:
    """CAM_c(t) = sum_m w_m^c A_m(t) in evaluation mode (Ismail Fawaz et al., 2019), float32 [n, classes, length].

    A_m is the last activation, w^c the head's weights of class c. The mean of a map over the series' time steps plus
    the head's bias is the logit. With classes int64 [n], one map per series: [n, 1, length]. 0 outside the mask.
    """
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            features = network.features(x, mask)
            if classes is None:
                return torch.einsum("km,nmt->nkt", network.head.weight, features)
            return torch.einsum("nm,nmt->nt", network.head.weight[classes], features).unsqueeze(1)
    finally:
        network.train(training)


def choose_classes(choice: Literal["predicted", "true"] | int, logits: Tensor, target: Tensor | None = None) -> Tensor:
    """Class whose map is shown for each series, int64 [n]: the predicted one, the true one, or one given for all.

    logits [n, classes]; target int64 [n], for "true". Raises ConfigError for "true" without targets and for a class
    that does not exist.
    """
    if choice == "predicted":
        return logits.argmax(dim=1)
    if choice == "true":
        if target is None:
            raise ConfigError(
                "the map of the true class needs labelled series, and these have no labels",
                where=Where(field="classes"),
                remedy='Ask for the class "predicted", or name one.',
            )
        return target
    if not 0 <= choice < logits.shape[1]:
        raise ConfigError(
            f"there is no class {choice}; the classes are 0 to {logits.shape[1] - 1}", where=Where(field="classes")
        )
    return torch.full((len(logits),), choice, device=logits.device)


def scale_maps(maps: Sequence[NDArray[np.floating]], scale: Scale = "series") -> list[NDArray[np.float64]]:
    """Maps, each [length], on 0..100: (cam - min) / (max - min) * 100, as the paper's figures show them.

    "series": each map by its own range; "shared": all by one range. A constant range becomes 0.
    """
    if scale == "shared":
        lows, highs = [min(map(np.min, maps))] * len(maps), [max(map(np.max, maps))] * len(maps)
    else:
        lows, highs = [np.min(one) for one in maps], [np.max(one) for one in maps]
    return [
        np.asarray(100.0 * (one - low) / ((high - low) or 1.0), dtype=np.float64)
        for one, low, high in zip(maps, lows, highs, strict=True)
    ]


def plot_class_activation_maps(
    series: Sequence[NDArray[np.floating]],
    maps: Sequence[NDArray[np.floating]],
    *,
    titles: Sequence[str] | None = None,
    scale: Scale = "series",
    overlay: bool = False,
    colour_map: str = "cividis",
) -> Figure:
    """Series drawn as lines coloured by their maps.

    series: each [channels, length]; maps: each [length], the same length as its series (cut padding off before).
    overlay: all series in one plot, as in the paper, else one plot each, with `titles`. The default colour map reads
    the same with every kind of colour vision; "jet" is the paper's.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    if colour_map not in colormaps:
        raise ConfigError(f"matplotlib has no colour map {colour_map!r}", where=Where(field="colour_map"))
    rows = 1 if overlay else len(series)
    figure = Figure(figsize=(8.0, 1.0 + 2.0 * rows), layout="constrained")
    axes: list[Axes] = list(figure.subplots(rows, 1, squeeze=False)[:, 0])
    for index, (values, heat) in enumerate(zip(series, scale_maps(maps, scale), strict=True)):
        plot = axes[0 if overlay else index]
        for channel in values:
            line = plot.add_collection(_coloured_line(channel, heat, colour_map))
        plot.autoscale_view()
        if titles is not None and not overlay:
            plot.set_title(titles[index])
    axes[-1].set_xlabel("time step")
    figure.colorbar(line, ax=axes, label="class activation (%)")
    return figure


def _coloured_line(values: NDArray[np.floating], heat: NDArray[np.float64], colour_map: str) -> LineCollection:
    from matplotlib.collections import LineCollection

    steps = np.arange(len(values))
    fine = np.linspace(0, len(values) - 1, POINTS)
    line = np.column_stack([fine, np.interp(fine, steps, values)])
    segments = np.stack([line[:-1], line[1:]], axis=1)
    coloured = LineCollection(list(segments), cmap=colour_map, linewidths=2.0, capstyle="round")
    coloured.set_array(np.interp(fine[:-1], steps, heat))
    coloured.set_clim(0.0, 100.0)
    return coloured
