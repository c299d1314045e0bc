"""BLUFR's ten trials on LFW, from `blufr_lfw_config.mat`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from quire.errors import DataError, Where, require
from quire_amsoftmax.protocols.pairs import Missing, NameIndex, missing_images

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Indices = NDArray[np.int64]

_CELLS = ("trainIndex", "testIndex", "galIndex", "probIndex")


@dataclass(frozen=True)
class Trial:
    """Positions, from 0, of one trial's images: of training, of the test, of gallery and probes of open-set search."""

    train: Indices
    test: Indices
    gallery: Indices
    probes: Indices


@dataclass(frozen=True)
class BlufrProtocol:
    """images: names such as `Aaron_Eckhart_0001.jpg`. labels: int64 [n]. notes: what was left out."""

    images: list[str]
    labels: NDArray[np.int64]
    trials: list[Trial]
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> BlufrProtocol:
        """The toolkit's file; one of MATLAB's version 7.3 needs h5py. DataError for other variables or indices."""
        content = _load(path)
        lacking = [name for name in ("imageList", "labels", *_CELLS) if name not in content]
        if lacking:
            raise DataError(f"has no variable {lacking[0]!r}", where=Where(file=path))
        images = [str(name) for name in content["imageList"]]
        labels = np.asarray(content["labels"], np.float64).ravel().astype(np.int64)
        if len(images) != len(labels):
            raise DataError(f"{len(images)} images and {len(labels)} labels", where=Where(file=path))
        cells = [[_positions(cell, len(images), name, path) for cell in content[name]] for name in _CELLS]
        if len({len(cell) for cell in cells}) != 1:
            raise DataError("the cells have different numbers of trials", where=Where(file=path))
        return cls(images, labels, [Trial(*parts) for parts in zip(*cells, strict=True)])

    def resolve(self, ids: Sequence[str], *, missing: Missing = "error") -> tuple[BlufrProtocol, Indices]:
        """This protocol over the images that are there, and their positions among `ids`.

        DataError with the names that are not; with missing="skip" they are left out of every trial.
        """
        find = NameIndex(ids)
        places = np.array([find(name) for name in self.images], np.int64)
        if not find.missing:
            return self, places
        if missing == "error":
            raise missing_images(find.missing, "blufr")
        new = np.cumsum(places >= 0) - 1
        trials = [
            Trial(*(new[part[places[part] >= 0]] for part in (trial.train, trial.test, trial.gallery, trial.probes)))
            for trial in self.trials
        ]
        kept = np.flatnonzero(places >= 0)
        note = f"{len(find.missing)} images are missing: {', '.join(list(find.missing)[:10])}"
        return BlufrProtocol([self.images[i] for i in kept], self.labels[kept], trials, (note,)), places[kept]


def _positions(cell: Any, n: int, name: str, path: Path) -> Indices:
    found = np.asarray(cell, np.float64).ravel().astype(np.int64)
    if len(found) and not (found.min() >= 1 and found.max() <= n):
        raise DataError(f"{name} has indices outside 1..{n}", where=Where(file=path))
    return found - 1


def _load(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        loaded: dict[str, Any] = loadmat(path, simplify_cells=True)
    except NotImplementedError:
        return _load_hdf5(path)
    except (MatReadError, ValueError, TypeError, OSError, EOFError) as error:
        raise DataError(f"this is no MATLAB file that can be read ({error})", where=Where(file=path)) from error
    for name in _CELLS:
        if name in loaded and not isinstance(loaded[name], list):
            cell = loaded[name]
            loaded[name] = list(cell) if cell.dtype == object or cell.ndim == 2 else [cell]
    return loaded


def _load_hdf5(path: Path) -> dict[str, Any]:
    """A file of version 7.3, which is HDF5: cells are references, text is uint16."""
    h5py: Any = require("h5py", extra="mat73", purpose="reading MATLAB 7.3 files", distribution="quire-amsoftmax")
    content: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        for name in ("imageList", "labels", *_CELLS):
            if name not in file:
                continue
            stored = file[name]
            if stored.dtype == h5py.ref_dtype:
                cells = [np.asarray(file[reference]) for reference in np.asarray(stored).ravel()]
                content[name] = ["".join(map(chr, cell.ravel())) for cell in cells] if name == "imageList" else cells
            else:
                content[name] = np.asarray(stored).ravel()
    return content
