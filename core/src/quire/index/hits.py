"""What a search answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Hits:
    """The k nearest of every query, the nearest first; of equal scores, what was added first.

    ids [queries, k]: int64, or an object array of strings; -1 or None where there are fewer than k. scores [queries, k]:
    similarity (cosine, inner product; float32, -inf where there is nothing), Euclidean distance (l2; float32, inf) or
    Hamming distance (int32; number of bits + 1). exact: whether nothing nearer can have been missed.
    """

    ids: NDArray[Any]
    scores: NDArray[Any]
    found: NDArray[np.bool_]
    exact: bool

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, query: int) -> list[tuple[Any, float]]:
        """(id, score) of one query's hits."""
        here = self.found[query]
        return list(zip(self.ids[query][here].tolist(), self.scores[query][here].tolist(), strict=True))

    def __iter__(self) -> Iterator[list[tuple[Any, float]]]:
        return (self[query] for query in range(len(self)))


@dataclass(frozen=True)
class RangeHits:
    """All within a radius of every query, the nearest first; of equal scores, what was added first.

    Those of query i stand at limits[i] : limits[i + 1] of `ids` and `scores`. limits: int64 [queries + 1].
    """

    limits: NDArray[np.int64]
    ids: NDArray[Any]
    scores: NDArray[Any]

    def __len__(self) -> int:
        return len(self.limits) - 1

    def __getitem__(self, query: int) -> list[tuple[Any, float]]:
        """(id, score) of one query's hits."""
        if not -len(self) <= query < len(self):
            raise IndexError(query)
        here = slice(self.limits[query % len(self)], self.limits[query % len(self) + 1])
        return list(zip(self.ids[here].tolist(), self.scores[here].tolist(), strict=True))

    def __iter__(self) -> Iterator[list[tuple[Any, float]]]:
        return (self[query] for query in range(len(self)))
