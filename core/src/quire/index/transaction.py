"""Changes that are committed together or not at all."""

from __future__ import annotations

from dataclasses import replace as replaced
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from quire.errors import DataError
from quire.index.checks import check_columns, check_ids, check_unique, check_vectors
from quire.index.manifest import Manifest
from quire.index.segments import append_removals, append_rows, commit, trim
from quire.index.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_COMPACTION_BYTES = 32 << 20


class Transaction:
    """Appends to files as it goes; nothing of it is in the index before `commit`."""

    def __init__(self, folder: Path, snapshot: Snapshot) -> None:
        self._folder = folder
        self._before = snapshot
        self.staged = snapshot

    def add(self, ids: Any, vectors: Any, columns: Mapping[str, Any] | None = None, *, replace: bool = False) -> None:
        """Add vectors under ids that are new, or, with `replace`, in place of those that stand under them.

        ids [n]. vectors: floats [n, dim] or codes uint8 [n, ceil(bits / 8)]. columns: [n] for each of the index's columns.
        DataError: an id that is there or is given twice; arrays that don't fit. InvalidSample: a vector with NaN or infinity.
        """
        spec = self.staged.spec
        ids = check_ids(spec, ids)
        fields = {**check_vectors(spec, vectors, ids), "ids": ids, **check_columns(spec, columns, len(ids))}
        check_unique(ids)
        if not len(ids):
            return
        there = self.staged.find(ids)
        if not replace and (there >= 0).any():
            known = ids[there >= 0]
            raise DataError(
                f"id {known[0]!r} is already in the index{f' and so are {len(known) - 1} others' * (len(known) > 1)}",
                remedy="Pass replace=True to put the new vectors in their place.",
            )
        self._stage(
            lambda manifest: append_removals(
                self._folder, append_rows(self._folder, manifest, fields), there[there >= 0]
            )
        )

    def remove(self, ids: Any, *, missing: Literal["error", "ignore"] = "error") -> int:
        """Remove the vectors under `ids`; returns how many there were. DataError naming an id that is not there."""
        ids = check_ids(self.staged.spec, ids)
        rows = self.staged.find(ids)
        if missing == "error" and (rows < 0).any():
            raise DataError(
                f"id {ids[rows < 0][0]!r} is not in the index", remedy="Pass missing='ignore' to pass over such ids."
            )
        rows = np.unique(rows[rows >= 0])
        self._stage(lambda manifest: append_removals(self._folder, manifest, rows))
        return len(rows)

    def compact(self) -> None:
        """Write the living rows anew, without the removed ones, which only then leave the disk."""
        living = self.staged
        size = max(1, _COMPACTION_BYTES // living.spec.vectors.row_bytes)

        def rewritten(manifest: Manifest) -> Manifest:
            manifest = replaced(manifest, segments=(), removals=None, layout=manifest.layout + 1)
            for start in range(0, living.count, size):
                rows = living.living[start : start + size]
                fields = {field.name: living.take(field.name, rows) for field in living.spec.fields}
                manifest = append_rows(self._folder, manifest, fields)
            return manifest

        self._stage(rewritten)

    def _stage(self, change: Callable[[Manifest], Manifest]) -> None:
        before = self.staged.manifest
        try:
            self.staged = Snapshot(self._folder, change(before), self.staged)
        except BaseException:  # a full disk, an interruption: what was appended is cut off again
            if before.layout == self._before.manifest.layout:
                trim(self._folder, before)
            raise

    def commit(self) -> Snapshot:
        """The new state, from now on everybody's."""
        before, after = self._before.manifest, self.staged.manifest
        if after is before:
            return self._before
        try:
            committed = commit(self._folder, before, after)
        except BaseException:
            if Manifest.read(self._folder).generation == before.generation:
                self.rollback()
            raise
        if after.layout != before.layout:
            trim(self._folder, committed)
        return Snapshot(self._folder, committed, self.staged)

    def rollback(self) -> None:
        """Leave the files as they were."""
        trim(self._folder, self._before.manifest)
