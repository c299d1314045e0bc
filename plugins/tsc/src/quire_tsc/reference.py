"""The published accuracies that ours are held against, with the names that the papers print.

reference_results.csv holds facts computed from the result files that the authors published:
hfawaz/dl-4-tsc (results-uea.csv, results-mts.csv, results-ucr-128.csv) for Ismail Fawaz et al., "Deep learning for time
series classification: a review" (2019), and hfawaz/InceptionTime (results-inception-128.csv,
results-InceptionTime-85.csv, results-InceptionTime-128.csv) for Ismail Fawaz et al., "InceptionTime" (2020).
Per benchmark, data set and model: the number of runs, the mean, standard deviation (n - 1), minimum and maximum of the
test accuracy, and the mean training seconds on the authors' GPUs. The catalogue maps the names of 2015 that ucr85 uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Literal, get_args

import pandas as pd

from quire.errors import ConfigError, Where, nearest

from .catalogue import catalogue

Benchmark = Literal["ucr85", "mts12", "ucr128"]
"""ucr85, mts12: the review's 97 data sets, 10 runs; ucr128: its authors' later run on the archive of 2018, 5 runs."""

BENCHMARKS: tuple[Benchmark, ...] = get_args(Benchmark)

PAPER_MODELS = ("mlp", "fcn", "resnet", "encoder", "mcnn", "tlenet", "mcdcnn", "time_cnn", "twiesn")

TITLES = {
    "mlp": "MLP",
    "fcn": "FCN",
    "resnet": "ResNet",
    "encoder": "Encoder",
    "mcnn": "MCNN",
    "tlenet": "t-LeNet",
    "mcdcnn": "MCDCNN",
    "time_cnn": "Time-CNN",
    "twiesn": "TWIESN",
    "inception": "Inception",
    "inception_time": "InceptionTime",
    "minirocket": "MiniRocket",
}
"""The models' names as papers print them."""

INVALID = {"tlenet": "its vote was taken over the whole test set, which gave every series the same label"}
"""Models whose published figures are wrong, and why: shown and ranked as published, never compared with ours."""


@dataclass(frozen=True)
class Published:
    """A published figure: test accuracies as fractions; `std` (n - 1) is None for a single run.

    `train_seconds`: mean on the authors' GPUs, None where not recorded. `valid`: False for a figure that is known to
    be wrong (see INVALID).
    """

    mean: float
    std: float | None
    low: float
    high: float
    n_runs: int
    train_seconds: float | None
    valid: bool


def archive_name(name: str) -> str:
    """The name of 2018 of a UCR data set given by its name of 2015 or 2018; any other name as it is."""
    return _names_of_2015().get(name, name)


def reference_results(*benchmarks: str) -> pd.DataFrame:
    """The published figures of these benchmarks (none named: of all), one row per benchmark, model and data set.

    Columns: benchmark, dataset (for the UCR archive its name of 2018), published_name, model, n_runs, accuracy (mean),
    std, low, high, train_seconds (NaN where not known), valid (False: see INVALID). Raises ConfigError for an unknown
    benchmark.
    """
    for name in benchmarks:
        _require_benchmark(name)
    table = _table()
    return table[table["benchmark"].isin(benchmarks or BENCHMARKS)].reset_index(drop=True)


def reference_scores(*benchmarks: str, models: tuple[str, ...] | None = None) -> pd.DataFrame:
    """Published mean accuracies [data sets x models], as the functions of `quire_tsc.stats` take them.

    `models`: by default those with a figure for every data set. With several benchmarks a data set is named
    "benchmark/name", for two of them may hold different data sets of one name. Raises ConfigError for an unknown
    benchmark or a model without figures for all of them.
    """
    table = reference_results(*benchmarks)
    if table["benchmark"].nunique() > 1:
        table["dataset"] = table["benchmark"] + "/" + table["dataset"]
    scores = table.pivot(index="dataset", columns="model", values="accuracy").dropna(axis="columns")
    for model in models or ():
        if model not in scores.columns:
            fault = f"there are no published figures of {model!r} for all of {', '.join(benchmarks or BENCHMARKS)}"
            raise ConfigError(f"{fault}{nearest(model, scores.columns)}", where=Where(field="models"))
    return scores[list(models)] if models else scores


def published(benchmark: str, model: str, dataset: str) -> Published | None:
    """The published figure of a model on a data set (its name of 2015 or 2018), or None where there is none.

    Raises ConfigError for an unknown benchmark.
    """
    _require_benchmark(benchmark)
    return _figures().get((benchmark, model, dataset if benchmark == "mts12" else archive_name(dataset)))


def _require_benchmark(name: str) -> None:
    if name not in BENCHMARKS:
        raise ConfigError(
            f"there are no published figures for a benchmark {name!r}{nearest(name, BENCHMARKS)}",
            where=Where(field="benchmark"),
            remedy=f"Choose one of {', '.join(BENCHMARKS)}.",
        )


@cache
def _names_of_2015() -> dict[str, str]:
    return {entry.name_2015: entry.name for entry in catalogue().values() if entry.name_2015}


@cache
def _table() -> pd.DataFrame:
    with as_file(files("quire_tsc") / "reference_results.csv") as path:
        table = pd.read_csv(path)
    table = table.rename(
        columns={
            "dataset": "published_name",
            "acc_mean": "accuracy",
            "acc_std": "std",
            "acc_min": "low",
            "acc_max": "high",
            "train_seconds_mean": "train_seconds",
        }
    )
    # the multivariate Wafer is another data set than the UCR archive's "wafer"
    multivariate = table["benchmark"] == "mts12"
    names = table["published_name"].map(archive_name).where(~multivariate, table["published_name"])
    table.insert(1, "dataset", names)
    table["valid"] = ~table["model"].isin(list(INVALID))
    return table


@cache
def _figures() -> dict[tuple[str, str, str], Published]:
    def known(value: float) -> float | None:
        return None if pd.isna(value) else float(value)

    return {
        (row["benchmark"], row["model"], row["dataset"]): Published(
            mean=row["accuracy"],
            std=known(row["std"]),
            low=row["low"],
            high=row["high"],
            n_runs=int(row["n_runs"]),
            train_seconds=known(row["train_seconds"]),
            valid=bool(row["valid"]),
        )
        for row in _table().to_dict("records")
    }
