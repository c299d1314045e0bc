"""`quire evaluate RUN`: from a run to a report."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import Device, Json, OnError, Precision, RunPath, Threads, Workers, names_of

if TYPE_CHECKING:
    from quire.dataset import Dataset
    from quire.evaluator import Evaluator
    from quire.model import Model
    from quire.report import Report
    from quire.run import Run
    from quire.runtime import Runtime


def command(
    run_path: RunPath,
    data: Annotated[Path | None, typer.Option(help="Other data than the run's own, in the same layout.")] = None,
    split: Annotated[str, typer.Option(help="The split to evaluate on.")] = "test",
    evaluator: Annotated[
        list[str] | None,
        typer.Option(help="An evaluator; default: those of the task.", autocompletion=names_of("evaluator")),
    ] = None,
    option: Annotated[list[str] | None, typer.Option(help="An option of the evaluator, as option=value.")] = None,
    explain: Annotated[int, typer.Option(min=0, help="How many samples to explain, if the model can.")] = 4,
    predictions: Annotated[
        Path | None, typer.Option(help="Score these stored predictions; write them there first if there are none.")
    ] = None,
    on_error: OnError = "raise",
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = "auto",
    workers: Workers = 0,
    as_json: Json = False,
) -> None:
    """Evaluate a run on the test split and write report.json and report.html into its folder."""
    from quire.cli.options import check_on_error, make_runtime, overrides
    from quire.cli.output import print_json, print_scores, shown_path
    from quire.run import Run

    check_on_error(on_error)
    options = overrides(option or [])
    run = Run.open(run_path)
    run.hooks.add_installed()
    reports = evaluate_run(
        run,
        data=data,
        split=split,
        evaluators=evaluator,
        options=options if on_error == "raise" else {"on_error": on_error, **options},
        explain=explain,
        predictions=predictions,
        runtime=make_runtime(device, precision, threads, workers),
        on_error=on_error,
    )
    if as_json:
        print_json({name: report.to_json() for name, (report, _) in reports.items()})
        return
    for report, page in reports.values():
        print_scores(report.metrics)
        print(f"{report.n_used} samples used, {report.n_left_out} left out")
        print(shown_path(page))


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
    on_error: Any = "raise",
) -> dict[str, tuple[Report, Path]]:
    """A report per evaluator and its page, written into the run's folder.

    The first one on the run's own test split is the run's report, whose metrics are its results.
    """
    from quire import registry
    from quire.errors import ConfigError

    model = run.load_model(runtime=runtime)
    dataset = open_data(run, data, split, on_error)
    names = evaluators or list(model.task.evaluators)
    if not names:
        raise ConfigError(f"the task {model.task.name} has no usual evaluator", remedy="Name one with --evaluator.")
    judges = {name: registry.get(name, "evaluator")(**(options or {})) for name in names}
    reports: dict[str, tuple[Report, Path]] = {}
    for name, judge in judges.items():
        if predictions is None:
            report = judge.evaluate(model, dataset, runtime=runtime)
        else:
            report = score_stored(predictions, judge, name, model, dataset, on_error)
        if not reports and explain:
            add_explanations(report, model, dataset, explain)
        own = data is None and dataset.split == "test"
        folder = report_folder(run, name if reports else None, None if own else f"{dataset.name}-{dataset.split}")
        reports[name] = (report, report.write(folder))
        run.hooks.emit("quire_evaluated", run=run, report=report)
        if own and len(reports) == 1:
            run.update(results={name: score.value for name, score in report.metrics.items()})
    return reports


def report_folder(run: Run, evaluator: str | None, data: str | None) -> Path:
    """The run's folder; one below `reports` for a further evaluator and for other data than the run's test split."""
    parts = [part for part in (data, evaluator) if part is not None]
    return run.path.joinpath("reports", *parts) if parts else run.path


def open_data(run: Run, data: Path | None, split: str, on_error: Any = "raise") -> Dataset:
    """The run's data, or other data read in the same way."""
    from quire.errors import RunError, Where

    if run.info.data is None:
        raise RunError(
            "this run does not say how its data is read",
            where=Where(file=run.path),
            remedy="It was imported: predict with it, or evaluate it in Python.",
        )
    source = run.info.data
    if data is not None:
        source = source.model_copy(update={"path": str(data.resolve())})
    return source.open(split, on_error=on_error)


def score_stored(path: Path, judge: Evaluator, name: str, model: Model, dataset: Dataset, on_error: Any) -> Report:
    """The report on the predictions at `path`, which are made now if the file is not there."""
    from quire.errors import ConfigError, DataError, Where
    from quire.evaluator import PredictionEvaluator, Predictions, predict_all

    if not isinstance(judge, PredictionEvaluator):
        raise ConfigError(f"{name} does not score stored predictions", remedy="Leave out --predictions.")
    judge.prepare(model, dataset, None)
    if not path.exists():
        predict_all(model, dataset, on_error=on_error, need_target=True, embed=judge.embeds).save(path)
    stored = Predictions.load(path)
    if len(stored) + len(stored.left_out) != len(dataset):
        raise DataError(
            f"holds predictions for {len(stored) + len(stored.left_out)} samples, but there are {len(dataset)}",
            where=Where(file=path),
            remedy="Name a file that does not exist yet, and it will be written.",
        )
    return judge.sign(judge.score(stored), model, dataset)


def add_explanations(report: Report, model: Model, dataset: Dataset, count: int) -> None:
    """Figures of why some samples, spread over the data set's classes, got their output."""
    from quire.errors import InvalidSample
    from quire.model import Explainer
    from quire.report import Figure

    if not isinstance(model, Explainer) or not model.can_explain or not len(dataset):
        return
    samples = []
    for index in _spread(dataset, count):
        with suppress(InvalidSample):  # one that the report counts as left out
            samples.append(dataset[index])
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
