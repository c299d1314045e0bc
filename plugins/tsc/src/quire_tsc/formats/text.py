"""Lines, numbers and time stamps of text files, with the place of every fault."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from quire.errors import DataError, InvalidSample, Where

from .collection import MISSING_TOKENS, NUMBER, Float64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
_NUMBERS_APART_BY_SPACE = re.compile(r"\d\s+[-+.\d]")
LABEL_NAMES = ("label", "class", "target", "class_label")
ID_NAMES = ("case_id", "id")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, each with its number from 1.

    UTF-8 with or without its mark; some releases hold comments in Latin-1, which is read where UTF-8 fails. DataError
    when there is no such file, when it is empty, or when it is not text.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"can't be read ({error.strerror})", where=Where(file=path), remedy="Give the path of a data file."
        ) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if "\0" in text:
        raise DataError("is not a text file", where=Where(file=path), remedy="Give a text file in UTF-8.")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")  # splitlines() would also break at form feeds
    kept = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not kept:
        raise DataError("the file is empty", where=Where(file=path), remedy="Give a file with at least one series.")
    return kept


def sniff_separator(line: str) -> str | None:
    """What stands between the values of a line: tab, semicolon, comma, or None for blanks."""
    for separator in ("\t", ";"):
        if separator in line:
            return separator
    # "0,5 0,6" is separated by blanks: its commas are decimal commas, which are refused where the values are read
    return "," if "," in line and not _NUMBERS_APART_BY_SPACE.search(line) else None


def is_header(cells: Sequence[str], label_column: int | str | None = None) -> bool:
    """Whether a table's first line names its columns instead of holding values.

    It does where a cell is the label column's name or a usual name of a label or id, or where no cell is a number.
    """
    names = {cell.strip().lower() for cell in cells}
    if isinstance(label_column, str) and label_column in [cell.strip() for cell in cells]:
        return True
    if names.intersection(LABEL_NAMES) or names.intersection(ID_NAMES):
        return True
    return not any(name in MISSING_TOKENS or NUMBER.fullmatch(name) for name in names)


def parse_numbers(tokens: Sequence[str], place: Callable[[int], Where]) -> Float64:
    """The tokens as float64 [n]; "?", "NaN", "NA" in any case and an empty token are NaN.

    `place(i)` is where token i stands. InvalidSample naming it for a token that is no number.
    """
    try:
        if "_" not in "".join(
            tokens
        ):  # Python reads "1_000" as a number; nobody who writes it in a data file means one
            return np.array([float(token) for token in tokens])
    except ValueError:
        pass  # a missing value, or the fault that is named below
    return np.array([_number(token, index, place) for index, token in enumerate(tokens)])


def _number(token: str, index: int, place: Callable[[int], Where]) -> float:
    text = token.strip()
    if text.lower() in MISSING_TOKENS:
        return float("nan")
    if _DECIMAL_COMMA.fullmatch(text):
        raise InvalidSample(
            f"{text!r} is written with a decimal comma",
            where=place(index),
            remedy="Write numbers with a decimal point.",
        )
    try:
        if "_" not in text:
            return float(text)
    except ValueError:
        pass  # told below, as for an underscore
    raise InvalidSample(
        f"{text!r} is not a number", where=place(index), remedy="Write a number, or NaN for a missing value."
    )


def require_increasing(stamps: Iterable[str], place: Callable[[int], Where]) -> list[float]:
    """Time stamps, as numbers or ISO 8601 dates, as float seconds or numbers, strictly increasing.

    InvalidSample naming the first that is not.
    """
    times: list[float] = []
    for index, stamp in enumerate(stamps):
        time = _time(stamp, place(index))
        if times and not time > times[-1]:
            raise InvalidSample(
                f"the time stamp {stamp.strip()!r} does not come after the one before it",
                where=place(index),
                remedy="Sort the values of each channel by time, and keep one value a time.",
            )
        times.append(time)
    return times


def _time(stamp: str, where: Where) -> float:
    text = stamp.strip()
    if NUMBER.fullmatch(text):
        return float(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidSample(
            f"{text!r} is not a time stamp",
            where=where,
            remedy="Write a number, or a date such as 2007-01-01 00:00:00.",
        ) from error
    # a stamp without zone counts as UTC: in local time an hour would run twice in autumn
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
