"""Series as carriers of a pattern: filling, resampling, comparing, and what is left of a pattern in another series.

Arrays are float64 [channels, length] unless they say otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from quire_duo.seeds import NotApplicable
from quire_duo.witness import SeriesInterval, Unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from quire_duo.seeds import Seed

    Array = NDArray[np.float64]

FLAT = 1e-9
"""A channel whose standard deviation is below this share of its largest value holds no pattern."""


def filled(series: NDArray[np.float32] | Array) -> Array:
    """Without gaps: NaN between values is interpolated, at the ends the nearest value holds.

    NotApplicable for a channel without any value.
    """
    whole = np.array(series, dtype=np.float64, ndmin=2)
    for channel in whole:
        there = ~np.isnan(channel)
        if not there.any():
            raise NotApplicable("a channel of the series holds no value")
        if not there.all():
            channel[~there] = np.interp(np.flatnonzero(~there), np.flatnonzero(there), channel[there])
    return whole


def pattern_of(seed: Seed) -> Array:
    """A seed's series, filled. NotApplicable for one that is constant or shorter than two steps."""
    pattern = filled(seed.value)
    if pattern.shape[1] < 2 or not varying(pattern).any():
        raise NotApplicable(f"the series {seed.id} is constant: it holds no pattern")
    return pattern


def host_of(seed: Seed, pattern: Array) -> Array:
    """A seed's series, filled. NotApplicable for another number of channels than the pattern's."""
    host = filled(seed.value)
    if len(host) != len(pattern):
        raise NotApplicable(f"the series {seed.id} has {len(host)} channels, the pattern {len(pattern)}")
    return host


def varying(series: Array) -> NDArray[np.bool_]:
    """[channels]: which are not constant."""
    return np.asarray(series.std(axis=1) > FLAT * np.maximum(1.0, np.abs(series).max(axis=1)))


def stretched(series: Array, length: int) -> Array:
    """Resampled to `length` steps: linearly, first and last step staying what they are."""
    if length == series.shape[1]:
        return series
    places = np.linspace(0, series.shape[1] - 1, length)
    steps = np.arange(series.shape[1])
    return np.stack([np.interp(places, steps, channel) for channel in series])


def most_unlike(pattern: Array, host: Array, length: int) -> int:
    """The first step of the window of `length` in which two series of one length, each z-normalised, differ most."""
    difference = np.square(_normalised(pattern) - _normalised(host)).sum(axis=0)
    sums = np.concatenate([[0.0], difference.cumsum()])
    return int(np.argmax(sums[length:] - sums[:-length]))


def interval(
    start: int, end: int, stretched_to: int | None = None, source: tuple[int, int] | None = None
) -> SeriesInterval:
    """Steps [start, end) without channels, gain and offset, which `units_of` fills in."""
    return SeriesInterval(start, end, (), 1.0, 0.0, 0.0, stretched_to, source)


def units_of(
    seed: Array, series: NDArray[np.float32], template: SeriesInterval, gain: float = 1.0, offsets: Array | None = None
) -> tuple[Unit, ...]:
    """The units of a seed that stands in `series` at `template`: one per channel that varies, its residual measured.

    offsets: [channels], none by default. NotApplicable where no channel varies.
    """
    piece = piece_of(seed, template)
    offsets = np.zeros(len(piece)) if offsets is None else offsets
    units = []
    for channel in np.flatnonzero(varying(piece)):
        place = replace(template, channels=(int(channel),), gain=gain, offset=float(offsets[channel]))
        units.append(Unit(replace(place, residual=residual_of(seed, series, place))))
    if not units:
        raise NotApplicable("the part of the series that would be used is constant")
    return tuple(units)


def piece_of(seed: Array, place: SeriesInterval) -> Array:
    """What of the seed stands at `place`, before gain and offset: [channels, end - start]."""
    whole = seed if place.stretched is None else stretched(seed, place.stretched)
    first, last = place.source or (0, whole.shape[1])
    return whole[:, first:last]


def residual_of(seed: Array, series: NDArray[np.float32], place: SeriesInterval) -> float:
    """The residual of `place`, measured in `series`: the worst of its channels. Infinite where a value is missing."""
    piece = piece_of(seed, place)
    worst = 0.0
    for channel in place.channels:
        expected = place.gain * piece[channel] + place.offset
        found = series[channel, place.start : place.end].astype(np.float64)
        strength = abs(place.gain) * float(piece[channel].std())
        if found.shape != expected.shape or strength == 0 or np.isnan(found).any():
            return float("inf")
        worst = max(worst, float(np.sqrt(np.mean(np.square(found - expected)))) / strength)
    return worst


def strength_of(seed: Array, series: NDArray[np.float32], place: SeriesInterval) -> float:
    """How much of the pattern is found at `place` by least squares: 1 for all of it, 0 for none; the least of its
    channels. 0 where a value is missing.
    """
    piece = piece_of(seed, place)
    least = float("inf")
    for channel in place.channels:
        shape = place.gain * (piece[channel] - piece[channel].mean())
        found = series[channel, place.start : place.end].astype(np.float64)
        power = float(shape @ shape)
        if found.shape != shape.shape or power == 0 or np.isnan(found).any():
            return 0.0
        least = min(least, float(shape @ found) / power)
    return least


def _normalised(series: Array) -> Array:
    spread = series.std(axis=1, keepdims=True)
    centred = series - series.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.where(spread > 0, spread, 1.0))
