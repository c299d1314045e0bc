"""Exact search: every row is compared with every query, block by block, in bounded memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from quire.index.candidates import Candidates, nearest_first, true_places
from quire.index.kernels import kernel_for
from quire.index.snapshot import Block
from quire.index.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from quire.index.kernels import Kernel
    from quire.index.snapshot import Snapshot

    Rows: TypeAlias = NDArray[np.int64]
    Mask: TypeAlias = NDArray[np.bool_]

_QUERIES = 256  # at once, so that a block of rows is read (and converted) for many of them
_FIRST_KEYS = 1 << 14  # of the first block, all of which are looked at to find the k-th smallest
_LITTLE = 1 << 22  # values compared, below which starting a thread costs more than it saves


def nearest(
    snapshot: Snapshot, queries: NDArray[Any], k: int, allowed: Mask | None, *, threads: int, first: int = 0
) -> tuple[Rows, NDArray[Any]]:
    """The k nearest rows, from row `first` on, of every query: rows int64 [queries, k] (-1: none) and their scores."""
    found = [np.empty((0, k), np.int64)]
    scores: list[NDArray[Any]] = [np.empty((0, k), np.int32 if snapshot.spec.storage == "bits" else np.float32)]
    for start in range(0, len(queries), _QUERIES):
        kernel = kernel_for(snapshot, queries[start : start + _QUERIES])

        def collect(begin: int, end: int, kernel: Kernel = kernel) -> Candidates:
            candidates = Candidates(kernel, k)
            for block in _keys(
                snapshot, kernel, allowed, begin, end, first_rows=max(1024 + _FIRST_KEYS // kernel.n, 4 * k)
            ):
                candidates.offer(*block)
            return candidates

        whole, *others = _in_parts(collect, snapshot, kernel, first, threads)
        whole.merge(others)
        part = whole.finish()
        found.append(part[0])
        scores.append(part[1])
    return np.concatenate(found), np.concatenate(scores)


def within(
    snapshot: Snapshot, queries: NDArray[Any], radius: float, allowed: Mask | None, *, threads: int
) -> tuple[Rows, Rows, NDArray[Any]]:
    """All rows within `radius` (a score) of every query: limits [queries + 1], rows and scores, the nearest first."""
    counts, found, values = [], [], []
    for start in range(0, max(1, len(queries)), _QUERIES):
        kernel = kernel_for(snapshot, queries[start : start + _QUERIES])
        parts = _in_parts(_ranging(snapshot, kernel, radius, allowed), snapshot, kernel, 0, threads)
        owners, rows, scores = (np.concatenate(each) for each in zip(*parts, strict=True))
        order = nearest_first(owners, scores, rows, similarity=kernel.similarity)
        counts.append(np.bincount(owners, minlength=kernel.n))
        found.append(rows[order])
        values.append(scores[order])
    limits = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    return limits, np.concatenate(found), np.concatenate(values)


def _ranging(
    snapshot: Snapshot, kernel: Kernel, radius: float, allowed: Mask | None
) -> Callable[[int, int], tuple[Rows, Rows, NDArray[Any]]]:
    """What finds queries, rows and scores within the radius in a stretch of rows."""
    nothing = np.empty(0, np.int64)
    no_scores = kernel.settle(nothing, nothing)[1]
    limit: NDArray[Any]  # of keys, which are below it; that of rows that don't count is not
    if kernel.key_dtype.kind == "u":
        edge = np.floor(radius)
        limit = np.full((kernel.n, 1), np.clip(edge + 1, 0, kernel.nothing)).astype(kernel.key_dtype)
    else:
        with np.errstate(over="ignore"):  # a radius beyond float32 holds everything or nothing
            edge = np.float32(radius)  # as precise as the scores are
            reach = kernel.key_of_score(np.full(kernel.n, radius)) + kernel.slack
            limit = np.nextafter(reach.astype(np.float32), np.float32(np.inf))[:, None]

    def collect(start: int, stop: int) -> tuple[Rows, Rows, NDArray[Any]]:
        parts = [(nothing, nothing, no_scores)]
        for keys, first, chosen in _keys(snapshot, kernel, allowed, start, stop):
            owners, places = np.divmod(true_places(keys < limit), keys.shape[1])
            rows = places + first if chosen is None else chosen[places] + first
            scores = kernel.settle(owners, rows)[1]
            inside = scores >= edge if kernel.similarity else scores <= edge
            parts.append((owners[inside], rows[inside], scores[inside]))
        owners, rows, scores = (np.concatenate(each) for each in zip(*parts, strict=True))
        return owners, rows, scores

    return collect


def _in_parts(
    work: Callable[[int, int], Any], snapshot: Snapshot, kernel: Kernel, first: int, threads: int
) -> list[Any]:
    """`work` on stretches of rows, one for each thread, in order. numpy's loops leave the other threads alone."""
    rows = snapshot.rows - first
    parts = min(threads, max(1, rows // kernel.block_rows), 1 + rows * kernel.n // _LITTLE)
    edges = np.linspace(first, snapshot.rows, parts + 1).astype(int).tolist()
    with one_blas_thread() if kernel.uses_blas else nullcontext():
        if parts == 1:
            return [work(*edges)]
        with ThreadPoolExecutor(parts) as pool:
            return list(pool.map(work, edges[:-1], edges[1:]))


def _keys(
    snapshot: Snapshot, kernel: Kernel, allowed: Mask | None, start: int, stop: int, *, first_rows: int | None = None
) -> Iterator[tuple[NDArray[Any], int, Rows | None]]:
    """Keys [queries, n] block by block; their rows begin with the second value, or are those places from there on.

    first_rows: of the first block. Further ones grow, so that a limit is known before there is much to sort.
    """
    size = min(first_rows or kernel.block_rows, kernel.block_rows)
    while start < stop:
        end = min(stop, start + size)
        for block in snapshot.blocks(start, end, size):
            here = None if allowed is None else allowed[block.first : block.first + len(block)]
            n = len(block) if here is None else np.count_nonzero(here)
            if here is None or n == len(block):
                yield kernel.keys(block), block.first, None
            elif 2 * n > len(block):  # copying what is allowed would cost more than comparing what is not
                keys = kernel.keys(block)
                keys[:, ~here] = kernel.nothing
                yield keys, block.first, None
            elif n:
                norms = None if block.norms is None else block.norms[here]
                yield kernel.keys(Block(block.first, block.vectors[here], norms)), block.first, np.flatnonzero(here)
        start, size = end, min(4 * size, kernel.block_rows)
