"""What users hand in, checked and brought into the form that is stored; errors name the id at fault."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from quire.errors import ConfigError, DataError, InvalidSample, Where, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from quire.index.spec import Spec

MAX_NORM = 1e18  # squares of longer vectors leave float32
MIN_DIRECTION = 1e-18  # shorter vectors have no direction in float32
_KINDS = {"int64": "iu", "float64": "iuf", "bool": "b"}


def check_ids(spec: Spec, ids: Any) -> NDArray[Any]:
    """Ids as they are kept: int64 [n] (0 or more) or an object array of strings. DataError for other ones."""
    if spec.ids == "str":
        return _texts(ids, "an id")
    values = np.asarray(ids)
    if values.ndim != 1:
        raise DataError(f"ids are a list, one for each vector, not an array of shape {values.shape}")
    if len(values) and (values.dtype.kind not in "iu" or values.min() < 0 or values.max() > np.iinfo(np.int64).max):
        raise DataError(
            f"an id of this index is a whole number from 0 to 2^63 - 1, and among those given is {_odd(values)!r}"
        )
    return values.astype(np.int64)


def _odd(values: NDArray[Any]) -> Any:
    fits = (isinstance(value, int) and 0 <= value < 2**63 for value in values.tolist())
    return next((value for value, good in zip(values.tolist(), fits, strict=True) if not good), None)


def _texts(values: Any, what: str) -> NDArray[np.object_]:
    """Strings as an array of Python strings. numpy's own kind would give each the room of the longest."""
    listed = values.tolist() if hasattr(values, "tolist") else [values] if isinstance(values, str) else list(values)
    found = np.empty(len(listed), object)
    found[:] = listed
    for value in listed:
        if not isinstance(value, str):
            raise DataError(f"{what} of this index is a string, not {value!r}")
    try:
        "".join(listed).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{what} is not valid text ({error})") from None
    return found


def check_unique(ids: NDArray[Any]) -> None:
    """DataError naming an id that occurs twice among those given at once."""
    listed = ids.tolist()
    if len(set(listed)) < len(listed):
        an_id, count = Counter(listed).most_common(1)[0]
        raise DataError(f"id {an_id!r} is given {count} times at once", remedy="Ids are unique in an index.")


