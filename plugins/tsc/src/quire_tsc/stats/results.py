"""Tables of results, one row per model, data set and run: read, checked, averaged, aligned by name."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from quire.errors import ConfigError, DataError, InvalidSample, Where, nearest
from quire.table import table_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

COLUMN_NAMES = {
    "benchmark": ("benchmark",),
    "model": ("model", "classifier_name", "classifier"),
    "dataset": ("dataset", "dataset_name", "problem"),
    "run": ("run", "seed", "archive_name"),
    "accuracy": ("accuracy", "acc_mean", "acc"),
    "std": ("std", "acc_std"),
    "n_runs": ("n_runs",),
    "valid": ("valid",),
}
"""Our columns, and what tables call them; dl-4-tsc numbers its runs in the name of the archive."""

_NUMBERS = ("accuracy", "std", "n_runs")
_SHOWN = 5


def read_results(path: str | Path, *, percent: bool = False) -> pd.DataFrame:
    """Read a table of results (CSV, TSV, JSON Lines, Parquet) as `tidy` gives it, indexed by line.

    Raises DataError, naming file, line and column, for what `tidy` refuses and for a file that is not such a table.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("there is no such file", where=Where(file=path))
    lines, cells = [], []
    for row in table_rows(path):
        if isinstance(row, InvalidSample):
            raise row
        lines.append(row.line)
        cells.append(row.cells)
    if not cells:
        raise DataError("the table has no row", where=Where(file=path))
    return tidy(pd.DataFrame(cells, index=pd.Index(lines, name="line")), file=path, percent=percent)


