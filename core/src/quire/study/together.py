"""Cells that differ in their seed alone, trained together by models that can do that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from quire import registry
from quire.study.cells import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from quire.dataset import Dataset
    from quire.runtime import Runtime
    from quire.study.cells import Cell, Method

MOST = 5
"""Cells in a bundle: seeds beyond that gain little and would keep other workers idle."""

Bundle = tuple["Cell", ...]


@runtime_checkable
class TrainsSeeds(Protocol):
    """What a model class has that can train several of its models at once, faster than one after the other."""

    @property
    def can_group_seeds(self) -> bool:
        """Whether this configuration allows it."""

    def should_group_seeds(self, train: Dataset, runtime: Runtime) -> bool:
        """Whether it is the better way on `train`."""

    @classmethod
    def fit_seeds(cls, models: Sequence[Any], train: Dataset, runtimes: Sequence[Runtime]) -> None:
        """Train models[k], all of one configuration, as `models[k].fit(train, runtime=runtimes[k])` would.

        Up to rounding, no model depends on which others were trained with it.
        """


def bundles(cells: Sequence[Cell], todo: Collection[Cell]) -> list[Bundle]:
    """`todo` in bundles of cells that may be trained together; most are of one cell.

    Which cells share a bundle follows from all `cells` of the study, so that a study that goes on bundles as before.
    """
    wanted = {cell.key for cell in todo}
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.key[:2], []).append(cell)
    able: dict[str, bool] = {}
    made: list[Bundle] = []
    for (name, _), group in groups.items():
        if name not in able:
            able[name] = _can_group(group[0].method)
        size = MOST if able[name] else 1
        chunks = [group[start : start + size] for start in range(0, len(group), size)]
        chosen = [tuple(cell for cell in chunk if cell.key in wanted) for chunk in chunks]
        made += [bundle for bundle in chosen if bundle]
    return made


def _can_group(method: Method) -> bool:
    model = registry.create(method.model, "model", **method.config)
    return isinstance(model, TrainsSeeds) and model.can_group_seeds


def failure(bundle: Bundle, error: str) -> list[Outcome]:
    """What a bundle comes to that failed: the error of its one cell or, of several, nothing yet."""
    return [Outcome("failed", error=error)] if len(bundle) == 1 else []
