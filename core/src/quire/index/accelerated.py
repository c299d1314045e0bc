"""Search behind an accelerator: its candidates, the rows that it does not know yet, and the rows' exact scores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from quire.index.candidates import settled
from quire.index.kernels import Kernel, kernel_for
from quire.index.scan import nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from quire.index.engine import Engine
    from quire.index.snapshot import Snapshot

    Rows: TypeAlias = NDArray[np.int64]
    Mask: TypeAlias = NDArray[np.bool_]

_SELECTIVE = 0.05  # share of rows below which a filter leaves so few that comparing all of them is fast, and exact
_SPARE = 16  # candidates beyond k, by which an exact structure shows that nothing nearer was left out


def accelerated(
    snapshot: Snapshot, engine: Engine, queries: NDArray[Any], k: int, allowed: Mask | None, *, threads: int
) -> tuple[Rows, NDArray[Any], bool]:
    """Rows and scores of the k nearest, as `scan.nearest` gives them, and whether they are certainly those.

    An exact structure gives the same answer as the scan, bit for bit. An approximate one may miss some, but each query has
    k hits where there are k, and none that is removed or filtered out.
    """
    count = snapshot.count if allowed is None else int(np.count_nonzero(allowed))
    known = engine.rows if allowed is None else int(np.count_nonzero(allowed[: engine.rows]))
    if known <= max(_SELECTIVE * engine.rows, 2 * k) or k > engine.most:
        return *nearest(snapshot, queries, k, allowed, threads=threads), True
    kernel = kernel_for(snapshot, queries)
    proposed, edge = _proposed(snapshot, engine, queries, k, allowed, known / engine.rows, threads)
    if engine.rows < snapshot.rows:  # what was added since it was built
        recent, _ = nearest(snapshot, queries, k, allowed, threads=threads, first=engine.rows)
        proposed = np.concatenate([proposed, recent], axis=1)
    owners, places = np.nonzero(proposed >= 0)
    rows, scores = settled(kernel, owners, proposed[owners, places], k)
    again = (rows >= 0).sum(axis=1) < min(k, count)
    if engine.options.exact:
        again |= ~_certain(engine, kernel, rows[:, k - 1], edge)
    if again.any():
        rows[again], scores[again] = nearest(snapshot, queries[again], k, allowed, threads=threads)
    return rows, scores, engine.options.exact or bool(again.all())


def _proposed(
    snapshot: Snapshot,
    engine: Engine,
    queries: NDArray[Any],
    k: int,
    allowed: Mask | None,
    share: float,
    threads: int,
) -> tuple[Rows, NDArray[Any]]:
    """Allowed rows [queries, some] (-1: none), and the key beyond which the engine left out rows (infinity: nowhere)."""
    spare = _SPARE if engine.options.exact and (not engine.binary or engine.on_gpu) else 0
    if allowed is None or (engine.filters and share < 0.5):
        wanted, mask = k + spare, allowed
    else:  # cheaper than a filter inside of a batch's matrix product, or there is none
        wanted, mask = math.ceil(1.2 * k / share) + 8 + spare, None
    wanted = min(wanted, engine.most)
    rows, keys = engine.candidates(snapshot.spec, queries, wanted, mask, threads)
    edge = np.where(rows[:, -1] < 0, np.inf, keys[:, -1])
    if wanted == engine.rows:
        edge[:] = np.inf
    if allowed is not None and mask is None:
        rows = np.where((rows >= 0) & allowed[rows], rows, -1)
    return rows, edge


def _certain(engine: Engine, kernel: Kernel, last: Rows, edge: NDArray[Any]) -> Mask:
    """Whether no row that an exact engine left out can be nearer than the last hit, or as near and added before.

    Of codes, faiss on a CPU keeps the first rows of equal distance itself.
    """
    certain: Mask = np.isinf(edge)
    if engine.binary and not engine.on_gpu:
        certain |= last >= 0
        return certain
    full = np.flatnonzero(last >= 0)
    keys, _ = kernel.settle(full, last[full])
    certain[full] |= keys + 2 * kernel.slack[full] < edge[full]
    return certain
