"""Atomic files and folders, locks, content hashes, the feature cache, and readers that can't run code."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import pickle
import re
import secrets
import shutil
from collections import OrderedDict
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

from quire.errors import DataError, RunError, Where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Arrays: TypeAlias = dict[str, NDArray[Any]]

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"


# ------------------------------------------------------------------------------------------- atomic files and folders


@contextmanager
def atomic_file(path: Path, mode: Literal["wb", "w"] = "wb") -> Iterator[IO[Any]]:
    """A file that takes the place of `path` when the block ends, and leaves it untouched if the block raises.

    Text is UTF-8 with "\\n" as it is written. A link is followed: what it points to is replaced. Missing parent folders
    are made.
    """
    with _replacing(Path(path)) as temporary:
        text: dict[str, Any] = {"encoding": "utf-8", "newline": "\n"} if mode == "w" else {}
        with temporary.open(mode, **text) as file:
            yield file


def write_json(path: Path, value: JSON) -> None:
    """Write `value` atomically, keys in their order. ValueError for NaN and infinity, which JSON does not have."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    with atomic_file(path, "w") as file:
        file.write(text + "\n")


def read_json(path: Path) -> Any:
    """The value in the file; DataError with line and column if it is missing or malformed."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror})", where=Where(file=path)) from None
    except json.JSONDecodeError as error:
        where = Where(file=path, line=error.lineno, column=error.colno)
        raise DataError(f"is not valid JSON ({error.msg})", where=where) from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"is not valid JSON ({error})", where=Where(file=path)) from None


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new folder that takes the place of `path` when the block ends; if the block raises, nothing changes.

    One writer at a time: what another one left unfinished is removed at the start. After a crash, `recover_folder` sees
    to it that `path` is the old folder or the new one, each of them whole.
    """
    path = _resolved(Path(path))
    recover_folder(path)
    new, old = _sibling(path, "new"), _sibling(path, "old")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        for child in new.rglob("*"):
            _sync(child)
        _sync(new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if path.exists():
        path.rename(old)
    _complete_swap(path)


def recover_folder(path: Path) -> None:
    """Finish the swap of `atomic_folder` that a crash interrupted. Readers may call it at any time."""
    path = _resolved(Path(path))
    old = _sibling(path, "old")
    if old.exists():
        _complete_swap(path)


def _complete_swap(path: Path) -> None:
    """Put the new folder in its place, where it is missing, and remove the old one.

    The old folder is moved aside only when the new one is whole. If it went away and no new one stands there, the new
    one is already in its place.
    """
    new, old = _sibling(path, "new"), _sibling(path, "old")
    if not path.exists():
        with suppress(FileNotFoundError):  # a reader that recovers at this moment did it
            new.rename(path)
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sibling(path: Path, role: str) -> Path:
    return path.with_name(f".{path.name}.{role}")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """The path of a file, not there yet, that takes the place of `path` when the block ends without an error."""
    path = _resolved(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".quire-{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _sync(path: Path) -> None:
    """Wait until the file or folder is on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows has no handle on a folder to wait for
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --------------------------------------------------------------------------------------------------- locks and hashes


@contextmanager
def lock(path: Path, *, purpose: str) -> Iterator[None]:
    """Hold the lock file `path` against all other processes (and other holders in this one); never waits.

    `purpose` is the subject of the message: "<purpose> is in use by process 123". RunError if the lock is held. The
    kernel releases it when its holder dies.
    """
    from filelock import FileLock, Timeout

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = path.with_name(f"{path.name}.pid")
    try:
        held = FileLock(path).acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"{purpose} is in use by {_holder(holder)}",
            where=Where(file=path),
            remedy="Wait until it has finished, or stop it.",
        ) from None
    with held:
        with atomic_file(holder, "w") as file:
            file.write(str(os.getpid()))
        try:
            yield
        finally:
            holder.unlink(missing_ok=True)


def _holder(path: Path) -> str:
    try:
        return f"process {int(path.read_text(encoding='utf-8'))}"
    except (OSError, ValueError):  # it has not written its number yet
        return "another process"


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


# -------------------------------------------------------------------------------------------------- the feature cache


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
        _sync(self.folder)
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


# --------------------------------------------------------------------------------------------- readers of others' files


def read_pickle(path: Path, *, encoding: Literal["latin1", "bytes"] = "latin1") -> Any:
    """Read a public release that is a pickle, admitting plain values, containers and numpy arrays, and nothing else.

    Admitted are None, bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict, OrderedDict,
    and numpy arrays, scalars and dtypes of numbers, text, objects of this list, or structures of these. Python 2's str
    becomes str, or bytes with `encoding="bytes"` (as CIFAR's readers expect). Nothing in the file can run code: what it
    names is compared with a list, and numpy's own unpickling, which trusts its input, is not used.
    Raises DataError naming what was refused, or if the file is damaged.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _without_placeholders(_PlainUnpickler(file, encoding=encoding).load(), {})
    except _RefusedError as refused:
        raise DataError(
            f"asks for {refused}, and only plain values and arrays are admitted",
            where=Where(file=path),
            remedy="Convert it, in an environment that you trust it with, to .npz, .json or .safetensors.",
        ) from None
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror})", where=Where(file=path)) from None
    except Exception as error:  # a damaged pickle can raise anything at all
        raise DataError(f"is not a whole pickle ({type(error).__name__}: {error})", where=Where(file=path)) from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read an author's checkpoint (.safetensors, or PyTorch's .pt, .pth, .bin, .ckpt), on the CPU.

    A PyTorch file goes through its weights-only reader. DataError if it holds anything else than tensors, plain values
    and containers, if it is damaged, or if it is no dict.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise DataError("there is no such file", where=Where(file=path))
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise DataError(
            f"asks for {found[1]}, and only tensors and plain values are admitted" if found else "is not a checkpoint",
            where=Where(file=path),
            remedy="Convert it, in an environment that you trust it with, to .safetensors.",
        ) from None
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"is not a checkpoint that can be read ({reason})", where=Where(file=path)) from None
    if not isinstance(content, dict):
        raise DataError(f"holds a {type(content).__name__}, not a dict of tensors", where=Where(file=path))
    return content


