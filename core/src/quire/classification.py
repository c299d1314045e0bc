"""How well class labels, and the probabilities behind them, are predicted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from quire.dataset import sort_labels
from quire.errors import DataError, TaskMismatch
from quire.evaluator import Evaluator, PredictionEvaluator, Predictions, mean_interval, wilson
from quire.modality import Label
from quire.model import Classifier
from quire.report import COLOURS, Cell, Figure, Report, Score, Table, subplots

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from quire.dataset import Dataset
    from quire.model import Model
    from quire.runtime import Runtime

MOST_ANNOTATED = 12  # classes: beyond, the numbers in the cells of a confusion matrix can't be read any more
MOST_NAMED = 50  # classes: beyond, neither can the names at its sides

HIGHER_IS_BETTER = {
    "accuracy": True,
    "balanced_accuracy": True,
    "precision_macro": True,
    "recall_macro": True,
    "f1_macro": True,
    "nll": False,
    "brier": False,
    "ece": False,
    "auroc": True,
}


class ClassificationEvaluator(PredictionEvaluator):
    """Accuracy and its relatives, calibration, ranking, and where the mistakes are.

    accuracy comes with its Wilson interval, nll and brier with a t interval over the samples.
    balanced_accuracy: mean recall of the classes among the targets. precision_macro, recall_macro, f1_macro: means over
    the classes among targets or predictions, where a ratio without denominator counts as 0 (as in scikit-learn).
    nll: mean negative log-likelihood in nats, with probabilities clipped at the float32 epsilon. brier: mean squared
    distance between probabilities and one-hot target, in [0, 2] (Brier, 1950). ece: expected calibration error over
    equally wide bins of the predicted label's probability (Guo et al., 2017, eq. 3). auroc: area under the ROC curve of
    one class against the rest, the mean over the classes that have both.
    """

    class Options(Evaluator.Options):
        """What a user can choose."""

        allow_unseen: bool = Field(
            False,
            description="count samples of classes that the model does not know as errors instead of refusing them",
        )
        bins: PositiveInt = Field(15, description="bins of the reliability diagram and of the calibration error")
        mistakes: NonNegativeInt = Field(20, description="rows in the table of the most confident mistakes")

    name: ClassVar[str] = "classification"
    options: Options

    def prepare(self, model: Model, dataset: Dataset, runtime: Runtime | None) -> None:
        """Check also that the targets are labels, and ones that the model knows."""
        super().prepare(model, dataset, runtime)
        if not isinstance(dataset.task.target, Label):
            raise TaskMismatch(f"{self.name} needs labels as targets, and {dataset.name} has none")
        if isinstance(model, Classifier) and not self.options.allow_unseen:
            model.check_targets(dataset)

    def score(self, predictions: Predictions) -> Report:
        """The report on the labels, and on the probabilities where there are any.

        Raises DataError for targets that are not among the model's labels, unless `allow_unseen`.
        """
        outcome = self._outcome(predictions)
        scores = {**_label_scores(outcome), **_probability_scores(outcome, self.options.bins)}
        report = Report(
            "Classification",
            metrics={name: _score(scores[name], better) for name, better in HIGHER_IS_BETTER.items()},
            n_used=len(predictions),
            left_out=[str(error) for error in predictions.left_out],
            notes=_notes(outcome),
        )
        if len(predictions):
            report.tables.append(_class_table(outcome))
            report.figures.append(_confusion_figure(outcome))
            if outcome.probabilities is not None:
                report.tables.append(_mistakes_table(outcome, self.options.mistakes))
                report.figures.append(_reliability_figure(outcome, self.options.bins))
        return report

    def _outcome(self, predictions: Predictions) -> _Outcome:
        if predictions.targets is None:
            raise DataError("the predictions have no targets, so there is nothing to hold them against")
        labels = predictions.labels or sort_labels({*predictions.targets, *predictions.outputs})
        if strange := set(predictions.outputs) - set(labels):
            raise DataError(f"the predictions {_listed(strange)} are not among the labels {_listed(labels)}")
        unseen = sort_labels(set(predictions.targets) - set(labels))
        if unseen and not self.options.allow_unseen:
            raise DataError(
                f"the targets {_listed(unseen)} are not among the model's labels {_listed(labels)}",
                remedy="Train with them, or set the option allow_unseen to count them as errors.",
            )
        position = {label: index for index, label in enumerate((*labels, *unseen))}
        return _Outcome(
            ids=predictions.ids,
            classes=(*labels, *unseen),
            unseen=len(unseen),
            truth=np.array([position[label] for label in predictions.targets], dtype=np.int64),
            guess=np.array([position[label] for label in predictions.outputs], dtype=np.int64),
            probabilities=None if predictions.probabilities is None else predictions.probabilities.astype(np.float64),
        )


@dataclass(frozen=True)
class _Outcome:
    """Targets and predictions as positions in `classes`, of which the model does not know the last `unseen`."""

    ids: list[str]
    classes: tuple[str, ...]
    unseen: int
    truth: NDArray[np.int64]
    guess: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        return np.equal(self.truth, self.guess)

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Which samples are of a class that the model knows."""
        return self.truth < len(self.classes) - self.unseen

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Counts, [target, prediction]."""
        counts = np.zeros((len(self.classes),) * 2, dtype=np.int64)
        np.add.at(counts, (self.truth, self.guess), 1)
        return counts

    @cached_property
    def per_class(self) -> dict[str, NDArray[np.float64]]:
        """Precision, recall, F1 and number of targets of every class; 0 where a denominator is 0."""
        from sklearn.metrics import precision_recall_fscore_support

        values = precision_recall_fscore_support(
            self.truth, self.guess, labels=np.arange(len(self.classes)), average=None, zero_division=0
        )
        return dict(zip(("precision", "recall", "f1", "support"), values, strict=True))

    @cached_property
    def auroc(self) -> NDArray[np.float64]:
        """The area under the ROC curve of every class that the model knows; NaN without both targets and others."""
        from sklearn.metrics import roc_auc_score

        areas = np.full(len(self.classes) - self.unseen, np.nan)
        if self.probabilities is not None:
            for column in range(len(areas)):
                targets = self.truth == column
                if targets.any() and not targets.all():
                    areas[column] = roc_auc_score(targets, self.probabilities[:, column])
        return areas

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of every predicted label; needs probabilities."""
        assert self.probabilities is not None
        return self.probabilities[np.arange(len(self.guess)), self.guess]


