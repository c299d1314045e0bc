"""Tables with a header, as CSV or Parquet: long (one value a row) and wide (one case a row)."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quire.dataset import skipping
from quire.errors import DataError, InvalidSample, Where, nearest

from .collection import Case, SeriesCollection, collect, normal_label, without_padding
from .text import ID_NAMES, LABEL_NAMES, parse_numbers, read_lines, require_increasing, sniff_separator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quire.dataset import OnError

_LONG_COLUMNS = ("case_id", "time", "value")


@dataclass(frozen=True)
class Table:
    """A table's text: the names of its columns, and its rows, each with its line (Parquet: row) number from 1."""

    path: Path
    columns: tuple[str, ...]
    rows: list[tuple[int, list[str]]]

    @property
    def is_long(self) -> bool:
        """Whether it has the columns of the long layout."""
        return set(_LONG_COLUMNS) <= set(self.columns)


def read_table(path: str | Path) -> Table:
    """Read a CSV file with a header (comma, semicolon or tab), or a Parquet file.

    DataError for a file that is neither, and for a column name that appears twice.
    """
    path = Path(path)
    table = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    twice = [name for name in table.columns if table.columns.count(name) > 1]
    if twice:
        raise DataError(f"there are two columns {twice[0]!r}", where=Where(file=path), remedy="Give each its own name.")
    return table


def load_table(
    path: str | Path | Table, *, label_column: str | None = None, labelled: bool = True, on_error: OnError = "raise"
) -> SeriesCollection:
    """Read a long table where it has the columns case_id, time and value, else a wide one.

    Long: columns case_id, channel (may be absent: one channel), time, value, and the label, the same in all rows of a
    case. Within a case and channel times increase; a channel that lacks a time of the others has a missing value
    there. Wide: one case a row, its values in the order of the columns, an optional column case_id or id; empty cells
    are missing values, at the end they mean a shorter series. `label_column`: the label's column (else label, class,
    target or class_label). `labelled=False`: the label's column may be absent and is left out. DataError for a table
    without label column; InvalidSample, naming file, line and column, for a bad value.
    """
    table = path if isinstance(path, Table) else read_table(path)
    label = _label_column(table, label_column, labelled=labelled)
    read = _load_long if table.is_long else _load_wide
    return read(table, label, keep_label=labelled, on_error=on_error)


def load_long_table(
    path: str | Path, *, label_column: str | None = None, labelled: bool = True, on_error: OnError = "raise"
) -> SeriesCollection:
    """`load_table` for a table that has to be long; DataError naming the columns that it lacks."""
    table = read_table(path)
    lacking = [name for name in _LONG_COLUMNS if name not in table.columns]
    if lacking:
        raise DataError(
            f"the table has no column {', '.join(lacking)} (it has {', '.join(table.columns)})",
            where=Where(file=table.path),
            remedy="A long table has the columns case_id, channel, time, value and label.",
        )
    return load_table(table, label_column=label_column, labelled=labelled, on_error=on_error)


def _label_column(table: Table, asked: str | None, *, labelled: bool) -> str | None:
    if asked is not None:
        found = asked if asked in table.columns else None
    else:
        found = next((name for name in table.columns if name.lower() in LABEL_NAMES), None)
    if found is None and labelled:
        name = asked or "label"
        raise DataError(
            f"the header has no column {name!r}{nearest(name, table.columns)}: it reads {', '.join(table.columns[:6])}",
            where=Where(file=table.path, line=1),
            remedy="Name the column of the labels with label_column=NAME; in a UCR file, delete the header.",
        )
    return found


def _load_wide(table: Table, label: str | None, *, keep_label: bool, on_error: OnError) -> SeriesCollection:
    names = [name for name in table.columns if name.lower() in ID_NAMES][:1]
    values_at = [at for at, name in enumerate(table.columns) if name != label and name not in names]
    id_at = table.columns.index(names[0]) if names else None
    label_at = table.columns.index(label) if label is not None and keep_label else None

    def parse(row: tuple[int, tuple[int, list[str]]]) -> Case:
        number, (line, cells) = row
        where = Where(file=table.path, line=line)
        _require_width(cells, table, where)
        case_label = None
        if label_at is not None:
            case_label = normal_label(cells[label_at], Where(table.path, line, table.columns[label_at]))
        values = parse_numbers(
            [cells[at] for at in values_at], lambda i: Where(table.path, line, table.columns[values_at[i]])
        )
        name = f"{table.path.stem}:{number}" if id_at is None else cells[id_at].strip()
        return Case(without_padding(values[None]), case_label, name, where)

    return collect(table.path, enumerate(table.rows, start=1), parse, on_error=on_error)


