"""Task: the fields of a sample, and whether a model, a data set and an evaluator speak of the same ones."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quire.errors import DataError, InvalidSample, PluginError, TaskMismatch, Where, nearest
from quire.modality import (
    Audio,
    Image,
    Label,
    Modality,
    Sample,
    Series,
    Text,
    Vector,
    placed,
)
from quire.table import TABLE_SUFFIXES, table_columns, table_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from quire.storage import JSON

    Handler: TypeAlias = Callable[[InvalidSample], None]

RESERVED = frozenset({"id", "target"})
"""Keys of a sample that are no input fields."""


@dataclass(frozen=True)
class Task:
    """What goes in and what comes out: input fields, a target, and the evaluators that are usual for it.

    Of the `optional` inputs a sample may lack any, as long as it has one input at all. In a sample the target stands
    under "target", the id under "id". Raises PluginError for a task without inputs, and for a reserved or unknown field.
    """

    name: str
    inputs: Mapping[str, Modality[Any]] = field(hash=False)
    target: Modality[Any] | None = None
    optional: frozenset[str] = frozenset()
    evaluators: tuple[str, ...] = ()
    summary: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", dict(self.inputs))
        object.__setattr__(self, "optional", frozenset(self.optional))
        object.__setattr__(self, "evaluators", tuple(self.evaluators))
        faults = {
            "has no input field": not self.inputs,
            "calls an input 'id' or 'target'": RESERVED & self.inputs.keys(),
            "has an optional field that is no input": self.optional - self.inputs.keys(),
        }
        for fault, holds in faults.items():
            if holds:
                raise PluginError(f"the task {self.name!r} {fault}")

    @property
    def signature(self) -> str:
        """The fields in words, such as "image: Image, text: Text (optional) -> target: Label"."""
        inputs = ", ".join(
            f"{name}: {modality}{' (optional)' if name in self.optional else ''}"
            for name, modality in self.inputs.items()
        )
        return inputs if self.target is None else f"{inputs} -> target: {self.target}"

    def check(self, sample: Sample, *, index: int | None = None, need_target: bool = False) -> Sample:
        """A copy of `sample` with every field in its modality's form.

        A None stands for a field that is absent; keys that are no fields are kept as they are. Raises InvalidSample
        that names the sample (its id, else `index`) and the field.
        """
        if not isinstance(sample, dict):
            raise InvalidSample(f"expected a dict of fields, got {type(sample).__name__}", where=Where(sample=index))
        name = sample.get("id", index)
        fields = self._fields()
        checked = {key: value for key, value in sample.items() if value is not None or key not in fields}
        self._require_inputs(checked, Where(sample=name))
        if need_target and self.target is not None and "target" not in checked:
            raise InvalidSample("the target is missing", where=Where(sample=name, field="target"))
        for key in fields.keys() & checked.keys():
            checked[key] = fields[key].check(checked[key], field=key, sample=name)
        return checked

    def _fields(self) -> dict[str, Modality[Any]]:
        return dict(self.inputs) | ({} if self.target is None else {"target": self.target})

    def _require_inputs(self, sample: Sample, where: Where) -> None:
        for name in self.inputs:
            if name not in self.optional and name not in sample:
                others = sample.keys() - self.inputs.keys() - RESERVED
                similar = nearest(name, others)
                raise InvalidSample(
                    f"the field is missing{similar.replace('did you mean', 'is it')}", where=replace(where, field=name)
                )
        if not self.inputs.keys() & sample.keys():
            raise InvalidSample(f"none of the fields {', '.join(self.inputs)} is present", where=where)

    def require_fit(self, other: Task, *, this: str, that: str) -> None:
        """Raises TaskMismatch unless samples of `other` can be used where this task is asked for.

        Every input that is not optional here, and the target, must be a field of `other` with a modality that fits; one
        input at least must be shared. `this` and `that` say in the message whose tasks they are.
        """
        theirs = other._fields()
        faults = []
        for name, modality in self._fields().items():
            if name not in theirs:
                if name not in self.optional:
                    faults.append(f"{name!r} is missing")
            elif not modality.fits(theirs[name]):
                faults.append(f"{name!r} is {theirs[name]} where {modality} is needed")
        if not faults and not self.inputs.keys() & other.inputs.keys():
            faults.append("no input is shared")
        if faults:
            raise TaskMismatch(
                f"{this} needs {self.signature}, but {that} has {other.signature}: {'; '.join(faults)}",
                remedy=f"Choose data and a method of one task, such as {self.name!r}.",
            )

    def encode(self, sample: Sample) -> dict[str, JSON]:
        """The fields of a checked sample, and its id, as JSON."""
        encoded: dict[str, JSON] = {"id": sample["id"]} if "id" in sample else {}
        present = (name for name in self._fields() if sample.get(name) is not None)
        return encoded | {name: self._fields()[name].encode(sample[name]) for name in present}

    def decode(self, data: JSON) -> Sample:
        """A checked sample from JSON; null stands for a field that is absent.

        Raises InvalidSample that names the field: unknown, missing, or not what its modality takes.
        """
        if not isinstance(data, dict):
            raise InvalidSample(f"expected an object with the fields {self.signature}, got {type(data).__name__}")
        fields = self._fields()
        for name in data:
            if name not in fields and name != "id":
                raise InvalidSample(
                    f"there is no field {name!r}{nearest(name, fields)}", remedy=f"The fields are {self.signature}."
                )
        sample: Sample = {}
        if data.get("id") is not None:
            if not isinstance(data["id"], str | int) or isinstance(data["id"], bool):
                raise InvalidSample("an id is text or an integer", where=Where(field="id"))
            sample["id"] = data["id"]
        for name, modality in fields.items():
            if data.get(name) is not None:
                sample[name] = modality.decode(data[name], field=name)
        self._require_inputs(sample, Where(sample=sample.get("id")))
        return sample

    def read_samples(self, paths: Sequence[str | Path], *, on_error: Handler | None = None) -> Iterator[Sample]:
        """Samples without targets, with ids, from files that a user names.

        - A task of one field reads all that its modality finds in each file.
        - A table (.csv, .tsv, .jsonl, .parquet) with a column per field is one sample per row; see `row`.
        - A task of n fields takes groups of n files in the order of the fields (those that are not optional, if any).
        - "field=path" items name the field; a new sample begins where a field comes again.

        Ids are file names, with ":row" where a file holds many; the whole path where names are alike. Raises
        InvalidSample that names the file, or hands it to `on_error` and goes on with the next row, file or group.
        """
        named = [self._field_and_path(item) for item in paths]
        files = [path for _, path in named]
        if any(name for name, _ in named):
            yield from self._read_groups(_grouped_by_name(named), on_error)
            return
        tables = {path for path in files if self._is_table(path)}
        if len(self.inputs) > 1 and not tables.issuperset(files):
            yield from self._read_groups(self._grouped_by_count(files, tables), on_error)
            return
        ids = _ids(files)
        for path in files:
            yield from (self._read_table if path in tables else self._read_values)(path, ids[path], on_error)

    def row(self, cells: Mapping[str, object], folder: Path) -> Sample:
        """The input fields of one row of a table that stands in `folder`, checked.

        A cell of a text or label is the value, that of any other field a path relative to `folder`, or a list where the
        table can hold one. An empty cell is an absent field, but an empty text where text is not optional. Raises
        InvalidSample that names the field.
        """
        sample: Sample = {}
        for name, modality in self.inputs.items():
            cell = cells.get(name)
            text = isinstance(modality, Text) and name not in self.optional
            if cell is None or (cell == "" and not text):
                continue
            with placed(Where(field=name)):
                sample[name] = modality.from_cell(cell, folder)
        self._require_inputs(sample, Where())
        return sample

    def _field_and_path(self, item: str | Path) -> tuple[str | None, Path]:
        name, separator, path = str(item).partition("=")
        return (name, Path(path)) if separator and name in self.inputs else (None, Path(item))

    def _plain_fields(self) -> list[str]:
        """The fields that plain paths fill."""
        return [name for name in self.inputs if name not in self.optional] or list(self.inputs)

    def _is_table(self, path: Path) -> bool:
        """Whether the columns of `path` are to be this task's fields, rather than values of one of them."""
        suffix = path.suffix.lower()
        if suffix not in TABLE_SUFFIXES:
            return False
        if not any(suffix in self.inputs[name].suffixes for name in self._plain_fields()):
            return True
        try:
            return not self._lacking(table_columns(path))
        except DataError:
            return False  # the modality that reads it says better what is wrong

    def _lacking(self, columns: set[str]) -> list[str]:
        """The fields that rows of these columns would lack."""
        lacking = [name for name in self.inputs if name not in self.optional and name not in columns]
        return lacking if self.inputs.keys() & columns else self._plain_fields()

    def _read_values(self, path: Path, name: str, on_error: Handler | None) -> Iterator[Sample]:
        ((field_name, modality),) = self.inputs.items()
        with _reported(on_error), placed(Where(field=field_name)):
            for key, value in modality.read_all(path):
                yield {"id": name + key.removeprefix(path.name), field_name: value}

    def _read_table(self, path: Path, name: str, on_error: Handler | None) -> Iterator[Sample]:
        with _reported(on_error), _as_invalid_sample():
            columns = table_columns(path)
            if self._lacking(columns):
                raise InvalidSample(
                    f"the table has the columns {', '.join(sorted(columns))}, not {', '.join(self._lacking(columns))}",
                    where=Where(file=path),
                    remedy="Name the columns as the fields.",
                )
            for number, row in enumerate(table_rows(path), 1):
                with _reported(on_error):
                    if isinstance(row, InvalidSample):
                        raise row
                    with placed(Where(file=path, line=row.line)):
                        key = row.cells.get("id")
                        identifier = f"{name}:{number}" if key in (None, "") else str(key)
                        yield {"id": identifier, **self.row(row.cells, path.parent)}

    def _grouped_by_count(self, files: list[Path], tables: set[Path]) -> list[dict[str, Path]]:
        names = self._plain_fields()
        if tables or len(files) % len(names):
            raise InvalidSample(
                f"{len(files)} files can't be grouped into samples of {len(names)}"
                + (" when some of them are tables" if tables else ""),
                remedy=f"Give files in the order {', '.join(names)}, or name the field: {names[0]}=PATH.",
            )
        return [
            dict(zip(names, files[start : start + len(names)], strict=True))
            for start in range(0, len(files), len(names))
        ]

    def _read_groups(self, groups: list[dict[str, Path]], on_error: Handler | None) -> Iterator[Sample]:
        ids = _ids([next(iter(group.values())) for group in groups])
        for group in groups:
            first = next(iter(group.values()))
            with _reported(on_error):
                sample: Sample = {"id": ids[first]}
                for name, path in group.items():
                    with placed(Where(field=name)):
                        sample[name] = self.inputs[name].read(path)
                self._require_inputs(sample, Where(file=first))
                yield sample


