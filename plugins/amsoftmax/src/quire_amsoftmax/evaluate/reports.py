"""Reports of verification and identification: metrics, operating points, figures, and roc.csv."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from quire.report import Figure, Report, Score, Table, subplots
from quire.storage import atomic_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from quire.report import Cell
    from quire_amsoftmax.evaluate.folds import FoldAccuracy
    from quire_amsoftmax.evaluate.verification import OperatingPoint, Verification

DISTANCES = "The AUC is below one half: perhaps these are distances, not similarities (pass distance=true)."


def rate_name(far: float) -> str:
    """A rate in a metric's name: 1e-3."""
    return np.format_float_scientific(far, trim="-", exp_digits=1)


def verification_report(found: Verification, title: str, *, folds: FoldAccuracy | None = None) -> Report:
    """AUC, EER, best accuracy, d' and the operating points; accuracy over folds where there are folds."""
    reason = found.reason
    report = Report(title, n_used=found.n_genuine + found.n_impostor)
    report.metrics = {
        "auc": Score(found.auc, reason, higher_is_better=True),
        "eer": Score(found.eer, reason, higher_is_better=False),
        "best_accuracy": Score(found.best_accuracy, reason, higher_is_better=True),
        "d_prime": Score(found.d_prime, reason or "all scores of a kind are equal", higher_is_better=True),
    }
    if folds is not None:
        half = 1.96 * folds.standard_error
        report.metrics["fold_accuracy"] = Score(
            folds.mean, low=folds.mean - half, high=folds.mean + half, higher_is_better=True
        )
        report.metrics["fold_accuracy_std"] = Score(folds.std)
    for point in found.points:
        report.metrics[f"vr@far={rate_name(point.far)}"] = _vr(point, found.n_impostor)
    report.tables.append(points_table(found.points))
    report.notes.append(f"{found.n_genuine:,} genuine and {found.n_impostor:,} impostor pairs.")
    if found.auc is not None and found.auc < 0.5:
        report.notes.append(DISTANCES)
    if reason is None:
        report.figures += [_roc_figure(found), _histogram_figure(found)]
    return report


def _vr(point: OperatingPoint, n_impostor: int) -> Score:
    if not point.resolvable:
        reason = f"{n_impostor:,} impostor pairs can't resolve a rate of {rate_name(point.far)}"
        return Score(None, reason, higher_is_better=True)
    return Score(point.vr, low=point.vr_low, high=point.vr_high, higher_is_better=True)


def points_table(points: Sequence[OperatingPoint], title: str = "Operating points") -> Table:
    """One row for each false-accept rate; FNMR at an FMR is 1 - VR at that FAR."""
    rows: list[list[Cell]] = [
        [
            rate_name(point.far),
            point.k,
            rate_name(point.achieved_far) if point.k else "not resolvable",
            point.threshold,
            "" if point.threshold_low is None else f"{point.threshold_low:.4f} to {point.threshold_high:.4f}",
            point.vr,
            1 - point.vr,
        ]
        for point in points
    ]
    columns = ["FAR", "k", "achieved FAR", "threshold", "95 % of the threshold", "VR", "FNMR"]
    note = "Accepted is a score at or above the threshold; k impostor pairs are. A threshold above all of them has no rate."
    return Table(title, columns, rows, note)


def write_roc(found: Verification, path: Path) -> Path:
    """roc.csv: far, vr, threshold, k."""
    with atomic_file(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["far", "vr", "threshold", "k"])
        writer.writerows(found.roc())
    return path


def trials_table(title: str, values: Mapping[str, Sequence[float]]) -> tuple[Table, dict[str, Score]]:
    """Mean, standard deviation (n - 1) and their difference, BLUFR's official figure, over trials."""
    rows: list[list[Cell]] = []
    scores: dict[str, Score] = {}
    for name, each in values.items():
        known = np.array([value for value in each if not np.isnan(value)])
        if not len(known):
            scores[name] = Score(None, "no trial resolves it", higher_is_better=True)
            continue
        mean = float(known.mean())
        std = float(known.std(ddof=1)) if len(known) > 1 else 0.0
        rows.append([name, len(known), mean, std, mean - std])
        scores[name] = Score(mean, higher_is_better=True)
        scores[f"{name}_mu-sigma"] = Score(mean - std, higher_is_better=True)
    return Table(title, ["figure", "trials", "mean", "std", "mean - std"], rows), scores


def identification_table(rates: Mapping[int, float | None], title: str = "Ranks") -> Table:
    """The CMC curve at some ranks."""
    return Table(title, ["rank", "share of probes"], [[rank, rate] for rank, rate in rates.items()])


def _roc_figure(found: Verification) -> Figure:
    figure, axes = subplots()
    rows = [row for row in found.roc() if row[3]]
    axes.plot([row[0] for row in rows], [row[1] for row in rows], drawstyle="steps-post")
    axes.set_xscale("log")
    axes.set(xlabel="false-accept rate", ylabel="verification rate", ylim=(0, 1.02))
    return Figure("ROC", figure, "Every point is exact; rates below one impostor pair are not shown.")


def _histogram_figure(found: Verification) -> Figure:
    figure, axes = subplots()
    genuine, _ = np.histogram(found.genuine, found.edges)
    for counts, name in ((genuine, "one person"), (found.impostor_histogram, "different people")):
        axes.stairs(counts / max(1, counts.sum()), found.edges, label=name, fill=True, alpha=0.5)
    axes.set(xlabel="score", ylabel="share of pairs")
    axes.legend(frameon=False)
    return Figure("Scores", figure)