def check_vectors(spec: Spec, vectors: Any, ids: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Vectors in the form that is stored, with their norms. InvalidSample naming the id of one that can't be indexed."""
    found = _matrix(spec, vectors, "vectors")
    if len(found) != len(ids):
        raise DataError(f"there are {len(found)} vectors and {len(ids)} ids")
    if spec.storage == "bits":
        return {"vectors": to_words(spec, found)}
    with np.errstate(over="ignore"):
        kept = np.ascontiguousarray(found, dtype=spec.vectors.dtype)
    norms = norms_of(kept)
    _check_norms(spec, kept, norms, ids)
    return {"vectors": kept, "norms": norms.astype(np.float32)}


def norms_of(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Euclidean norms, summed in float64."""
    squares = np.empty(len(vectors))
    size = max(1, (1 << 20) // max(1, vectors.shape[1]))  # rows whose copy in float64 takes 8 MiB
    for start in range(0, len(vectors), size):
        part = vectors[start : start + size].astype(np.float64)
        np.vecdot(part, part, out=squares[start : start + size])
    return np.sqrt(squares)


def _check_norms(spec: Spec, kept: NDArray[Any], norms: NDArray[np.float64], ids: NDArray[Any]) -> None:
    """Infinity and NaN make the norm one, so that the vectors need no second look."""
    with np.errstate(invalid="ignore"):
        wrong = ~(norms <= MAX_NORM)
        if spec.metric == "cosine":
            wrong |= norms < MIN_DIRECTION
    if not wrong.any():
        return
    place = int(np.argmax(wrong))
    if norms[place] < MIN_DIRECTION:
        what = "the vector is zero and has no direction, so that nothing has a cosine with it"
    elif not np.isfinite(kept[place]).all():
        what = f"the vector has values that are not finite in {spec.storage}"
    else:
        what = f"the vector is too long for arithmetic in float32 (its norm is {norms[place]:.3g})"
    raise InvalidSample(what, where=Where(sample=str(ids[place])))


def check_queries(spec: Spec, queries: Any) -> NDArray[Any]:
    """Queries as float32 [queries, dim], or as words; one query may come as a plain vector."""
    values = np.asarray(queries)
    found = _matrix(spec, values[None] if values.ndim == 1 else values, "queries")
    if spec.storage == "bits":
        return to_words(spec, found)
    kept = np.ascontiguousarray(found, dtype=np.float32)
    names = np.array([f"query {place}" for place in range(len(kept))], object)
    _check_norms(spec, kept, norms_of(kept), names)
    return kept


def _matrix(spec: Spec, values: Any, what: str) -> NDArray[Any]:
    array = np.asarray(values)
    wanted = spec.code_bytes if spec.storage == "bits" else spec.dim
    described = f"uint8 [n, {wanted}] ({spec.dim} bits)" if spec.storage == "bits" else f"floats [n, {wanted}]"
    fits = array.dtype == np.uint8 if spec.storage == "bits" else array.dtype.kind in "fiu"
    if array.ndim != 2 or array.shape[1] != wanted or not fits:
        raise DataError(
            f"{what} of this index are {described}, not {array.dtype} {list(array.shape)}",
            remedy="Codes are packed by quire.index.pack_bits." if spec.storage == "bits" else None,
        )
    return array


def pack_bits(bits: Any) -> NDArray[np.uint8]:
    """Codes from bits: bool [n, bits] -> uint8 [n, ceil(bits / 8)]; bit j is bit j % 8 of byte j // 8."""
    values = np.asarray(bits)
    if values.ndim != 2 or values.dtype != bool:
        raise DataError(f"bits are bool [n, bits], not {values.dtype} {list(values.shape)}")
    return np.packbits(values, axis=1, bitorder="little")


def to_words(spec: Spec, codes: NDArray[np.uint8]) -> NDArray[Any]:
    """Packed codes as whole words [n, words]. Bits beyond the code's length are cleared, so that they never count."""
    field = spec.vectors
    filled = np.zeros((len(codes), field.row_bytes), np.uint8)
    filled[:, : spec.code_bytes] = codes
    if spec.dim % 8:
        filled[:, spec.code_bytes - 1] &= (1 << spec.dim % 8) - 1
    return filled.view(field.dtype)


def to_codes(spec: Spec, words: NDArray[Any]) -> NDArray[np.uint8]:
    """The inverse of `to_words`."""
    filled = np.ascontiguousarray(words).view(np.uint8)
    return np.ascontiguousarray(filled[:, : spec.code_bytes])


def check_columns(spec: Spec, columns: Mapping[str, Any] | None, n: int) -> dict[str, NDArray[Any]]:
    """The fields of the columns. DataError naming a column that is missing, unknown, too short or of another type."""
    given = dict(columns or {})
    fields = {}
    for name, kind in spec.columns.items():
        if name not in given:
            raise DataError(f"column {name!r} is missing", remedy=f"The index has columns: {', '.join(spec.columns)}.")
        values = given.pop(name)
        column = _texts(values, f"a value of column {name!r}") if kind == "str" else _numbers(name, kind, values)
        if column.shape != (n,):
            raise DataError(f"column {name!r} has shape {column.shape} beside {n} ids")
        fields[spec.column_fields[name].name] = column
    for name in given:
        raise ConfigError(f"the index has no column {name!r}{nearest(name, spec.columns)}")
    return fields


def _numbers(name: str, kind: str, given: Any) -> NDArray[Any]:
    values = np.asarray(given)
    if values.size and values.dtype.kind not in _KINDS[kind]:
        raise DataError(f"column {name!r} is {kind}, not {values.dtype}")
    return values.astype(kind)
