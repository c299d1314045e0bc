"""`quire list`: what is installed."""

from __future__ import annotations

from typing import Annotated

import typer

from quire.cli.options import Json, kinds


def command(
    kind: Annotated[
        str | None,
        typer.Argument(help="Only this kind: model, dataset, evaluator, task, tester, ...", autocompletion=kinds),
    ] = None,
    as_json: Json = False,
) -> None:
    """List what is installed: models, data sets, evaluators, tasks, testers and more."""
    from dataclasses import asdict

    from quire import registry
    from quire.cli.output import print_json

    found = registry.descriptions(kind)
    if as_json:
        print_json([asdict(description) for description in found])
        return
    width = max((len(description.name) for description in found), default=0)
    current = None
    for description in found:
        if description.kind != current:
            current = description.kind
            print({"study": "studies", "weights": "weights"}.get(current, f"{current}s"))
        summary = f"  {description.summary}" if description.kind in ("model", "command") else ""
        print(f"  {description.name:<{width}}  {description.distribution} {description.version}{summary}")
    if not found and kind not in (None, "model"):
        print(f"Nothing of the kind {kind} is installed.")
    elif not registry.names("model"):
        print(f"No paper is installed yet; there are: {', '.join(registry.OFFICIAL.values())}")
