"""`quire export RUN` and `quire import NAME FILE`: weights out to other engines, and in from the authors' checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quire.cli.options import RUNS, Json, RunPath, Runs, names_of, words


def export_command(
    run_path: RunPath,
    output: Annotated[Path, typer.Argument(help="The file to write.")],
    format: Annotated[
        str,
        typer.Option(help="onnx or torchscript, as the model offers.", autocompletion=words("onnx", "torchscript")),
    ] = "onnx",
    samples: Annotated[int, typer.Option(min=1, help="How many training samples the parity check uses.")] = 8,
    as_json: Json = False,
) -> None:
    """Write a run's network for other engines; the file is kept only if its outputs equal the model's."""
    from quire.cli.evaluate import open_data
    from quire.cli.output import print_json
    from quire.errors import ConfigError
    from quire.model import Exporter
    from quire.run import Run

    run = Run.open(run_path)
    model = run.load_model()
    if not isinstance(model, Exporter) or format not in model.formats:
        offered = ", ".join(model.formats) if isinstance(model, Exporter) else "nothing"
        raise ConfigError(f"{run.info.model} can't be exported as {format!r}", remedy=f"It offers: {offered}.")
    dataset = open_data(run, None, run.info.data.split if run.info.data else "train", "skip")
    example = [dataset[index] for index in range(min(samples, len(dataset)))]
    path = model.export(output, format=format, example=example)
    if as_json:
        print_json({"run": str(run.path), "format": format, "file": str(path)})
        return
    print(path)


def import_command(
    name: Annotated[
        str, typer.Argument(help="The model, as `quire list model` shows it.", autocompletion=names_of("model"))
    ],
    checkpoint: Annotated[Path, typer.Argument(help="A file that the method's authors published.")],
    options: Annotated[list[str] | None, typer.Argument(help="What the file does not say, as option=value.")] = None,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Make a run from the authors' checkpoint. The file is read by a reader that can execute nothing."""
    from quire import registry
    from quire.cli.options import overrides
    from quire.cli.output import print_json, shown_path
    from quire.errors import ConfigError
    from quire.model import CheckpointImporter
    from quire.run import Run

    model_class = registry.get(name, "model")
    if not issubclass(model_class, CheckpointImporter):
        raise ConfigError(f"{name} knows no checkpoints of its authors", remedy="Train it with: quire train")
    model = model_class.import_checkpoint(checkpoint, **overrides(options or []))
    run = Run.create(runs, model=name, config=model.config.model_dump(mode="json"))
    model.save(run.model_path)
    run.update(state="done", reason=f"imported from {checkpoint.name}")
    if as_json:
        print_json({"run": str(run.path), **run.info.model_dump(mode="json")})
        return
    print(shown_path(run.path))
