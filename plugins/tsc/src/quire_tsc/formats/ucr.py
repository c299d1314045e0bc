"""UCR archive text files: one case a line, the class label and the values, apart by tab, comma, semicolon or blanks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quire.errors import DataError, InvalidSample, Where

from .collection import MISSING_TOKENS, NUMBER, Case, SeriesCollection, collect, normal_label, without_padding
from .text import is_header, parse_numbers, read_lines, sniff_separator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quire.dataset import OnError

_VALUES_IN_LETTERS = MISSING_TOKENS | {"inf", "infinity"}
_Line = tuple[int, list[str]]  # its number from 1, its cells


def load_ucr_tsv(path: str | Path, *, label_column: int | None = 0, on_error: OnError = "raise") -> SeriesCollection:
    """Read a UCR file (`.tsv`, `.txt`, `.csv`, or the 2015 archive's files without extension).

    Every line holds as many cells; NaN at a line's end means a shorter series, NaN inside it a missing value.
    `label_column`: where the label stands, from 0, negative from the end; None when there is no label.
    DataError for a file with a header, or whose labels seem to stand in the last column; InvalidSample, naming line and
    column, for a row that is too short or long, a token that is no number, a missing label, inf, or a row of NaN alone.
    """
    path = Path(path)
    lines = read_lines(path)
    separator = sniff_separator(lines[0][1])
    rows = [(number, line.split(separator)) for number, line in lines]
    width = len(rows[0][1])
    if is_header(rows[0][1]):
        raise DataError(
            "the line is a header, but the UCR format has none",
            where=Where(file=path, line=rows[0][0]),
            remedy="Delete the line, or name the column of the labels: label_column=NAME.",
        )
    if label_column is not None and not -width <= label_column < width:
        raise DataError(
            f"there is no column {label_column}: the lines have {width} columns",
            where=Where(file=path),
            remedy="Give label_column=0 for the first or label_column=-1 for the last.",
        )
    if label_column == 0:
        _refuse_label_at_the_end(path, rows)

    def parse(row: tuple[int, _Line]) -> Case:
        case, (number, cells) = row
        where = Where(file=path, line=number)
        if len(cells) != width:
            raise InvalidSample(
                f"the row has {len(cells)} columns but the first row has {width}",
                where=where,
                remedy="Fill shorter series with NaN at the end.",
            )
        columns = list(range(1, width + 1))
        label = None
        if label_column is not None:
            at = columns.pop(label_column)
            label = normal_label(cells[label_column], Where(file=path, line=number, column=at))
        values = parse_numbers(
            [cells[column - 1] for column in columns], lambda i: Where(file=path, line=number, column=columns[i])
        )
        return Case(without_padding(values[None]), label, f"{path.stem}:{case}", where)

    return collect(path, enumerate(rows, start=1), parse, on_error=on_error)


def _refuse_label_at_the_end(path: Path, rows: Sequence[_Line]) -> None:
    """Refuse words in the whole last column, or integers there beside fractions in the first."""
    first = [cells[0].strip() for _, cells in rows]
    last = [cells[-1].strip() for _, cells in rows]
    words = all(cell[:1].isalpha() and cell.lower() not in _VALUES_IN_LETTERS for cell in last)
    fractions = any(NUMBER.fullmatch(cell) and not float(cell).is_integer() for cell in first)
    integers = all(NUMBER.fullmatch(cell) and float(cell).is_integer() for cell in last)
    if len(rows[0][1]) > 1 and (words or (fractions and integers)):
        raise DataError(
            f"the first column holds values such as {first[0]}, and the last one labels such as {last[0]}",
            where=Where(file=path),
            remedy="Give label_column=-1 when the label stands in the last column.",
        )
