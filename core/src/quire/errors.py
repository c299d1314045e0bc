"""Every error that a user can cause: one sentence that says what is wrong, where, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True)
class Where:
    """The place of a fault in what the user gave: any of a file, a line of it, a column, a sample, a field."""

    file: Path | None = None
    line: int | None = None
    column: int | str | None = None
    sample: str | int | None = None
    field: str | None = None

    def __str__(self) -> str:
        named = [
            (None, self.file),
            ("line", self.line),
            ("column", self.column),
            ("sample", self.sample),
            ("field", self.field),
        ]
        return ", ".join(f"{name} {part}" if name else str(part) for name, part in named if part is not None)


class QuireError(Exception):
    """The user's input is at fault (exit code 2).

    `message` is one sentence without the place; `where` is the place; `remedy` says what to do.
    """

    exit_code = 2

    def __init__(self, message: str, *, where: Where | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        place = str(self.where) if self.where else ""
        text = f"{place}: {self.message}" if place else self.message
        return f"{text.rstrip('.')}. {self.remedy}" if self.remedy else text


class ConfigError(QuireError):
    """An option that does not exist, or a value that it does not take."""


class DataError(QuireError):
    """A data set that can't be read as its layout says."""


class InvalidSample(DataError):
    """One sample, or one field of it, that can't be used."""


class TaskMismatch(QuireError):
    """A model, a data set and an evaluator that do not speak of the same fields."""


class PluginError(QuireError):
    """A plugin that is unknown, broken, claimed twice, or built for another core."""


class MissingExtra(QuireError):
    """An optional dependency that is not installed; the remedy is the install command."""


class RunError(QuireError):
    """A run folder that is locked, unfinished, or not a run."""


class TargetError(QuireError):
    """A classifier outside of quire that can't be asked at all, or whose answers contradict what it says of itself."""


class TrainingError(QuireError):
    """A training that can't go on: a loss that is not finite, memory that does not suffice."""

    exit_code = 1


def nearest(name: str, known: Iterable[str]) -> str:
    """ " (did you mean 'x'?)" with a leading blank for the known name closest to `name`, or the empty string."""
    matches = get_close_matches(name, list(known), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def require(module: str, *, extra: str, purpose: str, distribution: str = "quire-core") -> object:
    """Import `module`, or raise MissingExtra with the command that installs it.

    `purpose` completes the sentence "<purpose> needs <module>".
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise MissingExtra(
            f"{purpose} needs {module.partition('.')[0]}, which is not installed",
            remedy=f"Install it with: pip install '{distribution}[{extra}]'",
        ) from error
