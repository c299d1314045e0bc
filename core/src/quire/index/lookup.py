"""From ids to rows: sorted runs of keys, of which a new one is added with every append."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Rows: TypeAlias = NDArray[np.int64]


def keys_of(ids: NDArray[Any]) -> NDArray[np.int64]:
    """A number for each id: itself, or a hash of the string (of this process; two strings may share one)."""
    if ids.dtype != object:
        return ids.astype(np.int64, copy=False)
    return np.fromiter(map(hash, ids), np.int64, len(ids))


@dataclass(frozen=True)
class _Run:
    keys: NDArray[np.int64]  # ascending
    rows: Rows


@dataclass(frozen=True)
class Lookup:
    """Finds the living row of an id in O(log n), and takes further rows in O(log n) each on average.

    Runs grow by factors, as in a log-structured merge tree, so that a long series of small appends stays cheap.
    """

    runs: tuple[_Run, ...] = ()

    def extended(self, keys: NDArray[np.int64], rows: Rows) -> Lookup:
        """With further rows. Rows that died since they were taken may stay; `find` leaves them out."""
        order = np.argsort(keys, kind="stable")
        runs = [*self.runs, _Run(keys[order], rows[order])]
        while len(runs) > 1 and 2 * len(runs[-1].keys) > len(runs[-2].keys):
            last, former = runs.pop(), runs.pop()
            keys, rows = np.concatenate([former.keys, last.keys]), np.concatenate([former.rows, last.rows])
            order = np.argsort(keys, kind="stable")
            runs.append(_Run(keys[order], rows[order]))
        return Lookup(tuple(runs))

    def find(self, keys: NDArray[np.int64], accept: Callable[[Rows, Rows], NDArray[np.bool_]]) -> Rows:
        """The row of each key, or -1.

        accept(asked, rows): which of `rows` are alive and have the id that stands at place `asked` of `keys`.
        """
        found = np.full(len(keys), -1, np.int64)
        for run in reversed(self.runs):
            places = np.searchsorted(run.keys, keys)
            asked = np.flatnonzero(found < 0)
            while len(asked):  # once for each row that has the key: the living one, dead ones, other strings' hashes
                asked = asked[places[asked] < len(run.keys)]
                asked = asked[run.keys[places[asked]] == keys[asked]]
                rows = run.rows[places[asked]]
                accepted = accept(asked, rows)
                found[asked[accepted]] = rows[accepted]
                asked = asked[~accepted]
                places[asked] += 1
        return found
