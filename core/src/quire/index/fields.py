"""How one value of every row lies in files that only grow."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

Buffer: TypeAlias = "memoryview | bytes"


@dataclass(frozen=True)
class Fixed:
    """Values of one size: file `name` is the rows one after another. width: values of a row; 0 for a plain one."""

    name: str
    dtype: str
    width: int = 0

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return np.dtype(self.dtype).itemsize * max(1, self.width)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the values lie in."""
        return (self.name,)

    def encode(self, values: NDArray[Any], sizes: Mapping[str, int]) -> Iterator[tuple[str, Buffer]]:
        """What to append to which file; `sizes` are the files' bytes so far."""
        del sizes
        yield self.name, _buffer(values, self.dtype)

    def bytes_of(self, rows: int) -> dict[str, int]:
        """The sizes of those files whose size `rows` fixes."""
        return {self.name: rows * self.row_bytes}

    def map(self, paths: Mapping[str, Path], sizes: Mapping[str, int]) -> NDArray[Any]:
        """The rows as a read-only view of the file: [rows] or [rows, width]."""
        flat = _map(paths[self.name], sizes[self.name], self.dtype)
        return flat.reshape(-1, self.width) if self.width else flat

    def empty(self) -> NDArray[Any]:
        """The values of no row."""
        return np.empty((0, self.width) if self.width else 0, self.dtype)


@dataclass(frozen=True)
class Text:
    """Strings: `name`.text holds their UTF-8 bytes, `name`.ends where in it each of them ends (int64)."""

    name: str

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the values lie in."""
        return f"{self.name}.ends", f"{self.name}.text"

    def encode(self, values: NDArray[Any], sizes: Mapping[str, int]) -> Iterator[tuple[str, Buffer]]:
        """What to append to which file; `sizes` are the files' bytes so far."""
        ends, text = self.files
        encoded = [value.encode() for value in values]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        yield text, b"".join(encoded)
        yield ends, _buffer(np.cumsum(lengths) + sizes[text], "<i8")

    def bytes_of(self, rows: int) -> dict[str, int]:
        """The sizes of those files whose size `rows` fixes."""
        return {self.files[0]: rows * 8}

    def map(self, paths: Mapping[str, Path], sizes: Mapping[str, int]) -> Strings:
        """The strings, of which nothing is decoded before it is asked for."""
        ends, text = self.files
        return Strings(_map(paths[ends], sizes[ends], "<i8"), _map(paths[text], sizes[text], "|u1"))

    def empty(self) -> NDArray[Any]:
        """The values of no row."""
        return np.empty(0, object)


class Strings:
    """Strings in mapped files."""

    def __init__(self, ends: NDArray[np.int64], text: NDArray[np.uint8]) -> None:
        self.ends = ends
        self.text = text

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> NDArray[np.object_]:
        """The strings of `rows`, as an array of Python strings."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            ends = self.ends[start:stop].tolist()
            begin = int(self.ends[start - 1]) if start else 0
            text = self.text[begin : ends[-1] if ends else begin].tobytes()
            places = [0, *(end - begin for end in ends)]
            strings = [text[a:b].decode() for a, b in pairwise(places)]
        else:
            ends = self.ends[rows].tolist()
            begins = np.where(rows > 0, self.ends[rows - 1], 0).tolist()
            strings = [self.text[a:b].tobytes().decode() for a, b in zip(begins, ends, strict=True)]
        found = np.empty(len(strings), object)
        found[:] = strings
        return found


def _buffer(values: NDArray[Any], dtype: str) -> memoryview:
    return np.ascontiguousarray(values, dtype=dtype).reshape(-1).view(np.uint8).data


def _map(path: Path, size: int, dtype: str) -> NDArray[Any]:
    """The first `size` bytes of the file, as an array; the file may have grown beyond them."""
    if not size:
        return np.empty(0, dtype)
    mapped = np.memmap(path, dtype, mode="r", shape=(size // np.dtype(dtype).itemsize,))
    return mapped.view(np.ndarray)