class _RefusedError(Exception):
    """A pickle that asks for what is not on the list."""


class _PlainUnpickler(pickle.Unpickler):
    """Resolves the names on a list, and none of them to something that a pickle could turn against us."""

    def find_class(self, module: str, name: str, /) -> Any:
        if module in ("builtins", "__builtin__") and name in _PLAIN_TYPES:
            return _PLAIN_TYPES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        stand_in = _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if stand_in is None:
            raise _RefusedError(f"{module}.{name}")
        return _Callable(stand_in)


_PLAIN_TYPES = {
    kind.__name__: kind
    for kind in (bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict)
}


class _Callable:
    """A function for a pickle to call, and not to change: unpickling may set attributes of what it was given."""

    __slots__ = ("function",)
    function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "function", function)

    def __setattr__(self, name: str, value: object) -> None:
        raise _RefusedError(f"a change of {self.function.__name__}")

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class _Dtype:
    """A dtype that is being read: numpy would take its flags from the file and believe them."""

    __slots__ = ("order", "spec", "structure")
    __hash__ = None  # type: ignore[assignment]  # no key of a dict: those stay as they were read

    def __init__(self, spec: str | bytes, *_: Any) -> None:
        self.spec = spec.decode() if isinstance(spec, bytes) else spec
        self.order = "="
        self.structure: tuple[Any, dict[Any, Any], int] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, subarray, names, fields, itemsize = state[:6]
        if subarray is not None:
            raise _RefusedError("a dtype of arrays")
        self.order = order.decode() if isinstance(order, bytes) else order
        if names is not None:
            self.structure = (names, fields, itemsize)

    def resolve(self) -> np.dtype[Any]:
        import numpy as np

        if self.structure is not None:
            names, fields, itemsize = self.structure
            formats, offsets = [], []
            for name in names:
                dtype, offset = fields[name]
                formats.append(_dtype(dtype))
                offsets.append(offset)
            texts = [name.decode() if isinstance(name, bytes) else name for name in names]
            return np.dtype({"names": texts, "formats": formats, "offsets": offsets, "itemsize": itemsize})
        if not re.fullmatch(r"[biufcSUO?]\d*", self.spec):
            raise _RefusedError(f"the dtype {self.spec!r}")
        return np.dtype(self.spec).newbyteorder(">" if self.order == ">" else "<" if self.order == "<" else "=")


class _Array:
    """An array that is being read; numpy's own __setstate__ would trust the dtype."""

    __slots__ = ("state",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, subtype: _Callable, *_: Any) -> None:
        if not isinstance(subtype, _Callable) or subtype.function is not _ndarray:
            raise _RefusedError("a subclass of numpy.ndarray")
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def resolve(self, done: dict[int, tuple[Any, Any]]) -> NDArray[Any]:
        shape, dtype, fortran, content = self.state[-4:]
        if isinstance(content, list):
            return _object_array(shape, dtype, fortran, [_without_placeholders(item, done) for item in content])
        return _array(content, dtype, shape, "F" if fortran else "C")


