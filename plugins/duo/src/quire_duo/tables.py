"""The user's own word lists: the lexicon, and tables of what rules substitute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire.errors import DataError, InvalidSample, Where
from quire.modality import utf8_text
from quire.table import TABLE_SUFFIXES, table_rows
from quire_duo.seeds import Lexicon, bare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_lexicon(path: Path, language: str | None = None) -> Lexicon:
    """Keywords with their kinds: a table of the columns keyword, kind and language, or a text with one word a line.

    The kind of a word without one is "any". With `language`, words of other languages are left out. Raises DataError
    for a file that can't be read or holds no keyword.
    """
    words = dict(_table_words(path, language) if path.suffix.lower() in TABLE_SUFFIXES else _plain_words(path))
    if not words:
        raise DataError("the lexicon holds no keyword", where=Where(file=path))
    return Lexicon(words)


def _table_words(path: Path, language: str | None) -> Iterator[tuple[str, str]]:
    for row in table_rows(path):
        if isinstance(row, InvalidSample):
            raise row
        keyword = bare(str(row.cells.get("keyword") or ""))
        if not keyword:
            raise InvalidSample("there is no keyword", where=Where(file=path, line=row.line, field="keyword"))
        spoken = row.cells.get("language")
        if language is None or not spoken or str(spoken).partition("-")[0] == language.partition("-")[0]:
            yield keyword, str(row.cells.get("kind") or "any")


def _plain_words(path: Path) -> Iterator[tuple[str, str]]:
    for line in utf8_text(path).splitlines():
        keyword = bare(line.partition("#")[0].strip())
        if keyword:
            yield keyword, "any"


def read_substitutes(path: Path) -> dict[str, str]:
    """Word, in lower case -> what stands for it: the first two columns of a table. Raises DataError for an empty cell."""
    substitutes = {}
    for row in table_rows(path):
        if isinstance(row, InvalidSample):
            raise row
        cells = [str(cell or "").strip() for cell in row.cells.values()]
        if len(cells) < 2 or not all(cells[:2]):
            raise InvalidSample("a row needs a word and its substitute", where=Where(file=path, line=row.line))
        substitutes[cells[0].casefold()] = cells[1]
    return substitutes
