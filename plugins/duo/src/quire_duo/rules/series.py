"""S.*: the pattern of one class in time series of another.

The generality of semantic fusion: for a classifier of series, the "toxic" seed is one of the class that must not be
missed, and the benign one of any other class. Outputs have the host's length unless a parameter says otherwise, as most
classifiers of series know one length only; missing values (NaN) are interpolated wherever a rule computes with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from quire_duo.patterns import host_of, interval, most_unlike, pattern_of, stretched, units_of, varying
from quire_duo.rule import Fused, FusionRule, Guarantee, Parameter, Slot
from quire_duo.seeds import NotApplicable
from quire_duo.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from quire_duo.seeds import Seed
    from quire_duo.witness import Unit
    from quire_duo.workshop import Workshop

    Array = NDArray[np.float64]

TOXIC = Slot("toxic", "series", "toxic")
HOST = Slot("host", "series", "benign")
FADE = Parameter(
    "fade", (0.05, 0.0), "share of the host's length over which each joint is cross-faded", low=0, high=0.5
)


class SeriesRule(FusionRule):
    """A rule of series to series."""

    slots: ClassVar[tuple[Slot, ...]] = (TOXIC, HOST)
    produces: ClassVar[frozenset[str]] = frozenset({"series"})
    guarantee: ClassVar[Guarantee] = "carrier"


class Embed(SeriesRule):
    """The whole toxic series as an event in a harmless one."""

    id = "S.embed"
    summary = "The whole toxic series, shortened, replaces a stretch of a benign one"
    parameters = (
        Parameter("share", (0.75, 0.5, 0.25), "of the host's length that the pattern takes", low=0.01, high=1.0),
        Parameter("gain", (1.0, 0.7, 0.5), "of the pattern about its mean", low=0.01, high=10.0),
        FADE,
        Parameter("resample", (True,), "to the share; false leaves the pattern's own length", free=True),
    )

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """At a random place. Where the host's values are missing outside that place, they stay so."""
        pattern = pattern_of(parts["toxic"][0])
        host = host_of(parts["host"][0], pattern)
        length = host.shape[1]
        steps = round(parameters["share"] * length) if parameters["resample"] else pattern.shape[1]
        _require_steps(steps, length)
        start = int(rng.integers(length - steps + 1))
        gain, means = parameters["gain"], pattern.mean(axis=1)
        piece = gain * stretched(pattern, steps) + (1 - gain) * means[:, None]
        around = np.pad(piece, ((0, 0), (start, length - start - steps)), mode="edge")
        series = _spliced(host, around, (start, start + steps), parameters["fade"])
        series = _with_gaps(series, parts["host"][0], (start, start + steps))
        place = interval(start, start + steps, steps if steps != pattern.shape[1] else None)
        return _fused(series, units_of(pattern, series, place, gain, (1 - gain) * means))


class Splice(SeriesRule):
    """The telling part of a toxic series in place of what a harmless one has at that time."""

    id = "S.splice"
    summary = "The part of a toxic series that is most unlike a benign one replaces it there, the joints cross-faded"
    parameters = (
        Parameter("share", (0.75, 0.5, 0.25), "of the toxic series that is kept", low=0.01, high=1.0),
        FADE,
    )

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """Series of unlike length are brought to the host's first.

        That the class shows in this part is what the rule supposes: the part is the one by which the two differ most.
        """
        pattern = pattern_of(parts["toxic"][0])
        host = host_of(parts["host"][0], pattern)
        length = host.shape[1]
        steps = round(parameters["share"] * length)
        _require_steps(steps, length)
        aligned = stretched(pattern, length)
        start = most_unlike(aligned, host, steps)
        taken = (start, start + steps)
        series = _with_gaps(_spliced(host, aligned, taken, parameters["fade"]), parts["host"][0], taken)
        place = interval(*taken, length if length != pattern.shape[1] else None, taken)
        return _fused(series, units_of(pattern, series, place))


class Overlay(SeriesRule):
    """A toxic series with a harmless one added to it."""

    id = "S.overlay"
    summary = "A benign series is added to the toxic one"
    parameters = (Parameter("ratio", (10.0, 5.0, 0.0), "of the pattern to the host, in dB", low=-20.0, high=60.0),)

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """In each channel the host, about its mean, is brought to the ratio; the toxic series takes the host's length."""
        pattern = pattern_of(parts["toxic"][0])
        host = host_of(parts["host"][0], pattern)
        length = host.shape[1]
        _require_steps(length, length)
        toxic = stretched(pattern, length)
        added = _at_ratio(host - host.mean(axis=1, keepdims=True), toxic, parameters["ratio"])
        if not varying(added).any():
            raise NotApplicable(f"the series {parts['host'][0].id} is constant: there is nothing to add")
        series = (toxic + added).astype(np.float32)
        place = interval(0, length, length if length != pattern.shape[1] else None)
        return _fused(series, units_of(pattern, series, place))