def tidy(table: pd.DataFrame, *, file: Path | None = None, percent: bool = False) -> pd.DataFrame:
    """A table with the columns model, dataset, run, accuracy and, where given, std, n_runs, benchmark and valid.

    Takes long tables (columns by any of COLUMN_NAMES; without a run, one row per model and data set) and wide ones
    (first column the data set, a column per model). Accuracies are fractions, or with `percent` percentages; an empty
    one is a run that failed. Raises DataError for a missing column, an empty name, what is not a number or no
    fraction, and for two rows of one model, data set and run.
    """
    table, found = _long(table)
    for needed in ("model", "dataset", "accuracy"):
        if needed not in found:
            raise DataError(
                f"the table has no column {needed!r} (it has {', '.join(map(str, table.columns))})",
                where=Where(file=file),
                remedy=f"Name it one of {', '.join(COLUMN_NAMES[needed])}.",
            )
    result = pd.DataFrame({ours: table[name] for ours, name in found.items()}, index=table.index)
    for name in ("model", "dataset"):
        result[name] = _names(result[name], file)
    for name in _NUMBERS:
        if name in result:
            result[name] = _numbers(result[name], found[name], file)
    if percent:
        for name in {"accuracy", "std"} & set(result.columns):
            result[name] /= 100
    if "run" not in result:
        result["run"] = 0
    _require_fractions(result["accuracy"], file)
    _require_distinct(result, file)
    return result


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation (n - 1; NaN for one run) and number of runs of each model and data set.

    table: as `tidy` gives it, or anything that `tidy` takes. Runs that failed are left out. Columns: model, dataset,
    mean, std, n_runs, sorted by model and data set. A table of means keeps its own std and n_runs. Raises DataError as
    `tidy` does, and for a table of several benchmarks.
    """
    table = tidy(table).dropna(subset=["accuracy"])
    _require_one_benchmark(table)
    by_cell = table.groupby(["model", "dataset"], sort=True)
    summary = by_cell["accuracy"].agg(mean="mean", std="std", n_runs="size")
    if "std" in table and (summary["n_runs"] == 1).all():
        summary["std"] = by_cell["std"].first()
    if "n_runs" in table and (summary["n_runs"] == 1).all():
        summary["n_runs"] = by_cell["n_runs"].first().fillna(1).astype(int)
    return summary.reset_index()


def align(
    table: pd.DataFrame, *, models: Sequence[str] | None = None, on_missing: Literal["error", "drop"] = "error"
) -> pd.DataFrame:
    """Mean accuracies over runs, float64 [data sets x models], matched by name: the order of rows is of no account.

    table: as `tidy` takes it, of one benchmark; runs that failed are left out of a mean. `models`: which, and their
    order (default: all, alphabetically). Data sets come alphabetically. A data set that a model lacks is a DataError
    that names both, or with on_missing="drop" left out for all models (and logged). Raises ConfigError for a model that
    the table does not hold.
    """
    table = tidy(table)
    _require_one_benchmark(table)
    chosen = list(models) if models is not None else sorted(table["model"].unique())
    for model in chosen:
        if model not in set(table["model"]):
            fault = f"the table has no model {model!r}{nearest(model, table['model'].unique())}"
            raise ConfigError(fault, where=Where(field="models"))
    scores = table[table["model"].isin(chosen)].pivot_table(
        index="dataset", columns="model", values="accuracy", aggfunc="mean", dropna=False
    )
    scores = scores.reindex(index=sorted(scores.index), columns=chosen)
    lacking = scores.index[scores.isna().any(axis="columns")]
    if len(lacking) and on_missing == "error":
        raise DataError(
            _lacking(scores),
            where=Where(field="dataset"),
            remedy=f'Run what is missing, or pass on_missing="drop" to use the {len(scores) - len(lacking)} data sets '
            "that all have.",
        )
    if len(lacking) == len(scores):
        raise DataError(f"no data set has results of all models: {_lacking(scores)}", where=Where(field="dataset"))
    if len(lacking):
        log.warning("%d data sets are left out: %s", len(lacking), _lacking(scores))
    return scores.drop(index=lacking)


def require_scores(scores: pd.DataFrame, *, models: int = 2) -> None:
    """Raise DataError unless these are scores [data sets x models]: distinct names, no gap, at least so many models."""
    for kind, names in (("data set", scores.index), ("model", scores.columns)):
        if not names.is_unique:
            raise DataError(f"{kind} {names[names.duplicated()][0]!r} appears twice in the scores")
    if scores.shape[1] < models:
        raise DataError(f"{models} models or more are needed, and the scores are of {scores.shape[1]}")
    if scores.empty:
        raise DataError("the scores are of no data set")
    if not np.isfinite(scores.to_numpy(dtype=np.float64)).all():
        raise DataError(_lacking(scores), remedy="Use align() to match results by name.")


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _long(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """The table with one accuracy a row, and for each of our columns that it has, what it calls it."""
    found = {
        ours: name for ours, names in COLUMN_NAMES.items() if (name := next((n for n in names if n in table), None))
    }
    if "model" in found or "accuracy" in found or table.shape[1] < 2:
        return table, found
    data = table.columns[0]
    table = table.melt(id_vars=[data], var_name="model", value_name="accuracy", ignore_index=False)
    return table, {"dataset": data, "model": "model", "accuracy": "accuracy"}


def _require_one_benchmark(table: pd.DataFrame) -> None:
    if "benchmark" in table and table["benchmark"].nunique() > 1:
        raise DataError(
            f"the table holds several benchmarks ({', '.join(sorted(table['benchmark'].unique()))})",
            where=Where(field="benchmark"),
            remedy="Choose the rows of one.",
        )


def _lacking(scores: pd.DataFrame) -> str:
    gaps = {model: sorted(scores.index[~np.isfinite(scores[model])]) for model in scores.columns}
    return "; ".join(f"{model} has no result on {listed(names)}" for model, names in gaps.items() if names)


def _place(column: pd.Series, position: int, file: Path | None, name: str) -> Where:
    label = column.index[position]
    if column.index.name == "line":
        return Where(file=file, line=int(label), column=name)
    return Where(file=file, sample=f"at index {label}", column=name)


def _names(column: pd.Series, file: Path | None) -> pd.Series:
    names = _text(column)
    empty = np.flatnonzero(names == "")
    if len(empty):
        raise DataError(f"the {column.name} has no name", where=_place(column, empty[0], file, str(column.name)))
    return names


def _text(column: pd.Series) -> pd.Series:
    return column.map(lambda cell: "" if pd.isna(cell) else str(cell).strip())


def _numbers(column: pd.Series, name: str, file: Path | None) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce").astype(np.float64)
    given = _text(column)
    wrong = np.flatnonzero(numbers.isna() & ~given.str.lower().isin(["", "nan", "na", "null", "none"]))
    if len(wrong):
        fault = f"{given.iloc[wrong[0]]!r} is not a number"
        raise DataError(fault, where=_place(column, wrong[0], file, name))
    return numbers


def _require_fractions(accuracy: pd.Series, file: Path | None) -> None:
    wrong = np.flatnonzero(accuracy.notna() & ~accuracy.between(0.0, 1.0))
    if len(wrong):
        raise DataError(
            f"the accuracy {accuracy.iloc[wrong[0]]:g} is not between 0 and 1",
            where=_place(accuracy, wrong[0], file, "accuracy"),
            remedy="Give fractions, or say percent=True where all figures are percentages.",
        )


def _require_distinct(table: pd.DataFrame, file: Path | None) -> None:
    key = [name for name in ("benchmark", "model", "dataset", "run") if name in table]
    twice = np.flatnonzero(table.duplicated(key))
    if len(twice):
        row = table.iloc[twice[0]]
        raise DataError(
            f"model {row['model']!r}, data set {row['dataset']!r}, run {row['run']} appears a second time",
            where=_place(table["model"], twice[0], file, "run"),
            remedy="Keep one of the rows, or number the runs of a model in a column 'run'.",
        )
