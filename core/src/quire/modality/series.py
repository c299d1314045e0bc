"""Time series."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from quire.errors import InvalidSample, Where
from quire.modality.base import Modality, decoding, placed, typename
from quire.modality.numbers import (
    columns_of,
    float32,
    is_npy,
    json_numbers,
    load_npy,
    npy_bytes,
    number_rows,
    require_json_values,
    without_padding,
)
from quire.modality.text import utf8_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from quire.storage import JSON


@dataclass(frozen=True)
class Series(Modality["NDArray[np.float32]"]):
    """A time series, float32 [channels, length]; NaN is a missing value (refused unless `allow_missing`).

    [length] is taken as one channel. Files hold one series or many:

    - .npy (no pickled objects): [length], [channels, length], or [n, channels, length] for n series.
    - .csv, .tsv, .txt: one univariate series per row. Separators are tab, semicolon, comma or white space, whichever
      the file uses. Rows of unlike length are series of unlike length; empty, NaN, NA, null, None and ? are missing
      values. A first row without any number is a header, lines that begin with # are comments.
    - such a text file with a single column is one univariate series, one value per line.
    - such a text file, where `channels` is above 1, is one series with a column per channel.

    Missing values at the end of every channel are padding and cut off, within a series they stay.
    """

    kind: ClassVar[str] = "series"
    suffixes: ClassVar[tuple[str, ...]] = (".npy", ".csv", ".tsv", ".txt")
    writes: ClassVar[tuple[str, ...]] = (".npy",)

    channels: int | None = None
    min_length: int = 1
    allow_missing: bool = True

    def load(self, source: Path | bytes) -> NDArray[Any]:
        """The one series of a file."""
        found = self._entries(source)[0]
        if len(found) != 1:
            raise InvalidSample(
                f"the file holds {len(found)} series where one is expected",
                remedy="A series of several channels is a .npy file [channels, length].",
            )
        return found[0][1]

    def read_all(self, path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Every series of a file; ids are "name:row", rows from 1, where the file's form holds many."""
        with placed(Where(file=path)), decoding(self.kind):
            entries, many = self._entries(path)
        for row, (line, array) in enumerate(entries, 1):
            with placed(Where(file=path, line=line)):
                value = self.validate(array)
            yield (f"{path.name}:{row}" if many else path.name), value

    def _entries(self, source: Path | bytes) -> tuple[list[tuple[int | None, NDArray[Any]]], bool]:
        """Arrays [channels, length] with the line each one stands on, and whether the file's form holds many."""
        if is_npy(source):
            array = load_npy(source)
            if array.ndim not in (1, 2, 3):
                raise InvalidSample(f"expected [n, channels, length] or less, got the shape {list(array.shape)}")
            many = array.ndim == 3
            return [(None, without_padding(one)) for one in (array if many else [np.atleast_2d(array)])], many
        rows = number_rows(utf8_text(source))
        if self.channels is not None and self.channels > 1:
            return [(None, without_padding(columns_of(rows, self.channels)))], False
        if len(rows) > 1 and all(values.size == 1 for _, values in rows):
            return [(None, without_padding(np.concatenate([values for _, values in rows])[None]))], False
        return [(line, without_padding(values[None])) for line, values in rows], True

    def validate(self, value: object) -> NDArray[np.float32]:
        """float32 [channels, length]; infinite values are refused."""
        array = float32(value)
        array = array[None] if array.ndim == 1 else array
        if array.ndim != 2 or not len(array):
            raise InvalidSample(f"expected [channels, length], got the shape {list(array.shape)}")
        if self.channels not in (None, len(array)):
            raise InvalidSample(
                f"{len(array)} channels where {self.channels} are expected (shape {list(array.shape)})",
                remedy="The shape is [channels, length]; transpose the array if its channels stand last.",
            )
        if array.shape[1] < self.min_length:
            raise InvalidSample(f"a series of length {array.shape[1]} is shorter than {self.min_length}")
        if not self.allow_missing and np.isnan(array).any():
            channel, position = np.argwhere(np.isnan(array))[0]
            raise InvalidSample(f"the value at channel {channel}, position {position} is missing")
        return array

    def encode(self, value: NDArray[np.float32]) -> JSON:
        """A list of numbers per channel; null is a missing value."""
        return [[None if math.isnan(number) else number for number in channel] for channel in value.tolist()]

    def parse(self, data: JSON) -> NDArray[np.float64]:
        """A list of numbers per channel, or of one channel's numbers; null is a missing value."""
        if not isinstance(data, list):
            raise InvalidSample(f"expected a list of numbers per channel, got {typename(data)}")
        channels: list[Any] = data if data and isinstance(data[0], list) else [data]
        for index, channel in enumerate(channels):
            if not isinstance(channel, list):
                raise InvalidSample(f"channel {index} is {typename(channel)}, not a list of numbers")
            if len(channel) != len(channels[0]):
                raise InvalidSample(f"channel {index} has {len(channel)} values, channel 0 has {len(channels[0])}")
        require_json_values(sum(map(len, channels)))
        rows = [json_numbers(channel, f"channel {index}, position ") for index, channel in enumerate(channels)]
        return np.array(rows, dtype=np.float64)

    def to_bytes(self, value: NDArray[np.float32], suffix: str) -> bytes:
        """NumPy's .npy."""
        return npy_bytes(value)

    def json_schema(self) -> dict[str, Any]:
        """A list per channel, or one list."""
        number: dict[str, Any] = {"type": ["number", "null"] if self.allow_missing else "number"}
        channel = {"type": "array", "items": number, "minItems": self.min_length}
        count = {"minItems": self.channels or 1} | ({} if self.channels is None else {"maxItems": self.channels})
        nested = {"type": "array", "items": channel, **count}
        return {"anyOf": [nested, channel]} if self.channels in (None, 1) else nested

    def widget(self) -> dict[str, Any]:
        """Numbers, typed or from a file."""
        limit = {"channels": self.channels, "min_length": self.min_length}
        return {"kind": self.kind, "input": "numbers", "accept": list(self.suffixes), **limit}

    def show(self, value: NDArray[np.float32], axes: Axes) -> None:
        """Value over position, one line per channel."""
        axes.plot(value.T, linewidth=0.8)
        axes.set_xlabel("position")

    def fits(self, other: Modality[Any]) -> bool:
        """Channel counts must agree where both are known; lengths and gaps are checked sample by sample."""
        return isinstance(other, Series) and (self.channels is None or other.channels in (None, self.channels))
