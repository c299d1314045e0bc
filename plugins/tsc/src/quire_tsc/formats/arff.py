"""The `.arff` files of timeseriesclassification.com: flat (one channel) and relational (several)."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quire.errors import DataError, InvalidSample, Where

from .collection import Case, Float64, SeriesCollection, collect, normal_label, without_padding
from .text import parse_numbers, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quire.dataset import OnError

_ATTRIBUTE = re.compile(r"@attribute\s+(?P<name>'[^']*'|\"[^\"]*\"|[^\s{]+)\s*(?P<type>.+)", re.IGNORECASE)
_RELATIONAL_ROW = re.compile(r"(?P<quote>['\"])(?P<cell>.*?)(?P=quote)\s*(,\s*(?P<label>.+))?")
_NUMERIC = {"numeric", "real", "integer"}


@dataclass(frozen=True)
class _Header:
    length: int  # numeric attributes: the (longest) length of a series
    relational: bool
    classes: tuple[str, ...]  # empty: no class attribute, no labels


def load_arff(path: str | Path, *, on_error: OnError = "raise") -> SeriesCollection:
    """Read an `.arff` file: numeric attributes, or one relational attribute of them, and then the nominal class.

    "?" is a missing value; at the end of all channels it means a shorter series. Without a nominal attribute there
    are no labels. (scipy.io.arff reads the flat ones alone, and its messages name no line.) DataError for a fault of
    the header; InvalidSample, naming the line, for a row of another width, a token that is no number, an undeclared
    class.
    """
    path = Path(path)
    header, lines = _read_header(path)

    def parse(row: tuple[int, tuple[int, str]]) -> Case:
        number, (line, text) = row
        where = Where(file=path, line=line, sample=number)
        if text.startswith("{"):
            raise InvalidSample("the row is in sparse notation", where=where, remedy="Write every value of the row.")
        series, label = (_relational_row if header.relational else _flat_row)(text, header, where)
        return Case(without_padding(series), label, f"{path.stem}:{number}", where)

    return collect(path, enumerate(lines, start=1), parse, on_error=on_error, classes=header.classes)


def _read_header(path: Path) -> tuple[_Header, Iterator[tuple[int, str]]]:
    lines = iter([(number, line.strip()) for number, line in read_lines(path) if not line.lstrip().startswith("%")])
    length, open_relation, relational = 0, "", False
    classes: tuple[str, ...] = ()
    for number, line in lines:
        where = Where(file=path, line=number)
        keyword = line.split()[0].lower()
        if keyword == "@data":
            break
        if keyword == "@end":
            open_relation = ""
        elif keyword == "@attribute":
            name, kind = _attribute(line, where)
            if kind.lower() == "relational" and not relational:
                open_relation, relational = name, True
            elif kind.startswith("{") and not classes and not open_relation:
                classes = tuple(normal_label(value, where) for value in _cells(kind.strip("{}")))
            elif kind.lower() in _NUMERIC and not classes and relational == bool(open_relation):
                length += 1
            else:
                raise DataError(
                    f"an attribute of type {kind} can't stand here",
                    where=where,
                    remedy="The attributes are numbers or one relation of numbers, and after them the class in braces.",
                )
        elif keyword != "@relation":
            raise DataError("the header ends without @data", where=where, remedy="Put @data before the first case.")
    else:
        raise DataError("there is no @data", where=Where(file=path), remedy="Put @data before the first case.")
    if not length or open_relation:
        fault = f"the relation {open_relation} has no @end" if open_relation else "there is no numeric attribute"
        raise DataError(fault, where=Where(file=path), remedy="Declare one numeric attribute for each time step.")
    return _Header(length, relational, classes), lines


def _attribute(line: str, where: Where) -> tuple[str, str]:
    found = _ATTRIBUTE.fullmatch(line)
    if found is None:
        raise DataError("is not @attribute NAME TYPE", where=where, remedy="Declare the attribute's name and type.")
    return found["name"].strip("'\""), found["type"].strip()


def _cells(text: str) -> list[str]:
    """The cells of a comma-separated line, without the quotes and blanks around them."""
    quote = '"' if '"' in text else "'"
    return [cell.strip() for cell in next(csv.reader([text], quotechar=quote, skipinitialspace=True))]


def _flat_row(text: str, header: _Header, where: Where) -> tuple[Float64, str | None]:
    cells = _cells(text)
    labelled = bool(header.classes)
    if len(cells) != header.length + labelled:
        raise InvalidSample(
            f"the row has {len(cells)} values but the header declares {header.length + labelled} attributes",
            where=where,
            remedy="Mark the values that a shorter series lacks with ?.",
        )
    label = normal_label(cells.pop(), where) if labelled else None
    values = parse_numbers(cells, lambda i: Where(where.file, where.line, i + 1, where.sample))
    return values[None], label


def _relational_row(text: str, header: _Header, where: Where) -> tuple[Float64, str | None]:
    row = _RELATIONAL_ROW.fullmatch(text)
    if row is None or (row["label"] is not None) != bool(header.classes):
        raise InvalidSample(
            "the row is not a quoted relation followed by a class",
            where=where,
            remedy=r"Write '1,2,3\n4,5,6',class with one channel before each \n.",
        )
    channels = [
        _relational_channel(part.split(","), channel, header, where)
        for channel, part in enumerate(row["cell"].split(r"\n"), start=1)
    ]
    label = normal_label(row["label"].strip().strip("'\""), where) if row["label"] else None
    return np.stack(channels), label


def _relational_channel(tokens: list[str], channel: int, header: _Header, where: Where) -> Float64:
    if len(tokens) != header.length:
        raise InvalidSample(
            f"channel {channel} has {len(tokens)} values but the relation declares {header.length}",
            where=where,
            remedy="Mark the values that a shorter series lacks with ?.",
        )
    return parse_numbers(tokens, lambda i: Where(where.file, where.line, f"{i + 1} of channel {channel}", where.sample))
