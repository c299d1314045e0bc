"""`quire sample NAME FOLDER`: a small synthetic release in the real layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import Json, names_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quire.dataset import Dataset


def command(
    name: Annotated[
        str,
        typer.Argument(
            help="A data set's name, or a model's for the data it is usually trained on.",
            autocompletion=names_of("dataset", "model"),
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    options: Annotated[list[str] | None, typer.Argument(help="Options of the sample, as option=value.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed writes the same files.")] = 0,
    as_json: Json = False,
) -> None:
    """Write a small synthetic data set in the layout that the reader expects, to look at and to train on."""
    from quire.cli.options import overrides
    from quire.cli.output import print_json

    reader_name, reader = reader_for(name)
    chosen = overrides(options or [])
    check_options(reader_name, reader, chosen)
    path = reader.sample(folder, seed=seed, **chosen)
    if as_json:
        print_json({"dataset": reader_name, "path": str(path), "splits": list(reader.splits(path))})
        return
    print(f"{path}  ({reader_name}; splits: {', '.join(reader.splits(path))})")


def reader_for(name: str) -> tuple[str, type[Dataset]]:
    """The reader called `name`, or the one that the model called `name` is usually trained on."""
    from quire import registry

    if name in registry.names("dataset"):
        return name, registry.get(name, "dataset")
    if name not in registry.names("model"):
        registry.describe(name, "dataset")  # raises the error that names the nearest data set
    from quire.discovery import readers
    from quire.errors import DataError

    model = registry.get(name, "model")
    if model.demo is not None:
        return model.demo.dataset, registry.get(model.demo.dataset, "dataset")
    found = next(readers(model.task, of=registry.describe(name, "model").distribution), None)
    if found is None:
        raise DataError(f"no installed data set has the fields of {name}", remedy="`quire list dataset` shows them.")
    return found


def check_options(name: str, reader: type[Dataset], chosen: Mapping[str, Any]) -> None:
    """ConfigError for an option that the reader's `sample` does not take."""
    from inspect import signature

    from quire.errors import ConfigError, nearest

    known = [option for option in signature(reader.sample).parameters if option not in ("folder", "seed")]
    for option in chosen:
        if option not in known:
            raise ConfigError(
                f"the sample of {name} has no option {option!r}{nearest(option, known)}",
                remedy=f"It takes {', '.join(known)}." if known else "It takes none.",
            )
