"""MegaFace challenge 1: lists of probes and distractors, and one feature file for each image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quire.errors import DataError, InvalidSample, Where
from quire.storage import read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_FLOAT_MATRIX = 5  # OpenCV's type of float32


@dataclass(frozen=True)
class ImageList:
    """Relative paths, and whose they are ("" where the list does not say)."""

    paths: list[str]
    ids: list[str]


@dataclass(frozen=True)
class MegaFaceProtocol:
    """probes (FaceScrub) with identities, and distractors."""

    probes: ImageList
    distractors: ImageList

    @classmethod
    def read(cls, probes: Path, distractors: Path, *, noise: Sequence[Path] = ()) -> MegaFaceProtocol:
        """From the devkit's two lists; `noise` are text files with names that are left out of both."""
        unwanted: set[str] = set()
        for file in noise:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
            unwanted |= {line.strip() for line in lines if line.strip() and not line.startswith("#")}
        return cls(*(_without(read_list(path), unwanted) for path in (probes, distractors)))


def read_list(path: Path) -> ImageList:
    """A list of the devkit: {"path": [...], "id": [...]}. DataError where it is something else."""
    content = read_json(path)
    paths = content.get("path") if isinstance(content, dict) else None
    if not isinstance(paths, list) or not paths:
        raise DataError('this is no list with "path"', where=Where(file=path))
    ids = content.get("id") or [""] * len(paths)
    if len(ids) != len(paths):
        raise DataError(f"{len(paths)} paths and {len(ids)} ids", where=Where(file=path))
    return ImageList([str(each) for each in paths], [str(each) for each in ids])


def read_feature(path: Path) -> Floats:
    """One feature file: int32 rows = dim, columns = 1, bytes of a value = 4, type = 5, then float32 [dim]."""
    content = path.read_bytes()
    if len(content) < 16:
        raise InvalidSample(f"{len(content)} bytes are no feature file", where=Where(file=path))
    rows, columns, stride, kind = np.frombuffer(content, "<i4", 4).tolist()
    if (columns, stride, kind) != (1, 4, _FLOAT_MATRIX) or rows < 1:
        raise InvalidSample(
            f"the header says {rows} x {columns}, stride {stride}, type {kind}; dim x 1, 4 and 5 are needed",
            where=Where(file=path),
        )
    if len(content) != 16 + 4 * rows:
        raise InvalidSample(
            f"the header says {rows} values, there are {(len(content) - 16) // 4}", where=Where(file=path)
        )
    return np.frombuffer(content, "<f4", rows, 16).astype(np.float32)


def write_feature(path: Path, vector: Floats) -> None:
    """Write one feature file."""
    header = np.array([len(vector), 1, 4, _FLOAT_MATRIX], "<i4").tobytes()
    path.write_bytes(header + np.asarray(vector, "<f4").tobytes())


def load_features(
    images: ImageList, root: Path, *, suffix: str = ".bin", missing: str = "error", into: Path | None = None
) -> tuple[Floats, list[int], list[InvalidSample]]:
    """(features float32 [n, dim], positions in the list, why others were left out) of `root / (path + suffix)`.

    into: an .npy file that holds them, mapped, where memory is too small. missing="error" raises the first fault;
    DataError for mixed dimensions.
    """
    kept: list[int] = []
    faults: list[InvalidSample] = []
    features: Floats | None = None
    for position, name in enumerate(images.paths):
        file = root / f"{name}{suffix}"
        try:
            if not file.is_file():
                raise InvalidSample("there is no such feature file", where=Where(file=file))
            vector = read_feature(file)
        except InvalidSample as error:
            if missing == "error":
                raise
            faults.append(error)
            continue
        if features is None:
            features = _space(into, len(images.paths), len(vector))
        elif features.shape[1] != len(vector):
            raise DataError(f"has {len(vector)} dimensions, others have {features.shape[1]}", where=Where(file=file))
        features[len(kept)] = vector
        kept.append(position)
    if features is None:
        raise DataError(f"none of {len(images.paths)} images has a feature file {suffix!r}", where=Where(file=root))
    return features[: len(kept)], kept, faults


def _space(into: Path | None, n: int, dim: int) -> Floats:
    if into is None:
        return np.empty((n, dim), np.float32)
    mapped: Floats = np.lib.format.open_memmap(into, mode="w+", dtype=np.float32, shape=(n, dim))
    return mapped


def _without(images: ImageList, unwanted: set[str]) -> ImageList:
    names = [(path, an_id) for path, an_id in zip(images.paths, images.ids, strict=True)]
    kept = [(path, an_id) for path, an_id in names if not {path, Path(path).name, Path(path).stem} & unwanted]
    return ImageList([path for path, _ in kept], [an_id for _, an_id in kept])
