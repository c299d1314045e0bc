"""A table with a column for each field."""

from __future__ import annotations

import csv
import json
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field

from quire.dataset import (
    SPLITS,
    OnError,
    Rows,
    canonical_split,
    new_release,
    skipping,
    sort_labels,
)
from quire.errors import ConfigError, DataError, InvalidSample, Where, nearest
from quire.modality import Label, Modality, Sample, Text, Vector, path_inside, placed
from quire.table import TABLE_SUFFIXES, Row, table_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from quire.task import Task
from quire.readers.options import NamedTask, ReaderOptions, in_usual_order, tables_in

_WORDS = {
    "complaint": ("broken", "late", "refund", "wrong", "damaged"),
    "praise": ("lovely", "thanks", "perfect", "quick", "great"),
}
_COMMON_WORDS = ("the", "parcel", "arrived", "today", "order", "was", "and", "my")


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
            return in_usual_order(name for name in files if name)
        rows = [row for row in _read_table(files[None], "skip", []) if "split" in row.cells]
        named: set[str] = set()
        for row in rows:
            with skipping("skip", []):
                named.add(_split_of(row))
        return in_usual_order(named) if rows else SPLITS

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A table, or a folder with one table or with tables that are named as splits."""
        if not path.is_dir():
            return path.suffix.lower() in TABLE_SUFFIXES
        tables = tables_in(path)
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


def _split_files(path: Path) -> dict[str | None, Path]:
    """Split name -> file; None stands for one table of all samples."""
    if not path.is_dir():
        usual = canonical_split(path.stem)
        return {usual if usual in SPLITS else None: path}
    tables = tables_in(path)
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


def _message(target: str, rng: np.random.Generator) -> tuple[str, str]:
    """A text with two words of its class, and a JSON vector around its class's centre."""
    words = [*rng.choice(_WORDS[target], 2, replace=False), *rng.choice(_COMMON_WORDS, 4, replace=False)]
    centre = 1.0 if target == "praise" else -1.0
    vector = centre * np.array([1, -1, 1, 0]) + rng.normal(0, 0.5, 4)
    return " ".join(rng.permutation(words).tolist()), json.dumps(vector.round(3).tolist())
