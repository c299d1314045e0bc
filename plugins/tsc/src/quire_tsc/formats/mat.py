"""Baydogan's multivariate archive: a MATLAB file with the structure mts of cells of [channels, time] matrices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quire.errors import DataError, InvalidSample, Where

from .arrays import Split, array_label
from .collection import Case, SeriesCollection, collect

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from quire.dataset import OnError


def load_mts_mat(path: str | Path, *, split: Split = "train", on_error: OnError = "raise") -> SeriesCollection:
    """Read one split of a `.mat` file: `mts.train`, `mts.trainlabels`, `mts.test`, `mts.testlabels`.

    NaN = missing; series may differ in length. DataError for another structure, for MATLAB 7.3 files (which are
    HDF5), and for labels that do not fit in number; InvalidSample for a case that is no matrix of numbers.
    """
    path = Path(path)
    structure = _read_structure(path)
    cells, labels = (_field(path, structure, name) for name in (split, f"{split}labels"))
    if len(cells) != len(labels):
        raise DataError(
            f"mts.{split} holds {len(cells)} series but mts.{split}labels {len(labels)} labels",
            where=Where(file=path),
            remedy="Give one label a series.",
        )

    def parse(index: int) -> Case:
        where = Where(file=path, sample=index, field=f"mts.{split}")
        matrix = np.asarray(cells[index])
        if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
            raise InvalidSample(
                "the cell is not a matrix of numbers", where=where, remedy="Each cell is [channels, time]."
            )
        label = array_label(labels[index], where)
        return Case(matrix.astype(np.float64), label, f"{path.stem}_{split.upper()}:{index + 1}", where)

    return collect(path, range(len(cells)), parse, on_error=on_error)


def _read_structure(path: Path) -> NDArray[np.void]:
    from scipy.io import loadmat

    try:
        structure = loadmat(path, variable_names=["mts"]).get("mts")
    except NotImplementedError as error:
        raise DataError(
            "is a MATLAB 7.3 file", where=Where(file=path), remedy="Save it in MATLAB with the option -v7."
        ) from error
    except Exception as error:  # a damaged file makes scipy raise errors of many unrelated classes
        raise DataError(
            f"can't be read as a MATLAB file ({error})", where=Where(file=path), remedy="Give the archive's .mat file."
        ) from error
    if not isinstance(structure, np.ndarray) or structure.dtype.names is None or structure.size != 1:
        raise DataError(
            "holds no structure mts", where=Where(file=path), remedy="The archive's files hold mts.train and mts.test."
        )
    return structure.reshape(())


def _field(path: Path, structure: NDArray[np.void], name: str) -> NDArray[np.generic]:
    if name not in (structure.dtype.names or ()):
        raise DataError(f"mts has no field {name}", where=Where(file=path), remedy="The archive's files have it.")
    return np.asarray(structure[name].item()).ravel()
