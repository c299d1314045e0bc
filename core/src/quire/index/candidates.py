"""The rows that may be among the k nearest of many queries, while the rows go by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from quire.index.kernels import Kernel

    Rows: TypeAlias = NDArray[np.int64]

_FEW = 8  # times k, for which sorting is cheaper than a look at all keys
_MANY = 1 << 16  # candidates within the slack of one another, as of a vector that was added very often


class Candidates:
    """Pairs of query and row whose keys are not beyond the k-th smallest so far and its slack.

    Rows are offered in ascending order. Of equal keys the first rows stay.
    """

    def __init__(self, kernel: Kernel, k: int) -> None:
        self._kernel = kernel
        self._k = k
        self._limit = np.full(kernel.n, kernel.nothing, kernel.key_dtype)  # keys from here on have no chance
        self._queries: list[Rows] = []
        self._rows: list[Rows] = []
        self._keys: list[NDArray[Any]] = []
        self._new = 0

    def offer(self, keys: NDArray[Any], first: int, chosen: Rows | None = None) -> None:
        """Take from keys [queries, n] what may be near enough. Their rows: from `first` on, or `chosen` of these."""
        inside = keys < self._limit[:, None]
        n = np.count_nonzero(inside)
        if not n:
            return
        if n > _FEW * self._k * len(keys) and keys.shape[1] > self._k:  # as of the first rows, all nearest so far
            kth = np.partition(keys, self._k - 1, axis=1)[:, self._k - 1]
            inside &= keys <= self._reach(kth, np.arange(len(keys)))[:, None]
        flat = true_places(inside)
        queries, places = np.divmod(flat, keys.shape[1])
        rows = places + first if chosen is None else chosen[places] + first
        self._take(queries, rows, keys.reshape(-1)[flat])
        if self._new > self._k * len(keys) // 2:
            self.prune()

    def merge(self, others: Iterable[Candidates]) -> None:
        """Take over the candidates of others, whose rows are all behind these and in order."""
        for other in others:
            for parts in zip(other._queries, other._rows, other._keys, strict=True):
                self._take(*parts)

    def _take(self, queries: Rows, rows: Rows, keys: NDArray[Any]) -> None:
        self._queries.append(queries)
        self._rows.append(rows)
        self._keys.append(keys)
        self._new += len(rows)

    def _reach(self, kth: NDArray[Any], queries: Rows) -> NDArray[Any]:
        """Up to which key a row may still be nearer than the one whose key is `kth`: both may be off by the slack."""
        if kth.dtype.kind == "u":
            return kth
        reach = kth + 2 * self._kernel.slack[queries]
        return np.nextafter(reach.astype(np.float32), np.float32(np.inf))

    def prune(self) -> tuple[Rows, Rows]:
        """Drop what has no chance any more. Returns queries and rows of what is left, by query and key."""
        if not self._rows:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        queries, rows, keys = map(np.concatenate, (self._queries, self._rows, self._keys))
        order = np.lexsort((keys, queries))  # stable: of equal keys the first rows come first
        queries, rows, keys = queries[order], rows[order], keys[order]
        rank, kth = self._ranked(queries)
        full = np.flatnonzero(kth >= 0)
        reach = self._reach(keys[kth[full]], full)
        self._limit[full] = np.minimum(self._limit[full], reach)
        keep = (rank < self._k) | (keys < self._limit[queries])
        self._set(queries[keep], rows[keep], keys[keep])
        if len(self._rows[0]) > _MANY + 4 * self._k * self._kernel.n and keys.dtype.kind == "f":
            self._settle_for_good()
        return self._queries[0], self._rows[0]

    def _ranked(self, queries: Rows) -> tuple[Rows, Rows]:
        """Places within each query, and where in the arrays the k-th of each stands, or -1."""
        starts = np.searchsorted(queries, np.arange(self._kernel.n + 1))
        rank = np.arange(len(queries)) - starts[queries]
        kth = starts[:-1] + self._k - 1
        return rank, np.where(kth < starts[1:], kth, -1)

    def _set(self, queries: Rows, rows: Rows, keys: NDArray[Any]) -> None:
        self._queries, self._rows, self._keys, self._new = [queries], [rows], [keys], 0

    def _settle_for_good(self) -> None:
        """Where more are near the k-th than memory should hold, their exact scores tell now which of them stay."""
        queries, rows = self._queries[0], self._rows[0]
        keys, scores = self._kernel.settle(queries, rows)
        order = nearest_first(queries, scores, rows, similarity=self._kernel.similarity)
        queries, rows, keys = queries[order], rows[order], keys[order]
        keep = self._ranked(queries)[0] < self._k
        self._set(queries[keep], rows[keep], keys[keep].astype(self._kernel.key_dtype))

    def finish(self) -> tuple[Rows, NDArray[Any]]:
        """Rows and scores of the k nearest, [queries, k]; -1 and any score where there are fewer."""
        queries, rows = self.prune()
        return settled(self._kernel, queries, rows, self._k)


def settled(kernel: Kernel, queries: Rows, rows: Rows, k: int) -> tuple[Rows, NDArray[Any]]:
    """The k nearest of each query among its `rows` by their exact scores: rows and scores [queries, k]."""
    _, scores = kernel.settle(queries, rows)
    order = nearest_first(queries, scores, rows, similarity=kernel.similarity)
    queries, rows, scores = queries[order], rows[order], scores[order]
    rank = np.arange(len(queries)) - np.searchsorted(queries, np.arange(kernel.n))[queries]
    keep = rank < k
    found = np.full((kernel.n, k), -1, np.int64)
    values = np.zeros((kernel.n, k), scores.dtype)
    found[queries[keep], rank[keep]] = rows[keep]
    values[queries[keep], rank[keep]] = scores[keep]
    return found, values


def nearest_first(queries: Rows, scores: NDArray[Any], rows: Rows, *, similarity: bool) -> Rows:
    """The order of answers: by query, then by nearness, then by row."""
    return np.lexsort((rows, -scores if similarity else scores, queries))


def true_places(flags: NDArray[np.bool_]) -> Rows:
    """The flat places of the few that are true. Eight at once: most words have none."""
    flat = flags.reshape(-1)
    whole = len(flat) // 8 * 8
    words = np.flatnonzero(flat[:whole].view(np.uint64))
    within, bits = np.nonzero(flat[:whole].reshape(-1, 8)[words])
    return np.concatenate([words[within] * 8 + bits, whole + np.flatnonzero(flat[whole:])])
