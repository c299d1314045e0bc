"""Rows of CSV, TSV, JSON Lines and Parquet files, each with the line where it begins."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from quire.errors import DataError, InvalidSample, Where

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_LONGEST_CELL = 1 << 30  # the csv module's own limit, 128 KiB, is less than one long series


@dataclass(frozen=True)
class Row:
    """One row as it is written: the line (in Parquet the row, from 1) where it begins, and column -> cell."""

    file: Path
    line: int
    cells: dict[str, Any]


def table_rows(path: Path) -> Iterator[Row | InvalidSample]:
    """The rows of a table; a malformed row comes as the InvalidSample that tells its line, and the rest follows.

    Cells of CSV and TSV files are `str`, those of the others what the format holds; blank lines are no rows.
    Raises DataError for a file that is not such a table, that names a column twice or has no column.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet_rows(path)
    if suffix == ".jsonl":
        return _json_rows(path, _text(path))
    if suffix in TABLE_SUFFIXES:
        return _csv_rows(path, _text(path))
    raise DataError(f"a table is one of {', '.join(TABLE_SUFFIXES)}", where=Where(file=path))


def table_columns(path: Path) -> set[str]:
    """The names of a table's columns: of the header, of the Parquet schema, or of the first object of a .jsonl file.

    Raises DataError for a file that can't be read as a table.
    """
    if path.suffix.lower() == ".parquet":
        import pyarrow
        from pyarrow import parquet

        try:
            return set(parquet.read_schema(path).names)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"this is not a whole Parquet file ({error})", where=Where(file=path)) from error
    if path.suffix.lower() == ".jsonl":
        first = next(_json_rows(path, _text(path)), None)
        return set(first.cells) if isinstance(first, Row) else set()
    return set(_header(_csv_reader(path, _text(path)), path))


def _csv_reader(path: Path, text: str) -> Any:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text.lstrip().partition("\n")[0])
    # pandas and pyarrow do not tell the line of a row once quoted cells hold line breaks.
    return csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)


def _header(reader: Any, path: Path) -> list[str]:
    try:
        columns = [cell.strip() for cell in next(cells for cells in reader if cells)]
    except StopIteration:
        raise DataError("the file is empty", where=Where(file=path)) from None
    except csv.Error as error:
        where = Where(file=path, line=reader.line_num)
        raise DataError(f"the quotes do not match ({error})", where=where) from error
    return columns


def _csv_rows(path: Path, text: str) -> Iterator[Row | InvalidSample]:
    reader = _csv_reader(path, text)
    columns = _header(reader, path)
    _require_distinct(columns, Where(file=path, line=1))
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield InvalidSample(f"the quotes do not match ({error})", where=Where(file=path, line=line))
            continue
        if cells and len(cells) != len(columns):
            fault = f"{len(cells)} cells where the header names {len(columns)} columns"
            yield InvalidSample(fault, where=Where(file=path, line=line))
        elif cells:
            yield Row(path, line, dict(zip(columns, cells, strict=True)))


def _json_rows(path: Path, text: str) -> Iterator[Row | InvalidSample]:
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            cells = json.loads(content)
        except json.JSONDecodeError as error:
            yield InvalidSample(
                f"this is not JSON ({error.msg})", where=Where(file=path, line=line, column=error.colno)
            )
            continue
        except (RecursionError, ValueError) as error:  # too deep, or a number of too many digits
            yield InvalidSample(f"this JSON can't be read ({error})", where=Where(file=path, line=line))
            continue
        if isinstance(cells, dict):
            yield Row(path, line, cells)
        else:
            fault = f"a row is a JSON object, not {type(cells).__name__}"
            yield InvalidSample(fault, where=Where(file=path, line=line))


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            _require_distinct(table.schema_arrow.names, Where(file=path))
            cells = (cells for batch in table.iter_batches(batch_size=1024) for cells in batch.to_pylist())
            yield from (Row(path, number, row) for number, row in enumerate(cells, 1))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"this is not a whole Parquet file ({error})", where=Where(file=path)) from error


def _require_distinct(columns: Sequence[str], where: Where) -> None:
    twice = [name for name in columns if name and list(columns).count(name) > 1]
    if twice:
        raise DataError(f"there are two columns {twice[0]!r}", where=where)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"the file can't be read ({error.strerror})", where=Where(file=path)) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = Where(file=path, line=content.count(b"\n", 0, error.start) + 1)
        fault = f"the text is not UTF-8 (byte 0x{content[error.start]:02x})"
        raise DataError(fault, where=where, remedy="Convert the file to UTF-8.") from error


def _delimiter(header: str) -> str:
    """Comma, semicolon (of spreadsheets where the comma is decimal) or tab, whichever the header has most of."""
    return max(",;\t", key=header.count)