def _grouped_by_name(named: list[tuple[str | None, Path]]) -> list[dict[str, Path]]:
    groups: list[dict[str, Path]] = [{}]
    for name, path in named:
        if name is None:
            raise InvalidSample(
                "the field of this file is not named", where=Where(file=path), remedy="Write field=PATH for all files."
            )
        if name in groups[-1]:
            groups.append({})
        groups[-1][name] = path
    return groups


def _ids(paths: Sequence[Path]) -> dict[Path, str]:
    """The name of each file, or the whole path where several have that name."""
    names = Counter(path.name for path in set(paths))
    return {path: path.name if names[path.name] == 1 else path.as_posix() for path in paths}


@contextmanager
def _as_invalid_sample() -> Iterator[None]:
    """A whole table that can't be read is one sample that can't be used, for a job that goes on with the next file."""
    try:
        yield
    except InvalidSample:
        raise
    except DataError as error:
        raise InvalidSample(error.message, where=error.where, remedy=error.remedy) from error


@contextmanager
def _reported(on_error: Handler | None) -> Iterator[None]:
    try:
        yield
    except InvalidSample as error:
        if on_error is None:
            raise
        on_error(error)


_CLASSIFICATION = ("classification",)

IMAGE_CLASSIFICATION = Task(
    name="image-classification",
    inputs={"image": Image()},
    target=Label(),
    evaluators=_CLASSIFICATION,
    summary="The class of a picture",
)
TEXT_CLASSIFICATION = Task(
    name="text-classification",
    inputs={"text": Text()},
    target=Label(),
    evaluators=_CLASSIFICATION,
    summary="The class of a text",
)
SERIES_CLASSIFICATION = Task(
    name="series-classification",
    inputs={"series": Series()},
    target=Label(),
    evaluators=_CLASSIFICATION,
    summary="The class of a time series",
)
AUDIO_CLASSIFICATION = Task(
    name="audio-classification",
    inputs={"audio": Audio()},
    target=Label(),
    evaluators=_CLASSIFICATION,
    summary="The class of a sound",
)
VECTOR_CLASSIFICATION = Task(
    name="vector-classification",
    inputs={"vector": Vector()},
    target=Label(),
    evaluators=_CLASSIFICATION,
    summary="The class of a feature vector",
)
IMAGE_TEXT_CLASSIFICATION = Task(
    name="image-text-classification",
    inputs={"image": Image(), "text": Text()},
    target=Label(),
    optional=frozenset({"image", "text"}),
    evaluators=_CLASSIFICATION,
    summary="The class of a picture with its text, or of either alone",
)
