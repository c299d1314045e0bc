"""What is done to series before a network sees them (sec. 3.3): fitted on the training series, kept with the model."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from quire.errors import DataError, InvalidSample, RunError, Where

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Normalize = Literal["auto", "per_series", "per_channel_train"]
Unequal = Literal["resample", "pad", "truncate"]
Interpolation = Literal["linear", "cubic"]
Missing = Literal["interpolate", "zero", "error"]
Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Preprocessing:
    """Fills missing values, brings series to one length and normalises them, with figures of the training series alone.

    `normalize`: "per_series" (each channel of each series to mean 0 and population standard deviation 1, constant
    ones to 0), "per_channel_train" (with the mean and deviation of the channel over the training values) or None;
    "auto" becomes "per_series" for one channel, None for several. `unequal`: "resample" to the longest training
    series ("linear" or "cubic" `interpolation`), "pad" to it with zeros after normalisation, "truncate" to the
    shortest. `missing`: "interpolate" (linear inside, the nearest value at the ends), "zero", or "error". `channels`,
    `length`: what `apply` gives; `equal_length`: whether all training series had that length; `mean`, `std`: one a
    channel, for "per_channel_train".
    """

    normalize: Normalize | None
    unequal: Unequal
    interpolation: Interpolation
    missing: Missing
    channels: int
    length: int
    equal_length: bool
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @classmethod
    def fit(
        cls,
        series: Sequence[Float32],
        *,
        normalize: Normalize | None = "auto",
        unequal: Unequal = "resample",
        interpolation: Interpolation = "linear",
        missing: Missing = "interpolate",
    ) -> Self:
        """Learn channels, length and, where asked, means and deviations from training series [channels, length_i].

        DataError for no series; InvalidSample for a series of another channel count than the first, and for missing
        values with `missing="error"`.
        """
        if not series:
            raise DataError("there is no series to train on")
        channels = len(series[0])
        lengths = [values.shape[1] for values in series]
        if normalize == "auto":
            normalize = "per_series" if channels == 1 else None
        fitted = cls(
            normalize=normalize,
            unequal=unequal,
            interpolation=interpolation,
            missing=missing,
            channels=channels,
            length=min(lengths) if unequal == "truncate" else max(lengths),
            equal_length=len(set(lengths)) == 1,
        )
        if normalize != "per_channel_train":
            return fitted
        shaped = [
            fitted._at_length(fitted._filled(values, index), any_length=False) for index, values in enumerate(series)
        ]
        mean, std = _mean_std(np.concatenate(shaped, axis=1))
        return cls(**{**asdict(fitted), "mean": tuple(mean.ravel().tolist()), "std": tuple(std.ravel().tolist())})

    def apply(
        self, series: Sequence[Float32], *, ids: Sequence[str] | None = None, any_length: bool = False
    ) -> tuple[Float32, Mask | None]:
        """float32 [n, channels, length] without NaN, and where series are padded the mask [n, length] of what is not.

        The mask is None where no series is padded. `ids` name the series in messages (default: their positions).
        `any_length`: the model takes series of other lengths than it was trained with; these keep theirs where the
        training series had one, and the shorter of a batch are padded. Else they are resampled. A UserWarning tells
        of both. InvalidSample for another channel count, a channel of NaN alone, and missing values with
        `missing="error"`.
        """
        if not series:
            return np.empty((0, self.channels, self.length), dtype=np.float32), None
        self._warn_of_new_lengths([values.shape[1] for values in series], any_length=any_length)
        names: Sequence[str | int] = ids if ids is not None else range(len(series))
        shaped = [
            self._normalised(self._at_length(self._filled(values, name), any_length=any_length))
            for values, name in zip(series, names, strict=True)
        ]
        longest = max(values.shape[1] for values in shaped)
        if self.unequal == "pad":
            longest = max(longest, self.length)
        batch = np.zeros((len(shaped), self.channels, longest), dtype=np.float32)
        mask = np.zeros((len(shaped), longest), dtype=np.bool_)
        for row, kept, values in zip(batch, mask, shaped, strict=True):
            row[:, : values.shape[1]] = values
            kept[: values.shape[1]] = True
        return batch, None if mask.all() else mask

    def to_json(self) -> dict[str, Any]:
        """The options and the fitted figures, as JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` gave; RunError for a record of another version."""
        known = {field.name for field in fields(cls)}
        if set(data) != known:
            raise RunError(
                f"the model's preprocessing does not match this version in {', '.join(sorted(set(data) ^ known))}",
                remedy="Load the model with the version of quire-tsc that saved it.",
            )
        return cls(**{**data, "mean": tuple(data["mean"]), "std": tuple(data["std"])})

    def _filled(self, series: Float32, name: str | int) -> Float64:
        """float64 [channels, length] without NaN."""
        where = Where(sample=name, field="series")
        if len(series) != self.channels:
            raise InvalidSample(
                f"the series has {len(series)} channel{'s' if len(series) != 1 else ''}, "
                f"but the first training series {self.channels}",
                where=where,
                remedy="Give the channels that the model is trained with, in the same order.",
            )
        values = series.astype(np.float64)
        gaps = np.isnan(values)
        if not gaps.any():
            return values
        if self.missing == "error":
            channel, step = np.argwhere(gaps)[0]
            raise InvalidSample(
                f"the value at time step {step + 1} of channel {channel + 1} is missing",
                where=where,
                remedy="Fill it, or set missing=interpolate or missing=zero.",
            )
        if self.missing == "zero":
            return np.where(gaps, 0.0, values)
        if gaps.all(axis=1).any():
            raise InvalidSample(
                f"channel {np.flatnonzero(gaps.all(axis=1))[0] + 1} has no value but NaN",
                where=where,
                remedy="Remove the series, or set missing=zero.",
            )
        steps = np.arange(values.shape[1])
        for channel, gap in zip(values, gaps, strict=True):
            channel[gap] = np.interp(steps[gap], steps[~gap], channel[~gap])
        return values

    def _at_length(self, values: Float64, *, any_length: bool) -> Float64:
        length = values.shape[1]
        if self.unequal == "truncate" and length > self.length:
            return values[:, : self.length]
        padded = self.unequal == "pad" and length < self.length
        if length == self.length or padded or self._keeps_new_lengths(any_length):
            return values
        return _resampled(values, self.length, self.interpolation)

    def _keeps_new_lengths(self, any_length: bool) -> bool:
        """Series of one length have their time scale in common; those that were all resampled do not."""
        return any_length and (self.equal_length or self.unequal != "resample")

    def _normalised(self, values: Float64) -> Float64:
        if self.normalize == "per_series":
            mean, std = _mean_std(values)
        elif self.normalize == "per_channel_train":
            mean, std = np.array(self.mean)[:, None], np.array(self.std)[:, None]
        else:
            return values
        return (values - mean) / std

    def _is_new(self, length: int) -> bool:
        """Whether the training series say nothing of how to treat a series of this length."""
        if self.unequal == "truncate":
            return length < self.length
        if self.unequal == "resample" and self.equal_length:
            return length != self.length
        return length > self.length

    def _warn_of_new_lengths(self, lengths: Sequence[int], *, any_length: bool) -> None:
        new = [length for length in lengths if self._is_new(length)]
        if new:
            span = f"{min(new)}" if min(new) == max(new) else f"{min(new)} to {max(new)}"
            fate = "keep their length" if self._keeps_new_lengths(any_length) else f"are resampled to {self.length}"
            warnings.warn(
                f"{len(new)} of {len(lengths)} series have {span} time steps where the model was trained with "
                f"{self.length}: they {fate}",
                UserWarning,
                stacklevel=3,
            )


def _mean_std(values: Float64) -> tuple[Float64, Float64]:
    """Mean and population standard deviation over time, [channels, 1]; the deviation of a constant channel is 1.

    Rounding gives a constant channel a deviation just above 0 and would blow its noise up to unit size: it is told by
    its range, and its mean is its value.
    """
    constant = np.ptp(values, axis=1, keepdims=True) == 0
    mean = np.where(constant, values[:, :1], values.mean(axis=1, keepdims=True))
    return mean, np.where(constant, 1.0, values.std(axis=1, keepdims=True))


def _resampled(values: Float64, length: int, interpolation: Interpolation) -> Float64:
    """The series [channels, t] at `length` points, evenly spread from its first to its last."""
    if values.shape[1] == 1:
        return np.repeat(values, length, axis=1)
    known, asked = np.linspace(0, 1, values.shape[1]), np.linspace(0, 1, length)
    if interpolation == "cubic":
        from scipy.interpolate import CubicSpline

        curve: Callable[[Float64], Float64] = CubicSpline(known, values, axis=1)
        return curve(asked)
    return np.stack([np.interp(asked, known, channel) for channel in values])
