"""What a study is: a class that a plugin offers under `quire.studies`, or a YAML file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quire import registry
from quire.errors import DataError, Where
from quire.study.cells import Method, Published, Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quire.report import Figure, Table
    from quire.study.results import Results

SUFFIXES = (".yaml", ".yml")


class Study(ABC):
    """Methods, data sets and seeds whose every combination is trained on "train" and evaluated on "test".

    title: of the report. seeds: one run each. metric: the one that is held against the published figures.
    evaluators: registry names; () takes those of the model's task.
    """

    title: str = ""
    seeds: tuple[int, ...] = (0,)
    metric: str = "accuracy"
    evaluators: tuple[str, ...] = ()

    @abstractmethod
    def methods(self) -> Sequence[Method]:
        """The models with their options, in the order of the tables."""

    @abstractmethod
    def sources(self, data: Path | None) -> Sequence[Source]:
        """All data sets of the study; those that are not found below the folder `data` have no path."""

    def published(self) -> Mapping[tuple[str, str], Published]:
        """(method's name, data set's name) -> the published figure."""
        return {}

    def tables(self, results: Results) -> Sequence[Table]:
        """Further tables for the report."""
        return ()

    def figures(self, results: Results) -> Sequence[Figure]:
        """Further figures for the report."""
        return ()


def open_study(name: str) -> tuple[str, Study]:
    """The study in the YAML file `name`, or the installed one of that name, with the name for its folder.

    Raises PluginError for an unknown name, ConfigError and DataError for a file that describes no study.
    """
    path = Path(name)
    if path.suffix.lower() in SUFFIXES:
        from quire.study.file import read_study

        if not path.is_file():
            raise DataError("there is no such file", where=Where(file=path))
        return path.stem, read_study(path)
    study: Study = registry.get(name, "study")()
    return name, study


def with_options(methods: Sequence[Method], options: Mapping[str, Any]) -> list[Method]:
    """Every method with `options` on top of its own. ConfigError for one that a model does not take."""
    changed = [Method(each.name, each.model, _merged(each.config, options)) for each in methods]
    for each in changed:
        registry.create(each.model, "model", **each.config)
    return changed


def _merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` over `base`, group by group."""
    both = dict(base)
    for name, value in top.items():
        below = both.get(name)
        both[name] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both
