"""NumPy files: an `.npz` with X and y, or the pair X.npy and y.npy."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from quire.errors import DataError, InvalidSample, Where

from .collection import Case, SeriesCollection, collect, normal_label, without_padding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from quire.dataset import OnError

Layout = Literal["NCT", "NTC"]
Split = Literal["train", "test"]


def load_arrays(
    path: str | Path, *, split: Split = "train", layout: Layout = "NCT", on_error: OnError = "raise"
) -> SeriesCollection:
    """Read X and y from an `.npz` (keys X_train and y_train of the split, else X and y), or from `X*.npy` and `y*.npy`.

    X is numeric: [cases, length], or [cases, channels, length] (`layout="NTC"`: [cases, length, channels]); NaN =
    missing, and at the end of all channels a shorter series. y is [cases] of integers, text or booleans; without y
    there are no labels. DataError for arrays of other shapes or types (objects, which would be pickles, are not
    read); InvalidSample for a case with an infinite value, no value, or no label.
    """
    path = Path(path)
    values, labels = _read_npz(path, split) if path.suffix.lower() == ".npz" else _read_npy_pair(path)
    if values.ndim not in (2, 3) or values.dtype.kind not in "biuf":
        raise DataError(
            f"X is {values.dtype} of shape {list(values.shape)}",
            where=Where(file=path),
            remedy="X needs real numbers of shape [cases, length] or [cases, channels, length].",
        )
    if labels is not None and labels.shape != values.shape[:1]:
        raise DataError(
            f"y has shape {list(labels.shape)} but X holds {len(values)} cases",
            where=Where(file=path),
            remedy="y needs one label a case.",
        )
    if values.ndim == 2:
        values = values[:, None]
    elif layout == "NTC":
        values = values.transpose(0, 2, 1)

    def parse(index: int) -> Case:
        where = Where(file=path, sample=index)
        label = None if labels is None else array_label(labels[index], where)
        return Case(without_padding(values[index].astype(np.float64)), label, f"{path.stem}:{index + 1}", where)

    return collect(path, range(len(values)), parse, on_error=on_error)


def array_label(value: np.generic, where: Where) -> str:
    """A label of a NumPy array as text; InvalidSample for one that is neither number, text nor boolean."""
    if value.dtype.kind not in "biufU":
        raise InvalidSample(f"the label is {value.dtype}", where=where, remedy="Labels are integers, text or booleans.")
    return normal_label(str(value), where)


def _read_npz(path: Path, split: Split) -> tuple[NDArray[np.generic], NDArray[np.generic] | None]:
    with _opened(path) as arrays:
        keys = (f"X_{split}", f"y_{split}") if f"X_{split}" in arrays else ("X", "y")
        if keys[0] not in arrays:
            raise DataError(
                f"holds neither X_{split} nor X (it holds {', '.join(arrays) or 'nothing'})",
                where=Where(file=path),
                remedy="Name the arrays X_train, y_train, X_test, y_test, or X and y.",
            )
        values = _member(path, arrays, keys[0])
        return values, _member(path, arrays, keys[1]) if keys[1] in arrays else None


def _read_npy_pair(path: Path) -> tuple[NDArray[np.generic], NDArray[np.generic] | None]:
    if not path.name.startswith("X"):
        raise DataError(
            "the name of an .npy file of series begins with X",
            where=Where(file=path),
            remedy="Name the pair X_train.npy and y_train.npy.",
        )
    labels = path.with_name("y" + path.name[1:])
    return _read_npy(path), _read_npy(labels) if labels.exists() else None


def npz_keys(path: Path) -> list[str]:
    """The names of the arrays in an `.npz`; DataError when it is none."""
    with _opened(path) as arrays:
        return list(arrays)


def _opened(path: Path) -> np.lib.npyio.NpzFile:
    arrays = _loaded(path)
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise DataError("is not an .npz file", where=Where(file=path), remedy="Save it with numpy.savez.")
    return arrays


def _read_npy(path: Path) -> NDArray[np.generic]:
    array = _loaded(path)
    if not isinstance(array, np.ndarray):
        raise DataError("is not an .npy file", where=Where(file=path), remedy="Save it with numpy.save.")
    return array


def _loaded(path: Path) -> object:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error


def _member(path: Path, arrays: np.lib.npyio.NpzFile, key: str) -> NDArray[np.generic]:
    try:
        return np.asarray(arrays[key])
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error, key) from error


def _unreadable(path: Path, error: Exception, field: str | None = None) -> DataError:
    reason = str(error).partition(".")[0] or type(error).__name__
    return DataError(
        f"can't be read as NumPy arrays ({reason})",
        where=Where(file=path, field=field),
        remedy="Save numbers and text with numpy.save or numpy.savez; arrays of objects are not read.",
    )
