"""Scores of pairs, streamed in blocks, so that no matrix of all of them is ever in memory.

A block is float32 of any shape in which -inf stands for "no pair"; it is valid until the next one is asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from quire.errors import DataError, InvalidSample, Where

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]

ROWS, COLUMNS = 512, 2048  # of a tile: 4 MiB of scores, which stay in the second-level cache while they are counted


class PairStream(ABC):
    """Genuine scores, and impostor scores that can be streamed again and again, the same each time."""

    n_impostor: int

    @abstractmethod
    def genuine(self) -> Floats:
        """The scores of all pairs of one person, float32 [n], in any order."""

    @abstractmethod
    def impostor_blocks(self) -> Iterator[Floats]:
        """The scores of all pairs of different people."""


class ScoreList(PairStream):
    """Scores that are known, with whether each pair is of one person: any system's. Larger is more alike."""

    def __init__(self, scores: NDArray[Any] | Sequence[float], same: NDArray[Any] | Sequence[bool]) -> None:
        values, flags = np.asarray(scores, np.float32).ravel(), np.asarray(same, bool).ravel()
        if len(values) != len(flags):
            raise DataError(f"{len(values)} scores for {len(flags)} pairs")
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise InvalidSample(f"the score {values[row]} is not a finite number", where=Where(sample=row))
        self._genuine, self._impostor = values[flags], values[~flags]
        self.n_impostor = len(self._impostor)

    def genuine(self) -> Floats:
        """Those of pairs of one person."""
        scores: Floats = self._genuine
        return scores

    def impostor_blocks(self) -> Iterator[Floats]:
        """Those of other pairs."""
        for start in range(0, self.n_impostor, ROWS * COLUMNS):
            yield self._impostor[start : start + ROWS * COLUMNS]


class AllPairs(PairStream):
    """All unordered pairs of a set of embeddings: genuine where the labels are equal.

    embeddings: floats [n, dim], made unit rows in float32 (one copy, ordered by label). labels: [n] of any kind.
    """

    def __init__(self, embeddings: NDArray[Any], labels: NDArray[Any] | Sequence[Any]) -> None:
        numbers = label_numbers(labels)
        order = np.argsort(numbers, kind="stable")
        self._vectors = unit_rows(embeddings)[order]
        if len(self._vectors) != len(numbers):
            raise DataError(f"{len(self._vectors)} embeddings for {len(numbers)} labels")
        counts = np.bincount(numbers) if len(numbers) else np.zeros(0, np.int64)
        self._ends = np.cumsum(counts)
        self._first = np.repeat(self._ends - counts, counts)  # of each row: the first row of its label
        n = len(numbers)
        self.n_genuine = int((counts * (counts - 1) // 2).sum())
        self.n_impostor = n * (n - 1) // 2 - self.n_genuine

    def genuine(self) -> Floats:
        """The scores within every label."""
        found = [np.zeros(0, np.float32)]
        for start, end in zip([0, *self._ends.tolist()], self._ends.tolist(), strict=False):
            if end - start > 1:
                scores = self._vectors[start:end] @ self._vectors[start:end].T
                found.append(scores[np.tril_indices(end - start, -1)])
        return np.concatenate(found)

    def impostor_blocks(self) -> Iterator[Floats]:
        """Tiles of the matrix of scores below its diagonal; what lies at or above it, and within a label, is -inf."""
        n = len(self._vectors)
        for top in range(0, n, ROWS):
            rows = self._vectors[top : top + ROWS]
            first = self._first[top : top + ROWS]
            limit = int(first.max())  # beyond, no row has an impostor
            for left in range(0, limit, COLUMNS):
                width = min(COLUMNS, limit - left)
                tile = rows @ self._vectors[left : left + width].T
                for row in np.flatnonzero(first < left + width).tolist():
                    tile[row, max(0, int(first[row]) - left) :] = -np.inf
                yield tile


class ProbesAndDistractors(PairStream):
    """Genuine pairs among the probes, impostor pairs of every probe with every distractor (MegaFace, sec. 5)."""

    def __init__(self, probes: NDArray[Any], labels: NDArray[Any] | Sequence[Any], distractors: NDArray[Any]) -> None:
        self._among = AllPairs(probes, labels)
        self._probes, self._distractors = unit_rows(probes), distractors
        if self._probes.shape[1:] != distractors.shape[1:]:
            raise DataError(f"probes have {self._probes.shape[1]} dimensions, distractors {distractors.shape[1]}")
        self.n_impostor = len(probes) * len(distractors)

    def genuine(self) -> Floats:
        """The scores of pairs of probes of one person."""
        return self._among.genuine()

    def impostor_blocks(self) -> Iterator[Floats]:
        """Tiles of probes by distractors; these may be a memory map, read once for each pass."""
        for left in range(0, len(self._distractors), COLUMNS):
            columns = unit_rows(self._distractors[left : left + COLUMNS])
            for top in range(0, len(self._probes), ROWS):
                yield self._probes[top : top + ROWS] @ columns.T


def unit_rows(vectors: NDArray[Any]) -> Floats:
    """Rows of length 1, float32 [n, dim]. InvalidSample naming the row of one that is zero or not finite."""
    rows = np.array(vectors, dtype=np.float32)
    if rows.ndim != 2:
        raise DataError(f"embeddings are a matrix [n, dim], not {list(rows.shape)}")
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if len(bad):
        what = "is zero" if norms[bad[0]] == 0 else "is not finite"
        raise InvalidSample(f"the embedding {what}", where=Where(sample=int(bad[0])))
    rows /= norms[:, None].astype(np.float32)
    return rows


def label_numbers(labels: NDArray[Any] | Sequence[Any]) -> Ints:
    """Labels of any kind as int64 from 0."""
    found = np.asarray(labels)
    return np.unique(found, return_inverse=True)[1].astype(np.int64).reshape(-1)
