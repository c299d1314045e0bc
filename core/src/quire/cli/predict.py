"""`quire predict RUN FILE ...`: from files to predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import Device, Json, OnError, Precision, RunPath, Threads, Workers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from quire.evaluator import Predictions
    from quire.modality import Sample
    from quire.model import Model
    from quire.run import Run


def command(
    run_path: RunPath,
    files: Annotated[list[str], typer.Argument(help="Files, or field=file where the model takes several.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A .csv or .jsonl file, or a folder for media; default: print."),
    ] = None,
    explain: Annotated[Path | None, typer.Option(help="A folder for a picture that explains each prediction.")] = None,
    on_error: OnError = "raise",
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = "auto",
    workers: Workers = 0,
    as_json: Json = False,
) -> None:
    """Predict for files; labels come with the probability of every class."""
    from quire.cli.options import check_on_error, make_runtime
    from quire.cli.output import note, print_json, print_table
    from quire.evaluator import predict_all
    from quire.run import Run

    check_on_error(on_error)
    run = Run.open(run_path)
    model = run.load_model(runtime=make_runtime(device, precision, threads, workers))
    kept: list[Sample] = []
    samples = read_samples(run, model, files)
    if explain is not None:
        kept = list(samples)
        samples = iter(kept)
    predictions = predict_all(model, samples, on_error=on_error)  # type: ignore[arg-type]
    if explain is not None:
        write_explanations(model, kept, explain)
    for error in predictions.left_out:
        note(f"left out: {error}")
    written = write_predictions(model, predictions, output) if output is not None else None
    if as_json:
        print_json(
            {"predictions": list(records(model, predictions)), "left_out": [str(e) for e in predictions.left_out]}
        )
    elif written is not None:
        print(f"{len(predictions)} predictions in {written}")
    else:
        rows = list(records(model, predictions))
        if rows:
            print_table(tuple(rows[0]), (tuple(row.values()) for row in rows))
    if predictions.left_out:
        raise typer.Exit(1)


def read_samples(run: Run, model: Model, files: Sequence[str]) -> Iterator[Sample]:
    """Samples without targets: as the run's reader reads a user's file, else as the task's modalities do."""
    from quire import registry

    if run.info.data is not None and not any("=" in file for file in files):
        reader = registry.get(run.info.data.dataset, "dataset")
        parts = [reader.read_inputs(Path(file)) for file in files]
        if all(part is not None for part in parts):
            return (sample for part in parts for sample in part)
    return model.task.read_samples(files)


def records(model: Model, predictions: Predictions) -> Iterator[dict[str, Any]]:
    """One flat row per prediction: id, the output in JSON, the probability of every class."""
    target = model.task.target
    for row, identifier in enumerate(predictions.ids):
        output = predictions.outputs[row]
        record: dict[str, Any] = {"id": identifier, "prediction": target.encode(output) if target else output}
        if predictions.probabilities is not None:
            for label, probability in zip(predictions.labels, predictions.probabilities[row], strict=True):
                record[f"p({label})"] = float(probability)
        yield record


def write_predictions(model: Model, predictions: Predictions, output: Path) -> Path:
    """A table for a .csv or .jsonl path; otherwise a folder with one file per output, in its modality's format."""
    import json

    import pandas

    from quire.errors import ConfigError
    from quire.storage import atomic_file, atomic_folder

    if output.suffix == ".csv":
        with atomic_file(output, "w") as file:
            pandas.DataFrame(records(model, predictions)).to_csv(file, index=False)
        return output
    if output.suffix in (".jsonl", ".json"):
        with atomic_file(output, "w") as file:
            file.writelines(json.dumps(record) + "\n" for record in records(model, predictions))
        return output
    target = model.task.target
    if output.suffix or target is None:
        raise ConfigError(f"predictions can't be written as {output.name}", remedy="Use .csv, .jsonl or a folder.")
    with atomic_folder(output) as folder:
        suffix = target.suffixes[0] if target.suffixes else ".txt"
        for name, value in zip(_file_names(predictions.ids), predictions.outputs, strict=True):
            target.write(value, folder / f"{name}{suffix}")
    return output


def write_explanations(model: Model, samples: Sequence[Sample], folder: Path) -> None:
    """One PNG per sample in `folder`."""
    from quire.errors import ConfigError
    from quire.model import Explainer
    from quire.storage import atomic_file

    if not isinstance(model, Explainer) or not model.can_explain:
        raise ConfigError(f"{type(model).__name__} can't explain its predictions", remedy="Leave out --explain.")
    folder.mkdir(parents=True, exist_ok=True)
    names = _file_names([str(sample.get("id", number)) for number, sample in enumerate(samples)])
    for name, explanation in zip(names, model.explain(samples), strict=True):
        with atomic_file(folder / f"{name}.png") as file:
            explanation.figure.savefig(file, format="png", dpi=120)


def _file_names(identifiers: Iterable[str]) -> Iterator[str]:
    """Ids as file names without a folder, different ones for different samples."""
    import re

    seen: dict[str, int] = {}
    for identifier in identifiers:
        name = re.sub(r"[^\w.-]+", "_", identifier).strip(".") or "sample"
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}-{seen[name]}"
