"""`quire sample NAME FOLDER`: a small synthetic release in the real layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quire.cli.options import Json


def command(
    name: Annotated[str, typer.Argument(help="A data set's name, or a model's for the data it is usually trained on.")],
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    options: Annotated[list[str] | None, typer.Argument(help="Options of the sample, as option=value.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed writes the same files.")] = 0,
    as_json: Json = False,
) -> None:
    """Write a small synthetic data set in the layout that the reader expects, to look at and to train on."""
    from quire.cli.options import overrides
    from quire.cli.output import print_json

    reader_name, reader = reader_for(name)
    path = reader.sample(folder, seed=seed, **overrides(options or []))
    if as_json:
        print_json({"dataset": reader_name, "path": str(path), "splits": list(reader.splits(path))})
        return
    print(f"{path}  ({reader_name}; splits: {', '.join(reader.splits(path))})")


def reader_for(name: str):  # type: ignore[no-untyped-def]
    """The reader called `name`, or the first one that fits the model called `name`: (name, class)."""
    from quire import registry
    from quire.discovery import readers
    from quire.errors import DataError

    if name in registry.names("dataset"):
        return name, registry.get(name, "dataset")
    model = registry.get(name, "model")
    found = next(readers(model.task, of=registry.describe(name, "model").distribution), None)
    if found is None:
        raise DataError(f"no installed data set has the fields of {name}", remedy="`quire list dataset` shows them.")
    return found
