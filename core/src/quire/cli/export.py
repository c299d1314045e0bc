"""`quire export RUN` and `quire import NAME FILE`: weights out to other engines, and in from the authors' checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quire.cli.options import DATA_ROOT, RunPath


def export_command(
    run_path: RunPath,
    output: Annotated[Path, typer.Argument(help="The file to write.")],
    format: Annotated[str, typer.Option(help="onnx, torchscript or pt2 (torch.export), as the model offers.")] = "onnx",
    samples: Annotated[int, typer.Option(help="How many test samples the parity check uses.")] = 8,
) -> None:
    """Write a run's network for other engines; the file is kept only if its outputs equal the model's."""
    from quire.cli.evaluate import open_data
    from quire.errors import ConfigError
    from quire.model import Exporter
    from quire.run import Run

    run = Run.open(run_path)
    model = run.load_model()
    if not isinstance(model, Exporter) or format not in model.formats:
        offered = ", ".join(model.formats) if isinstance(model, Exporter) else "nothing"
        raise ConfigError(f"{run.info.model} can't be exported as {format!r}", remedy=f"It offers: {offered}.")
    dataset = open_data(run, None, run.info.data.split if run.info.data else "train")
    example = [dataset[index] for index in range(min(samples, len(dataset)))]
    print(model.export(output, format=format, example=example))


def import_command(
    name: Annotated[str, typer.Argument(help="The model, as `quire list model` shows it.")],
    checkpoint: Annotated[Path, typer.Argument(help="A file that the method's authors published.")],
    options: Annotated[list[str] | None, typer.Argument(help="What the file does not say, as option=value.")] = None,
    runs: Annotated[Path, typer.Option(help="The folder that holds the runs.")] = DATA_ROOT,
) -> None:
    """Make a run from the authors' checkpoint. The file is read by a reader that can execute nothing."""
    from quire import registry
    from quire.cli.options import overrides
    from quire.errors import ConfigError
    from quire.model import CheckpointImporter
    from quire.run import Run

    model_class = registry.get(name, "model")
    if not issubclass(model_class, CheckpointImporter):
        raise ConfigError(f"{name} knows no checkpoints of its authors")
    model = model_class.import_checkpoint(checkpoint, **overrides(options or []))
    run = Run.create(runs, model=name, config=model.config.model_dump(mode="json"))
    model.save(run.model_path)
    run.update(state="done", reason=f"imported from {checkpoint.name}")
    print(run.path)
