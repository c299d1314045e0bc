"""The cells of a study: what is trained on what with which seed, and what came of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from quire.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


@dataclass(frozen=True)
class Method:
    """A model (its registry name) with options of its own, under the name that it has in the study's tables."""

    name: str
    model: str
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A data set of a study.

    path: None where it is not at hand. reader: its registry name; None asks the layout. options: those of the reader.
    size: anything that training time grows with (samples times length, bytes), in one unit for the whole study.
    """

    name: str
    path: Path | None
    reader: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    size: float | None = None


@dataclass(frozen=True)
class Published:
    """The figure that a paper gives for a method on a data set.

    mean and std (n - 1) of the study's metric over n runs; mean is None where only the time is known. seconds: of one
    training, on the paper's machine.
    """

    mean: float | None
    std: float | None = None
    n: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Cell:
    """One training and evaluation."""

    method: Method
    source: Source
    seed: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What a cell is known by: the method's name, the data set's name, the seed."""
        return self.method.name, self.source.name, self.seed

    def to_json(self) -> dict[str, Any]:
        """The cell for another process."""
        source = {**asdict(self.source), "path": str(self.source.path) if self.source.path is not None else None}
        return {"method": asdict(self.method), "source": source, "seed": self.seed}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Cell:
        """The inverse of `to_json`."""
        source = dict(data["source"])
        path = Path(source.pop("path")) if source["path"] is not None else source.pop("path")
        return cls(Method(**data["method"]), Source(path=path, **source), data["seed"])


@dataclass(frozen=True)
class Outcome:
    """What came of a cell.

    error: one line, of a failed cell. metrics: all that the evaluators measured; None where one has no value.
    fit_seconds, predict_seconds: wall time; cpu_seconds: processor time of reading, training and predicting.
    fingerprint: of both splits.
    """

    status: Literal["done", "failed"]
    error: str | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    fit_seconds: float | None = None
    predict_seconds: float | None = None
    cpu_seconds: float | None = None
    n_params: int | None = None
    device: str | None = None
    fingerprint: str | None = None
    version: str | None = None

    @property
    def cost(self) -> float | None:
        """Seconds that the cell kept its worker busy: processor time on a CPU, which others on it do not lengthen."""
        if self.status == "failed" or self.fit_seconds is None:
            return None
        if self.device == "cpu":
            return self.cpu_seconds
        return self.fit_seconds + (self.predict_seconds or 0.0)


@dataclass(frozen=True)
class Row(Outcome):
    """An outcome together with the names of its cell."""

    model: str = ""
    dataset: str = ""
    seed: int = 0


def expand(methods: Sequence[Method], sources: Sequence[Source], seeds: Sequence[int]) -> list[Cell]:
    """Every method on every source with every seed. ConfigError for a name that stands twice."""
    for kind, names in (("model", [m.name for m in methods]), ("data set", [s.name for s in sources])):
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ConfigError(f"two of the study's {kind}s are named {twice[0]!r}")
    return [Cell(method, source, seed) for method in methods for source in sources for seed in seeds]


def selection(patterns: Iterable[str], models: Sequence[str], datasets: Sequence[str]) -> Callable[[str, str], bool]:
    """Which (model, data set) pairs `patterns` choose; all of them if there is no pattern.

    A pattern (wildcards *, ?, [..]) is the name of a model, else that of a data set, or "model/data set". What is chosen
    are the named models (else all) on the named data sets (else all), and the named pairs. ConfigError for a pattern
    that chooses nothing.
    """
    of_models, of_datasets, of_pairs = [], [], []
    for pattern in patterns:
        model, slash, dataset = pattern.partition("/")
        if slash:
            _require_match(pattern, _any(model, models) and _any(dataset, datasets), (*models, *datasets))
            of_pairs.append((model, dataset))
        elif _any(pattern, models):
            of_models.append(pattern)
        else:
            _require_match(pattern, _any(pattern, datasets), (*models, *datasets))
            of_datasets.append(pattern)

    def chosen(model: str, dataset: str) -> bool:
        if any(fnmatchcase(model, one) and fnmatchcase(dataset, other) for one, other in of_pairs):
            return True
        if of_pairs and not of_models and not of_datasets:
            return False
        return (not of_models or any(fnmatchcase(model, one) for one in of_models)) and (
            not of_datasets or any(fnmatchcase(dataset, one) for one in of_datasets)
        )

    return chosen


def _any(pattern: str, names: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


def _require_match(pattern: str, found: bool, names: Iterable[str]) -> None:
    if not found:
        raise ConfigError(
            f"--only {pattern!r} is neither a model nor a data set of the study{nearest(pattern, names)}",
            remedy="A pattern is the name of a model, of a data set, or model/dataset; * stands for anything.",
        )
