"""Features of frozen backbones, kept on disk by the content that they were computed from."""

from __future__ import annotations

import json
import math
import mmap
import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from quire.storage.files import JSON, atomic_file, sync
from quire.storage.hashes import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Arrays: TypeAlias = dict[str, NDArray[Any]]


def cache_root() -> Path:
    """Where caches stand: the environment variable QUIRE_CACHE, else the user's cache folder."""
    chosen = os.environ.get("QUIRE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("quire")


class FeatureCache:
    """Features of a frozen backbone, kept on disk by the content that they were computed from.

    `namespace` says all that the features depend on beside the content (backbone's hash, preprocessing, dtype). Many
    processes may read while one writes; writers wait for one another. A process that is killed at any moment loses only
    what it was just putting.

    On disk: shards that only grow, and index.jsonl, whose first line names the namespace and whose other lines say
    where in a shard a key's arrays lie. A line is written when its data is on the disk.
    """

    _ALIGNMENT = 64  # bytes; that of every dtype, and of a cache line

    def __init__(
        self, namespace: Mapping[str, JSON], *, root: Path | None = None, shard_bytes: int = 256 << 20
    ) -> None:
        self.namespace = dict(namespace)
        self.folder = (root if root is not None else cache_root() / "features") / content_hash(self.namespace)[:32]
        self.shard_bytes = shard_bytes
        self._index_path = self.folder / "index.jsonl"
        self._forget()

    def __contains__(self, key: str) -> bool:
        if key not in self._index:
            self._refresh()
        return key in self._index

    def __len__(self) -> int:
        self._refresh()
        return len(self._index)

    def keys(self) -> list[str]:
        """All keys, in the order in which they were put."""
        self._refresh()
        return list(self._index)

    def get(self, key: str) -> dict[str, NDArray[Any]]:
        """The arrays put under `key`, bit for bit, as read-only views of the file. KeyError if there are none."""
        if key not in self:
            raise KeyError(key)
        entry = self._index[key]
        try:
            return {name: self._view(entry["shard"], *where) for name, where in entry["arrays"].items()}
        except FileNotFoundError:  # another process cleared the cache
            self._forget()
            raise KeyError(key) from None

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep `arrays` under `key`; what stands there already stays, as it was made from the same content.

        ValueError for dtypes that have no plain bytes (objects, structures, bfloat16).
        """
        self.put_many([(key, arrays)])

    def put_many(self, items: Iterable[tuple[str, Mapping[str, NDArray[Any]]]]) -> None:
        """Put many at once, which waits for the disk once per shard and not once per key."""
        prepared = [(key, {name: _plain(array, name) for name, array in arrays.items()}) for key, arrays in items]
        with self._writing():
            self._refresh()
            self._begin_index()
            new = [(key, arrays) for key, arrays in dict(prepared).items() if key not in self._index]
            while new:
                new = self._append(new)

    def size_bytes(self) -> int:
        """What the cache takes on disk."""
        return sum(path.stat().st_size for path in self.folder.glob("*") if path.is_file())

    def clear(self) -> None:
        """Remove all features. Arrays that were read before stay valid, but on Windows."""
        with self._writing():
            self._index_path.unlink(missing_ok=True)
            for shard in self.folder.glob("*.bin"):
                shard.unlink()
            self._forget()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}  # a map belongs to its process

    @contextmanager
    def _writing(self) -> Iterator[None]:
        from filelock import FileLock

        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "write.lock"):
            yield

    def _forget(self) -> None:
        self._index: dict[str, dict[str, Any]] = {}
        self._head = b""  # the index's first line, which is another one after `clear`
        self._read = 0  # bytes of the index that are known
        self._maps: dict[str, mmap.mmap] = {}

    def _refresh(self) -> None:
        """Read what other processes added to the index; forget everything if it is another index now."""
        try:
            file = self._index_path.open("rb")
        except FileNotFoundError:
            self._forget()
            return
        with file:
            head = file.readline()
            if head != self._head:
                self._forget()
                if not head.endswith(b"\n"):
                    return
                self._head, self._read = head, len(head)
            file.seek(self._read)
            found = list(self._whole_lines(file))
        sizes = {path.name: path.stat().st_size for path in self.folder.glob("*.bin")} if found else {}
        for entry in found:
            if sizes.get(entry["shard"], -1) >= entry["end"]:  # else somebody removed or cut the shard
                self._index[entry["key"]] = entry

    def _whole_lines(self, file: IO[bytes]) -> Iterator[dict[str, Any]]:
        for line in file:
            if not line.endswith(b"\n"):  # being written, or cut off by a crash
                return
            self._read += len(line)
            with suppress(ValueError):  # a damaged line is a feature to be computed again
                yield json.loads(line)

    def _begin_index(self) -> None:
        """Write the index's first line where it is missing; cut off what a crash left after its last whole line."""
        if not self._head:
            head = {"format": 1, "generation": secrets.token_hex(8), "namespace": self.namespace}
            with atomic_file(self._index_path) as file:
                file.write(json.dumps(head).encode() + b"\n")
            self._refresh()
        elif self._index_path.stat().st_size > self._read:
            with self._index_path.open("r+b") as file:
                file.truncate(self._read)

    def _append(self, items: list[tuple[str, Arrays]]) -> list[tuple[str, Arrays]]:
        """Write items until the current shard is full, then their lines of the index; return those left over."""
        shard = self._open_shard()
        lines: list[bytes] = []
        with (self.folder / shard).open("ab") as file:
            for key, arrays in items:
                if lines and file.tell() >= self.shard_bytes:
                    break
                places = {}
                for name, array in arrays.items():
                    file.write(b"\0" * (-file.tell() % self._ALIGNMENT))
                    places[name] = (array.dtype.str, array.shape, file.tell())
                    file.write(array.tobytes())
                entry = {"key": key, "shard": shard, "end": file.tell(), "arrays": places}
                lines.append(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync(self.folder)
        with self._index_path.open("ab") as index:
            index.write(b"".join(lines))
            index.flush()
            os.fsync(index.fileno())
        self._refresh()
        return items[len(lines) :]

    def _open_shard(self) -> str:
        """The name of the shard that was written last, or of a new one if that is full. A name is never used again."""
        last = next(reversed(self._index.values()), None)
        if last is not None:
            path: Path = self.folder / last["shard"]
            if path.exists() and path.stat().st_size < self.shard_bytes:
                return path.name
        return f"{secrets.token_hex(8)}.bin"

    def _view(self, shard: str, dtype: str, shape: Sequence[int], offset: int) -> NDArray[Any]:
        import numpy as np

        count = math.prod(shape)
        end = offset + count * np.dtype(dtype).itemsize
        if end == offset:
            empty = np.empty(shape, dtype)
            empty.flags.writeable = False
            return empty
        if shard not in self._maps or len(self._maps[shard]) < end:
            self._maps[shard] = self._map(shard)
        return np.frombuffer(self._maps[shard], dtype, count, offset).reshape(shape)

    def _map(self, shard: str) -> mmap.mmap:
        with (self.folder / shard).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _plain(array: NDArray[Any], name: str) -> NDArray[Any]:
    import numpy as np

    array = np.asarray(array)
    if array.dtype.kind in "OV":
        raise ValueError(f"array {name!r} is of {array.dtype}, which has no plain bytes")
    return array
