"""The driver: hands cells to an engine, longest first, and keeps every outcome."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quire.study.cells import Cell, Outcome
    from quire.study.estimate import Estimator
    from quire.study.store import Store
    from quire.study.together import Bundle

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""The environment of a process that runs cells; the libraries read it when they are imported."""

Ending = Literal["finished", "budget"]


class Engine(Protocol):
    """Where cells run, in bundles: a bundle of several is trained together. Leaving the context ends what still runs."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    @property
    def slots(self) -> int:
        """How many bundles it takes at once."""

    def submit(self, bundle: Bundle) -> None:
        """Begin a bundle, or queue it."""

    def wait(self, timeout: float | None) -> list[tuple[Bundle, Sequence[Outcome]]]:
        """At least one finished bundle with its cells' outcomes, or none when `timeout` seconds have passed.

        No outcomes: these cells have to be run one by one.
        """


class Observer:
    """Is told how a study goes on; this one does nothing."""

    def begin(self, total: int, todo: int) -> None:
        """Of `total` cells, `todo` have no result yet."""

    def finished(self, cell: Cell, outcome: Outcome, left: Callable[[], float | None]) -> None:
        """A cell is finished; `left()` are the expected seconds until all are, None while that is not known."""


def drive(
    bundles: Sequence[Bundle],
    *,
    engine: Engine,
    store: Store,
    estimator: Estimator,
    budget: float | None = None,
    observer: Observer,
) -> Ending:
    """Run the cells of `bundles` and write each outcome to `store`; a bundle that fails is run again cell by cell.

    budget: seconds after which everything stops; no bundle begins of which it is known that it would not be finished by
    then. What is in flight at the end of the budget stays missing.
    """
    end = None if budget is None else time.monotonic() + budget
    pending = estimator.longest_first(bundles)
    running = 0
    with engine:
        while pending or running:
            left = None if end is None else end - time.monotonic()
            while running < engine.slots:
                bundle = _take(pending, left, estimator)
                if bundle is None:
                    break
                engine.submit(bundle)
                running += 1
            if not running or (left is not None and left <= 0):
                return "budget"
            for bundle, outcomes in engine.wait(left):
                running -= 1
                if not outcomes:
                    pending[:0] = [(cell,) for cell in bundle]
                    continue
                store.add_all(bundle, outcomes)
                for cell, outcome in zip(bundle, outcomes, strict=True):
                    estimator.learn(cell.method.name, cell.source.name, outcome.cost)
                    observer.finished(cell, outcome, lambda: _seconds_left(pending, engine, estimator))
    return "finished"


def _seconds_left(pending: Sequence[Bundle], engine: Engine, estimator: Estimator) -> float | None:
    return estimator.total([cell for bundle in pending for cell in bundle], workers=engine.slots)


def _take(pending: list[Bundle], left: float | None, estimator: Estimator) -> Bundle | None:
    """Take out the first bundle that fits into the seconds that are left, or as much of one as does."""
    for index, bundle in enumerate(pending):
        if left is None:
            return pending.pop(index)
        if left <= 0:
            return None
        each = max((estimator.seconds(cell) or 0.0 for cell in bundle), default=0.0)
        fitting = len(bundle) if each == 0.0 else min(len(bundle), int(left / each))
        if fitting == len(bundle):
            return pending.pop(index)
        if fitting:
            pending[index] = bundle[fitting:]
            return bundle[:fitting]
    return None
