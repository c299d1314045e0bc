"""`quire predict RUN FILE ...`: from files to predictions."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import Device, Json, OnError, Precision, RunPath, Threads, Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from quire.errors import InvalidSample
    from quire.evaluator import Predictions
    from quire.modality import Sample
    from quire.model import Explainer, Model
    from quire.run import Run

    Handler = Callable[[InvalidSample], None]

MEDIA = ("image", "audio", "video")  # kinds of output that are files, not text
TABLES = (".csv", ".jsonl")


def command(
    run_path: RunPath,
    files: Annotated[list[str], typer.Argument(help="Files, or field=file where the model takes several.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A .csv or .jsonl file, or a new folder for media; default: print."),
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
    check_output(model, output, printed=not as_json)
    explainer = require_explainer(model) if explain is not None else None
    unreadable: list[InvalidSample] = []
    samples: Iterable[Sample] = read_samples(run, model, files, unreadable.append if on_error == "skip" else None)
    if explainer is not None:
        samples = list(samples)
    predictions = predict_all(model, samples, on_error=on_error)  # type: ignore[arg-type]
    predictions.left_out[:0] = unreadable
    if explainer is not None and explain is not None:
        predicted = set(predictions.ids)
        write_explanations(explainer, [s for n, s in enumerate(samples) if str(s.get("id", n)) in predicted], explain)
    for error in predictions.left_out:
        note(f"left out: {error}")
    if output is not None:
        write_predictions(model, predictions, output)
    if as_json:
        print_json(
            {"predictions": list(records(model, predictions)), "left_out": [str(e) for e in predictions.left_out]}
        )
    elif output is not None:
        print(f"{len(predictions)} predictions in {output}")
    elif len(predictions):
        rows = list(records(model, predictions))
        print_table(tuple(rows[0]), (tuple(row.values()) for row in rows))
    if predictions.left_out:
        raise typer.Exit(1)


def read_samples(run: Run, model: Model, files: Sequence[str], on_error: Handler | None = None) -> Iterator[Sample]:
    """Samples without targets: as the run's reader reads a user's file, else as the task's modalities do.

    Raises InvalidSample or DataError for what can't be read, or hands it to `on_error` and goes on.
    """
    from quire import registry

    reader = None
    if run.info.data is not None and not any("=" in file for file in files):
        reader = registry.get(run.info.data.dataset, "dataset")
    parts: list[tuple[str, Iterator[Sample] | None]] = []
    for file in files:
        with _reported(on_error, file):
            parts.append((file, reader.read_inputs(Path(file)) if reader is not None else None))
    for by_task, group in groupby(parts, key=lambda part: part[1] is None):
        if by_task:
            yield from model.task.read_samples([file for file, _ in group], on_error=on_error)
            continue
        for file, part in group:
            with _reported(on_error, file):
                yield from part or ()


@contextmanager
def _reported(on_error: Handler | None, file: str) -> Iterator[None]:
    """Names the file in the errors about it, and hands them to `on_error`, if there is one."""
    from quire.errors import DataError, InvalidSample, Where
    from quire.modality import placed

    try:
        with placed(Where(file=Path(file))):
            yield
    except DataError as error:
        if on_error is None:
            raise
        on_error(InvalidSample(error.message, where=error.where, remedy=error.remedy))


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


def check_output(model: Model, output: Path | None, *, printed: bool) -> None:
    """ConfigError where the model's predictions can't be written to `output`, or, without one, can't be printed."""
    from quire.errors import ConfigError, Where

    target = model.task.target
    if output is None:
        if printed and target is not None and target.kind in MEDIA:
            raise ConfigError(f"the predictions are files of the kind {target.kind}", remedy="Name a folder: -o FOLDER")
    elif output.suffix not in TABLES and (output.suffix or target is None):
        raise ConfigError(f"predictions can't be written as {output.name}", remedy="Use .csv, .jsonl or a folder.")
    elif output.suffix not in TABLES and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError("there is something here already", where=Where(file=output), remedy="Name a new folder.")


def write_predictions(model: Model, predictions: Predictions, output: Path) -> None:
    """A table for a .csv or .jsonl path; otherwise a folder with one file per output, in its modality's format."""
    import json

    import pandas

    from quire.storage import atomic_file, atomic_folder

    target = model.task.target
    if output.suffix == ".csv":
        with atomic_file(output, "w") as file:
            pandas.DataFrame(records(model, predictions)).to_csv(file, index=False)
    elif output.suffix == ".jsonl":
        with atomic_file(output, "w") as file:
            file.writelines(json.dumps(record) + "\n" for record in records(model, predictions))
    elif target is not None:
        with atomic_folder(output) as folder:
            suffix = target.suffixes[0] if target.suffixes else ".txt"
            for name, value in zip(_file_names(predictions.ids), predictions.outputs, strict=True):
                target.write(value, folder / f"{name}{suffix}")


def require_explainer(model: Model) -> Explainer:
    """`model`; ConfigError if it can't explain its predictions."""
    from quire.errors import ConfigError
    from quire.model import Explainer

    if not isinstance(model, Explainer) or not model.can_explain:
        raise ConfigError(f"{type(model).__name__} can't explain its predictions", remedy="Leave out --explain.")
    return model


def write_explanations(model: Explainer, samples: Sequence[Sample], folder: Path) -> None:
    """One PNG per sample in `folder`."""
    from quire.storage import atomic_file

    names = _file_names(str(sample.get("id", "")) for sample in samples)
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
