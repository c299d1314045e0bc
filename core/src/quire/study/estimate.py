"""What cells cost: expected from those that were measured, else from the published times or the data's size."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quire.report import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from quire.study.cells import Cell, Published, Row
    from quire.study.together import Bundle

GUESSED_BY_SIZE = "other models, by size"
GUESSED_BY_PUBLISHED = "published, scaled as other models"


@dataclass
class _Rate:
    """Seconds per unit of something, from pairs of both."""

    seconds: float = 0.0
    units: float = 0.0

    def add(self, seconds: float, units: float) -> None:
        self.seconds += seconds
        self.units += units

    def times(self, units: float | None) -> float | None:
        return self.seconds / self.units * units if self.units and units else None


class Estimator:
    """Expected seconds of cells.

    In this order: the mean of the same model's measured cells on the same data set; their time per unit of size; the
    published time of a training, scaled as measured and published times of the same model stand to each other; the
    model's mean. Without a measured cell of the model it is a guess: time per unit of size over the other models, else
    its published time, scaled as those of the others are. The latter comes last because models are published under one
    recipe and measured under another, which shortens some trainings twentyfold and others not at all.
    """

    def __init__(
        self, rows: Iterable[Row], cells: Iterable[Cell], published: Mapping[tuple[str, str], Published]
    ) -> None:
        self._published = {pair: figure.seconds for pair, figure in published.items() if figure.seconds}
        self._sizes = {cell.source.name: cell.source.size for cell in cells}
        self._same: dict[tuple[str, str], _Rate] = defaultdict(_Rate)
        self._by_size: dict[str | None, _Rate] = defaultdict(_Rate)  # by model; None is all of them
        self._by_published: dict[str | None, _Rate] = defaultdict(_Rate)
        self._mean: dict[str, _Rate] = defaultdict(_Rate)
        for row in rows:
            self.learn(row.model, row.dataset, row.cost)
        self._weight = _Rate()  # published seconds per unit of size, to order cells by while nothing is measured
        for (_, dataset), seconds in self._published.items():
            if size := self._sizes.get(dataset):
                self._weight.add(seconds, size)

    def learn(self, model: str, dataset: str, cost: float | None) -> None:
        """Take a measured cell into account; None is one that was not measured."""
        if cost is None:
            return
        self._same[model, dataset].add(cost, 1)
        self._mean[model].add(cost, 1)
        for key in (model, None):
            if size := self._sizes.get(dataset):
                self._by_size[key].add(cost, size)
            if published := self._published.get((model, dataset)):
                self._by_published[key].add(cost, published)

    def seconds(self, cell: Cell) -> float | None:
        """The expected seconds of `cell` on one worker; None while nothing was measured that tells."""
        return self.explained(cell)[0]

    def explained(self, cell: Cell) -> tuple[float | None, str]:
        """The expected seconds and what they are derived from."""
        model, dataset, _ = cell.key
        size, published = cell.source.size, self._published.get((model, dataset))
        same, own_mean = self._same.get((model, dataset)), self._mean.get(model)
        candidates = (
            (same.times(1) if same else None, "measured"),
            (self._by_size[model].times(size), "measured, by size"),
            (self._by_published[model].times(published), "published, scaled"),
            (own_mean.times(1) if own_mean else None, "mean of the model"),
            (self._by_size[None].times(size), GUESSED_BY_SIZE),
            (self._by_published[None].times(published), GUESSED_BY_PUBLISHED),
        )
        return next(((seconds, basis) for seconds, basis in candidates if seconds is not None), (None, "unknown"))

    def total(self, cells: Iterable[Cell], *, workers: int) -> float | None:
        """The expected seconds of `cells` on so many workers; None if one of them is unknown."""
        each = [self.seconds(cell) for cell in cells]
        known = [seconds for seconds in each if seconds is not None]
        return sum(known) / workers if len(known) == len(each) else None

    def published_seconds(self, cell: Cell) -> float | None:
        """What the training took on the paper's machine."""
        return self._published.get((cell.method.name, cell.source.name))

    def longest_first(self, bundles: Iterable[Bundle]) -> list[Bundle]:
        """`bundles` in the order in which they should start, those of which nothing is known first."""

        def weight(cell: Cell) -> float:
            known = self.seconds(cell)
            if known is None:
                known = self.published_seconds(cell) or self._weight.times(cell.source.size) or cell.source.size
            return math.inf if known is None else known

        def order(bundle: Bundle) -> tuple[float, str, str, int]:
            cell = bundle[0]
            return -sum(map(weight, bundle)), cell.source.name, cell.method.name, cell.seed

        return sorted(bundles, key=order)


@dataclass(frozen=True)
class Estimate:
    """The cost of a study: one line per model and the sums.

    hours: of workers (one CPU thread, or a share of a GPU), of which `spent` are over; unknown: cells without an
    estimate; guessed: cells of models of which none was measured, in `hours` and easily wrong by a factor of ten;
    unmeasured: these models; published_hours: of the same trainings on the paper's machines, as far as they are known.
    """

    table: Table
    cells: int
    done: int
    unknown: int
    guessed: int
    unmeasured: tuple[str, ...]
    hours: float
    spent: float
    published_hours: float

    def days(self, workers: int) -> float:
        """Wall time of the rest on `workers` workers that are never idle."""
        return (self.hours - self.spent) / workers / 24


def estimate(cells: Sequence[Cell], rows: Sequence[Row], published: Mapping[tuple[str, str], Published]) -> Estimate:
    """The cost of all `cells`: measured where they are done, expected where not."""
    estimator = Estimator(rows, cells, published)
    finished = {(row.model, row.dataset, row.seed): row.cost or 0.0 for row in rows}
    lines: dict[str, _Line] = {cell.method.name: _Line() for cell in cells}
    for cell in cells:
        line = lines[cell.method.name]
        line.cells += 1
        line.published += estimator.published_seconds(cell) or 0.0
        if cell.key in finished:
            line.done += 1
            line.spent += finished[cell.key]
            continue
        seconds, basis = estimator.explained(cell)
        line.bases[basis] += 1
        line.rest += seconds or 0.0
    table = Table(
        "Cost",
        ["model", "cells", "done", "hours spent", "hours left", "published hours", "derived from"],
        [
            [name, line.cells, line.done, line.spent / 3600, line.rest / 3600, line.published / 3600, line.derived()]
            for name, line in lines.items()
        ],
        "Hours of one worker. Published hours are those of the paper's machines, for as many trainings.",
    )
    spent, rest = (sum(getattr(line, name) for line in lines.values()) / 3600 for name in ("spent", "rest"))
    return Estimate(
        table=table,
        cells=len(cells),
        done=sum(line.done for line in lines.values()),
        unknown=sum(line.bases["unknown"] for line in lines.values()),
        guessed=sum(line.guessed for line in lines.values()),
        unmeasured=tuple(name for name, line in lines.items() if line.guessed),
        hours=spent + rest,
        spent=spent,
        published_hours=sum(line.published for line in lines.values()) / 3600,
    )


class _Line:
    """The sums of one model."""

    def __init__(self) -> None:
        self.cells = self.done = 0
        self.spent = self.rest = self.published = 0.0
        self.bases: dict[str, int] = defaultdict(int)

    @property
    def guessed(self) -> int:
        return self.bases[GUESSED_BY_SIZE] + self.bases[GUESSED_BY_PUBLISHED]

    def derived(self) -> str:
        return "; ".join(f"{basis} ({count})" for basis, count in sorted(self.bases.items()) if count)
