"""Evaluators: from a model and a data set, through the model's predictions, to a report."""

from __future__ import annotations

import math
import platform
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from quire import __version__
from quire.config import Config
from quire.predictions import OnError, Predictions, answer_batches, predict_all
from quire.report import Figure, Report, Score, Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quire.dataset import Dataset
    from quire.errors import InvalidSample
    from quire.modality import Sample
    from quire.model import Model
    from quire.runtime import Runtime
    from quire.task import Task

__all__ = [
    "Evaluator",
    "Figure",
    "Judge",
    "OutputEvaluator",
    "PredictionEvaluator",
    "Predictions",
    "Report",
    "Score",
    "Table",
    "mean_interval",
    "predict_all",
    "wilson",
]


class Judge:
    """What an evaluator and a tester have in common: options, and a task that model and data set must fit.

    `name` is the entry point's; `task` is None where any task will do. Options are given as an instance of Options or by
    name, a name before the instance's; ConfigError for one that does not exist and for a value that it does not take.
    """

    class Options(Config):
        """What a user can choose."""

    name: ClassVar[str] = ""
    task: ClassVar[Task | None] = None

    def __init__(self, options: Options | None = None, /, **values: Any) -> None:
        self.options = self.Options.parse({**dict(options or ()), **values}, owner=self.name or type(self).__name__)

    def prepare(self, model: Model, dataset: Dataset, runtime: Runtime | None) -> None:
        """Check that model and data set fit together and with this, and set the model's runtime if one is given.

        Raises TaskMismatch.
        """
        model.task.require_fit(dataset.task, this=type(model).__name__, that=dataset.name)
        if self.task is not None:
            self.task.require_fit(dataset.task, this=self.name or type(self).__name__, that=dataset.name)
        if runtime is not None:
            model.runtime = runtime

    def sign(self, report: Report, model: Model, dataset: Dataset) -> Report:
        """Put into `report` what was evaluated on what, and what it takes to repeat it."""
        report.title = f"{report.title}: {type(model).__name__} on {dataset.name} ({dataset.split})"
        report.provenance = {
            "model": f"{type(model).__module__}:{type(model).__qualname__}",
            "configuration": model.config.model_dump(mode="json"),
            "data set": dataset.name,
            "split": dataset.split,
            "fingerprint": dataset.fingerprint(),
            "judged by": f"{type(self).__module__}:{type(self).__qualname__}",
            "options": self.options.model_dump(mode="json"),
            "quire-core": __version__,
            "python": platform.python_version(),
            "evaluated": datetime.now(UTC).isoformat(timespec="seconds"),
            **report.provenance,
        }
        return report


class Evaluator(Judge, ABC):
    """Judges a model on a data set."""

    class Options(Judge.Options):
        """What a user can choose."""

        on_error: OnError = Field(
            "raise",
            description="what a sample that can't be used does: end the evaluation, or be left out and reported",
        )

    options: Options

    @abstractmethod
    def evaluate(self, model: Model, dataset: Dataset, *, runtime: Runtime | None = None) -> Report:
        """What `model` is worth on `dataset`, predicting with `runtime` if one is given.

        Raises TaskMismatch before any work if they don't fit together, InvalidSample (with on_error="raise") for a
        sample that can't be used.
        """


class PredictionEvaluator(Evaluator):
    """Judges predictions against targets; `embeds` asks for the embeddings of an Embedder too."""

    embeds: ClassVar[bool] = False

    @abstractmethod
    def score(self, predictions: Predictions) -> Report:
        """The report on `predictions`, which have targets. No sample at all is no error: the metrics are n/a."""

    def evaluate(self, model: Model, dataset: Dataset, *, runtime: Runtime | None = None) -> Report:
        """Predict every sample of `dataset` and score the predictions."""
        self.prepare(model, dataset, runtime)
        predictions = predict_all(model, dataset, on_error=self.options.on_error, need_target=True, embed=self.embeds)
        predictions.left_out[:0] = dataset.skipped
        return self.sign(self.score(predictions), model, dataset)


class OutputEvaluator(Evaluator):
    """Judges outputs by the samples that they were made from, where there is no target."""

    @abstractmethod
    def score_pairs(self, pairs: Iterable[tuple[Sample, Any]]) -> Report:
        """The report on (sample, output) pairs, which can be read once, in order; it counts them as `n_used`."""

    def evaluate(self, model: Model, dataset: Dataset, *, runtime: Runtime | None = None) -> Report:
        """Score the output for every sample of `dataset`; no more than one batch is held in memory."""
        self.prepare(model, dataset, runtime)
        left_out: list[InvalidSample] = []
        batches = answer_batches(model, dataset, left_out, on_error=self.options.on_error)
        report = self.score_pairs(
            (sample, output)
            for answers in batches
            for (_, sample), output in zip(answers.samples, answers.outputs, strict=True)
        )
        report.left_out += [str(error) for error in (*dataset.skipped, *left_out)]
        report.n_left_out = len(report.left_out)
        return self.sign(report, model, dataset)


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval (1927) of a rate of which `successes` of `n` independent trials are known.

    It lies inside [0, 1], also for rates near 0 and 1; no trial at all tells nothing: (0, 1).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high


def mean_interval(values: Iterable[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """The mean of `values` (one per seed, task or sample) and its Student t interval: (mean, low, high).

    A single value has no interval and no value has no mean: these are NaN, which a Score shows as n/a.
    """
    from scipy.special import stdtrit

    array = np.fromiter(values, dtype=np.float64)
    if not len(array):
        return math.nan, math.nan, math.nan
    mean = float(array.mean())
    if len(array) == 1:
        return mean, math.nan, math.nan
    half = float(stdtrit(len(array) - 1, (1 + confidence) / 2) * array.std(ddof=1) / math.sqrt(len(array)))
    return mean, mean - half, mean + half
