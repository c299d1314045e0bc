"""Which rows a search may answer with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from quire.errors import DataError
from quire.index.checks import check_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from pandas import DataFrame

    from quire.index.snapshot import Snapshot

Filter: TypeAlias = "Callable[[DataFrame], Any] | NDArray[Any] | Sequence[str] | Sequence[int]"


def allowed_rows(snapshot: Snapshot, where: Filter | None) -> NDArray[np.bool_] | None:
    """The rows that are alive and that `where` lets through, bool [rows]; None is all rows.

    where: a function from the table of ids and columns to a flag for each of its rows; such flags; or ids, of which those
    that the index does not have are passed over.
    """
    if where is None:
        return snapshot.alive
    allowed = np.zeros(snapshot.rows, bool)
    flags = np.asarray(where(snapshot.table.copy(deep=False)) if callable(where) else where)
    if callable(where) or flags.dtype == bool:
        if flags.dtype != bool or flags.shape != (snapshot.count,):
            raise DataError(
                f"a filter gives {flags.dtype} {list(flags.shape)}, not one bool for each of {snapshot.count} vectors"
            )
        allowed[snapshot.living[flags]] = True
        return allowed
    rows = snapshot.find(check_ids(snapshot.spec, where))
    allowed[rows[rows >= 0]] = True
    return allowed
