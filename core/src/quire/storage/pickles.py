"""Readers of others' checkpoints and pickles, which can run no code."""

from __future__ import annotations

import math
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from quire.errors import DataError, Where

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    Arrays: TypeAlias = dict[str, NDArray[Any]]


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
