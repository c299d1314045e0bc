"""What every file format gives: a collection of series, and the checks of labels and values that all formats share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from quire.dataset import OnError, skipping
from quire.errors import DataError, InvalidSample, Where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]
Row = TypeVar("Row")

MISSING_TOKENS = frozenset({"", "?", "nan", "na"})
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?\d+")


@dataclass(frozen=True, eq=False)
class Case:
    """One series as its file holds it, before the checks: float64 [channels, length], NaN = missing."""

    series: Float64
    label: str | None
    id: str
    where: Where


@dataclass(frozen=True, eq=False)
class SeriesCollection:
    """The series of one file, in the file's order.

    `series`: one float32 array [channels, length_i] a case, NaN = missing; `labels`: the class of each case as text,
    None where the file holds none; `ids`: one name a case; `channels`: the channels' names where the file names them,
    else empty; `skipped`: the faults of the rows that were left out.
    """

    series: tuple[Float32, ...]
    labels: tuple[str, ...] | None
    ids: tuple[str, ...]
    channels: tuple[str, ...] = ()
    skipped: tuple[InvalidSample, ...] = ()

    def __len__(self) -> int:
        return len(self.series)

    @property
    def n_channels(self) -> int:
        """The number of channels, the same in every series."""
        return len(self.series[0])


def normal_label(text: str, where: Where) -> str:
    """The label as the user wrote it, but an integral number without its fraction: "1.0" and "1e0" are "1".

    InvalidSample when there is none.
    """
    label = text.strip()
    if label.lower() in MISSING_TOKENS:
        raise InvalidSample("the class label is missing", where=where, remedy="Give the case a label or remove it.")
    if NUMBER.fullmatch(label) and not _INTEGER.fullmatch(label) and float(label).is_integer():
        return str(int(float(label)))
    return label


def without_padding(series: Float64) -> Float64:
    """The series without the time steps at its end where every channel is NaN.

    Formats that force one length on all series (tsv, arff, arrays, wide tables) write shorter ones so. A series of NaN
    alone keeps its length, and is refused later.
    """
    known = np.flatnonzero(~np.isnan(series).all(axis=0))
    return series[:, : known[-1] + 1] if known.size else series


def collect(
    path: Path,
    rows: Iterable[Row],
    parse: Callable[[Row], Case],
    *,
    on_error: OnError,
    classes: Sequence[str] = (),
    channels: tuple[str, ...] = (),
) -> SeriesCollection:
    """Parse every row to a case and check it; faults are raised, or kept in `skipped`.

    `classes`: the labels that the file's header declares; where it declares none, labels that mix numbers and words are
    refused.
    """
    cases: list[Case] = []
    series: list[Float32] = []
    skipped: list[InvalidSample] = []
    ids: set[str] = set()
    for row in rows:
        with skipping(on_error, skipped):
            case = parse(row)
            values = _checked_values(case, n_channels=series[0].shape[0] if series else None)
            _require_declared(case, classes)
            if case.id in ids:
                raise InvalidSample(
                    f"the id {case.id!r} is used twice", where=case.where, remedy="Give each case its own id."
                )
            ids.add(case.id)
            cases.append(case)
            series.append(values)
    if not cases:
        found = (
            f"none of its {len(skipped)} rows can be used; the first fault: {skipped[0]}" if skipped else "it is empty"
        )
        raise DataError(
            f"holds no series: {found}", where=Where(file=path), remedy="Give a file with at least one series."
        )
    labels = [case.label for case in cases if case.label is not None]
    if not classes:
        _refuse_mixed_labels(cases)
    return SeriesCollection(
        tuple(series), tuple(labels) if labels else None, tuple(case.id for case in cases), channels, tuple(skipped)
    )


def _checked_values(case: Case, *, n_channels: int | None) -> Float32:
    values = case.series
    if values.size == 0:
        raise InvalidSample("the series is empty", where=case.where, remedy="Remove the case.")
    if n_channels is not None and len(values) != n_channels:
        raise InvalidSample(
            f"the case has {_count(len(values), 'channel')} but the first case of the file has {n_channels}",
            where=case.where,
            remedy="All series of a data set need the same channels.",
        )
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    unusable = np.argwhere(np.isinf(narrow))
    if unusable.size:
        channel, step = unusable[0]
        value = values[channel, step]
        fault = "is infinite" if np.isinf(value) else f"({value:g}) is too large for 32-bit floating point"
        raise InvalidSample(
            f"the value at time step {step + 1} of channel {channel + 1} {fault}",
            where=case.where,
            remedy="Mark it as missing (NaN)." if np.isinf(value) else "Rescale the data.",
        )
    empty = np.flatnonzero(np.isnan(narrow).all(axis=1))
    if empty.size:
        raise InvalidSample(
            f"channel {empty[0] + 1} has no value but NaN",
            where=case.where,
            remedy="Remove the case, or the channel from all cases.",
        )
    return narrow


def _require_declared(case: Case, classes: Sequence[str]) -> None:
    if classes and case.label is not None and case.label not in classes:
        raise InvalidSample(
            f"the label {case.label!r} is not among the classes that the header declares ({', '.join(classes)})",
            where=case.where,
            remedy="Correct the label, or add it to the declaration.",
        )


def _refuse_mixed_labels(cases: Sequence[Case]) -> None:
    numeric = [NUMBER.fullmatch(case.label) is not None for case in cases if case.label is not None]
    if len(set(numeric)) == 2:
        other = cases[numeric.index(not numeric[0])]
        kinds = ("numbers", "text") if numeric[0] else ("text", "a number")
        raise DataError(
            f"the labels before are {kinds[0]} such as {cases[0].label!r}, but this one is {kinds[1]}: {other.label!r}",
            where=other.where,
            remedy="Write all labels in one way.",
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
