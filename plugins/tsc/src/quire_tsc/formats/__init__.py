"""The file formats of time-series archives: one strict parser a format, and the choice between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire.errors import DataError, Where

from .arff import load_arff
from .arrays import Layout, Split, load_arrays, npz_keys
from .collection import SeriesCollection
from .mat import load_mts_mat
from .tables import load_long_table, load_table, read_table
from .text import is_header, read_lines, sniff_separator
from .ts import load_ts, save_ts
from .ucr import load_ucr_tsv

if TYPE_CHECKING:
    from pathlib import Path

    from quire.dataset import OnError

__all__ = [
    "SUFFIXES",
    "TEXT_SUFFIXES",
    "Layout",
    "SeriesCollection",
    "Split",
    "has_header",
    "load_arff",
    "load_arrays",
    "load_long_table",
    "load_mts_mat",
    "load_table",
    "load_ts",
    "load_ucr_tsv",
    "npz_keys",
    "read_series",
    "save_ts",
]

TEXT_SUFFIXES = (".tsv", ".csv", ".txt", "")
SUFFIXES = (".ts", ".tsv", ".arff", ".parquet", ".csv", ".txt", "", ".npz", ".npy", ".mat")  # the first found is taken


def read_series(
    path: Path,
    *,
    split: Split = "train",
    labelled: bool = True,
    label_column: int | str | None = None,
    layout: Layout = "NCT",
    on_error: OnError = "raise",
) -> SeriesCollection:
    """Read a file in the format that its suffix and, for text, its first line tell.

    `split` chooses within files that hold both. `labelled`: whether a text file has labels; the other formats say so
    themselves. `label_column`: its name in a table with header, or its position (default: the usual names; the first
    column). `layout`: of arrays. DataError for a suffix that is none of `SUFFIXES`, and as the parsers say.
    """
    match path.suffix.lower():
        case ".ts":
            return load_ts(path, on_error=on_error)
        case ".arff":
            return load_arff(path, on_error=on_error)
        case ".npz" | ".npy":
            return load_arrays(path, split=split, layout=layout, on_error=on_error)
        case ".mat":
            return load_mts_mat(path, split=split, on_error=on_error)
        case ".parquet":
            return _read_table(path, labelled, label_column, on_error)
        case suffix if suffix in TEXT_SUFFIXES:
            return _read_text(path, labelled, label_column, on_error)
    raise DataError(
        "is in none of the known formats",
        where=Where(file=path),
        remedy=f"Give a file of the kind {', '.join(suffix for suffix in SUFFIXES if suffix)}.",
    )


def has_header(path: Path, label_column: int | str | None = None) -> bool:
    """Whether a text file begins with the names of its columns; DataError when it can't be read."""
    first = read_lines(path)[0][1]
    return is_header(first.split(sniff_separator(first)), label_column)


def _read_text(path: Path, labelled: bool, label_column: int | str | None, on_error: OnError) -> SeriesCollection:
    if has_header(path, label_column):
        return _read_table(path, labelled, label_column, on_error)
    if isinstance(label_column, str):
        raise DataError(
            f"the file has no header, so it has no column {label_column!r}",
            where=Where(file=path),
            remedy="Give the position of the labels: label_column=0 for the first, -1 for the last column.",
        )
    return load_ucr_tsv(path, label_column=(label_column or 0) if labelled else None, on_error=on_error)


def _read_table(path: Path, labelled: bool, label_column: int | str | None, on_error: OnError) -> SeriesCollection:
    table = read_table(path)
    if isinstance(label_column, int):
        if not -len(table.columns) <= label_column < len(table.columns):
            raise DataError(
                f"there is no column {label_column}: the table has {len(table.columns)} columns",
                where=Where(file=path),
                remedy="Give the name of the column: label_column=NAME.",
            )
        label_column = table.columns[label_column]
    return load_table(table, label_column=label_column, labelled=labelled, on_error=on_error)
