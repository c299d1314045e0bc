"""`quire demo`: every installed paper on a small data set, from sample to report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import Json, names_of

if TYPE_CHECKING:
    from quire.model import Demo

_METRICS = 3  # so many are shown; the report has all


def command(
    names: Annotated[
        list[str] | None, typer.Argument(help="Only these models.", autocompletion=names_of("model"))
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where everything goes; each model gets a new folder in it.")] = Path(
        "demo"
    ),
    as_json: Json = False,
) -> None:
    """Sample data, train, evaluate, write the report and predict, for every installed paper that has a demo."""
    from quire import registry
    from quire.cli.output import note, print_json, print_table
    from quire.errors import PluginError

    demos: dict[str, Demo] = {}
    for name in names or registry.names("model"):
        try:
            demo = registry.get(name, "model").demo
        except PluginError as error:
            if names:
                raise
            note(f"skipped {name}: {error}")
            continue
        if demo is not None:
            demos[name] = demo
        elif names:
            raise PluginError(f"{name} has no demo")
    if not demos:
        raise PluginError("no installed model has a demo", remedy="`quire list model` shows what is installed.")
    results = {name: run_demo(name, demo, folder) for name, demo in demos.items()}
    if as_json:
        print_json(results)
        return
    for name, result in results.items():
        metrics = list(result.pop("metrics").items())[:_METRICS]
        print_table((f"demo of {name}", ""), [*metrics, *result.items()])


def run_demo(name: str, demo: Demo, folder: Path) -> dict[str, Any]:
    """The steps a user would type one after the other, each shown as the command that does it."""
    from quire import registry
    from quire.cli.evaluate import evaluate_run
    from quire.cli.output import note
    from quire.cli.predict import MEDIA, read_samples, write_predictions
    from quire.cli.train import train_run
    from quire.errors import RunError
    from quire.evaluator import predict_all
    from quire.runtime import Runtime

    home = _new_folder(folder / name)
    note(f"$ quire sample {demo.dataset} {home / 'data'}")
    reader = registry.get(demo.dataset, "dataset")
    data = reader.sample(home / "data", seed=0)
    settings = " ".join(f"{key}={value}" for key, value in demo.settings.items())
    note(f"$ quire train {name} --data {data} --runs {home / 'runs'} {settings}")
    run = train_run(
        name, data, settings=dict(demo.settings), reader=demo.dataset, root=home / "runs", runtime=Runtime()
    )
    if run is None:
        raise RunError("a demo runs in one process", remedy="Start it without torchrun.")
    note(f"$ quire evaluate {run.path}")
    report, page = next(iter(evaluate_run(run, runtime=Runtime(), explain=4).values()))
    model = run.load_model()
    result: dict[str, Any] = {"data": str(data), "run": str(run.path), "report": str(page)}
    result["metrics"] = {metric: score.value for metric, score in report.metrics.items()}
    inputs = demo.inputs(data) if demo.inputs is not None else None
    if inputs is not None:
        target = model.task.target
        output = home / ("predictions" if target is not None and target.kind in MEDIA else "predictions.csv")
        note(f"$ quire predict {run.path} {' '.join(map(str, inputs))} --output {output}")
        predictions = predict_all(model, read_samples(run, model, [str(path) for path in inputs]))
        write_predictions(model, predictions, output)
        result["predictions"] = str(output)
    return result


def _new_folder(path: Path) -> Path:
    """`path`, or the first of path-2, path-3, ... that is not there yet."""
    number = 1
    while True:
        candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
        if not candidate.exists():
            candidate.mkdir(parents=True)
            return candidate
        number += 1
