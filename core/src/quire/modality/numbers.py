"""Arrays of numbers, from text, from .npy and from JSON."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quire.errors import InvalidSample, Where
from quire.modality.base import is_number, typename
from quire.modality.media import first_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


MAX_JSON_VALUES = 2**24
"""The most numbers that one field of a JSON request may hold."""

_MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "?"})
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")


def number_rows(text: str) -> list[tuple[int, NDArray[np.float64]]]:
    """The rows of a table of numbers with their lines from 1; NaN where a cell is missing."""
    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    delimiter = _delimiter(line for _, line in lines[:20])
    table = [(number, _cells(line, delimiter)) for number, line in lines]
    if table and not any(_looks_numeric(cell) for cell in table[0][1]):
        del table[0]
    if not table:
        raise InvalidSample("the file holds no numbers")
    return [(line, _numbers(cells, line)) for line, cells in table]


def _delimiter(lines: Iterator[str]) -> str | None:
    """The separator that the lines use; None is white space."""
    text = "\n".join(lines)
    for delimiter in ("\t", ";"):
        if delimiter in text:
            return delimiter
    # "1,5 2,3": numbers with a decimal comma between blanks, so that the comma separates nothing.
    blank_separated = re.search(r"\d[ ]+[-+.\d]", text) and not re.search(r",(?!\d)", text)
    return "," if "," in text and not blank_separated else None


def _cells(line: str, delimiter: str | None) -> list[str]:
    if '"' in line:
        return next(csv.reader([line], delimiter=delimiter or " ", skipinitialspace=True))
    return line.split(delimiter)


def _looks_numeric(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return bool(_DECIMAL_COMMA.fullmatch(cell.strip()))
    return True


def _numbers(cells: list[str], line: int) -> NDArray[np.float64]:
    try:
        values = np.array([float(cell) for cell in cells])
    except ValueError:
        values = np.array([_number(cell, Where(line=line, column=column)) for column, cell in enumerate(cells, 1)])
    with np.errstate(over="ignore"):
        infinite = np.isinf(values.astype(np.float32))
    if infinite.any():
        column = int(infinite.argmax())
        raise InvalidSample(
            f"{cells[column].strip()!r} is infinite or too large for a 32-bit float",
            where=Where(line=line, column=column + 1),
        )
    return values


def _number(cell: str, where: Where) -> float:
    text = cell.strip()
    if text.lower() in _MISSING:
        return math.nan
    try:
        return float(text)
    except ValueError:
        pass
    if _DECIMAL_COMMA.fullmatch(text):
        raise InvalidSample(
            f"{text!r} has a decimal comma", where=where, remedy="Write numbers with a decimal point, such as 1.5."
        )
    raise InvalidSample(
        f"{text!r} is not a number", where=where, remedy="Empty cells, NaN, NA and ? stand for missing values."
    )


def columns_of(rows: list[tuple[int, NDArray[np.float64]]], channels: int) -> NDArray[np.float64]:
    """Rows of one value per channel as [channels, length]."""
    for line, values in rows:
        if values.size != channels:
            raise InvalidSample(
                f"{values.size} columns where {channels} channels are expected, one per column", where=Where(line=line)
            )
    return np.stack([values for _, values in rows], axis=1)


def without_padding(array: NDArray[Any]) -> NDArray[Any]:
    """[channels, length] up to the last position with a value in any channel."""
    present = np.flatnonzero(~np.isnan(array).all(axis=0))
    return array[:, : present[-1] + 1 if present.size else 0]


def is_npy(source: Path | bytes) -> bool:
    """Whether a file is NumPy's .npy, which its first bytes say."""
    return first_bytes(source)[:6] == b"\x93NUMPY"


def load_npy(source: Path | bytes) -> NDArray[Any]:
    """Numbers only; a file is mapped, not read, so that a header can't announce more than the file holds."""
    if isinstance(source, Path):
        array: NDArray[Any] = np.asarray(np.lib.format.open_memmap(source, mode="r"))
    else:
        array = np.lib.format.read_array(io.BytesIO(source), allow_pickle=False)
    if array.dtype.kind not in "fiu":
        raise InvalidSample(f"the array holds {array.dtype}, not numbers")
    return array


def npy_bytes(value: NDArray[np.float32]) -> bytes:
    """The .npy file of an array."""
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=False)
    return buffer.getvalue()


def float32(value: object) -> NDArray[np.float32]:
    """An array or nested list of numbers as float32, NaN kept, infinite values refused."""
    if not isinstance(value, list | tuple | np.ndarray) and not hasattr(value, "__array__"):
        raise InvalidSample(f"expected an array of numbers, got {typename(value)}")
    try:
        array: NDArray[Any] = np.asarray(value)
    except ValueError as error:
        raise InvalidSample("expected an array of numbers, got lists of unlike length") from error
    if array.dtype.kind not in "fiu":
        raise InvalidSample(f"expected an array of numbers, got {array.dtype}")
    with np.errstate(over="ignore"):
        small: NDArray[np.float32] = array.astype(np.float32, copy=False)
    if np.isinf(small).any():
        place = ", ".join(map(str, np.argwhere(np.isinf(small))[0]))
        raise InvalidSample(f"the value at [{place}] is infinite or too large for a 32-bit float")
    return small


def json_numbers(values: list[Any], place: str) -> list[float]:
    """Numbers of a JSON list, null as NaN; `place` is what a message puts before the position."""
    numbers = []
    for position, value in enumerate(values):
        if value is None:
            numbers.append(math.nan)
            continue
        if not is_number(value):
            raise InvalidSample(f"the value at {place}{position} is {typename(value)}, not a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise InvalidSample(
                f"the value at {place}{position} is not a finite number", remedy="A missing value is null in JSON."
            )
        numbers.append(number)
    return numbers


def require_json_values(count: int) -> None:
    """InvalidSample for more than MAX_JSON_VALUES."""
    if count > MAX_JSON_VALUES:
        raise InvalidSample(f"{count} values are more than the {MAX_JSON_VALUES} that are allowed")
