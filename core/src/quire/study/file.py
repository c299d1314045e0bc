"""A study described by a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import Field, ValidationError, field_validator

from quire import registry
from quire.config import Config
from quire.errors import ConfigError, DataError, PluginError, Where, nearest
from quire.study.cells import Method, Published, Source
from quire.study.definition import Study
from quire.table import Row, table_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ModelEntry(Config):
    """A model under a name of its own."""

    model: str = Field(description="registry name of the model")
    options: dict[str, Any] = Field({}, description="the model's options")


class DataEntry(Config):
    """Data sets at a path."""

    path: str = Field(min_length=1, description="a file or folder; with wildcards, each one that matches")
    name: str | None = Field(None, description="its name in the tables; none: that of the file or folder")
    reader: str | None = Field(None, description="registry name of the reader; none: the layout tells")
    options: dict[str, Any] = Field({}, description="the reader's options")


class Reference(Config):
    """A table of published figures, and how its columns are named."""

    file: str = Field(description="a .csv, .tsv, .jsonl or .parquet file, relative to the study's file")
    model: str = Field("model", description="column of the model's name in the study")
    dataset: str = Field("dataset", description="column of the data set's name in the study")
    mean: str = Field("mean", description="column of the mean over runs")
    std: str = Field("std", description="column of the standard deviation (n - 1); it may be missing or empty")
    n: str = Field("n", description="column of the number of runs; it may be missing or empty")
    seconds: str = Field("seconds", description="column of a training's seconds; it may be missing or empty")
    where: dict[str, str | int | float] = Field({}, description="column: value, which a row must have to count")


class StudyFile(Config):
    """The content of the file."""

    title: str = Field("", description="of the report")
    models: dict[str, ModelEntry] = Field(min_length=1, description="names, or name: {model, options}")
    configs: dict[str, dict[str, Any]] = Field({}, description="name: options; every model is run with each of them")
    datasets: list[DataEntry] = Field(min_length=1, description="paths, or {path, name, reader, options}")
    seeds: list[int] = Field([0], min_length=1, description="a number of seeds, or a list of them")
    metric: str = Field("accuracy", description="the metric that is held against the published figures")
    evaluators: list[str] = Field([], description="registry names; none: those of the task")
    reference: Reference | None = Field(None, description="a table of published figures")

    @field_validator("models", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return {name: {"model": name} for name in value} if isinstance(value, list) else value

    @field_validator("datasets", mode="before")
    @classmethod
    def _paths(cls, value: Any) -> Any:
        return (
            [{"path": each} if isinstance(each, str) else each for each in value] if isinstance(value, list) else value
        )

    @field_validator("seeds", mode="before")
    @classmethod
    def _seeds(cls, value: Any) -> Any:
        return list(range(value)) if isinstance(value, int) and value > 0 else value

    @field_validator("reference", mode="before")
    @classmethod
    def _file(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str) else value


class FileStudy(Study):
    """The study that a file describes; its paths are relative to the data folder, else to the file's own."""

    def __init__(self, path: Path, described: StudyFile) -> None:
        self.path = path
        self.described = described
        self.title = described.title
        self.seeds = tuple(dict.fromkeys(described.seeds))
        self.metric = described.metric
        self.evaluators = tuple(described.evaluators)

    def methods(self) -> Sequence[Method]:
        """Every model with every configuration; a single model's go by the configuration's name alone."""
        models, configs = self.described.models, self.described.configs
        if not configs:
            return [Method(name, entry.model, entry.options) for name, entry in models.items()]
        return [
            Method(config if len(models) == 1 else f"{name}-{config}", entry.model, {**entry.options, **options})
            for name, entry in models.items()
            for config, options in configs.items()
        ]

    def sources(self, data: Path | None) -> Sequence[Source]:
        """The data sets at the paths, sized by their files; DataError for wildcards that match nothing."""
        root = data if data is not None else self.path.parent
        return [
            source for number, entry in enumerate(self.described.datasets) for source in self._at(entry, root, number)
        ]

    def _at(self, entry: DataEntry, root: Path, number: int) -> list[Source]:
        paths = [root / entry.path]
        if any(sign in entry.path for sign in "*?["):
            paths = sorted(_glob(root, entry.path))
            where = Where(file=self.path, field=f"datasets.{number}")
            if not paths:
                raise DataError(f"nothing matches {entry.path!r} below {root}", where=where)
            if entry.name is not None and len(paths) > 1:
                raise ConfigError(f"{len(paths)} data sets can't share the name {entry.name!r}", where=where)
        return [
            Source(
                name=entry.name or (path.name if path.is_dir() else path.stem),
                path=path if path.exists() else None,
                reader=entry.reader,
                options=entry.options,
                size=_bytes(path) or None,
            )
            for path in paths
        ]

    def published(self) -> Mapping[tuple[str, str], Published]:
        """The figures in the reference file; DataError naming file and line for a row that can't be read."""
        reference = self.described.reference
        if reference is None:
            return {}
        figures: dict[tuple[str, str], Published] = {}
        for row in table_rows(_existing(self.path.parent / reference.file)):
            if not isinstance(row, Row):
                raise row
            if all(str(row.cells.get(column)) == str(value) for column, value in reference.where.items()):
                pair = _text(row, reference.model), _text(row, reference.dataset)
                if pair in figures:
                    raise DataError(f"a second figure for {pair[0]} on {pair[1]}", where=_where(row))
                figures[pair] = _figure(row, reference)
        return figures


