"""Vectors of features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from quire.errors import InvalidSample, Where
from quire.modality.base import Modality, decoding, placed, typename
from quire.modality.numbers import float32, is_npy, json_numbers, load_npy, npy_bytes, number_rows, require_json_values
from quire.modality.text import utf8_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from quire.storage import JSON


@dataclass(frozen=True)
class Vector(Modality["NDArray[np.float32]"]):
    """Features, float32 [dim], all finite.

    Files hold one vector or many: .npy [dim] or [n, dim]; .csv, .tsv and .txt one vector per row, with the separators,
    header and comments that Series takes.
    """

    kind: ClassVar[str] = "vector"
    suffixes: ClassVar[tuple[str, ...]] = (".npy", ".csv", ".tsv", ".txt")
    writes: ClassVar[tuple[str, ...]] = (".npy",)

    dim: int | None = None

    def load(self, source: Path | bytes) -> NDArray[Any]:
        """The one vector of a file."""
        found = self._entries(source)[0]
        if len(found) != 1:
            raise InvalidSample(f"the file holds {len(found)} vectors where one is expected")
        return found[0][1]

    def read_all(self, path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Every vector of a file; ids are "name:row", rows from 1, where the file's form holds many."""
        with placed(Where(file=path)), decoding(self.kind):
            entries, many = self._entries(path)
        for row, (line, array) in enumerate(entries, 1):
            with placed(Where(file=path, line=line)):
                value = self.validate(array)
            yield (f"{path.name}:{row}" if many else path.name), value

    @staticmethod
    def _entries(source: Path | bytes) -> tuple[list[tuple[int | None, NDArray[Any]]], bool]:
        if not is_npy(source):
            return list(number_rows(utf8_text(source))), True
        array = load_npy(source)
        if array.ndim not in (1, 2):
            raise InvalidSample(f"expected [n, dim] or [dim], got the shape {list(array.shape)}")
        return [(None, one) for one in np.atleast_2d(array)], array.ndim == 2

    def validate(self, value: object) -> NDArray[np.float32]:
        """float32 [dim], finite."""
        array = float32(value)
        if array.ndim != 1 or not array.size:
            raise InvalidSample(f"expected [dim], got the shape {list(array.shape)}")
        if self.dim not in (None, array.size):
            raise InvalidSample(f"{array.size} values where {self.dim} are expected")
        if np.isnan(array).any():
            raise InvalidSample(f"the value at position {int(np.isnan(array).argmax())} is missing")
        return array

    def encode(self, value: NDArray[np.float32]) -> JSON:
        """A list of numbers."""
        return cast("list[Any]", value.tolist())

    def parse(self, data: JSON) -> NDArray[np.float64]:
        """A list of numbers."""
        if not isinstance(data, list):
            raise InvalidSample(f"expected a list of numbers, got {typename(data)}")
        require_json_values(len(data))
        return np.array(json_numbers(data, "position "), dtype=np.float64)

    def to_bytes(self, value: NDArray[np.float32], suffix: str) -> bytes:
        """NumPy's .npy."""
        return npy_bytes(value)

    def json_schema(self) -> dict[str, Any]:
        """A list of numbers."""
        count = {"minItems": self.dim or 1} | ({} if self.dim is None else {"maxItems": self.dim})
        return {"type": "array", "items": {"type": "number"}, **count}

    def widget(self) -> dict[str, Any]:
        """Numbers, typed or from a file."""
        return {"kind": self.kind, "input": "numbers", "accept": list(self.suffixes), "dim": self.dim}

    def show(self, value: NDArray[np.float32], axes: Axes) -> None:
        """A bar per dimension."""
        axes.bar(np.arange(value.size), value)
        axes.set_xlabel("dimension")

    def fits(self, other: Modality[Any]) -> bool:
        """Dimensions must agree where both are known."""
        return isinstance(other, Vector) and (self.dim is None or other.dim in (None, self.dim))
