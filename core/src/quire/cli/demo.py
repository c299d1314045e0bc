"""`quire demo`: every installed paper on a small data set, from sample to report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import Json

if TYPE_CHECKING:
    from quire.model import Demo


def command(
    names: Annotated[list[str] | None, typer.Argument(help="Only these models.")] = None,
    folder: Annotated[Path, typer.Option(help="Where everything goes; each model gets a new folder in it.")] = Path(
        "demo"
    ),
    as_json: Json = False,
) -> None:
    """Sample data, train, evaluate, write the report and predict, for every installed paper that has a demo."""
    from quire import registry
    from quire.cli.output import note, print_json, print_table
    from quire.errors import PluginError

    results = {}
    for name in names or registry.names("model"):
        try:
            demo = registry.get(name, "model").demo
        except PluginError as error:
            note(f"skipped {name}: {error}")
            continue
        if demo is not None:
            results[name] = run_demo(name, demo, folder)
    if not results:
        raise PluginError("no installed model has a demo", remedy="Try: pip install quire-tsc")
    if as_json:
        print_json(results)
        return
    for name, result in results.items():
        print_table((f"demo of {name}", ""), result.items())


def run_demo(name: str, demo: Demo, folder: Path) -> dict[str, Any]:
    """The steps a user would type one after the other, each shown as the command that does it."""
    from quire import registry
    from quire.cli.evaluate import evaluate_run
    from quire.cli.output import note
    from quire.cli.predict import read_samples, records, write_predictions
    from quire.cli.train import train_run
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
    note(f"$ quire evaluate {run.path}")
    report = next(iter(evaluate_run(run, runtime=Runtime(), explain=4).values()))
    model = run.load_model()
    result: dict[str, Any] = {"data": str(data), "run": str(run.path), "report": str(run.path / "report.html")}
    result.update({metric: score.value for metric, score in list(report.metrics.items())[:3]})
    inputs = demo.inputs(data) if demo.inputs is not None else None
    if inputs is not None:
        output = home / "predictions.csv"
        note(f"$ quire predict {run.path} {' '.join(map(str, inputs))} --output {output}")
        predictions = predict_all(model, read_samples(run, model, [str(path) for path in inputs]))
        write_predictions(model, predictions, output)
        result["predictions"] = (
            f"{output} ({len(predictions)}; the first: {next(records(model, predictions))['prediction']})"
        )
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
