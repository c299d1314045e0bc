"""How near rows are to queries: fast keys to choose candidates by, and the scores that are answered.

A key is smaller the nearer a row is. Keys of floats come from a matrix product, whose rounding depends on the batch; they
choose candidates within `slack`, which bounds that rounding. Scores are then computed from each pair alone in float64.
So the answer to a query is the same in any batch, on any number of threads and behind any accelerator, and an exact
duplicate is at distance 0.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from quire.index.checks import norms_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from quire.index.snapshot import Block, Snapshot
    from quire.index.spec import Spec

_FLOAT_UNIT = 2.0**-24  # half a unit in the last place of float32
_SETTLE_BYTES = 8 << 20
_MOST_ROWS = 1 << 15  # of a block, whatever their size: its keys for many queries take tens of MiB


class Kernel(Protocol):
    """Compares some queries with rows of a snapshot."""

    n: int
    key_dtype: np.dtype[Any]
    nothing: Any
    """A key farther than that of any row."""
    similarity: bool
    """Whether larger scores are nearer."""
    uses_blas: bool
    """Whether keys come from the matrix library, which has threads of its own."""
    slack: NDArray[np.float64]
    """[queries]: by how much a key may be off."""
    block_rows: int
    """Rows of which a block's keys and copies stay in the processor's cache or in a few MiB."""

    def keys(self, block: Block) -> NDArray[Any]:
        """[queries, rows of the block]."""

    def settle(self, queries: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Exact keys and scores of the pairs (queries[i], rows[i])."""

    def key_of_score(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """[queries]: the keys of these scores, one for each query."""


def kernel_for(snapshot: Snapshot, queries: NDArray[Any]) -> Kernel:
    """The kernel of the snapshot's metric, for queries as `check_queries` makes them."""
    if snapshot.spec.storage == "bits":
        return HammingKernel(snapshot, queries)
    return FloatKernel(snapshot, queries)


def nothing_score(spec: Spec) -> float:
    """The score where there is no row."""
    if spec.storage == "bits":
        return spec.dim + 1
    return -np.inf if spec.similarity else np.inf


class FloatKernel:
    """Cosine, inner product and Euclidean distance of float vectors.

    Keys: -q.x / (|q| |x|), -q.x, |x|^2 - 2 q.x.
    """

    uses_blas = True
    key_dtype = np.dtype(np.float32)
    nothing = np.inf

    def __init__(self, snapshot: Snapshot, queries: NDArray[np.float32]) -> None:
        self._snapshot = snapshot
        self._metric = snapshot.spec.metric
        self.similarity = snapshot.spec.similarity
        self.n, dim = queries.shape
        self._exact = queries.astype(np.float64)
        self._norms = norms = norms_of(queries)
        longest = snapshot.longest
        # |fl(q.x) - q.x| <= n u |q||x| for a sum of n products in any order (Higham, Accuracy and Stability, eq. 3.5);
        # 16 more for what is done to the product.
        unit = (dim + 16) * _FLOAT_UNIT
        if self._metric == "cosine":
            self._weights = (-self._exact / norms[:, None]).astype(np.float32)
            self.slack = np.full(self.n, unit)
        elif self._metric == "inner_product":
            self._weights = -queries
            self.slack = unit * norms * longest
        else:
            self._weights = -2 * queries
            self.slack = unit * (longest + norms) ** 2
        self.block_rows = min(_MOST_ROWS, max(256, (16 << 20) // (4 * dim)))

    def keys(self, block: Block) -> NDArray[np.float32]:
        """[queries, rows of the block], float32."""
        keys = self._products(block.vectors.astype(np.float32, copy=False))
        norms = block.norms
        assert norms is not None
        if self._metric == "cosine":
            keys /= norms
        elif self._metric == "l2":
            keys += norms * norms
        return keys

    def _products(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.n != 1:
            products: NDArray[np.float32] = self._weights @ vectors.T
            return products
        # memory is the limit, which dot products of rows read twice as fast as a matrix product does
        return np.asarray(np.vecdot(vectors, self._weights[0]))[None]

    def settle(
        self, queries: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Exact keys (float64) and scores (float32) of the pairs (queries[i], rows[i])."""
        keys, scores = np.empty(len(rows)), np.empty(len(rows))
        size = max(1, _SETTLE_BYTES // (8 * self._exact.shape[1]))
        for start in range(0, len(rows), size):
            here = slice(start, start + size)
            keys[here], scores[here] = self._settle(queries[here], rows[here])
        return keys, scores.astype(np.float32)

    def _settle(
        self, queries: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        vectors = self._snapshot.take("vectors", rows).astype(np.float64)
        exact, norms = self._exact[queries], self._norms[queries]
        if self._metric == "l2":
            difference = vectors - exact
            squares = np.vecdot(difference, difference)
            return squares - norms * norms, np.sqrt(squares)
        products = np.vecdot(vectors, exact)
        if self._metric == "cosine":
            products /= norms * np.sqrt(np.vecdot(vectors, vectors))
            np.clip(products, -1, 1, out=products)
        return -products, products

    def key_of_score(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """[queries]: the keys of these scores, one for each query."""
        return scores**2 - self._norms**2 if self._metric == "l2" else -scores


class HammingKernel:
    """The number of bits in which packed codes differ; keys are the distances."""

    similarity = False
    uses_blas = False

    def __init__(self, snapshot: Snapshot, queries: NDArray[Any]) -> None:
        self._snapshot = snapshot
        self._queries = queries
        self.n = len(queries)
        self.nothing = snapshot.spec.dim + 1
        self.key_dtype = np.dtype(
            np.uint8 if self.nothing < 256 else np.uint16 if self.nothing < 1 << 16 else np.uint32
        )
        self.slack = np.zeros(self.n)
        self.block_rows = min(_MOST_ROWS, (256 << 10) // queries.dtype.itemsize)
        self._kept = threading.local()

    def keys(self, block: Block) -> NDArray[Any]:
        """[queries, rows of the block], the narrowest unsigned type that holds all distances."""
        words = block.vectors.T
        if len(words) > 1:
            words = np.ascontiguousarray(words)  # so that every pass reads one word of all rows in a stretch
        keys = np.empty((self.n, words.shape[1]), self.key_dtype)
        differing, counted = self._scratch(words.shape[1])
        for query, row in zip(self._queries, keys, strict=True):
            for word, (value, column) in enumerate(zip(query, words, strict=True)):
                np.bitwise_xor(column, value, out=differing)
                if word:
                    np.add(row, np.bitwise_count(differing, out=counted), out=row)
                else:
                    np.bitwise_count(differing, out=row)
        return keys

    def _scratch(self, rows: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Room for one word of `rows` rows and its bits, kept: the system takes longer to give it than counting takes."""
        if not hasattr(self._kept, "differing"):
            self._kept.differing = np.empty(self.block_rows, self._queries.dtype)
            self._kept.counted = np.empty(self.block_rows, np.uint8)
        return self._kept.differing[:rows], self._kept.counted[:rows]

    def settle(
        self, queries: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Distances of the pairs (queries[i], rows[i]), twice."""
        differing = self._snapshot.take("vectors", rows) ^ self._queries[queries]
        distances = np.bitwise_count(differing).sum(axis=1, dtype=np.int64)
        return distances, distances.astype(np.int32)

    def key_of_score(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """[queries]: the scores themselves."""
        return scores
