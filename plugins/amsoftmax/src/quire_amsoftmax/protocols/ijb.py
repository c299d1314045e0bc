"""IJB-B and IJB-C 1:1 verification of templates, from their meta files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quire.errors import DataError, Where

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class IjbProtocol:
    """images [n] with their template and medium; pairs of templates with their label.

    templates, media: int64 [n]. left, right: int64 [pairs], template ids. same: bool [pairs]. landmarks: float64 [n, 5, 2]
    and detector_scores float64 [n] in the images' order, where `*_name_5pts_score.txt` is there.
    """

    images: list[str]
    templates: Ints
    media: Ints
    left: Ints
    right: Ints
    same: NDArray[np.bool_]
    landmarks: NDArray[np.float64] | None = None
    detector_scores: NDArray[np.float64] | None = None

    @classmethod
    def read(cls, folder: Path) -> IjbProtocol:
        """A release's folder with meta/ (or meta/ itself): one of `*_face_tid_mid.txt`, `*_template_pair_label.txt`."""
        meta = folder / "meta" if (folder / "meta").is_dir() else folder
        images, faces = _columns(_only(meta, "*_face_tid_mid.txt"), names=1, numbers=2)
        templates, media = faces[:, 0].astype(np.int64), faces[:, 1].astype(np.int64)
        pair_file = _only(meta, "*_template_pair_label.txt")
        _, pairs = _columns(pair_file, names=0, numbers=3)
        left, right, label = (pairs[:, column].astype(np.int64) for column in range(3))
        odd = np.flatnonzero((label != 0) & (label != 1))
        if len(odd):
            raise DataError(
                f"the label {label[odd[0]]} is not 0 or 1", where=Where(file=pair_file, line=int(odd[0]) + 1)
            )
        unknown = np.setdiff1d(np.union1d(left, right), templates)
        if len(unknown):
            raise DataError(f"template {unknown[0]} of the pairs has no image", where=Where(file=pair_file))
        landmarks, scores = _landmarks(meta, images)
        return cls(images, templates, media, left, right, label == 1, landmarks, scores)


def _landmarks(meta: Path, images: list[str]) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    if not list(meta.glob("*_name_5pts_score.txt")):
        return None, None
    file = _only(meta, "*_name_5pts_score.txt")
    names, values = _columns(file, names=1, numbers=11)
    rows = {name: row for row, name in enumerate(names)}
    lacking = next((name for name in images if name not in rows), None)
    if lacking is not None:
        raise DataError(f"has no landmarks of {lacking!r}", where=Where(file=file))
    ordered = values[[rows[name] for name in images]]
    return ordered[:, :10].reshape(-1, 5, 2), ordered[:, 10]


def _columns(file: Path, *, names: int, numbers: int) -> tuple[list[str], NDArray[np.float64]]:
    """The names and the numbers of lines of that many fields. DataError with the line."""
    texts: list[str] = []
    values: list[list[float]] = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
        parts = line.split()
        if not parts:
            continue
        try:
            if len(parts) != names + numbers:
                raise ValueError
            values.append([float(part) for part in parts[names:]])
        except ValueError:
            raise DataError(
                f"{line!r} is not {names} name and {numbers} numbers"
                if names
                else f"{line!r} is not {numbers} numbers",
                where=Where(file=file, line=number),
            ) from None
        texts += parts[:names]
    if not values:
        raise DataError("the file is empty", where=Where(file=file))
    return texts, np.array(values)


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise DataError(f"there are {len(found)} files {pattern}; one is needed", where=Where(file=folder))
    return found[0]
