"""One committed state of an index, mapped for reading; it stays as it is whatever a writer does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from quire.errors import DataError, Where
from quire.index.lookup import Lookup, keys_of
from quire.index.manifest import REMOVED, Manifest, Segment
from quire.index.segments import check_sizes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pandas import DataFrame

    from quire.index.fields import Fixed, Text

_ATTEMPTS = 20  # of a reader to open a state before a writer replaces it


@dataclass(frozen=True)
class Block:
    """Some rows as they lie in one file, beginning with row `first`."""

    first: int
    vectors: NDArray[Any]
    norms: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True)
class _Mapped:
    segment: Segment
    start: int
    arrays: dict[str, Any]


class Snapshot:
    """Rows are numbered in the order in which they were added; removed ones keep their number until compaction."""

    def __init__(self, folder: Path, manifest: Manifest, former: Snapshot | None = None) -> None:
        """Map the files; those segments that `former` has mapped too are shared. FileNotFoundError."""
        self.folder = folder
        self.manifest = manifest
        self.spec = manifest.spec
        self._fields = {field.name: field for field in self.spec.fields}
        known = {} if former is None else {mapped.segment.name: mapped for mapped in former._mapped}
        self._mapped: list[_Mapped] = []
        self.rows = 0
        for segment in manifest.segments:
            shared = known.get(segment.name)
            if shared is None or shared.segment != segment or shared.start != self.rows:
                shared = _Mapped(segment, self.rows, _map(folder, segment, list(self._fields.values())))
            self._mapped.append(shared)
            self.rows += segment.rows
        self._starts = np.array([mapped.start for mapped in self._mapped], np.int64)
        removals = manifest.removals
        self.removed: NDArray[np.int64] = (
            REMOVED.empty() if removals is None else _map(folder, removals, [REMOVED])[REMOVED.name]
        )
        self.alive: NDArray[np.bool_] | None = None  # None: all of them
        if len(self.removed):
            if self.removed.min() < 0 or self.removed.max() >= self.rows:
                raise DataError("names removals of rows that are not there", where=Where(file=folder / "manifest.json"))
            self.alive = np.ones(self.rows, bool)
            self.alive[self.removed] = False
        self.count = self.rows - len(self.removed)
        self._lookup: Lookup | None = None
        if former is not None and former._lookup is not None and former.manifest.layout == manifest.layout:
            self._lookup = former._lookup
            if self.rows > former.rows:
                added = np.arange(former.rows, self.rows)
                self._lookup = former._lookup.extended(keys_of(self.ids_of(added)), added)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The state that was committed last. DataError if there is none or its files are damaged."""
        for _ in range(_ATTEMPTS):
            manifest = Manifest.read(folder)
            try:
                check_sizes(folder, manifest)
                return cls(folder, manifest)
            except FileNotFoundError as error:
                missing = error.filename
                if Manifest.read(folder).generation == manifest.generation:
                    break  # else compaction replaced the files after the manifest was read
        raise DataError(
            "a file of the index is missing", where=Where(file=missing), remedy="Restore the index from a copy."
        )

    def blocks(self, start: int, stop: int, size: int) -> Iterator[Block]:
        """Rows start..stop in order, at most `size` at once."""
        for mapped in self._mapped:
            end = min(stop, mapped.start + mapped.segment.rows)
            for first in range(max(start, mapped.start), end, size):
                here = slice(first - mapped.start, min(end, first + size) - mapped.start)
                norms = mapped.arrays.get("norms")
                yield Block(first, mapped.arrays["vectors"][here], None if norms is None else norms[here])

    def take(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The values of field `name` in `rows`, in their order."""
        if not len(rows):
            return self._fields[name].empty()
        homes = np.searchsorted(self._starts, rows, side="right") - 1
        if (homes == homes[0]).all():  # the usual case of few rows
            mapped = self._mapped[homes[0]]
            found: NDArray[Any] = mapped.arrays[name][rows - mapped.start]
            return found
        parts = {int(home): np.flatnonzero(homes == home) for home in np.unique(homes)}
        values = {home: self._mapped[home].arrays[name][rows[at] - self._starts[home]] for home, at in parts.items()}
        first = next(iter(values.values()))
        taken = np.empty((len(rows), *first.shape[1:]), first.dtype)
        for home, at in parts.items():
            taken[at] = values[home]
        return taken

    def column(self, name: str) -> NDArray[Any]:
        """The values of field `name` in all living rows."""
        parts = [mapped.arrays[name][:] for mapped in self._mapped]
        if not parts:
            return self.take(name, np.empty(0, np.int64))
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return whole if self.alive is None else whole[self.alive]

    @cached_property
    def living(self) -> NDArray[np.int64]:
        """The numbers of the living rows, ascending."""
        return np.arange(self.rows) if self.alive is None else np.flatnonzero(self.alive)

    @cached_property
    def longest(self) -> float:
        """The norm of the longest vector; 0 if there is none."""
        return max((float(mapped.arrays["norms"].max(initial=0)) for mapped in self._mapped), default=0.0)

    @cached_property
    def table(self) -> DataFrame:
        """The living rows' ids and columns, in the order in which they were added."""
        import pandas as pd

        columns = {name: self.column(field.name) for name, field in self.spec.column_fields.items()}
        return pd.DataFrame({"id": self.column("ids"), **columns})

    def ids_of(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The ids of `rows`: int64, or an object array of strings."""
        return self.take("ids", rows)

    def find(self, ids: NDArray[Any]) -> NDArray[np.int64]:
        """The living row of each id, or -1."""
        if self._lookup is None:
            self._lookup = Lookup()
            if self.count:
                self._lookup = self._lookup.extended(keys_of(self.column("ids")), self.living)

        def accept(asked: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
            alive = np.ones(len(rows), bool) if self.alive is None else self.alive[rows]
            if self.spec.ids == "str":  # two strings may have one hash
                alive[alive] = self.ids_of(rows[alive]) == ids[asked[alive]]
            return alive

        return self._lookup.find(keys_of(ids), accept)


def _map(folder: Path, segment: Segment, fields: Sequence[Fixed | Text]) -> dict[str, Any]:
    paths = {file: segment.path(folder, file) for file in segment.files}
    sizes = {file: state.bytes for file, state in segment.files.items()}
    for field in fields:
        for file, size in field.bytes_of(segment.rows).items():
            if sizes.get(file) != size:
                raise DataError(
                    f"says that {segment.rows} rows of {file} take {sizes.get(file)} bytes, not {size}",
                    where=Where(file=folder / "manifest.json"),
                )
    return {field.name: field.map(paths, sizes) for field in fields}
