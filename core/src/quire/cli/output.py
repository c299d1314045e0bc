"""What a verb prints: tables for people, JSON for programs, progress and warnings on stderr."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import Console


def console(*, error: bool = False) -> Console:
    """A rich console; plain text where the output is not a terminal."""
    from rich.console import Console

    return Console(stderr=error, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    json.dump(value, sys.stdout, indent=2, allow_nan=False, ensure_ascii=False)
    sys.stdout.write("\n")


def note(message: str) -> None:
    """A line for the user on stderr."""
    print(" ".join(message.split()), file=sys.stderr)


@contextmanager
def warnings_as_notes(*, in_full: bool = False) -> Iterator[None]:
    """Whatever libraries and plugins warn of or log is one line on stderr; `in_full` adds where it came from."""
    handler = _Notes()
    if in_full:
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with warnings.catch_warnings():
            if not in_full:
                warnings.showwarning = _note_warning
            yield
    finally:
        root.removeHandler(handler)


class _Notes(logging.Handler):
    """Log records as notes: with their traceback where a formatter was set, else with their error in brackets."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        if self.formatter is not None:
            print(f"warning: {self.format(record)}", file=sys.stderr)
            return
        error = record.exc_info[1] if record.exc_info else None
        cause = f" ({type(error).__name__}: {error})" if error is not None else ""
        note(f"warning: {record.getMessage()}{cause}")


def _note_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    note(f"warning: {message}")


def shown_path(path: Path) -> Path:
    """`path` as the user would type it here: relative if it lies below the current folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_absolute() and path != here and path.is_relative_to(here) else path


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table: folded to the width of a terminal; a line for each row, however long, where it goes elsewhere."""
    lines = [columns, *([shown(cell) for cell in row] for row in rows)]
    if not sys.stdout.isatty():
        widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
        for line in lines:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for line in lines[1:]:
        table.add_row(*map(escape, line))
    console().print(table)


def shown(value: object) -> str:
    """A cell's text, on one line."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())


def print_scores(scores: Mapping[str, Any]) -> None:
    """The metrics of a report, one a line."""
    rows = []
    for name, score in scores.items():
        if score.value is None:
            rows.append((name, "n/a", f"because {score.reason}"))
            continue
        interval = f"95 % interval {score.low:.4g} to {score.high:.4g}" if score.low is not None else ""
        rows.append((name, f"{score.value:.4f}{score.unit}", interval))
    print_table(("metric", "value", ""), rows)
