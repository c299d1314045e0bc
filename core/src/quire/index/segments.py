"""Files that only grow: appending rows, waiting for the disk, and removing what was never committed."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quire.errors import DataError, Where
from quire.index.manifest import REMOVED, FileState, Manifest, Segment
from quire.storage.files import sync

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from quire.index.fields import Fixed, Text

_AT_ONCE = 4


def append_rows(folder: Path, manifest: Manifest, rows: Mapping[str, NDArray[Any]]) -> Manifest:
    """Append rows (field's name -> one value of every row) behind the last; full segments are followed by new ones.

    The manifest that is returned names the rows; they count once it is written.
    """
    spec = manifest.spec
    n, done = len(rows["vectors"]), 0
    segments = list(manifest.segments)
    while done < n:
        if not segments or segments[-1].rows >= spec.segment_rows:
            segment, manifest = manifest.named()
            segments.append(segment)
        stop = min(n, done + spec.segment_rows - segments[-1].rows)
        part = {name: values[done:stop] for name, values in rows.items()}
        segments[-1] = _append(folder, segments[-1], spec.fields, part)
        done = stop
    return replace(manifest, segments=tuple(segments))


def append_removals(folder: Path, manifest: Manifest, rows: NDArray[np.int64]) -> Manifest:
    """Append row numbers to the log of removals."""
    if not len(rows):
        return manifest
    removals = manifest.removals
    if removals is None:
        removals, manifest = manifest.named()
    return replace(manifest, removals=_append(folder, removals, [REMOVED], {REMOVED.name: rows}))


def _append(
    folder: Path, segment: Segment, fields: Sequence[Fixed | Text], rows: Mapping[str, NDArray[Any]]
) -> Segment:
    files = {file: segment.files.get(file, FileState()) for field in fields for file in field.files}
    n = 0
    for field in fields:
        n = len(rows[field.name])
        sizes = {file: state.bytes for file, state in files.items()}
        for file, content in field.encode(rows[field.name], sizes):
            state = files[file]
            with segment.path(folder, file).open("ab") as stream:
                if stream.tell() != state.bytes:
                    raise DataError(
                        f"is {stream.tell()} bytes long and should be {state.bytes}",
                        where=Where(file=segment.path(folder, file)),
                        remedy="Another program wrote into it.",
                    )
                stream.write(content)
            files[file] = FileState(state.bytes + len(content), zlib.crc32(content, state.crc32))
    return Segment(segment.name, segment.rows + n, files)


def commit(folder: Path, before: Manifest, after: Manifest) -> Manifest:
    """Make `after` the committed state. First the rows are on the disk, then their folder, then the manifest."""
    known = {segment.name: segment for segment in before.all_segments}
    changed = [segment for segment in after.all_segments if known.get(segment.name) != segment]
    paths = [segment.path(folder, file) for segment in changed for file in segment.files]
    with ThreadPoolExecutor(min(_AT_ONCE, max(1, len(paths)))) as pool:  # a disk serves many waits as fast as one
        list(pool.map(sync, paths))
    sync(folder / "segments")
    committed = replace(after, generation=before.generation + 1)
    committed.write(folder)
    return committed


def trim(folder: Path, manifest: Manifest) -> None:
    """Remove what `manifest` does not name: what a crash or a failed write left behind, and what compaction replaced.

    Readers of an older state keep the files that they have mapped.
    """
    committed = {segment.path(folder, file): state.bytes for segment, file, state in files_of(manifest)}
    for path in (folder / "segments").iterdir():
        if path not in committed:
            with suppress(
                PermissionError
            ):  # Windows keeps files that somebody has mapped; the next writer removes them
                path.unlink()
        elif path.stat().st_size > committed[path]:
            with path.open("r+b") as stream:
                stream.truncate(committed[path])


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """DataError naming the file if the manifest's files are shorter than what was committed. FileNotFoundError."""
    for segment, file, state in files_of(manifest):
        path = segment.path(folder, file)
        size = path.stat().st_size
        if size < state.bytes:
            raise DataError(
                f"is damaged: {size} bytes are left of {state.bytes}",
                where=Where(file=path),
                remedy="Restore the index from a copy, or build it again.",
            )


def files_of(manifest: Manifest) -> Iterator[tuple[Segment, str, FileState]]:
    """Every file that the manifest names."""
    for segment in manifest.all_segments:
        for file, state in segment.files.items():
            yield segment, file, state