def read_study(path: Path) -> FileStudy:
    """The study that `path` describes. ConfigError naming the line and the key of what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise ConfigError("the text is not UTF-8", where=Where(file=path)) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = Where(file=path, line=mark.line + 1 if mark else None)
        raise ConfigError(getattr(error, "problem", None) or "this is not YAML", where=where) from None
    if not isinstance(values, dict):
        raise ConfigError("a study is a mapping with the keys models and datasets", where=Where(file=path))
    try:
        described = StudyFile.model_validate(values)
    except ValidationError as error:
        raise _fault(path, text, error.errors()) from None
    for name, entry in described.models.items():
        try:
            registry.describe(entry.model, "model")
        except PluginError as error:
            where = Where(file=path, line=_line(text, ("models", name)), field=f"models.{name}")
            raise PluginError(error.message, where=where, remedy=error.remedy) from None
    return FileStudy(path, described)


def _fault(path: Path, text: str, faults: Sequence[Any]) -> ConfigError:
    """The error for the first fault, an unknown key before all others: it often explains a missing one."""
    fault = min(faults, key=lambda fault: fault["type"] != "extra_forbidden")
    keys = tuple(fault["loc"])
    where = Where(file=path, line=_line(text, keys), field=".".join(map(str, keys)))
    if fault["type"] == "extra_forbidden":
        groups: dict[str, type[Config]] = {"models": ModelEntry, "datasets": DataEntry, "reference": Reference}
        known = (groups[str(keys[0])] if len(keys) > 1 else StudyFile).model_fields
        return ConfigError(
            f"there is no key {keys[-1]!r}{nearest(str(keys[-1]), known)}",
            where=where,
            remedy=f"Keys here are {', '.join(known)}.",
        )
    if fault["type"] == "missing":
        return ConfigError(f"the key {keys[-1]!r} is missing", where=where)
    message = fault["msg"].removeprefix("Value error, ")
    return ConfigError(f"{message[:1].lower()}{message[1:]}, not {fault['input']!r}", where=where)


def _line(text: str, keys: Sequence[str | int]) -> int | None:
    """The line of the value under `keys`, or of the innermost group that is there."""
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    line = None
    for key in keys:
        below: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            below = next((value for name, value in node.value if name.value == str(key)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            below = node.value[key]
        if below is None:
            break
        node, line = below, below.start_mark.line + 1
    return line


def _glob(root: Path, pattern: str) -> list[Path]:
    if Path(pattern).is_absolute():
        anchor = Path(Path(pattern).anchor)
        return list(anchor.glob(str(Path(pattern).relative_to(anchor))))
    return list(root.glob(pattern))


def _bytes(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.is_file() else 0


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError("there is no such file", where=Where(file=path))
    return path


def _figure(row: Row, names: Reference) -> Published:
    mean, n = _number(row, names.mean), _number(row, names.n)
    if mean is None:
        raise DataError(f"there is no value in the column {names.mean!r}", where=_where(row))
    return Published(mean, _number(row, names.std), None if n is None else int(n), _number(row, names.seconds))


def _number(row: Row, column: str) -> float | None:
    cell = row.cells.get(column)
    if cell is None or cell == "":
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        raise DataError(f"{cell!r} is not a number", where=_where(row, column)) from None


def _text(row: Row, column: str) -> str:
    if column not in row.cells:
        raise DataError(f"there is no column {column!r}{nearest(column, row.cells)}", where=_where(row))
    return str(row.cells[column])


def _where(row: Row, column: str | None = None) -> Where:
    return Where(file=row.file, line=row.line, column=column)