def _load_long(table: Table, label: str | None, *, keep_label: bool, on_error: OnError) -> SeriesCollection:
    at = {name: table.columns.index(name) for name in table.columns}
    channel_at = at.get("channel")
    cases: dict[str, list[tuple[int, list[str]]]] = {}
    channels: dict[str, None] = {}
    stray: list[InvalidSample] = []  # rows of which nobody can say to which case they belong
    for line, cells in table.rows:
        with skipping(on_error, stray):
            where = Where(file=table.path, line=line)
            _require_width(cells, table, where)
            name = cells[at["case_id"]].strip()
            if not name:
                raise InvalidSample("the row has no case_id", where=where, remedy="Give every row the id of its case.")
            cases.setdefault(name, []).append((line, cells))
            channels.setdefault(cells[channel_at].strip() if channel_at is not None else "")
    label_at = at[label] if label is not None and keep_label else None

    def parse(name: str) -> Case:
        rows = cases[name]
        where = Where(file=table.path, line=rows[0][0], sample=name)
        by_channel: dict[str, list[tuple[int, list[str]]]] = {channel: [] for channel in channels}
        for line, cells in rows:
            by_channel[cells[channel_at].strip() if channel_at is not None else ""].append((line, cells))
        known = [
            _channel_values(table, at["time"], at["value"], channel_rows, name) for channel_rows in by_channel.values()
        ]
        times = {time: step for step, time in enumerate(sorted(set().union(*known)))}
        series = np.full((len(known), len(times)), np.nan)
        for values, channel in zip(series, known, strict=True):
            for time, value in channel.items():
                values[times[time]] = value
        return Case(series, None if label_at is None else _case_label(table, rows, label_at, name), name, where)

    names = tuple(channels) if channel_at is not None else ()
    found = collect(table.path, cases, parse, on_error=on_error, channels=names)
    return replace(found, skipped=(*stray, *found.skipped))


def _channel_values(
    table: Table, time_at: int, value_at: int, rows: Sequence[tuple[int, list[str]]], case: str
) -> dict[float, float]:
    """The values of one channel of a case by their times."""
    times = require_increasing(
        [cells[time_at] for _, cells in rows], lambda i: Where(table.path, rows[i][0], "time", case)
    )
    values = parse_numbers(
        [cells[value_at] for _, cells in rows], lambda i: Where(table.path, rows[i][0], "value", case)
    )
    return dict(zip(times, values.tolist(), strict=True))


def _case_label(table: Table, rows: Sequence[tuple[int, list[str]]], label_at: int, case: str) -> str:
    found = {
        normal_label(cells[label_at], Where(table.path, line, table.columns[label_at], case)): line
        for line, cells in reversed(rows)
    }
    if len(found) > 1:
        labels = sorted(found, key=lambda label: found[label])
        raise InvalidSample(
            f"the case has two labels, {labels[0]!r} and {labels[1]!r}",
            where=Where(table.path, found[labels[1]], table.columns[label_at], case),
            remedy="Give all rows of a case the same label.",
        )
    return next(iter(found))


def _require_width(cells: Sequence[str], table: Table, where: Where) -> None:
    if len(cells) != len(table.columns):
        raise InvalidSample(
            f"the row has {len(cells)} cells but the header has {len(table.columns)}",
            where=where,
            remedy="Leave the cells of missing values empty, but keep their separators.",
        )


def _read_csv(path: Path) -> Table:
    lines = read_lines(path)
    separator = sniff_separator(lines[0][1]) or ","
    rows = list(_csv_rows(lines, separator))
    return Table(path, tuple(name.strip() for name in rows[0][1]), rows[1:])


def _csv_rows(lines: Sequence[tuple[int, str]], separator: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines:
        yield number, next(csv.reader([line], delimiter=separator))


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).partition(".")[0]
        raise DataError(
            f"can't be read as Parquet ({reason})", where=Where(file=path), remedy="Give a Parquet file."
        ) from error
    columns = [["" if cell is None else str(cell) for cell in column.to_pylist()] for column in table.columns]
    rows = [(number, list(cells)) for number, cells in enumerate(zip(*columns, strict=True), start=1)]
    return Table(path, tuple(table.column_names), rows)
