"""`quire list`: what is installed."""

from __future__ import annotations

from typing import Annotated

import typer

from quire.cli.options import Json


def command(
    kind: Annotated[
        str | None, typer.Argument(help="Only this kind: model, dataset, evaluator, task, tester, ...")
    ] = None,
    as_json: Json = False,
) -> None:
    """List what is installed: models, data sets, evaluators, tasks, testers and more."""
    from quire import registry
    from quire.cli.output import print_json

    found = registry.descriptions(kind)
    if as_json:
        print_json([vars_of(description) for description in found])
        return
    width = max((len(description.name) for description in found), default=0)
    current = None
    for description in found:
        if description.kind != current:
            current = description.kind
            print(f"{current}s")
        summary = f"  {description.summary}" if description.kind == "model" else ""
        print(f"  {description.name:<{width}}  {description.distribution} {description.version}{summary}")
    if not registry.names("model"):
        print("No paper is installed yet; try: pip install quire-tsc")


def vars_of(description: object) -> dict[str, object]:
    """The fields of a registry.Description as JSON."""
    from dataclasses import asdict

    return asdict(description)  # type: ignore[call-overload,no-any-return]
