"""What every kind of field can do, and where its faults are said to be."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar, cast

from quire.errors import InvalidSample, QuireError, Where
from quire.storage import JSON, atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

T = TypeVar("T")
Sample: TypeAlias = dict[str, Any]


MAX_CELL = 2**30
"""The most characters of a table's cell: the csv module's own limit, 128 KiB, is less than one long text."""


@contextmanager
def placed(where: Where) -> Iterator[None]:
    """Adds the parts of `where` that are set to the place of an InvalidSample raised inside."""
    try:
        yield
    except InvalidSample as error:
        known = {part.name: getattr(where, part.name) for part in fields(where)}
        merged = replace(error.where or Where(), **{name: part for name, part in known.items() if part is not None})
        raise InvalidSample(error.message, where=merged, remedy=error.remedy) from error.__cause__


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Turns whatever a decoder raises on a damaged or missing file into InvalidSample; `what` names the format."""
    try:
        yield
    except QuireError:
        raise
    except FileNotFoundError as error:
        raise InvalidSample("there is no such file") from error
    except IsADirectoryError as error:
        raise InvalidSample(f"this is a folder, not a file of {what}") from error
    except MemoryError as error:
        raise InvalidSample(f"this {what} does not fit in memory") from error
    except Exception as error:  # decoders raise anything from SyntaxError to struct.error on damaged bytes
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise InvalidSample(
            f"this {what} can't be read ({reason})", remedy="Check that the file is complete and of this kind."
        ) from error


def path_inside(folder: Path, relative: str) -> Path:
    """`folder / relative` for a path that stands in a user's table.

    Raises InvalidSample for an empty path, an absolute one (of any operating system) and one with "..": a table that
    was got from elsewhere must not reach outside its own folder.
    """
    windows = PureWindowsPath(relative)
    if not relative.strip() or PurePosixPath(relative).is_absolute() or windows.drive or windows.root:
        raise InvalidSample(
            f"{relative!r} is not a path relative to the table", remedy="Write paths relative to the table's folder."
        )
    if ".." in windows.parts:
        raise InvalidSample(f"{relative!r} leads out of the table's folder", remedy="Put the files beside the table.")
    return folder / relative


class Modality(ABC, Generic[T]):
    """The one place that knows how a field looks in memory (`T`), on disk, in JSON and on a page.

    Subclasses are frozen dataclasses: equal by value, hashable, picklable. They write `load`, `validate`, `encode`,
    `parse`, `to_bytes`, `json_schema`, `widget` and `show`; what raises InvalidSample in them need not know the place
    of the fault, for `read`, `check` and `decode` add it.
    """

    kind: ClassVar[str]
    """The modality's short name."""
    suffixes: ClassVar[tuple[str, ...]]
    """The endings of the files that `read` takes, lower case."""
    writes: ClassVar[tuple[str, ...]]
    """The endings of the files that `write` makes; the first is the usual one."""

    def __str__(self) -> str:
        options = [(part, getattr(self, part.name)) for part in fields(cast("Any", self))]
        changed = ", ".join(f"{part.name}={value!r}" for part, value in options if value != part.default)
        return f"{type(self).__name__}({changed})" if changed else type(self).__name__

    @abstractmethod
    def load(self, source: Path | bytes) -> object:
        """What a decoder makes of a file or of its content, to be validated."""

    @abstractmethod
    def validate(self, value: object) -> T:
        """`value` in this field's one form; InvalidSample when it can't be brought there without a guess."""

    @abstractmethod
    def encode(self, value: T) -> JSON:
        """`value` as JSON; `decode` gives it back unchanged."""

    @abstractmethod
    def parse(self, data: JSON) -> object:
        """What the JSON stands for, to be validated."""

    @abstractmethod
    def to_bytes(self, value: T, suffix: str) -> bytes:
        """The content of a file of the format `suffix`, one of `writes`."""

    @abstractmethod
    def json_schema(self) -> dict[str, Any]:
        """A JSON schema of what `encode` gives and `decode` takes."""

    @abstractmethod
    def widget(self) -> dict[str, Any]:
        """How a page asks for a value: "kind", "input" (file, text, choice or numbers) and that input's options."""

    @abstractmethod
    def show(self, value: T, axes: Axes) -> None:
        """Draws `value` on `axes`."""

    def read(self, source: Path | bytes) -> T:
        """The one value in a file, or in a file's content; InvalidSample names the file."""
        with placed(Where(file=source if isinstance(source, Path) else None)), decoding(self.kind):
            return self.validate(self.load(source))

    def read_all(self, path: Path) -> Iterator[tuple[str, T]]:
        """Every value in a file with its id, which begins with the file's name; one unless the kind has tables."""
        yield path.name, self.read(path)

    def check(self, value: object, *, field: str, sample: str | int | None = None) -> T:
        """`value` in this field's one form, harmless variants converted; InvalidSample names `field` and `sample`."""
        with placed(Where(sample=sample, field=field)):
            return self.validate(value)

    def decode(self, data: JSON, *, field: str) -> T:
        """The value that `data`, JSON from outside, stands for; InvalidSample names `field`."""
        with placed(Where(field=field)):
            return self.validate(self.parse(data))

    def from_cell(self, cell: object, folder: Path) -> T:
        """The value of a table's cell.

        A text is a path relative to `folder` or, in brackets or braces, JSON; anything else is what `decode` takes, or
        the content of a file as bytes. Raises InvalidSample without a file: the caller knows the table and its row.
        """
        if isinstance(cell, dict) and isinstance(cell.get("bytes"), bytes):  # as Hugging Face keeps media in Parquet
            cell = cell["bytes"]
        if isinstance(cell, bytes):
            return self.read(cell)
        if not isinstance(cell, str):
            return self.validate(self.parse(cast("JSON", cell)))
        text = cell.strip()
        if (text[:1], text[-1:]) in {("[", "]"), ("{", "}")}:
            return self.validate(self.parse(parsed_json(text)))
        path = path_inside(folder, text)
        try:
            return self.read(path)
        except InvalidSample as error:
            raise InvalidSample(f"{text}: {error.message}", remedy=error.remedy) from error

    def write(self, value: T, path: Path) -> Path:
        """Writes `value` atomically and returns the path: `path`, with the usual ending if it has none of `writes`."""
        suffix = path.suffix.lower()
        if suffix not in self.writes:
            suffix = self.writes[0]
            path = path.with_name(path.name + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path, "wb") as file:
            file.write(self.to_bytes(value, suffix))
        return path

    def fits(self, other: Modality[Any]) -> bool:
        """Whether a value of `other` may be used where this one is asked for, as far as the two declarations tell."""
        return isinstance(other, type(self))


def parsed_json(text: str) -> JSON:
    """What a JSON text stands for; InvalidSample if it is none."""
    try:
        return cast("JSON", json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InvalidSample(f"this is not JSON ({error})") from error


def is_number(value: object) -> bool:
    """Whether a value is a number, which a bool is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def typename(value: object) -> str:
    """The value's type in a message."""
    return "nothing" if value is None else type(value).__name__


def listed(names: tuple[str, ...]) -> str:
    """Names in a message, the first twenty of many."""
    return ", ".join(names) if len(names) <= 20 else f"{', '.join(names[:20])} and {len(names) - 20} more"


def write_on(axes: Axes, text: str) -> None:
    """Writes `text` in the middle of empty axes."""
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, parse_math=False)
    axes.set_axis_off()
