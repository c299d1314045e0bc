"""Hashes of contents."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from quire.storage.files import JSON

    Arrays: TypeAlias = dict[str, NDArray[Any]]


def content_hash(*parts: bytes | str | Path | NDArray[Any] | JSON) -> str:
    """Hexadecimal BLAKE2b-256 of contents, the same in every process and on every machine.

    A Path stands for the content of its file, or for the names and contents of all files below its folder. Kinds and
    boundaries count: ("a", "b"), ("ab",) and (b"ab",) differ.
    """
    whole = hashlib.blake2b(digest_size=32)
    for part in parts:
        whole.update(_part_digest(part))
    return whole.hexdigest()


def _part_digest(part: object) -> bytes:
    if isinstance(part, bytes):
        return _digest(b"bytes", part)
    if isinstance(part, str):
        return _digest(b"text", part.encode("utf-8", "surrogatepass"))
    if isinstance(part, Path):
        return _path_digest(part)
    import numpy as np

    if isinstance(part, np.ndarray | np.generic):
        array = np.asarray(part)
        if array.dtype.hasobject:
            raise TypeError("an array of objects has no content hash")
        return _digest(b"array", repr((array.dtype.descr, array.shape)).encode(), array.tobytes())
    text = json.dumps(part, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return _digest(b"json", text.encode())


def _path_digest(path: Path) -> bytes:
    if path.is_dir():
        files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
        return _digest(b"folder", *(part for name, file in files for part in (name.encode(), _path_digest(file))))
    with path.open("rb") as file:
        return _digest(b"file", hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).digest())


def _digest(kind: bytes, *parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=32, person=kind)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
