"""The results of a study as tables: one row per run, one row per model and data set."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from quire.errors import ConfigError, nearest
from quire.storage import atomic_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from quire.study.cells import Published, Row

NAMES = ("model", "dataset", "run", "seed")
COSTS = ("fit_seconds", "predict_seconds", "cpu_seconds", "n_params", "status", "error")
TIMES = ("fit_seconds", "predict_seconds", "cpu_seconds")
"""The columns that differ between two executions of the same cells."""


class Results:
    """What the cells of a study came to, held against published figures.

    rows: sorted by the study's order of models, then by data set and seed. A run's number is the position of its seed
    among all seeds, from 0. Raises ConfigError if there are results and none has the metric.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        metric: str,
        published: Mapping[tuple[str, str], Published],
        models: Sequence[str] = (),
    ) -> None:
        order = {name: position for position, name in enumerate(models)}
        self.rows = sorted(rows, key=lambda row: (order.get(row.model, len(order)), row.model, row.dataset, row.seed))
        self.metric = metric
        self.published = published
        known = {name for row in rows for name in row.metrics}
        if known and metric not in known:
            raise ConfigError(f"no evaluator measured the study's metric {metric!r}{nearest(metric, known)}")

    @property
    def models(self) -> list[str]:
        """The models that have results, in the study's order."""
        return list(dict.fromkeys(row.model for row in self.rows))

    @property
    def datasets(self) -> list[str]:
        """The data sets that have results, sorted."""
        return sorted({row.dataset for row in self.rows})

    @property
    def failed(self) -> list[Row]:
        """The cells that failed."""
        return [row for row in self.rows if row.status == "failed"]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row per run: names, every metric, times, number of weights, status and error."""
        import pandas as pd

        metrics = list(dict.fromkeys(name for row in self.rows for name in row.metrics))
        seeds = sorted({row.seed for row in self.rows})
        records = [
            {**vars(row), **dict.fromkeys(metrics), **row.metrics, "run": seeds.index(row.seed)} for row in self.rows
        ]
        frame = pd.DataFrame(records, columns=[*NAMES, *metrics, *COSTS])
        types: dict[str, Any] = dict.fromkeys([*metrics, *TIMES], "float64") | {"n_params": "Int64"}
        types |= dict.fromkeys(["run", "seed"], "int64") | dict.fromkeys(
            ["model", "dataset", "status", "error"], "string"
        )
        return frame.astype(types)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row per model and data set, for the metric.

        n runs with a value and how many failed, their mean and std (n - 1), the published mean, std and n, `difference`
        ours minus published, and `difference_std`, the same in published standard deviations (where that is not 0).
        """
        import pandas as pd

        groups: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.model, row.dataset), []).append(row)
        records = [self._summarise(pair, rows) for pair, rows in groups.items()]
        columns = ["model", "dataset", "n", "failed", "mean", "std", "published_mean", "published_std", "published_n"]
        columns += ["difference", "difference_std", "fit_seconds", "cpu_seconds"]
        frame = pd.DataFrame(records, columns=columns)
        types: dict[str, Any] = dict.fromkeys(columns[4:], "float64") | dict.fromkeys(["n", "failed"], "int64")
        types |= {"published_n": "Int64"} | dict.fromkeys(["model", "dataset"], "string")
        return frame.astype(types)

    def _summarise(self, pair: tuple[str, str], rows: Sequence[Row]) -> dict[str, Any]:
        values = [value for row in rows if (value := row.metrics.get(self.metric)) is not None]
        mean = _mean(values)
        figure = self.published.get(pair)
        record: dict[str, Any] = {
            "model": pair[0],
            "dataset": pair[1],
            "n": len(values),
            "failed": sum(row.status == "failed" for row in rows),
            "mean": mean,
            "std": _std(values),
            "fit_seconds": _mean([row.fit_seconds for row in rows if row.fit_seconds is not None]),
            "cpu_seconds": _mean([row.cpu_seconds for row in rows if row.cpu_seconds is not None]),
        }
        if figure is not None and figure.mean is not None:
            record |= {
                "published_mean": figure.mean,
                "published_std": figure.std,
                "published_n": figure.n,
            }
            if mean is not None:
                record["difference"] = mean - figure.mean
                record["difference_std"] = (mean - figure.mean) / figure.std if figure.std else None
        return record

    def means(self) -> pd.DataFrame:
        """The mean of the metric, data sets x models; NaN where a model has no result."""
        return self._pivot("mean")

    def published_means(self) -> pd.DataFrame:
        """The published means of the same pairs, data sets x models; NaN where there is none."""
        return self._pivot("published_mean")

    def _pivot(self, column: str) -> pd.DataFrame:
        table = self.summary.pivot(index="dataset", columns="model", values=column)
        return table.reindex(index=self.datasets, columns=self.models)

    def write(self, folder: Path) -> None:
        """results.csv, results.parquet, summary.csv and summary.parquet in `folder`, each atomically."""
        for name, frame in (("results", self.frame), ("summary", self.summary)):
            with atomic_file(folder / f"{name}.csv") as file:
                frame.to_csv(file, index=False, lineterminator="\n")
            with atomic_file(folder / f"{name}.parquet") as file:
                frame.to_parquet(file, index=False)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _std(values: Sequence[float]) -> float | None:
    """With n - 1; None for fewer than two values."""
    from statistics import stdev

    return stdev(values) if len(values) > 1 else None
