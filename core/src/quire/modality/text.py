"""Texts, and the names of classes."""

from __future__ import annotations

import csv
import io
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from quire.errors import InvalidSample, Where, nearest
from quire.modality.base import MAX_CELL, Modality, decoding, listed, placed, typename, write_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes

    from quire.storage import JSON


@dataclass(frozen=True)
class Text(Modality[str]):
    """A `str` of at most `max_length` characters; on disk UTF-8, with or without a byte-order mark.

    A file is one text, less one final line break. A .csv or .tsv file of one column (no header, or the header "text")
    is one text per row.
    """

    kind: ClassVar[str] = "text"
    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".md", ".csv", ".tsv")
    writes: ClassVar[tuple[str, ...]] = (".txt",)

    max_length: int | None = None

    def load(self, source: Path | bytes) -> str:
        """The whole text."""
        text = utf8_text(source)
        return text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")

    def read_all(self, path: Path) -> Iterator[tuple[str, str]]:
        """One text, or one per row of a .csv or .tsv file with the id "name:row", rows from 1."""
        if path.suffix.lower() not in (".csv", ".tsv"):
            yield path.name, self.read(path)
            return
        with placed(Where(file=path)), decoding(self.kind):
            rows = list(_text_rows(utf8_text(path), "," if path.suffix.lower() == ".csv" else "\t"))
        if rows and rows[0][1] == self.kind:
            del rows[0]
        for row, (line, text) in enumerate(rows, 1):
            with placed(Where(file=path, line=line)):
                value = self.validate(text)
            yield f"{path.name}:{row}", value

    def validate(self, value: object) -> str:
        """A text that UTF-8 can carry, not longer than allowed."""
        if not isinstance(value, str):
            raise InvalidSample(f"expected text, got {typename(value)}")
        if self.max_length is not None and len(value) > self.max_length:
            raise InvalidSample(f"{len(value)} characters are more than the {self.max_length} that are allowed")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidSample(f"character {error.start + 1} is half of a surrogate pair, not a character") from error
        return str(value)

    def encode(self, value: str) -> JSON:
        """The text itself."""
        return value

    def parse(self, data: JSON) -> object:
        """The text itself."""
        return data

    def from_cell(self, cell: object, folder: Path) -> str:
        """The cell itself."""
        return self.validate(cell)

    def to_bytes(self, value: str, suffix: str) -> bytes:
        """UTF-8 with a final line break."""
        return f"{value}\n".encode()

    def json_schema(self) -> dict[str, Any]:
        """A string."""
        return {"type": "string"} | ({} if self.max_length is None else {"maxLength": self.max_length})

    def widget(self) -> dict[str, Any]:
        """A text box."""
        return {"kind": self.kind, "input": "text", "accept": list(self.suffixes), "max_length": self.max_length}

    def show(self, value: str, axes: Axes) -> None:
        """The first 600 characters, wrapped."""
        write_on(axes, textwrap.fill(textwrap.shorten(value, 600, placeholder=" …"), 48))


@dataclass(frozen=True)
class Label(Modality[str]):
    """The name of a class, a `str` that is not empty; integers (and floats without a fraction) become their digits.

    `labels`, where given, are the only ones allowed.
    """

    kind: ClassVar[str] = "label"
    suffixes: ClassVar[tuple[str, ...]] = (".txt",)
    writes: ClassVar[tuple[str, ...]] = (".txt",)

    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(self.labels))

    def load(self, source: Path | bytes) -> str:
        """The text of the file, less the white space around it."""
        return utf8_text(source).strip()

    def validate(self, value: object) -> str:
        """One of the labels."""
        if isinstance(value, float | np.floating) and float(value).is_integer():
            value = int(value)
        if isinstance(value, int | np.integer) and not isinstance(value, bool):
            value = str(int(value))
        if not isinstance(value, str):
            raise InvalidSample(f"expected a label, got {typename(value)}", remedy="Write labels as text or integers.")
        if not value.strip():
            raise InvalidSample("the label is empty")
        if self.labels is not None and value not in self.labels:
            raise InvalidSample(
                f"unknown label {value!r}{nearest(value, self.labels)}", remedy=f"Known are: {listed(self.labels)}."
            )
        return str(value)

    def encode(self, value: str) -> JSON:
        """The label itself."""
        return value

    def parse(self, data: JSON) -> object:
        """The label itself."""
        return data

    def from_cell(self, cell: object, folder: Path) -> str:
        """The cell itself."""
        return self.validate(cell)

    def to_bytes(self, value: str, suffix: str) -> bytes:
        """UTF-8 with a final line break."""
        return f"{value}\n".encode()

    def json_schema(self) -> dict[str, Any]:
        """A string, of the labels where they are known."""
        return {"type": "string", "minLength": 1} if self.labels is None else {"enum": list(self.labels)}

    def widget(self) -> dict[str, Any]:
        """A choice where the labels are known, else a text box."""
        if self.labels is None:
            return {"kind": self.kind, "input": "text", "accept": list(self.suffixes), "max_length": None}
        return {"kind": self.kind, "input": "choice", "options": list(self.labels)}

    def show(self, value: str, axes: Axes) -> None:
        """The label."""
        write_on(axes, value)

    def fits(self, other: Modality[Any]) -> bool:
        """Labels of `other` that are known must all be allowed here."""
        if not isinstance(other, Label):
            return False
        return self.labels is None or other.labels is None or set(other.labels) <= set(self.labels)


def utf8_text(source: Path | bytes) -> str:
    """The content of a UTF-8 file without its byte-order mark; InvalidSample names the line of a byte that is not."""
    raw = source if isinstance(source, bytes) else source.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidSample(
            f"the byte 0x{raw[error.start]:02x} at offset {error.start} is not UTF-8",
            where=Where(line=line),
            remedy="Convert the file to UTF-8.",
        ) from error


def _text_rows(text: str, delimiter: str) -> Iterator[tuple[int, str]]:
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    for cells in reader:
        if len(cells) > 1:
            raise InvalidSample(
                f"{len(cells)} columns where one column of text is expected", where=Where(line=reader.line_num)
            )
        if cells:
            yield reader.line_num, cells[0]