def _ndarray(*_: Any) -> None:
    raise _RefusedError("a call of numpy.ndarray")


def _array(content: bytes | bytearray | str, dtype: Any, shape: Any, order: Any = "C") -> NDArray[Any]:
    """A writable array, in this machine's byte order, of exactly as many bytes as its shape and dtype say."""
    import numpy as np

    raw = content.encode("latin-1") if isinstance(content, str) else content
    if not isinstance(raw, bytes | bytearray):
        raise _RefusedError("an array of something else than bytes")
    resolved = _dtype(dtype)
    if resolved.hasobject:
        raise _RefusedError("an array of objects from bytes")
    if isinstance(shape, int):
        shape = (shape,)
    if math.prod(shape) * resolved.itemsize != len(raw):
        raise ValueError(f"{len(raw)} bytes for an array {resolved} {list(shape)}")
    view = np.ndarray(shape, resolved, raw, order="F" if order == "F" else "C")
    return view.astype(resolved.newbyteorder("="), order="K")


def _object_array(shape: Any, dtype: Any, fortran: Any, items: list[Any]) -> NDArray[Any]:
    import numpy as np

    if _dtype(dtype) != np.dtype(object):
        raise _RefusedError(f"an array of {_dtype(dtype)} from a list")
    array = np.empty(len(items), object)
    for index, item in enumerate(items):
        array[index] = item
    return array.reshape(shape, order="F" if fortran else "C")


def _scalar(dtype: Any, content: bytes | str) -> Any:
    return _array(content, dtype, ())[()]


def _dtype(found: object) -> np.dtype[Any]:
    if not isinstance(found, _Dtype):
        raise _RefusedError("something else in place of a dtype")
    return found.resolve()


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in the protocols of Python 2."""
    if encoding not in ("latin1", "latin-1"):
        raise _RefusedError(f"the encoding {encoding}")
    return text.encode("latin-1")


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _array,
    ("_codecs", "encode"): _encode,
}


def _without_placeholders(value: Any, done: dict[int, tuple[Any, Any]]) -> Any:
    """`value` with arrays and dtypes in place of those that were being read; shared and cyclic containers stay so.

    `done` maps the identity of a visited object to the object, which keeps its identity taken, and its result.
    """
    if id(value) in done:
        return done[id(value)][1]
    result = value
    if isinstance(value, _Array):
        result = value.resolve(done)
    elif isinstance(value, _Dtype):
        result = value.resolve()
    elif isinstance(value, _Callable):
        raise _RefusedError("a function or a class as a value")
    elif isinstance(value, tuple):
        result = tuple(_without_placeholders(item, done) for item in value)
    done[id(value)] = value, result
    if isinstance(value, list):
        value[:] = [_without_placeholders(item, done) for item in value]
    elif isinstance(value, dict):
        for key in value:
            value[key] = _without_placeholders(value[key], done)
    return result


# ---------------------------------------------------------------------------------------------------- trees of tensors


def pack_tree(tree: Any) -> tuple[dict[str, Tensor], JSON]:
    """Take a tree apart into its tensors, by number, and a JSON description of everything else.

    A tree is made of dicts (keys: any scalar), lists, tuples, tensors, arrays, None, bool, int, float, complex, str,
    bytes and numpy scalars. Tensors that are the same view of the same memory are kept once, and are one again after
    `unpack_tree` (complex ones may not be). TypeError naming the place of anything else.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _Packer(tensors).pack(tree, "")


def unpack_tree(tensors: Mapping[str, Tensor], structure: Any) -> Any:
    """The tree that `pack_tree` took apart. KeyError, TypeError or ValueError if the two do not belong together."""
    if isinstance(structure, list):
        return [unpack_tree(tensors, item) for item in structure]
    if not isinstance(structure, dict):
        return structure
    ((kind, content),) = structure.items()
    return _UNPACKERS[kind](tensors, content)


def save_tree(path: Path, tree: Any) -> None:
    """Write a tree (see `pack_tree`) atomically as one safetensors file with its structure in the metadata."""
    from safetensors.torch import save_file

    tensors, structure = pack_tree(tree)
    with _replacing(Path(path)) as temporary:
        save_file(_dense_copies(tensors), temporary, {"quire.tree": json.dumps(structure, ensure_ascii=False)})


