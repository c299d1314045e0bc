"""Nearest neighbours under dynamic time warping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from dtaidistance import dtw_ndim
from pydantic import Field, PositiveInt

from quire import config
from quire.errors import InvalidSample, Where
from quire.model import Classifier, Demo
from quire.task import SERIES_CLASSIFICATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from quire import Dataset, Run, Runtime
    from quire.modality import Sample


class DTWConfig(config.Config):
    """The options of DTW."""

    neighbours: PositiveInt = Field(1, description="training series that have a vote, or all if there are fewer")
    window: float = Field(
        0.1, ge=0, le=1, description="half the width of the band, as a share of the longest training series"
    )


class DTW(Classifier):
    """The shares of labels among the nearest training series, of any length, by banded dynamic time warping."""

    Config = DTWConfig
    task = SERIES_CLASSIFICATION
    demo = Demo(dataset="ucr-tsv", inputs=lambda data: sorted(data.glob("*_TEST.tsv")))
    config: DTWConfig

    def fit(
        self,
        train: Dataset,
        validation: Dataset | None = None,
        *,
        runtime: Runtime | None = None,
        run: Run | None = None,
    ) -> Self:
        """Remember every series."""
        samples = [self.task.check(train[index], index=index) for index in range(len(train))]
        self._labels = train.labels
        self._channels = len(samples[0]["series"])
        self._series = [self._points(sample, index) for index, sample in enumerate(samples)]
        self._targets = np.array([train.labels.index(sample["target"]) for sample in samples])
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the training data."""
        return self._labels

    def predict_proba(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Shares of votes, float32 [samples, classes]; of neighbours that are equally far, the first ones vote."""
        checked = [self.task.check(sample, index=index) for index, sample in enumerate(samples)]
        distances = self._distances([self._points(sample, index) for index, sample in enumerate(checked)])
        nearest = np.argsort(distances, axis=1, kind="stable")[:, : self.config.neighbours]
        votes = np.eye(len(self._labels), dtype=np.float32)[self._targets[nearest]]
        shares: NDArray[np.float32] = votes.mean(axis=1)
        return shares

    def state(self) -> dict[str, Any]:
        """The training series, float64 [length, channels] each, and the columns of their labels."""
        return {"labels": list(self._labels), "series": self._series, "targets": self._targets}

    def restore(self, state: dict[str, Any]) -> None:
        """Become the model whose `state` this is."""
        self._labels, self._series, self._targets = tuple(state["labels"]), state["series"], state["targets"]
        self._channels = self._series[0].shape[1]

    def _points(self, sample: Sample, index: int) -> NDArray[np.float64]:
        """The series as float64 [length, channels]. Raises InvalidSample for missing values and other channels."""
        series, where = sample["series"], Where(sample=sample.get("id", index), field="series")
        if len(series) != self._channels:
            raise InvalidSample(f"{len(series)} channels, but the model was trained on {self._channels}", where=where)
        if np.isnan(series).any():
            raise InvalidSample("a value is missing", where=where, remedy="Interpolate it.")
        return np.ascontiguousarray(series.T, dtype=np.float64)

    def _distances(self, series: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        """[n, training series]; a path may leave the diagonals of two lengths by the band."""
        every, count = [*series, *self._series], len(series)
        band = 1 + round(self.config.window * max(map(len, self._series)))  # dtaidistance counts the diagonal
        found = dtw_ndim.distance_matrix(
            every, ndim=self._channels, block=((0, count), (count, len(every))), window=band, use_c=True
        )
        distances: NDArray[np.float64] = np.asarray(found)[:count, count:]
        return distances
