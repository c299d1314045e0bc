"""A rule of fusion for series: what dynamic time warping forgives should be forgiven by any classifier of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from quire_duo import Fused, FusionRule, NotApplicable, Parameter, SeriesInterval, Slot, Unit, Witness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quire_duo import Seed, Workshop


class LocalWarp(FusionRule):
    """The toxic series runs faster here and slower there, along a smooth path that never turns back."""

    id = "DTW.local_warp"
    summary = "The toxic series runs faster here and slower there"
    slots: ClassVar[tuple[Slot, ...]] = (Slot("toxic", "series", "toxic"),)
    produces: ClassVar[frozenset[str]] = frozenset({"series"})
    guarantee: ClassVar[Any] = "carrier"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("strength", (0.1, 0.2, 0.4), "standard deviation of the logarithm of the pace", low=0.0, high=1.0),
    )

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """Of the seed's length. NotApplicable to series with missing values."""
        pattern = np.asarray(parts["toxic"][0].value, dtype=np.float64)
        if not np.isfinite(pattern).all():
            raise NotApplicable("the series has missing values")
        length = pattern.shape[1]
        times = np.arange(length)
        positions = warped_times(length, parameters["strength"], rng)
        series = np.stack([np.interp(positions, times, channel) for channel in pattern]).astype(np.float32)
        units = tuple(
            Unit(SeriesInterval(0, length, (channel,), 1.0, 0.0, residual(series[channel], pattern[channel])))
            for channel in range(len(pattern))
        )
        return Fused({"series": series}, Witness(units))


def warped_times(length: int, strength: float, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
    """For every step the time that is shown then: float64 [length], increasing from 0 to length - 1."""
    knots = np.exp(strength * rng.standard_normal(8))
    pace = np.interp(np.linspace(0, 7, max(2, length - 1)), np.arange(8), knots)
    path = np.concatenate([[0.0], np.cumsum(pace)])[:length]
    return path / path[-1] * (length - 1)


def residual(shown: np.ndarray[Any, Any], pattern: np.ndarray[Any, Any]) -> float:
    """Root-mean-square difference, relative to the pattern's standard deviation."""
    spread = float(pattern.std()) or 1.0
    return float(np.sqrt(np.mean((shown - pattern) ** 2)) / spread)