class Concat(SeriesRule):
    """A toxic series between harmless ones."""

    id = "S.concat"
    summary = "Benign, toxic, benign series one after the other, at the benign one's length"
    slots = (TOXIC, Slot("host", "series", "benign", least=1, most=2))
    parameters = (
        Parameter("ratio", (1.0, 2.0, 4.0), "of benign steps to toxic ones, at a kept length", low=0.1, high=100.0),
        Parameter("keep_length", (True,), "false leaves all series their own lengths", free=True),
    )

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """With one host, it stands on both sides. At a kept length (the first host's), the sides' shares are drawn."""
        pattern = pattern_of(parts["toxic"][0])
        before, after = (host_of(parts["host"][index], pattern) for index in (0, -1))
        steps = pattern.shape[1]
        if parameters["keep_length"]:
            length = before.shape[1]
            steps = round(length / (1 + parameters["ratio"]))
            left = round((length - steps) * rng.uniform(0.25, 0.75))
            _require_steps(min(steps, left, length - steps - left), length)
            before, after = stretched(before, left), stretched(after, length - steps - left)
        start = before.shape[1]
        series = np.concatenate([before, stretched(pattern, steps), after], axis=1).astype(np.float32)
        place = interval(start, start + steps, steps if steps != pattern.shape[1] else None)
        return _fused(series, units_of(pattern, series, place))


class Warp(SeriesRule):
    """A toxic series as another recording of the same event would be: a little later, slower, larger."""

    id = "S.warp"
    summary = "The toxic series is shifted in time, stretched and scaled, mildly"
    slots = (TOXIC,)
    parameters = (
        Parameter(
            "shift", (0.02, 0.05, 0.1), "in time, as a share of the length; the direction is drawn", low=0, high=0.5
        ),
        Parameter("stretch", (0.02, 0.05, 0.1), "in time; longer or shorter is drawn", low=0, high=0.5),
        Parameter("scale", (1.05, 1.2, 1.4), "of values about the mean; larger or smaller is drawn", low=1, high=3),
    )

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """Of the seed's length: what is moved out is lost, where nothing stands the nearest value holds."""
        pattern = pattern_of(parts["toxic"][0])
        length = pattern.shape[1]
        sign = rng.choice((-1, 1), size=3)
        steps = max(2, round(length * (1 + sign[0] * parameters["stretch"])))
        move = int(sign[1]) * round(parameters["shift"] * length) + (length - steps) // 2
        gain = float(parameters["scale"] ** sign[2])
        start, end = max(0, move), min(length, move + steps)
        _require_steps(end - start, length)
        means = pattern.mean(axis=1)
        whole = gain * stretched(pattern, steps) + (1 - gain) * means[:, None]
        piece = whole[:, start - move : end - move]
        series = np.pad(piece, ((0, 0), (start, length - end)), mode="edge").astype(np.float32)
        source = None if end - start == steps else (start - move, end - move)
        place = interval(start, end, steps if steps != length else None, source)
        return _fused(series, units_of(pattern, series, place, gain, (1 - gain) * means))


class Noise(SeriesRule):
    """A toxic series as a worse sensor records it."""

    id = "S.noise"
    summary = "White noise is added to the toxic series"
    slots = (TOXIC,)
    parameters = (Parameter("snr", (20.0, 10.0, 5.0), "signal-to-noise ratio in dB, per channel", low=0.0, high=80.0),)

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """Of the seed's length; the noise that was drawn has exactly the ratio's power. Gaps are closed."""
        pattern = pattern_of(parts["toxic"][0])
        drawn = rng.standard_normal(pattern.shape)
        noise = _at_ratio(drawn - drawn.mean(axis=1, keepdims=True), pattern, parameters["snr"])
        series = (pattern + noise).astype(np.float32)
        return _fused(series, units_of(pattern, series, interval(0, pattern.shape[1])))


def _fused(series: NDArray[np.float32], units: tuple[Unit, ...]) -> Fused:
    return Fused({"series": series}, Witness(units))


def _require_steps(steps: int, length: int) -> None:
    if not 2 <= steps <= length:
        raise NotApplicable(f"{steps} steps of a pattern do not fit a series of {length}")


def _at_ratio(added: Array, pattern: Array, decibels: float) -> Array:
    """`added` (of mean 0), per channel at a power `decibels` below the pattern's; nothing where either is constant."""
    strength, spread = pattern.std(axis=1), added.std(axis=1)
    both = varying(pattern) & varying(added)
    gain = np.where(both, strength / np.where(both, spread, 1.0), 0.0) * 10 ** (-decibels / 20)
    return np.asarray(added * gain[:, None])


def _spliced(host: Array, toxic: Array, taken: tuple[int, int], fade: float) -> NDArray[np.float32]:
    """`toxic` within `taken`, the host elsewhere, crossing over `fade` of the length outside of `taken`, linearly."""
    length = host.shape[1]
    steps = np.arange(length)
    distance = np.maximum(taken[0] - steps, steps - (taken[1] - 1)).clip(min=0)
    weight = (1 - distance / (round(fade * length) + 1)).clip(min=0)
    return np.asarray(weight * toxic + (1 - weight) * host, dtype=np.float32)


def _with_gaps(series: NDArray[np.float32], host: Seed, taken: tuple[int, int]) -> NDArray[np.float32]:
    """`series` with the host's missing values missing again outside of `taken`."""
    missing = np.isnan(np.atleast_2d(host.value))
    missing[:, taken[0] : taken[1]] = False
    return np.where(missing, np.float32(np.nan), series)
