"""`quire runs`: the runs in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quire.cli.options import RUNS, Json

if TYPE_CHECKING:
    from quire.run import Run

_RESULTS = 2  # so many are shown; `--json` and the report have all


def command(
    root: Annotated[Path, typer.Argument(help="The folder that holds the runs.")] = RUNS,
    as_json: Json = False,
) -> None:
    """List the runs in a folder, newest first."""
    from quire.cli.output import print_json, print_table
    from quire.run import list_runs

    found = list_runs(root)
    if as_json:
        print_json([{"path": str(run.path), **run.info.model_dump(mode="json")} for run in found])
    elif found:
        print_table(("run", "model", "data", "state", "created", "results"), map(_row, found))
    else:
        print(f"There are no runs in {root}.")


def _row(run: Run) -> tuple[str, ...]:
    from datetime import datetime

    info = run.info
    results = [f"{name} {value:.4g}" for name, value in info.results.items() if value is not None]
    return (
        run.path.name,
        info.model,
        Path(info.data.path).name if info.data else "",
        info.state,
        f"{datetime.fromisoformat(info.created).astimezone():%Y-%m-%d %H:%M}",
        ", ".join(results[:_RESULTS]),
    )
