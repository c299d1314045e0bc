"""`quire check NAME`: the conformance suite for a plugin."""

from __future__ import annotations

from typing import Annotated

import typer

from quire.cli.options import Json


def command(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models, data sets, evaluators or testers; default: all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Hold a plugin to the rules that every plugin must keep; exit code 1 if one is broken."""
    from quire import registry
    from quire.cli.output import note, print_json, print_table
    from quire.conformance import check_plugin

    checked = names or [
        d.name for kind in ("model", "dataset", "evaluator", "tester") for d in registry.descriptions(kind)
    ]
    outcomes = []
    for name in dict.fromkeys(checked):
        note(f"checking {name}")
        outcomes += check_plugin(name)
    if as_json:
        print_json([vars(outcome) for outcome in outcomes])
    else:
        print_table(("plugin", "check", "outcome", ""), ((o.plugin, o.check, o.outcome, o.message) for o in outcomes))
        failed = sum(o.outcome == "failed" for o in outcomes)
        print(f"{len(outcomes) - failed} of {len(outcomes)} checks passed or did not apply, {failed} failed")
    if any(outcome.outcome == "failed" for outcome in outcomes):
        raise typer.Exit(1)
