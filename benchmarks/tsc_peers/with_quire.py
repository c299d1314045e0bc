"""Ours: `TSC.fit` under the fast recipe, as `quire train` calls it."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from quire.hooks import StopTraining, hookimpl
from quire.runtime import Runtime
from quire.task import SERIES_CLASSIFICATION
from quire_tsc import TSC, TimeSeriesDataset, TSCConfig
from quire_tsc.config import batch_size, recipe_of
from quire_tsc.recalibrate import recalibrate_batchnorm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quire.training import Phase
    from tsc_peers.task import Task
    from tsc_peers.watch import Predictor, Watch

VERSIONS = ("quire-tsc", "quire-core", "torch", "numpy")
SEEDS = 1


class Watched(TSC):
    """A TSC whose training is watched through a hook."""

    watcher: Watcher

    def phases(self, train: Any) -> list[Phase]:
        found = super().phases(train)
        return [dataclasses.replace(phase, observers={**phase.observers, "watch": self.watcher}) for phase in found]


class Watcher:
    """The hook. Between two of its calls lie an epoch and all that the loop does besides."""

    def __init__(
        self, model: TSC, train: TimeSeriesDataset, watch: Watch, facts: dict[str, Any], *, seeds: int = 1
    ) -> None:
        self.model, self.train, self.watch, self.facts, self.seeds = model, train, watch, facts, seeds
        self.best = float("inf")
        self.weights: dict[str, torch.Tensor] = {}

    @hookimpl
    def quire_run_started(self) -> None:
        self.facts["parameters"] = sum(p.numel() for p in self.model.network.parameters()) // self.seeds
        self.watch.begin()

    @hookimpl
    def quire_epoch_finished(self, metrics: Mapping[str, float]) -> None:
        if self.watch.end(self.seeds * len(self.train), lambda: self.predictor(metrics["loss"])):
            raise StopTraining("the watch has enough")
        self.watch.begin()

    def predictor(self, loss: float) -> Predictor:
        """Predicts as the training would if it ended here: by the weights of the lowest loss, batch norm recalibrated."""
        if loss < self.best:
            self.best = loss
            self.weights = {name: value.detach().clone() for name, value in self.model.network.state_dict().items()}
        with torch.random.fork_rng():  # to build a network draws from the generator of the training
            ended = TSC(self.model.config, runtime=self.model.runtime)
            ended.restore({"facts": self.model.facts, "network": self.weights})
        size = batch_size(recipe_of(self.model.config), len(self.train))
        started = (time.process_time(), time.perf_counter())
        load = self.model.loader(self.train, training=False)
        cases = range(len(self.train))
        batches = [load(cases[start : start + size], None) for start in range(0, len(cases), size)]
        recalibrate_batchnorm(ended.network, lambda: ((batch["x"], batch["mask"]) for batch in batches))
        spent = (time.process_time() - started[0], time.perf_counter() - started[1])
        return lambda x: (predicted(ended, x), *spent)


def predicted(model: TSC, x: np.ndarray) -> np.ndarray:
    return np.array([int(label) for label in model.predict([{"series": series} for series in x])])


def data_set(task: Task) -> TimeSeriesDataset:
    rows = [
        {"id": str(number), "series": series, "target": str(label)}
        for number, (series, label) in enumerate(zip(task.x, task.y, strict=True))
    ]
    labels = [str(label) for label in range(task.classes)]
    return TimeSeriesDataset(rows, task=SERIES_CLASSIFICATION, name="benchmark", split="train", labels=labels)


def configured(task: Task) -> TSCConfig:
    options = task.options(batch="batch_size", learning_rate="learning_rate")
    return TSCConfig.parse({"architecture": task.architecture, "n_epochs": task.epochs, **options}, owner="tsc")


def fit(task: Task, watch: Watch, facts: dict[str, Any]) -> None:
    model = Watched(configured(task), runtime=Runtime(device="cpu", threads=1, seed=task.seed))
    train = data_set(task)
    model.watcher = Watcher(model, train, watch, facts)
    model.fit(train)
