"""`quire evaluate RUN`: from a run to a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import Device, Json, Precision, RunPath, Threads, Workers

if TYPE_CHECKING:
    from quire.dataset import Dataset
    from quire.model import Model
    from quire.report import Report
    from quire.run import Run
    from quire.runtime import Runtime


def command(
    run_path: RunPath,
    data: Annotated[Path | None, typer.Option(help="Other data than the run's own, in the same layout.")] = None,
    split: Annotated[str, typer.Option(help="The split to evaluate on.")] = "test",
    evaluator: Annotated[list[str] | None, typer.Option(help="An evaluator; default: those of the task.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="An option of the evaluator, as option=value.")] = None,
    explain: Annotated[int, typer.Option(help="How many samples to explain, if the model can.")] = 4,
    predictions: Annotated[
        Path | None, typer.Option(help="Score these stored predictions; write them there first if there are none.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = "auto",
    workers: Workers = 0,
    as_json: Json = False,
) -> None:
    """Evaluate a run on the test split and write report.json and report.html into its folder."""
    from quire.cli.options import make_runtime, overrides
    from quire.cli.output import print_json, print_scores
    from quire.run import Run

    run = Run.open(run_path)
    reports = evaluate_run(
        run,
        data=data,
        split=split,
        evaluators=evaluator,
        options=overrides(option or []),
        explain=explain,
        predictions=predictions,
        runtime=make_runtime(device, precision, threads, workers),
    )
    if as_json:
        print_json({name: report.to_json() for name, report in reports.items()})
        return
    for name, report in reports.items():
        print_scores(report.metrics)
        print(f"{report.n_used} samples used, {report.n_left_out} left out")
        print(report_folder(run, name, first=next(iter(reports))) / "report.html")


def evaluate_run(
    run: Run,
    *,
    runtime: Runtime,
    data: Path | None = None,
    split: str = "test",
    evaluators: list[str] | None = None,
    options: dict[str, Any] | None = None,
    explain: int = 0,
    predictions: Path | None = None,
) -> dict[str, Report]:
    """A report per evaluator, written into the run's folder; the first one is the run's own report."""
    from quire import registry
    from quire.errors import ConfigError

    model = run.load_model(runtime=runtime)
    dataset = open_data(run, data, split)
    names = evaluators or list(model.task.evaluators)
    if not names:
        raise ConfigError(f"the task {model.task.name} has no usual evaluator", remedy="Name one with --evaluator.")
    reports: dict[str, Report] = {}
    for name in names:
        judge = registry.get(name, "evaluator")(**(options or {}))
        report: Report = (
            judge.sign(judge.score(stored_predictions(predictions, model, dataset)), model, dataset)
            if predictions is not None
            else judge.evaluate(model, dataset, runtime=runtime)
        )
        if not reports and explain:
            add_explanations(report, model, dataset, explain)
        folder = report_folder(run, name, first=names[0])
        report.write(folder)
        reports[name] = report
        run.hooks.emit("quire_evaluated", run=run, report=report)
    first = reports[names[0]]
    run.update(results={name: score.value for name, score in first.metrics.items()})
    return reports


def report_folder(run: Run, name: str, *, first: str) -> Path:
    """The run's folder for the first evaluator, a folder of its own for every other."""
    return run.path if name == first else run.path / "reports" / name


def open_data(run: Run, data: Path | None, split: str) -> Dataset:
    """The run's data, or other data read in the same way."""
    from quire.errors import RunError, Where

    if run.info.data is None:
        raise RunError("this run does not say how its data is read", where=Where(file=run.path))
    source = run.info.data
    if data is not None:
        source = source.model_copy(update={"path": str(data.resolve())})
    return source.open(split)


def stored_predictions(path: Path, model: Model, dataset: Dataset) -> Any:
    """The predictions at `path`, made now if the file is not there."""
    from quire.evaluator import Predictions, predict_all

    if not path.exists():
        predict_all(model, dataset, need_target=True).save(path)
    return Predictions.load(path)


def add_explanations(report: Report, model: Model, dataset: Dataset, count: int) -> None:
    """Figures of why some samples, spread over the data set's classes, got their output."""
    from quire.model import Explainer
    from quire.report import Figure

    if not isinstance(model, Explainer) or not model.can_explain or not len(dataset):
        return
    samples = [dataset[index] for index in _spread(dataset, count)]
    for sample, explanation in zip(samples, model.explain(samples), strict=True):
        target = f", labelled {sample['target']}" if "target" in sample else ""
        report.figures.append(Figure(f"Explanation of {explanation.sample}{target}", explanation.figure))


def _spread(dataset: Dataset, count: int) -> list[int]:
    """The first samples of every class in turn."""
    by_class: dict[Any, list[int]] = {}
    for index in range(len(dataset)):
        by_class.setdefault(str(dataset.target(index)), []).append(index)
    rounds = [index for turn in range(count) for members in by_class.values() for index in members[turn : turn + 1]]
    return rounds[:count]