Result = float | tuple[float, float, float] | str
"""A value, a value with the bounds of its interval, or why there is none."""


def _score(result: Result, higher_is_better: bool) -> Score:
    if isinstance(result, str):
        return Score(None, result, higher_is_better=higher_is_better)
    value, low, high = result if isinstance(result, tuple) else (result, None, None)
    return Score(value, low=low, high=high, higher_is_better=higher_is_better)


def _label_scores(outcome: _Outcome) -> dict[str, Result]:
    names = ("accuracy", "balanced_accuracy", "precision_macro", "recall_macro", "f1_macro")
    n = len(outcome.ids)
    if not n:
        return dict.fromkeys(names, "no sample was used")
    per_class, hits = outcome.per_class, int(outcome.correct.sum())
    targets = per_class["support"] > 0
    occurring = targets | (outcome.confusion.sum(axis=0) > 0)
    return {
        "accuracy": (hits / n, *wilson(hits, n)),
        "balanced_accuracy": per_class["recall"][targets].mean(),
        **{f"{name}_macro": per_class[name][occurring].mean() for name in ("precision", "recall", "f1")},
    }


def _probability_scores(outcome: _Outcome, bins: int) -> dict[str, Result]:
    probabilities, truth = outcome.probabilities, outcome.truth
    if probabilities is None or not len(truth):
        reason = "the model gives no probabilities" if probabilities is None else "no sample was used"
        return dict.fromkeys(("nll", "brier", "ece", "auroc"), reason)
    one_hot = truth[:, None] == np.arange(probabilities.shape[1])
    # A class without a column would have had a one there, so a sample of it is one further off.
    distances = ((probabilities - one_hot) ** 2).sum(axis=1) + ~outcome.known
    nll: Result = f"{_count(~outcome.known)} of classes to which the model gives no probability"
    if outcome.known.all():
        given = probabilities[np.arange(len(truth)), truth]
        nll = _positive(mean_interval(-np.log(np.clip(given, np.finfo(np.float32).eps, 1))))
    counts, accuracy, confidence = _reliability(outcome, bins)
    filled = counts > 0
    gaps = np.abs(accuracy[filled] - confidence[filled])
    areas = outcome.auroc[~np.isnan(outcome.auroc)]
    return {
        "nll": nll,
        "brier": _positive(mean_interval(distances)),
        "ece": float(counts[filled] @ gaps / len(truth)),
        "auroc": float(areas.mean()) if len(areas) else _no_auroc(outcome),
    }


def _positive(interval: tuple[float, float, float]) -> tuple[float, float, float]:
    """The t interval of a quantity that is never negative."""
    value, low, high = interval
    return value, max(low, 0.0), high


def _no_auroc(outcome: _Outcome) -> str:
    only = {outcome.classes[index] for index in outcome.truth}
    if len(only) == 1:
        return f"all targets are {only.pop()!r}, and ranking needs two classes"
    return "the model knows none of the targets' classes"


