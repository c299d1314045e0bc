"""One cell, from its data to its figures."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from quire import registry
from quire.discovery import find_reader, reader_options
from quire.errors import ConfigError, DataError, QuireError, RunError
from quire.evaluator import PredictionEvaluator, predict_all
from quire.runtime import Runtime
from quire.study.cells import Cell, Outcome
from quire.study.together import TrainsSeeds
from quire.training import NeuralModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quire.dataset import Dataset
    from quire.model import Model

log = logging.getLogger(__name__)


def run_cells(cells: Sequence[Cell], *, evaluators: Sequence[str] = (), device: str = "auto") -> list[Outcome]:
    """A bundle's outcomes; none if several cells can't, or need not, be trained together."""
    if len(cells) == 1:
        return [run_cell(cells[0], evaluators=evaluators, device=device)]
    try:
        return _measure(cells, evaluators, device)
    except Exception:
        log.exception("%s on %s: its seeds could not be trained together", *cells[0].key[:2])
        return []


def run_cell(cell: Cell, *, evaluators: Sequence[str] = (), device: str = "auto") -> Outcome:
    """Train and evaluate; whatever goes wrong is an outcome with its error. The same cell gives the same figures."""
    try:
        (outcome,) = _measure([cell], evaluators, device)
    except Exception as error:
        log.exception("%s on %s with seed %d failed", *cell.key)
        return Outcome("failed", error=_one_line(error))
    return outcome


def _measure(cells: Sequence[Cell], evaluators: Sequence[str], device: str) -> list[Outcome]:
    """The outcomes of cells that differ in their seed alone, each with its share of what all of them took."""
    cell, share = cells[0], 1 / len(cells)
    runtimes = [Runtime(device=device, precision="fp32", seed=each.seed, threads=1) for each in cells]
    models: list[Model] = [registry.create(cell.method.model, "model", **cell.method.config) for _ in cells]
    reading, fitting = _Watch(), _Watch()
    with reading:
        train, test = _open(cell, models[0], "train"), _open(cell, models[0], "test")
    models[0].task.require_fit(train.task, this=cell.method.name, that=train.name)
    with fitting:
        if not _fit(models, train, runtimes):
            return []
    outcomes = []
    for model, runtime in zip(models, runtimes, strict=True):
        predicting = _Watch()
        metrics = _evaluate(model, test, evaluators, runtime, predicting)
        outcomes.append(
            Outcome(
                "done",
                metrics=metrics,
                fit_seconds=fitting.wall * share,
                predict_seconds=predicting.wall,
                cpu_seconds=(reading.cpu + fitting.cpu) * share + predicting.cpu,
                n_params=_parameters(model),
                device=runtime.torch_device.type,
                fingerprint=f"{train.fingerprint()[:16]}-{test.fingerprint()[:16]}",
                version=registry.describe(cell.method.model, "model").version,
            )
        )
    return outcomes


def _fit(models: Sequence[Model], train: Dataset, runtimes: Sequence[Runtime]) -> bool:
    """Train one model, or several together; False if these are better trained one by one."""
    runtimes[0].begin()
    runtimes[0].seed_everything()
    if len(models) == 1:
        models[0].fit(train, runtime=runtimes[0])
        return True
    if not isinstance(models[0], TrainsSeeds) or not models[0].should_group_seeds(train, runtimes[0]):
        return False
    models[0].fit_seeds(models, train, runtimes)
    return True


class _Watch:
    """Adds up the seconds, of the wall clock and of this process's processor, that its blocks take."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *error: object) -> None:
        wall, cpu = self._began
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu


def _open(cell: Cell, model: Model, split: str) -> Dataset:
    path = cell.source.path
    if path is None:
        raise DataError(f"the data set {cell.source.name} is not at hand")
    reader = cell.source.reader
    if reader is None:
        reader, _ = find_reader(path, model.task, of=registry.describe(cell.method.model, "model").distribution)
    reader_class: type[Dataset] = registry.get(reader, "dataset")
    options = {**reader_options(reader_class, model.task), **cell.source.options}
    return reader_class.open(path, split=split, **options)


def _evaluate(
    model: Model, test: Dataset, evaluators: Sequence[str], runtime: Runtime, watch: _Watch
) -> dict[str, float | None]:
    """The metrics of all evaluators, a name that two of them use from the first; `watch` is on while it predicts."""
    names = tuple(evaluators) or model.task.evaluators
    if not names:
        raise ConfigError(f"the task {model.task.name} has no usual evaluator", remedy="Let the study name one.")
    judges = [registry.get(name, "evaluator")() for name in names]
    embed = any(judge.embeds for judge in judges if isinstance(judge, PredictionEvaluator))
    predictions = None
    metrics: dict[str, float | None] = {}
    for judge in judges:
        if isinstance(judge, PredictionEvaluator):
            judge.prepare(model, test, runtime)
            if predictions is None:
                with watch:
                    predictions = predict_all(model, test, need_target=True, embed=embed)
            report = judge.score(predictions)
        else:
            with watch:
                report = judge.evaluate(model, test, runtime=runtime)
        metrics = {name: score.value for name, score in report.metrics.items()} | metrics
    return metrics


def _parameters(model: Model) -> int | None:
    """The trained network's number of weights; None for a model that has no network."""
    if not isinstance(model, NeuralModel):
        return None
    try:
        return sum(weight.numel() for weight in model.network.parameters() if weight.requires_grad)
    except RunError:  # a method whose configuration trains no network
        return None


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, QuireError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
