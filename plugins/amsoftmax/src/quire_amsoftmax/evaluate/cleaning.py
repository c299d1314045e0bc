"""Images that may stand under the wrong identity, by the angle to the others of it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quire.storage import atomic_file
from quire_amsoftmax.evaluate.streams import ROWS, unit_rows

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from quire_amsoftmax.evaluate.store import Embeddings


@dataclass(frozen=True)
class Suspect:
    """An image far from the others of its identity; angles in degrees, to their mean and to the nearest other mean."""

    id: str
    identity: str
    angle: float
    nearest: str
    nearest_angle: float


def suspects(embeddings: Embeddings, *, angle: float = 75.0) -> list[Suspect]:
    """Images at more than `angle` degrees from the mean of their identity's other images, the farthest first.

    Identities with one image say nothing. Of all others, an image that is nearer to another identity's mean than to its
    own is listed too.
    """
    known = embeddings.known()
    if not len(known):
        return []
    names, numbers = np.unique(np.array(known.identities, dtype=str), return_inverse=True)
    numbers = numbers.reshape(-1)
    vectors = unit_rows(known.vectors).astype(np.float64)
    sums = np.zeros((len(names), vectors.shape[1]))
    np.add.at(sums, numbers, vectors)
    counts = np.bincount(numbers)
    centres = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    found = []
    for start in range(0, len(vectors), ROWS):
        rows = vectors[start : start + ROWS]
        mine = numbers[start : start + ROWS]
        others = sums[mine] - rows
        own = _degrees((rows * others).sum(axis=1) / np.maximum(np.linalg.norm(others, axis=1), 1e-12))
        cosines = rows @ centres.T
        cosines[np.arange(len(rows)), mine] = -np.inf
        nearest = cosines.argmax(axis=1)
        away = _degrees(np.maximum(cosines.max(axis=1), -1.0))
        for row in np.flatnonzero((counts[mine] > 1) & ((own > angle) | (away < own))).tolist():
            name, identity = known.ids[start + row], known.identities[start + row]
            found.append(Suspect(name, identity, float(own[row]), str(names[nearest[row]]), float(away[row])))
    return sorted(found, key=lambda suspect: -suspect.angle)


def write_suspects(found: Iterable[Suspect], path: Path) -> Path:
    """A CSV path,identity,angle,nearest,nearest_angle."""
    with atomic_file(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "identity", "angle", "nearest", "nearest_angle"])
        for each in found:
            writer.writerow([each.id, each.identity, f"{each.angle:.2f}", each.nearest, f"{each.nearest_angle:.2f}"])
    return path


def _degrees(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    angles: NDArray[np.float64] = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    return angles
