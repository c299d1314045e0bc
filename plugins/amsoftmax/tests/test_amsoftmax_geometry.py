"""Angles and figures of embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from quire.errors import DataError
from quire_amsoftmax.geometry import draw_geometry, measure_geometry


def circle(degrees: list[float]) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.linspace(1, 9, len(degrees))[:, None]


def test_angles() -> None:
    found = measure_geometry(circle([-10, 10, 80, 100, 190, 170]), ["a", "a", "b", "b", "c", "c"])
    assert found.labels == ("a", "b", "c")
    np.testing.assert_allclose(found.within, [10, 10, 10], atol=1e-6)
    np.testing.assert_allclose(found.nearest, [90, 90, 90], atol=1e-6)
    uneven = measure_geometry(circle([0, 60, 90]), ["a", "b", "b"])
    assert uneven.mean_within == pytest.approx((0 + 15 + 15) / 3)
    assert uneven.mean_nearest == pytest.approx(75)


@pytest.mark.parametrize("dim", [2, 3])
def test_figures(dim: int) -> None:
    rng = np.random.default_rng(0)
    labels = [str(number % 4) for number in range(200)]
    figure = draw_geometry([("one", rng.normal(size=(200, dim)), labels), ("two", rng.normal(size=(200, dim)), labels)])
    assert [axes.get_title().splitlines()[0] for axes in figure.axes] == ["one", "two"]
    figure.canvas.draw()
    assert "within" in figure.axes[0].get_title()


def test_what_can_not_be_measured_or_drawn() -> None:
    with pytest.raises(DataError, match="1 class has no angle"):
        measure_geometry(np.ones((3, 2)), ["a", "a", "a"])
    with pytest.raises(DataError, match="4 numbers can't be drawn"):
        draw_geometry([("x", np.ones((3, 4)), ["a", "b", "a"])])
