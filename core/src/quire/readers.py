"""Readers for users' own data: a folder for each class, or a table with a column for each field."""

from __future__ import annotations

import csv
import json
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw
from pydantic import Field, PlainValidator, model_validator

from quire import registry
from quire.config import Config
from quire.dataset import (
    SPLITS,
    OnError,
    Rows,
    canonical_split,
    new_release,
    partition,
    skipping,
    sort_labels,
)
from quire.errors import ConfigError, DataError, InvalidSample, Where, nearest
from quire.modality import Audio, Image, Label, Modality, Sample, Text, Vector, Video, path_inside, placed
from quire.table import TABLE_SUFFIXES, Row, table_rows
from quire.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_DESKTOP_FILES = {"thumbs.db", "desktop.ini"}


def named_task(task: str | Task) -> Task:
    """The task of that registered name (a Task is itself). Raises PluginError for an unknown name."""
    found = task if isinstance(task, Task) else registry.get(task, kind="task")
    if not isinstance(found, Task):
        raise ConfigError(f"{task!r} is not a task")
    return found


# Any, because pydantic would look into the fields of a Task.
NamedTask = Annotated[Any, PlainValidator(named_task, json_schema_input_type=str)]


class ReaderOptions(Config):
    """What both readers take; the fractions serve data that has no splits of its own."""

    task: NamedTask = Field("image-classification", description="registered name of the task whose fields the data has")
    validation_fraction: float = Field(0.15, ge=0, lt=1, description="share held out for validation")
    test_fraction: float = Field(0.15, ge=0, lt=1, description="share held out for testing")
    split_seed: int = Field(0, ge=0, description="which samples are held out")
    verify: bool = Field(False, description="read every media file when opening, to find the unreadable ones at once")

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction must leave samples to train on")
        return self

    def part(self, rows: list[Sample], split: str) -> list[Sample]:
        """The rows of one split of data that has none, by `partition` of the Label targets."""
        held_out = {"validation": self.validation_fraction, "test": self.test_fraction}
        fractions = {"train": 1 - sum(held_out.values())} | {name: part for name, part in held_out.items() if part}
        classes = isinstance(self.task.target, Label)
        parts = partition([row["target"] if classes else "" for row in rows], fractions, seed=self.split_seed)
        return [rows[index] for index in parts.get(split, ())]


