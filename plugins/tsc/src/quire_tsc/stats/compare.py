"""Our accuracies beside published ones: data set by data set, in standard deviations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quire.errors import ConfigError, DataError, Where
from quire_tsc.reference import BENCHMARKS, INVALID, archive_name, reference_results

from .results import listed, summarise, tidy

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    `table`: one row per model and data set that both have, with the columns model, dataset, ours, ours_std, ours_runs,
    published, published_std, published_runs, difference (ours - published), deviations (difference / published_std)
    and outside (bool). deviations is NaN where no spread was published or the published figure is not valid; it is
    infinite where all published runs agree and ours differs. `invalid`: models whose published figures are known to be
    wrong: their rows are there, and never compared. `only_ours`, `only_published`: pairs of model and data set without
    a counterpart; of the published ones only those of models that we have.
    """

    table: pd.DataFrame
    invalid: tuple[str, ...]
    only_ours: tuple[tuple[str, str], ...]
    only_published: tuple[tuple[str, str], ...]
    threshold: float

    @property
    def outside(self) -> pd.DataFrame:
        """The rows that differ by more than the threshold, the largest first."""
        rows = self.table[self.table["outside"]]
        return rows.loc[rows["deviations"].abs().sort_values(ascending=False, kind="stable").index]

    @property
    def messages(self) -> tuple[str, ...]:
        """What a reader of the table has to know, one sentence each."""
        compared = int(self.table["deviations"].notna().sum())
        said = [f"{len(self.outside)} of {compared} means differ by more than {self.threshold:g} standard deviations."]
        said += [
            f"The published figures of {name} are not compared: {INVALID.get(name, 'they are marked as not valid')}."
            for name in self.invalid
        ]
        for side, pairs in (("no published figure", self.only_ours), ("no result of ours", self.only_published)):
            if pairs:
                said.append(f"There is {side} for {listed([f'{model} on {dataset}' for model, dataset in pairs])}.")
        return tuple(said)


def compare(
    ours: pd.DataFrame,
    published: pd.DataFrame | None = None,
    *,
    benchmark: str | None = None,
    threshold: float = 2.0,
) -> Comparison:
    """Hold the mean of our runs against published means, matched by model and data set.

    ours, published: tables that `tidy` takes (see `read_results`), of single runs or of means; published=None takes the
    packaged figures of `benchmark`. Data sets may have their name of the archive of 2015 or of 2018, except in the
    benchmark mts12. Where `published` holds several benchmarks, `benchmark` chooses one. A row is outside when it
    differs by more than `threshold` published standard deviations (n - 1). Raises ConfigError for a benchmark that is
    missing or unknown; DataError for tables that `tidy` refuses or that have nothing in common.
    """
    if published is None:
        if benchmark is None:
            raise ConfigError(
                "it is not said which published figures to compare with",
                where=Where(field="benchmark"),
                remedy=f"Give a table, or the benchmark: one of {', '.join(BENCHMARKS)}.",
            )
        published = reference_results(benchmark)
    reference = _of_benchmark(tidy(published), benchmark)
    mine, theirs = (_named(table, mts=benchmark == "mts12") for table in (tidy(ours), reference))
    invalid = sorted(theirs.loc[~theirs["valid"].astype(bool), "model"].unique()) if "valid" in theirs else []
    pairs = _joined(summarise(mine), summarise(theirs))
    table = _differences(pairs[pairs["_merge"] == "both"].drop(columns="_merge"), invalid, threshold)
    if table.empty:
        raise DataError(
            "the two tables have no model and data set in common: "
            f"ours has {listed(_cells(mine))}, the published one {listed(_cells(theirs))}"
        )
    known = set(mine["model"])
    return Comparison(
        table=table,
        invalid=tuple(model for model in invalid if model in known),
        only_ours=_one_sided(pairs, "left_only"),
        only_published=tuple(pair for pair in _one_sided(pairs, "right_only") if pair[0] in known),
        threshold=threshold,
    )


def _of_benchmark(table: pd.DataFrame, benchmark: str | None) -> pd.DataFrame:
    if "benchmark" not in table:
        return table
    held = sorted(table["benchmark"].unique())
    if len(held) > 1 if benchmark is None else benchmark not in held:
        raise ConfigError(
            f"the published table holds the benchmarks {', '.join(held)}"
            + (f", not {benchmark!r}" if benchmark is not None else ""),
            where=Where(field="benchmark"),
            remedy="Choose one of them.",
        )
    return table if benchmark is None else table[table["benchmark"] == benchmark]


def _named(table: pd.DataFrame, *, mts: bool) -> pd.DataFrame:
    """With the archive's names of 2018, which the multivariate data sets never had."""
    return table if mts else table.assign(dataset=table["dataset"].map(archive_name))


def _joined(mine: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    mine = mine.rename(columns={"mean": "ours", "std": "ours_std", "n_runs": "ours_runs"})
    theirs = theirs.rename(columns={"mean": "published", "std": "published_std", "n_runs": "published_runs"})
    return mine.merge(theirs, on=["model", "dataset"], how="outer", indicator=True, sort=True)


def _differences(table: pd.DataFrame, invalid: Sequence[str], threshold: float) -> pd.DataFrame:
    table = table.astype({"ours_runs": int, "published_runs": int}).reset_index(drop=True)
    difference = table["ours"] - table["published"]
    table["difference"] = difference.where(difference.abs() > 1e-9, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = table["difference"] / table["published_std"]
    deviations = deviations.mask((table["difference"] == 0.0) & (table["published_std"] == 0.0), 0.0)
    table["deviations"] = deviations.mask(table["model"].isin(invalid))
    table["outside"] = table["deviations"].abs() > threshold
    return table


def _one_sided(pairs: pd.DataFrame, side: str) -> tuple[tuple[str, str], ...]:
    rows = pairs[pairs["_merge"] == side]
    return tuple(zip(rows["model"], rows["dataset"], strict=True))


def _cells(table: pd.DataFrame) -> list[str]:
    return [f"{model} on {dataset}" for model, dataset in zip(table["model"], table["dataset"], strict=True)]
