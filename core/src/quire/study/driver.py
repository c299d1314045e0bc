"""The driver: hands cells to an engine, longest first, and keeps every outcome."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quire.study.cells import Cell, Outcome
    from quire.study.estimate import Estimator
    from quire.study.store import Store

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""The environment of a process that runs cells; the libraries read it when they are imported."""

Ending = Literal["finished", "budget"]


class Engine(Protocol):
    """Where cells run. Leaving the context ends what still runs."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    @property
    def slots(self) -> int:
        """How many cells it takes at once."""

    def submit(self, cell: Cell) -> None:
        """Begin a cell, or queue it."""

    def wait(self, timeout: float | None) -> list[tuple[Cell, Outcome]]:
        """At least one finished cell with its outcome, or none when `timeout` seconds have passed."""


class Observer:
    """Is told how a study goes on; this one does nothing."""

    def begin(self, total: int, todo: int) -> None:
        """Of `total` cells, `todo` have no result yet."""

    def finished(self, cell: Cell, outcome: Outcome, left: Callable[[], float | None]) -> None:
        """A cell is finished; `left()` are the expected seconds until all are, None while that is not known."""


def drive(
    cells: Sequence[Cell],
    *,
    engine: Engine,
    store: Store,
    estimator: Estimator,
    budget: float | None = None,
    observer: Observer,
) -> Ending:
    """Run `cells` and write each outcome to `store`.

    budget: seconds after which everything stops; no cell begins of which it is known that it would not be finished by
    then. What is in flight at the end of the budget stays missing.
    """
    end = None if budget is None else time.monotonic() + budget
    pending = estimator.longest_first(cells)
    running = 0
    with engine:
        while pending or running:
            left = None if end is None else end - time.monotonic()
            while running < engine.slots:
                cell = _take(pending, left, estimator)
                if cell is None:
                    break
                engine.submit(cell)
                running += 1
            if not running or (left is not None and left <= 0):
                return "budget"
            for cell, outcome in engine.wait(left):
                store.add(cell, outcome)
                estimator.learn(cell.method.name, cell.source.name, outcome.cost)
                running -= 1
                observer.finished(cell, outcome, lambda: estimator.total(pending, workers=engine.slots))
    return "finished"


def _take(pending: list[Cell], left: float | None, estimator: Estimator) -> Cell | None:
    """Take out the first cell that fits into the seconds that are left."""
    for index, cell in enumerate(pending):
        if left is None or (left > 0 and (estimator.seconds(cell) or 0.0) <= left):
            return pending.pop(index)
    return None