def load_tree(path: Path) -> Any:
    """The tree in the file, its tensors on the CPU. DataError if the file is missing, damaged, or no tree of ours."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise DataError("there is no such file", where=Where(file=path))
    try:
        with safe_open(path, framework="pt") as file:
            structure = (file.metadata() or {}).get("quire.tree")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        if structure is None:
            raise DataError("holds tensors, but was not written by quire", where=Where(file=path))
        return unpack_tree(tensors, json.loads(structure))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"is damaged ({error})", where=Where(file=path)) from None


class _Packer:
    """Fills `tensors` and describes the rest."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.known: dict[tuple[Any, ...], str] = {}

    def pack(self, tree: Any, place: str) -> Any:
        import numpy as np
        import torch

        if isinstance(tree, torch.Tensor):
            return self._tensor(tree, place)
        if isinstance(tree, np.ndarray | np.generic):
            return self._array(tree, place)
        if isinstance(tree, dict):
            items = [[self.pack(key, place), self.pack(value, f"{place}[{key!r}]")] for key, value in tree.items()]
            return {"dict": items}
        if isinstance(tree, list | tuple) and (type(tree) in (list, tuple) or isinstance(tree, torch.Size)):
            items = [self.pack(item, f"{place}[{index}]") for index, item in enumerate(tree)]
            return items if isinstance(tree, list) else {"tuple": items}
        return _pack_scalar(tree, place)

    def _tensor(self, tensor: Tensor, place: str) -> JSON:
        import torch

        if tensor.layout != torch.strided or tensor.is_quantized:
            raise TypeError(f"the tensor at {place or 'the root'} is sparse or quantised and can't be stored")
        tensor = tensor.detach().resolve_conj().resolve_neg()
        if tensor.is_complex():
            return {"complex_tensor": self._keep(torch.view_as_real(tensor))}
        return {"tensor": self._keep(tensor)}

    def _array(self, array: NDArray[Any] | np.generic, place: str) -> JSON:
        import numpy as np
        import torch

        if array.dtype.kind in "OV":
            raise TypeError(f"the array at {place or 'the root'} is of {array.dtype} and can't be stored")
        raw = np.frombuffer(array.tobytes(), np.uint8).copy()
        kind = "array" if isinstance(array, np.ndarray) else "numpy"
        return {kind: [self._keep(torch.from_numpy(raw)), array.dtype.str, list(array.shape)]}

    def _keep(self, tensor: Tensor) -> str:
        view = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and view in self.known:
            return self.known[view]
        name = self.known[view] = str(len(self.tensors))
        self.tensors[name] = tensor
        return name


def _pack_scalar(value: Any, place: str) -> JSON:
    if type(value) is float and not math.isfinite(value):
        return {"float": repr(value)}
    if type(value) in (type(None), bool, int, float, str):
        scalar: JSON = value
        return scalar
    if type(value) is complex:
        return {"complex": repr(value)}
    if type(value) is bytes:
        return {"bytes": value.hex()}
    raise TypeError(f"a {type(value).__name__} at {place or 'the root'} can't be stored")


def _unpack_array(tensors: Mapping[str, Tensor], content: Any) -> Any:
    import numpy as np

    name, dtype, shape = content
    return np.ndarray(shape, dtype, tensors[name].numpy().tobytes()).copy()


def _unpack_complex(tensors: Mapping[str, Tensor], content: Any) -> Tensor:
    import torch

    parts = tensors[content]
    aligned = parts.data_ptr() % (2 * parts.element_size()) == 0  # a file's map may begin anywhere; torch would crash
    return torch.view_as_complex(parts if aligned else parts.clone())


_UNPACKERS: dict[str, Callable[[Mapping[str, Tensor], Any], Any]] = {
    "dict": lambda tensors, items: {unpack_tree(tensors, key): unpack_tree(tensors, value) for key, value in items},
    "tuple": lambda tensors, items: tuple(unpack_tree(tensors, item) for item in items),
    "tensor": lambda tensors, name: tensors[name],
    "complex_tensor": _unpack_complex,
    "array": _unpack_array,
    "numpy": lambda tensors, content: _unpack_array(tensors, content)[()],
    "float": lambda _, text: float(text),
    "complex": lambda _, text: complex(text),
    "bytes": lambda _, text: bytes.fromhex(text),
}


def _dense_copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, contiguous, and none of them a part of another's memory: what safetensors can write."""
    dense = {}
    seen = set()
    for name, tensor in tensors.items():
        flat = tensor.to("cpu").contiguous()
        storage = flat.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != flat.numel() * flat.element_size():
            flat = flat.clone()
        seen.add(flat.untyped_storage().data_ptr())
        dense[name] = flat
    return dense
