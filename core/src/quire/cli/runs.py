"""`quire runs`: the runs in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quire.cli.options import DATA_ROOT, Json


def command(
    root: Annotated[Path, typer.Argument(help="The folder that holds the runs.")] = DATA_ROOT,
    as_json: Json = False,
) -> None:
    """List the runs in a folder, newest first."""
    from quire.cli.output import print_json, print_table
    from quire.run import list_runs

    found = list_runs(root)
    if as_json:
        print_json([{"path": str(run.path), **run.info.model_dump(mode="json")} for run in found])
        return
    if not found:
        print(f"There are no runs in {root}.")
        return
    print_table(
        ("run", "model", "data", "state", "created", "results"),
        (
            (
                run.path.name,
                run.info.model,
                Path(run.info.data.path).name if run.info.data else "",
                run.info.state,
                run.info.created,
                "  ".join(f"{name} {value:.4g}" for name, value in run.info.results.items() if value is not None),
            )
            for run in found
        ),
    )