def _reliability(outcome: _Outcome, bins: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Per bin ((b - 1) / bins, b / bins] of confidence: samples, accuracy, mean confidence (NaN in an empty bin)."""
    bin_of = np.clip(np.ceil(outcome.confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        accuracy = np.bincount(bin_of, weights=outcome.correct, minlength=bins) / counts
        confidence = np.bincount(bin_of, weights=outcome.confidence, minlength=bins) / counts
    return counts, accuracy, confidence


def _notes(outcome: _Outcome) -> list[str]:
    notes = []
    if outcome.unseen:
        names = _listed(outcome.classes[-outcome.unseen :])
        notes.append(
            f"{_count(~outcome.known)} of classes that the model does not know ({names}): they count as errors."
        )
    ranked = int((~np.isnan(outcome.auroc)).sum())
    if 0 < ranked < len(outcome.auroc):
        notes.append(
            f"auroc is the mean over the {ranked} of {len(outcome.auroc)} classes that occur among the targets."
        )
    return notes


def _listed(labels: Iterable[str]) -> str:
    """At most ten of the labels, quoted."""
    names = sort_labels(labels)
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _count(which: NDArray[np.bool_]) -> str:
    n = int(which.sum())
    return f"{n:,} {'sample is' if n == 1 else 'samples are'}"


def _class_table(outcome: _Outcome) -> Table:
    """One row per class; a ratio without denominator is no value here."""
    per_class, predicted = outcome.per_class, outcome.confusion.sum(axis=0)
    auroc = [*outcome.auroc, *([None] * outcome.unseen)]
    rows: list[list[Cell]] = []
    for index, label in enumerate(outcome.classes):
        precision, recall, f1, support = (per_class[name][index] for name in ("precision", "recall", "f1", "support"))
        ratios = [
            precision if predicted[index] else None,
            recall if support else None,
            f1 if support or predicted[index] else None,
        ]
        rows.append([label, int(support), int(predicted[index]), *ratios, auroc[index]])
    columns = ["class", "targets", "predictions", "precision", "recall", "F1", "AUROC"]
    return Table("Classes", columns, rows, "AUROC: the class against the rest.")


def _mistakes_table(outcome: _Outcome, most: int) -> Table:
    assert outcome.probabilities is not None
    wrong = np.flatnonzero(~outcome.correct)
    wrong = wrong[np.argsort(-outcome.confidence[wrong], kind="stable")]
    rows: list[list[Cell]] = [
        [
            outcome.ids[index],
            outcome.classes[outcome.truth[index]],
            outcome.classes[outcome.guess[index]],
            outcome.confidence[index],
            outcome.probabilities[index, outcome.truth[index]] if outcome.known[index] else None,
        ]
        for index in wrong[:most]
    ]
    columns = ["sample", "target", "prediction", "probability of prediction", "probability of target"]
    return Table("Most confident mistakes", columns, rows, f"{len(rows):,} of {len(wrong):,} mistakes.")


def _confusion_figure(outcome: _Outcome) -> Figure:
    classes, counts = outcome.classes, outcome.confusion
    support = counts.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        rates = counts / support
    side = float(np.clip(2.4 + 0.25 * len(classes), 4.0, 9.0))
    figure, axes = subplots(size=(side + 0.8, side))
    picture = axes.imshow(rates, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the target's samples")
    axes.set(xlabel="prediction", ylabel="target (number of samples)")
    if len(classes) <= MOST_NAMED:
        names = [f"{label} ({n:,})" for label, n in zip(classes, support[:, 0], strict=True)]
        longest = max(map(len, classes))
        axes.set_xticks(range(len(classes)), classes, rotation=0 if longest * len(classes) < 40 else 90)
        axes.set_yticks(range(len(classes)), names)
    if len(classes) <= MOST_ANNOTATED:
        for (row, column), n in np.ndenumerate(counts):
            if n:
                colour = "white" if rates[row, column] > 0.5 else "black"
                axes.text(column, row, f"{rates[row, column]:.2f}", ha="center", va="center", color=colour, size=8)
    return Figure("Confusion matrix", figure, "Every row sums to one; a blank row is a class without targets.")


def _reliability_figure(outcome: _Outcome, bins: int) -> Figure:
    counts, accuracy, confidence = _reliability(outcome, bins)
    centres = (np.arange(bins) + 0.5) / bins
    figure, (upper, lower) = subplots(2, 1, size=(4.8, 5.0), sharex=True, height_ratios=(3, 1))
    upper.bar(centres, np.nan_to_num(accuracy), width=0.92 / bins, color=COLOURS[4], label="accuracy")
    upper.plot(confidence, accuracy, "o", markersize=4, color=COLOURS[0], label="mean probability of the bin")
    upper.plot([0, 1], [0, 1], "--", linewidth=1, color="#666666", label="perfect calibration")
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    upper.legend(loc="upper left", frameon=False, fontsize=8)
    lower.bar(centres, counts, width=0.92 / bins, color=COLOURS[0])
    lower.set(xlabel="probability of the predicted label", ylabel="samples")
    return Figure(
        "Reliability", figure, "Above: how often predictions of a probability are right. Below: how many there are."
    )
