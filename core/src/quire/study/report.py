"""The report of a study: ours beside the published figures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from quire.report import COLOURS, Figure, Report, Score, Table, subplots

if TYPE_CHECKING:
    import pandas as pd

    from quire.report import Cell
    from quire.study.definition import Study
    from quire.study.results import Results

CLOSE = 2  # published standard deviations within which a mean counts as the published one


def make_report(study: Study, results: Results, *, title: str, missing: int | None = None) -> Report:
    """The report on what is there, with `missing` cells that are not.

    Tables and figures of the study's own come after those of every study.
    """
    done = sum(row.status == "done" for row in results.rows)
    report = Report(
        study.title or title,
        metrics={
            "cells done": Score(done),
            "cells failed": Score(len(results.failed), higher_is_better=False),
            **({} if missing is None else {"cells missing": Score(missing)}),
        },
        n_used=done,
        left_out=[f"{row.model} on {row.dataset}, seed {row.seed}: {row.error}" for row in results.failed],
        notes=_notes(results),
    )
    if done:
        report.tables += [_models_table(results), _results_table(results)]
        report.figures.append(_models_figure(results))
        if results.summary["difference"].notna().any():
            report.figures.append(_published_figure(results))
        report.tables += study.tables(results)
        report.figures += study.figures(results)
    return report


def _notes(results: Results) -> list[str]:
    versions: dict[str, set[str | None]] = {}
    for row in results.rows:
        if row.status == "done":
            versions.setdefault(row.dataset, set()).add(row.fingerprint)
    changed = sorted(name for name, seen in versions.items() if len(seen) > 1)
    return [f"The data changed between runs of these data sets: {', '.join(changed)}."] if changed else []


def _models_table(results: Results) -> Table:
    columns = ["model", "data sets", "runs", "failed", f"mean {results.metric}"]
    columns += ["published", f"within {CLOSE} std", "fit seconds", "CPU hours", "weights"]
    rows: list[list[Cell]] = []
    for model in results.models:
        runs = results.frame[results.frame["model"] == model]
        pairs = results.summary[results.summary["model"] == model]
        known = pairs.dropna(subset=["difference"])
        judged = known["difference_std"].dropna()
        rows.append(
            [
                model,
                int(pairs["mean"].notna().sum()),
                int(pairs["n"].sum()),
                int(pairs["failed"].sum()),
                float(pairs["mean"].mean()),
                float(known["published_mean"].mean()),
                f"{int((judged.abs() <= CLOSE).sum())} of {len(judged)}" if len(judged) else None,
                float(runs["fit_seconds"].mean()),
                float(runs["cpu_seconds"].sum()) / 3600,
                _weights(runs),
            ]
        )
    note = "Means over data sets of the mean over runs; published: over those of these data sets that have a figure."
    return Table("Models", columns, rows, note)


def _weights(runs: pd.DataFrame) -> str | None:
    counts = runs["n_params"].dropna()
    if counts.empty:
        return None
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _results_table(results: Results) -> Table:
    columns = ["data set", "model", "n", "mean", "std", "published", "published std", "difference", "in std"]
    picked = ["dataset", "model", "n", "mean", "std", "published_mean", "published_std", "difference", "difference_std"]
    ordered = results.summary.sort_values("dataset", kind="stable")
    rows: list[list[Cell]] = [
        [None if isinstance(cell, float) and math.isnan(cell) else cell for cell in record]
        for record in ordered[picked].itertuples(index=False, name=None)
    ]
    note = (
        f"{results.metric}: mean and standard deviation (n - 1) over n runs; difference: ours minus the published mean, "
        "also in published standard deviations."
    )
    return Table("Results", columns, rows, note)


def _models_figure(results: Results) -> Figure:
    """The distribution over data sets of every model's mean."""
    means = results.means()
    figure, axes = subplots(size=(6.4, 1.2 + 0.35 * len(means.columns)))
    for position, model in enumerate(means.columns):
        values = means[model].dropna()
        offsets = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else [0.0]
        axes.plot(values, position + np.asarray(offsets), "o", markersize=3, alpha=0.6, color=COLOURS[0])
        axes.plot([values.mean()], [position], "|", markersize=16, markeredgewidth=2, color=COLOURS[1])
    axes.set_yticks(range(len(means.columns)), means.columns)
    axes.invert_yaxis()
    axes.set(xlabel=results.metric)
    return Figure("Models", figure, "A dot is the mean over runs on one data set, the bar the mean of the dots.")


def _published_figure(results: Results) -> Figure:
    """Ours against the published means, with the standard deviations of both."""
    figure, axes = subplots(size=(5.2, 5.2))
    known = results.summary.dropna(subset=["difference"])
    for position, (model, pairs) in enumerate(known.groupby("model", sort=False)):
        axes.errorbar(
            pairs["published_mean"],
            pairs["mean"],
            xerr=pairs["published_std"].fillna(0),
            yerr=pairs["std"].fillna(0),
            fmt="osD^v"[position // len(COLOURS) % 5],
            markersize=4,
            linewidth=0.6,
            color=COLOURS[position % len(COLOURS)],
            label=str(model),
        )
    low = float(min(known["mean"].min(), known["published_mean"].min()))
    high = float(max(known["mean"].max(), known["published_mean"].max()))
    axes.plot([low, high], [low, high], "--", linewidth=1, color="#666666")
    axes.set(xlabel=f"published {results.metric}", ylabel=f"our {results.metric}")
    axes.legend(frameon=False, fontsize=8)
    return Figure("Ours and the published", figure, "One mark per model and data set; bars are standard deviations.")
