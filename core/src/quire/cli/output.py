"""What a verb prints: tables for people, JSON for programs, progress on stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    print(message, file=sys.stderr)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """A table as wide as its content needs."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(shown(cell) for cell in row))
    console().print(table)


def shown(value: object) -> str:
    """A cell's text, safe for rich."""
    from rich.markup import escape

    if value is None:
        return ""
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))


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