class FolderDataset(Rows):
    """root/class/file or root/split/class/file: the folder of a file (at any depth) is its class.

    For tasks with one input and a Label. Ids are paths relative to the root. Without split folders, samples are divided
    by the fractions of `Options`, stratified. Hidden files and files beside the class folders are not samples.
    Classes are those of all splits. Raises InvalidSample for an empty class folder, and for a file in one that is not
    of the input's kind.
    """

    class Options(ReaderOptions):
        """Options of a folder of classes."""

    @classmethod
    def read(cls, path: Path, *, split: str, on_error: OnError, options: Options) -> Self:
        """Every file of one split, in the order of the paths; files are read on access."""
        field, modality = _only_input(options.task)
        split_folders = _split_folders(path)
        roots = [root for name, root in split_folders.items() if name in {*SPLITS, split}] or [path]
        skipped: list[InvalidSample] = []
        rows: list[Sample] = []
        for folder in _subfolders(split_folders.get(split, path)):
            with skipping(on_error, skipped):
                files = _files(folder)
                if not files:
                    raise InvalidSample("the class folder is empty", where=Where(file=folder))
                for file in files:
                    with skipping(on_error, skipped):
                        _require_kind(file, modality)
                        name = file.relative_to(path).as_posix()
                        rows.append({"id": name, field: file, "target": folder.name})
        dataset = cls(
            rows if split_folders else options.part(rows, split),
            task=options.task,
            name=path.resolve().name,
            split=split,
            labels=sort_labels(folder.name for root in roots for folder in _subfolders(root)),
            skipped=skipped,
        )
        if options.verify:
            dataset.verify(on_error)
        return dataset

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """The split folders' usual names, or train, validation and test where there are none."""
        return tuple(_split_folders(path)) or SPLITS

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder of folders that hold images, sounds or videos, and no table beside them."""
        if not path.is_dir() or _tables_in(path):
            return False
        media = {suffix for kind in (Image, Audio, Video) for suffix in kind.suffixes}
        folders = (inner for folder in _subfolders(path) for inner in (folder, *_subfolders(folder)))
        return any(file.suffix.lower() in media for folder in folders for file in folder.iterdir())

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0) -> Path:
        """Images of 32 x 32 pixels for image classification: coloured circles, squares and triangles."""
        rng = np.random.default_rng(seed)
        with new_release(folder) as root:
            for split, size in zip(SPLITS, (12, 4, 4), strict=True):
                for shape in _SHAPES:
                    (root / split / shape).mkdir(parents=True)
                    for number in range(size):
                        _draw(shape, rng).save(root / split / shape / f"{number:02}.png")
        return Path(folder)


class TableDataset(Rows):
    """A CSV, TSV, JSON Lines or Parquet file whose columns are named as the task's fields.

    A Text or Label cell is the value; a cell of another field is JSON as HTTP takes it, or the path of a file relative
    to the table (in Parquet also the file's bytes). Optional columns are "id" and
    "split". Splits are files named train, validation and test (not all need be there), else the values of the column
    "split", else the fractions of `Options`, stratified. Labels are those of all splits. An empty cell is a missing
    value, but for a text that is not optional it is the empty text.

    Raises DataError for a table that can't be read or lacks a column, InvalidSample with file, line (in Parquet the
    row) and column for a bad row.
    """

    class Options(ReaderOptions):
        """Options of a table."""

        task: NamedTask = Field(
            "text-classification", description="registered name of the task whose fields the table has"
        )
        columns: dict[str, str | list[str]] = Field(
            {},
            description="the column of a field that has another name, as in {text: message, target: label}; "
            "for a vector also the list of columns that make it",
        )

    @classmethod
    def read(cls, path: Path, *, split: str, on_error: OnError, options: Options) -> Self:
        """Every row of one split, checked but for media files, which are read on access."""
        skipped: list[InvalidSample] = []
        tables = {name: _read_table(file, on_error, skipped) for name, file in _split_files(path).items()}
        layout = _Layout(options.task, options.columns)
        has_column = any("split" in record.cells for record in tables.get(None, ()))
        rows: list[Sample] = []
        used: dict[str, Row] = {}
        for name, records in tables.items():
            layout.require_columns(records)
            for record in records:
                with skipping(on_error, skipped):
                    if (_split_of(record) if has_column else name) in {None, split}:
                        rows.append(_only_once(layout.row(record), record, used))
        dataset = cls(
            rows if has_column or None not in tables else options.part(rows, split),
            task=options.task,
            name=path.resolve().name if path.is_dir() else path.stem,
            split=split,
            labels=layout.labels(chain.from_iterable(tables.values())),
            skipped=skipped,
        )
        if options.verify:
            dataset.verify(on_error)
        return dataset

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """The splits that files or the column "split" name, or train, validation and test."""
        files = _split_files(path)
        if None not in files:
            return _in_usual_order(name for name in files if name)
        rows = [row for row in _read_table(files[None], "skip", []) if "split" in row.cells]
        named: set[str] = set()
        for row in rows:
            with skipping("skip", []):
                named.add(_split_of(row))
        return _in_usual_order(named) if rows else SPLITS

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A table, or a folder with one table or with tables that are named as splits."""
        if not path.is_dir():
            return path.suffix.lower() in TABLE_SUFFIXES
        tables = _tables_in(path)
        return len(tables) == 1 or any(canonical_split(table.stem) in SPLITS for table in tables)

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0) -> Path:
        """A CSV with the columns id, split, text, vector (4 numbers) and target, for text or vector classification."""
        rng = np.random.default_rng(seed)
        with new_release(folder) as root, (root / "messages.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["id", "split", "text", "vector", "target"])
            for split, size in zip(SPLITS, (24, 8, 8), strict=True):
                for number, target in enumerate(list(_WORDS) * (size // 2)):
                    writer.writerow([f"{split}-{number}", split, *_message(target, rng), target])
        return Path(folder) / "messages.csv"


class _Layout:
    """Which columns hold which fields of a task."""

    def __init__(self, task: Task, columns: Mapping[str, str | list[str]]) -> None:
        self.task = task
        self.fields: dict[str, Modality[Any]] = dict(task.inputs)
        if task.target is not None:
            self.fields["target"] = task.target
        for field, column in columns.items():
            if field not in {*self.fields, "id"}:
                message = f"{task.name} has no field {field!r}{nearest(field, self.fields)}"
                raise ConfigError(message, where=Where(field="columns"))
            if isinstance(column, list) and not isinstance(self.fields.get(field), Vector):
                message = f"{field!r} is not a vector and has one column, not a list"
                raise ConfigError(message, where=Where(field="columns"))
        self.columns = {field: columns.get(field, field) for field in (*self.fields, "id")}
        self._named = frozenset(columns)

    def require_columns(self, records: Sequence[Row]) -> None:
        """Raise DataError for a column that the task needs, or that the user named, and the table lacks."""
        present = dict.fromkeys(name for record in records for name in record.cells)
        for field, column in self.columns.items() if records else ():
            needed = field in self._named or (field != "id" and field not in self.task.optional)
            for name in [column] if isinstance(column, str) else column:
                if needed and name not in present:
                    raise DataError(
                        f"there is no column {name!r}{nearest(name, present)}",
                        where=Where(file=records[0].file),
                        remedy=f"Its columns are: {', '.join(present)}; the option columns.{field} names another.",
                    )

    def row(self, record: Row) -> Sample:
        """The sample with paths in place of media. Raises InvalidSample with file, line and column."""
        cell = self._cell(record, "id")
        row: Sample = {"id": f"{record.file.name}:{record.line}" if cell is None else str(cell)}
        for field, modality in self.fields.items():
            cell = self._cell(record, field)
            column = self.columns[field]
            where = Where(file=record.file, line=record.line, column=column if isinstance(column, str) else None)
            if cell is not None:
                with placed(where):
                    row[field] = _value(cell, modality, record.file.parent)
            elif field not in self.task.optional:
                raise InvalidSample(f"the {field} is missing", where=where)
        if not row.keys() & self.task.inputs.keys():
            inputs = ", ".join(self.task.inputs)
            raise InvalidSample(f"has none of {inputs}", where=Where(file=record.file, line=record.line))
        return row

    def labels(self, records: Iterable[Row]) -> tuple[str, ...]:
        """The task's labels or, if it names none, all of the column's."""
        target = self.task.target
        if not isinstance(target, Label):
            return ()
        found = list(target.labels or ())
        for record in () if found else records:
            with skipping("skip", []):  # a bad label of this split is known by now, one of another split is not used
                found.append(target.validate(self._cell(record, "target")))
        return sort_labels(found)

    def _cell(self, record: Row, field: str) -> Any:
        """What the row has for `field`: a cell, the numbers of a list of columns, or None for nothing."""
        column = self.columns[field]
        if isinstance(column, list):
            return [_number(record, name) for name in column]
        cell = record.cells.get(column)
        if not isinstance(cell, str):
            return cell
        if isinstance(self.fields.get(field), Text):
            return cell if cell or field not in self.task.optional else None
        return cell.strip() or None


def _value(cell: Any, modality: Modality[Any], folder: Path) -> Any:
    """The value of a cell or, for media, the file (or its bytes) that `Rows` reads on access."""
    if isinstance(modality, Text | Label):
        return modality.validate(cell)
    if isinstance(cell, dict) and cell.keys() == {
        "bytes",
        "path",
    }:  # how Parquet files of the Hugging Face hub hold media
        cell = cell["bytes"] or cell["path"]
    if isinstance(cell, bytes):
        return cell
    if isinstance(cell, str) and (cell[0], cell[-1]) in {("[", "]"), ("{", "}")}:
        cell = _json(cell)
    if not isinstance(cell, str):
        return modality.from_cell(cell, folder)
    path = path_inside(folder, cell)
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError:  # a name that no file can have
        size = None
    if not size:
        raise InvalidSample(f"the file {cell!r} is empty" if size == 0 else f"there is no file {cell!r}")
    return path


def _number(record: Row, column: str) -> float:
    cell = record.cells.get(column)
    try:
        return float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        where = Where(file=record.file, line=record.line, column=column)
        raise InvalidSample(f"{cell!r} is not a number", where=where) from error


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidSample(f"this is not JSON ({error})") from error


def _split_of(record: Row) -> str:
    """The usual name of the split that the row's column "split" gives. Raises InvalidSample if it gives none."""
    name = canonical_split(str(record.cells.get("split") or ""))
    if not name:
        raise InvalidSample("the split is missing", where=Where(file=record.file, line=record.line, column="split"))
    return name


def _only_once(row: Sample, record: Row, used: dict[str, Row]) -> Sample:
    """`row`, whose id no earlier row has; `used` gains it."""
    first = used.setdefault(row["id"], record)
    if first is not record:
        other = f"line {first.line}" if first.file == record.file else f"{first.file}, line {first.line}"
        where = Where(file=record.file, line=record.line, sample=row["id"])
        raise InvalidSample(f"the id {row['id']!r} is that of {other} too", where=where)
    return row


# --- files of a table -------------------------------------------------------------------------------------------------


def _tables_in(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.iterdir() if file.suffix.lower() in TABLE_SUFFIXES and not file.name.startswith(".")
    )


def _split_files(path: Path) -> dict[str | None, Path]:
    """Split name -> file; None stands for one table of all samples."""
    if not path.is_dir():
        usual = canonical_split(path.stem)
        return {usual if usual in SPLITS else None: path}
    tables = _tables_in(path)
    files: dict[str | None, Path] = {}
    for table in tables:
        usual = canonical_split(table.stem)
        if usual in SPLITS:
            if usual in files:
                raise DataError(f"{files[usual].name} and {table.name} are both {usual}", where=Where(file=path))
            files[usual] = table
    if not files and len(tables) != 1:
        found = f"holds several tables: {', '.join(table.name for table in tables)}" if tables else "holds no table"
        raise DataError(found, where=Where(file=path), remedy=f"Name one ({', '.join(TABLE_SUFFIXES)}).")
    return files or {None: tables[0]}


def _in_usual_order(splits: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(splits, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name)))


def _read_table(path: Path, on_error: OnError, skipped: list[InvalidSample]) -> list[Row]:
    """All rows that are well-formed. Raises DataError if there are no rows at all."""
    rows: list[Row] = []
    malformed = len(skipped)
    for row in table_rows(path):
        with skipping(on_error, skipped):
            if isinstance(row, InvalidSample):
                raise row
            rows.append(row)
    if not rows and len(skipped) == malformed:
        raise DataError("the table has no rows", where=Where(file=path))
    return rows


# --- folders ----------------------------------------------------------------------------------------------------------


def _only_input(task: Task) -> tuple[str, Modality[Any]]:
    inputs = list(task.inputs.items())
    if len(inputs) != 1 or not isinstance(task.target, Label):
        raise ConfigError(
            f"a folder of classes serves tasks with one input and a label, not {task.name}",
            where=Where(field="task"),
            remedy="Describe the data in a table.",
        )
    return inputs[0]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _split_folders(path: Path) -> dict[str, Path]:
    """Usual split name -> folder, or nothing if the subfolders are classes.

    Subfolders are splits if one of them has a split's name and class folders in it.
    """
    if not path.is_dir():
        raise DataError("this is a file, not a folder of classes", where=Where(file=path))
    found: dict[str, Path] = {}
    for folder in _subfolders(path):
        name = canonical_split(folder.name)
        if name in found:
            raise DataError(f"{found[name].name} and {folder.name} are both {name}", where=Where(file=path))
        found[name] = folder
    if not any(name in SPLITS and _subfolders(folder) for name, folder in found.items()):
        return {}
    return {name: found[name] for name in _in_usual_order(found)}


def _files(folder: Path) -> list[Path]:
    """The files in `folder`, at any depth, but those that file managers leave there."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and file.name.lower() not in _DESKTOP_FILES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def _require_kind(file: Path, modality: Modality[Any]) -> None:
    if file.suffix.lower() not in modality.suffixes:
        raise InvalidSample(
            f"the ending is not that of {modality.kind} ({', '.join(modality.suffixes)})",
            where=Where(file=file),
            remedy="Move it out of the class folder.",
        )
    if not file.stat().st_size:
        raise InvalidSample("the file is empty", where=Where(file=file))


# --- synthetic releases -----------------------------------------------------------------------------------------------

_SHAPES = {"circle": (220, 70, 60), "square": (70, 190, 90), "triangle": (80, 110, 230)}
_WORDS = {
    "complaint": ("broken", "late", "refund", "wrong", "damaged"),
    "praise": ("lovely", "thanks", "perfect", "quick", "great"),
}
_COMMON_WORDS = ("the", "parcel", "arrived", "today", "order", "was", "and", "my")


def _draw(shape: str, rng: np.random.Generator) -> PillowImage.Image:
    """One shape in about its colour, anywhere on a dark, noisy ground."""
    picture = PillowImage.fromarray(rng.integers(0, 60, (32, 32, 3), dtype=np.uint8))
    x, y = rng.integers(12, 21, 2).tolist()
    radius = int(rng.integers(7, 12))
    red, green, blue = (np.array(_SHAPES[shape]) + rng.integers(-30, 26, 3)).tolist()
    pen = ImageDraw.Draw(picture)
    if shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(red, green, blue))
    else:
        sides = {"square": 4, "triangle": 3}[shape]
        pen.regular_polygon((x, y, radius), sides, rotation=int(rng.integers(0, 90)), fill=(red, green, blue))
    return picture


def _message(target: str, rng: np.random.Generator) -> tuple[str, str]:
    """A text with two words of its class, and a JSON vector around its class's centre."""
    words = [*rng.choice(_WORDS[target], 2, replace=False), *rng.choice(_COMMON_WORDS, 4, replace=False)]
    centre = 1.0 if target == "praise" else -1.0
    vector = centre * np.array([1, -1, 1, 0]) + rng.normal(0, 0.5, 4)
    return " ".join(rng.permutation(words).tolist()), json.dumps(vector.round(3).tolist())
