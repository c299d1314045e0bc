"""Whether an index is what was committed: sizes, checksums, ids, removals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quire.errors import DataError
from quire.index.accelerator import NAME, Built, file_crc
from quire.index.segments import files_of

if TYPE_CHECKING:
    from quire.index.snapshot import Snapshot


def faults(snapshot: Snapshot) -> list[str]:
    """One sentence for each fault, naming the file; none if the index is whole. Reads every file to its end."""
    return [*_files(snapshot), *_rows(snapshot), *_accelerator(snapshot)]


def _files(snapshot: Snapshot) -> list[str]:
    found = []
    for segment, file, state in files_of(snapshot.manifest):
        path = segment.path(snapshot.folder, file)
        if not path.is_file():
            found.append(f"{path} is missing")
        elif path.stat().st_size < state.bytes:
            found.append(f"{path} has {path.stat().st_size} bytes of {state.bytes}")
        elif file_crc(path, state.bytes) != state.crc32:
            found.append(f"{path} is not what was written (its checksum differs)")
    return found


def _rows(snapshot: Snapshot) -> list[str]:
    found = []
    manifest = snapshot.folder / "manifest.json"
    removed = snapshot.removed
    if len(np.unique(removed)) < len(removed):
        found.append(f"{manifest} names a vector that was removed twice")
    try:
        ids = snapshot.column("ids")
    except (UnicodeDecodeError, ValueError) as error:
        return [*found, f"{manifest} names ids that can't be read ({error})"]
    if len(np.unique(ids)) < len(ids):
        found.append(f"{manifest} names vectors of which two have one id")
    return found


def _accelerator(snapshot: Snapshot) -> list[str]:
    """A damaged one harms nothing but speed, and is still worth telling."""
    try:
        built = Built.read(snapshot.folder)
    except DataError as error:
        return [str(error)]
    if built is None:
        return []
    path = snapshot.folder / built.file
    if not path.is_file() or path.stat().st_size != built.bytes or file_crc(path) != built.crc32:
        return [f"{path}, which {NAME} names, is damaged; build it again with accelerate()"]
    return []
