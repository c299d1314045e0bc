"""Nested dicts and lists of tensors, arrays and plain values as one safetensors file."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from quire.errors import DataError, Where
from quire.storage.files import JSON, replacing
from quire.storage.hashes import content_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Arrays: TypeAlias = dict[str, NDArray[Any]]


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


def tree_hash(tree: Any) -> str:
    """The content hash of a tree (see `pack_tree`): the same for equal trees, on every device."""
    tensors, structure = pack_tree(tree)
    dense = _dense_copies(tensors)
    parts = [(name, str(dense[name].dtype), list(dense[name].shape)) for name in tensors]
    return content_hash([list(part) for part in parts], structure, *(_raw(dense[name]) for name in tensors))


def save_tree(path: Path, tree: Any) -> None:
    """Write a tree (see `pack_tree`) atomically as one safetensors file with its structure in the metadata.

    OSError where the system refuses to write.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors, structure = pack_tree(tree)
    with replacing(Path(path)) as temporary:
        try:
            save_file(_dense_copies(tensors), temporary, {"quire.tree": json.dumps(structure, ensure_ascii=False)})
        except SafetensorError as error:
            refused = re.search(r"\(os error (\d+)\)", str(error))  # a full disk has no class of its own there
            if refused is None:
                raise
            number = int(refused[1])
            raise OSError(number, os.strerror(number), str(path)) from error


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


def _raw(tensor: Tensor) -> NDArray[np.uint8]:
    """The bytes of a dense tensor on the CPU, also of a type that numpy lacks."""
    import torch

    return (
        tensor.reshape(-1).view(torch.uint8).numpy()
        if tensor.numel()
        else tensor.new_empty(0, dtype=torch.uint8).numpy()
    )


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
