"""How well memes are classified: every head, with bootstrap intervals, by group, under a named protocol (sec. 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, NonNegativeInt

from quire.errors import DataError, InvalidSample, TaskMismatch, Where
from quire.evaluator import Evaluator, Report, Score, Table
from quire.model import Classifier
from quire_memefier.attributes import groups_of
from quire_memefier.heads import MISSING, Head, derive_head
from quire_memefier.task import MEME_CLASSIFICATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from quire.dataset import Dataset
    from quire.modality import Sample
    from quire.model import Model
    from quire.report import Cell
    from quire.runtime import Runtime

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

BATCH = 256
SMALLEST_GROUP = 5
NAMES = ("accuracy", "f1_macro", "f1_positive", "auroc", "average_precision", "ece")
PROTOCOLS = {
    "honest": "Protocol honest: one checkpoint, chosen without this split; every figure is that checkpoint's.",
    "reference": "Protocol reference: besides this checkpoint's figures, the best validation figure of any epoch, each "
    "metric's on its own, which is how the published figures were made. Do not hold the two against each other.",
}


class MemeEvaluator(Evaluator):
    """Accuracy, macro-F1 and, of binary heads, F1 of the positive label, AUROC, average precision and calibration error.

    With several heads, accuracy, f1_macro and ece are unweighted means over the heads. Intervals are percentiles of a
    bootstrap over memes. Where memes have attributes, error rates are told for each group of perceived attributes.
    """

    class Options(Evaluator.Options):
        """What a user can choose."""

        protocol: Literal["honest", "reference"] = Field(
            "honest", description="how figures come about; named in the report"
        )
        decide: Literal["most-probable", "tuned"] = Field(
            "most-probable", description="labels by the highest probability, or by the thresholds of the model"
        )
        bootstrap: NonNegativeInt = Field(1000, description="resamplings for the 95 % intervals; 0 gives none")
        seed: NonNegativeInt = Field(0, description="of the resamplings")

    name: ClassVar[str] = "memes"
    task = MEME_CLASSIFICATION
    options: Options

    def evaluate(self, model: Model, dataset: Dataset, *, runtime: Runtime | None = None) -> Report:
        """The report on `model`, a Classifier, on the memes of `dataset` that have a target.

        Raises TaskMismatch for another kind of model, DataError for the reference's protocol without a history.
        """
        self.prepare(model, dataset, runtime)
        if not isinstance(model, Classifier):
            raise TaskMismatch(f"{self.name} judges classifiers, and {type(model).__name__} is none")
        left_out = list(dataset.skipped)
        judged = list(self._heads(model, dataset, left_out))
        report = Report(
            "Meme classification",
            n_used=len(judged[0].truth) if judged else 0,
            left_out=[str(error) for error in left_out],
            notes=[PROTOCOLS[self.options.protocol]],
        )
        report.metrics = (
            self._scores(judged)
            if report.n_used
            else {name: Score(None, "no meme was used", higher_is_better=name != "ece") for name in NAMES}
        )
        if report.n_used:
            report.tables.append(_head_table(judged))
            report.tables += _group_tables(judged[0])
        if self.options.protocol == "reference":
            report.tables.append(_history_table(model))
        report.provenance["protocol"] = self.options.protocol
        return self.sign(report, model, dataset)

    def _heads(self, model: Classifier, dataset: Dataset, left_out: list[InvalidSample]) -> Iterator[_Judged]:
        """What the model says on every head, beside the truth."""
        heads = tuple(getattr(model, "heads", ())) or (derive_head(model.labels, ()),)
        predict: Callable[[list[Sample]], dict[str, Any]] = getattr(model, "predict_heads", None) or (
            lambda samples: {heads[0].name: _columns(model, heads[0], model.predict_proba(samples))}
        )
        probabilities: dict[str, list[Any]] = {head.name: [] for head in heads}
        truths: dict[str, list[list[int]]] = {head.name: [] for head in heads}
        groups: list[set[str] | None] = []
        for batch in _batches(dataset, left_out, skip=self.options.on_error == "skip"):
            for name, values in predict(batch).items():
                probabilities[name].append(np.asarray(values, dtype=np.float64))
            for sample in batch:
                given = {heads[0].name: sample["target"], **(sample.get("heads") or {})}
                for head in heads:
                    truths[head.name].append(head.encode(given.get(head.name), Where(sample=sample.get("id"))))
                groups.append(groups_of(sample["attributes"]) if "attributes" in sample else None)
        thresholds = getattr(model, "head_thresholds", {}) if self.options.decide == "tuned" else {}
        for head in heads if groups else ():
            truth = np.array(truths[head.name], dtype=np.int64)
            yield _Judged(head, np.concatenate(probabilities[head.name]), truth, thresholds.get(head.name, {}), groups)

    def _scores(self, judged: Sequence[_Judged]) -> dict[str, Score]:
        """Means over the heads, or the one head's figures; each with its interval."""
        n = len(judged[0].truth)
        rng = np.random.default_rng(self.options.seed)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=self.options.bootstrap).astype(np.float64)
        scores = {}
        for name in NAMES:
            values = [_figure(each, name) for each in judged]
            if len(judged) > 1 and name in ("f1_positive", "auroc", "average_precision"):
                values = values[:1]
            reasons = [value for value in values if isinstance(value, str)]
            if reasons:
                scores[name] = Score(None, reasons[0], higher_is_better=name != "ece")
                continue
            low, high = self._interval(judged, name, weights)
            mean = float(np.mean([value for value in values if not isinstance(value, str)]))
            scores[name] = Score(mean, low=low, high=high, higher_is_better=name != "ece")
        return scores

    def _interval(self, judged: Sequence[_Judged], name: str, weights: Floats) -> tuple[float | None, float | None]:
        """The 2.5th and 97.5th percentile over the resamplings; none for metrics that are not resampled."""
        resampled = {"accuracy": accuracies, "f1_macro": macro_f1s, "auroc": aurocs}.get(name)
        if resampled is None or not len(weights):
            return None, None
        chosen = judged if name != "auroc" else judged[:1]
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.mean([resampled(each, weights) for each in chosen], axis=0)
        values = values[np.isfinite(values)]
        if not len(values):
            return None, None
        low, high = np.percentile(values, [2.5, 97.5])
        return float(low), float(high)


@dataclass(frozen=True)
class _Judged:
    """One head: probabilities [n, labels] in its own order, truth int64 [n, targets], thresholds, groups of each meme."""

    head: Head
    probabilities: Floats
    truth: Ints
    thresholds: dict[str, float]
    groups: Sequence[set[str] | None]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which memes have a target."""
        return np.asarray(self.truth[:, 0] != MISSING)

    def binary_parts(self) -> list[tuple[str, Floats, Ints, float]]:
        """(label, its probability [n], truth [n], threshold) of a binary head, or of every label of a multilabel one."""
        if self.head.kind == "binary":
            label = self.head.labels[1]
            return [(label, self.probabilities[:, 1], self.truth[:, 0], self.thresholds.get(label, 0.5))]
        return [
            (label, self.probabilities[:, k], self.truth[:, k], self.thresholds.get(label, 0.5))
            for k, label in enumerate(self.head.labels)
        ]

    def decided(self) -> list[tuple[Ints, Ints, int]]:
        """(truth [n], guess [n], number of classes) of the head; of a multilabel head, of each of its labels."""
        if self.head.kind in ("binary", "multilabel"):
            return [
                (truth, (share > threshold).astype(np.int64), 2) for _, share, truth, threshold in self.binary_parts()
            ]
        return [(self.truth[:, 0], self.probabilities.argmax(axis=1), len(self.head.labels))]


def accuracies(judged: _Judged, weights: Floats) -> Floats:
    """Accuracy for every row of weights [b, n], the mean over a multilabel head's labels; memes without target don't count."""
    used = weights * judged.known
    parts = [used @ (truth == guess) / used.sum(axis=1) for truth, guess, _ in judged.decided()]
    return np.asarray(np.mean(parts, axis=0))


def macro_f1s(judged: _Judged, weights: Floats) -> Floats:
    """Macro-F1 for every row of weights [b, n] over the classes that occur among targets or decisions."""
    used = weights * judged.known
    parts = []
    for truth, guess, classes in judged.decided():
        scores = []
        for k in range(classes):
            hits, union = used @ ((truth == k) & (guess == k)), used @ (truth == k) + used @ (guess == k)
            scores.append(np.divide(2 * hits, union, out=np.full(len(used), np.nan), where=union > 0))
        parts.append(np.nanmean(scores, axis=0))
    return np.asarray(np.mean(parts, axis=0))


def aurocs(judged: _Judged, weights: Floats) -> Floats:
    """AUROC for every row of weights [b, n]; NaN where one class has no weight. Ties count one half."""
    _, share, truth, _ = judged.binary_parts()[0]
    used = weights * judged.known
    order = np.argsort(share, kind="stable")
    share, positive = share[order], (used * (truth == 1))[:, order]
    negative = (used * (truth == 0))[:, order]
    starts = np.flatnonzero(np.concatenate([[True], share[1:] > share[:-1]]))
    positive, negative = (np.add.reduceat(each, starts, axis=1) for each in (positive, negative))
    below = np.cumsum(negative, axis=1) - negative
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    wins = (positive * (below + negative / 2)).sum(axis=1)
    return np.asarray(np.divide(wins, pairs, out=np.full(len(used), np.nan), where=pairs > 0))


def _figure(judged: _Judged, name: str) -> float | str:
    """One metric of one head, or why it has none."""
    whole = np.ones((1, len(judged.truth)))
    if not judged.known.any():
        return f"no meme has a target for head {judged.head.name!r}"
    if name in ("accuracy", "f1_macro"):
        return float((accuracies if name == "accuracy" else macro_f1s)(judged, whole)[0])
    if name == "ece":
        return calibration_error(judged)
    return _binary_figure(judged, name, whole)


def _binary_figure(judged: _Judged, name: str, whole: Floats) -> float | str:
    """A metric that only binary heads have."""
    if judged.head.kind != "binary":
        return f"head {judged.head.name!r} is not binary"
    _, share, truth, threshold = judged.binary_parts()[0]
    share, truth = share[judged.known], truth[judged.known]
    if name == "f1_positive":
        from sklearn.metrics import f1_score

        return float(f1_score(truth, share > threshold, zero_division=0))
    if truth.min() == truth.max():
        return f"all targets are {judged.head.labels[int(truth[0])]!r}, and ranking needs two classes"
    from sklearn.metrics import average_precision_score

    return float(aurocs(judged, whole)[0] if name == "auroc" else average_precision_score(truth, share))


def calibration_error(judged: _Judged, bins: int = 15) -> float:
    """Expected calibration error of the most probable label; of a multilabel head the mean over its labels."""
    if judged.head.kind == "multilabel":
        parts = [(np.stack([1 - share, share], 1), truth) for _, share, truth, _ in judged.binary_parts()]
    else:
        parts = [(judged.probabilities, judged.truth[:, 0])]
    errors = []
    for probabilities, truth in parts:
        confidence = probabilities[judged.known].max(axis=1)
        right = probabilities[judged.known].argmax(axis=1) == truth[judged.known]
        bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
        gap = np.bincount(bin_of, weights=right - confidence, minlength=bins)
        errors.append(float(np.abs(gap).sum() / len(right)))
    return float(np.mean(errors))


def _columns(model: Classifier, head: Head, probabilities: Any) -> Floats:
    """A classifier's columns in the head's order."""
    return np.asarray(probabilities)[:, [model.labels.index(label) for label in head.labels]]


def _batches(dataset: Dataset, left_out: list[InvalidSample], *, skip: bool) -> Iterator[list[Sample]]:
    """Checked samples with targets, many at a time."""
    batch: list[Sample] = []
    for index in range(len(dataset)):
        try:
            batch.append(dataset.task.check(dataset[index], index=index, need_target=True))
        except InvalidSample as error:
            if not skip:
                raise
            left_out.append(error)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _head_table(judged: Sequence[_Judged]) -> Table:
    rows: list[list[Cell]] = []
    for each in judged:
        values = [_figure(each, name) for name in NAMES]
        known = int(each.known.sum())
        rows.append([each.head.name, each.head.kind, known, *(None if isinstance(v, str) else v for v in values)])
    return Table("Heads", ["head", "kind", "memes", *NAMES], rows)


def _group_tables(judged: _Judged) -> list[Table]:
    """Error rates of a binary head among memes whose faces are perceived to be of a group."""
    names = sorted(set().union(*(groups for groups in judged.groups if groups)))
    if not names or judged.head.kind != "binary":
        return []
    truth, guess, _ = judged.decided()[0]
    rows: list[list[Cell]] = []
    for name in names:
        inside = judged.known & np.array([groups is not None and name in groups for groups in judged.groups])
        if inside.sum() < SMALLEST_GROUP:
            continue
        weights = inside[None].astype(np.float64)
        rows.append([name, int(inside.sum()), *error_rates(truth[inside], guess[inside]), aurocs(judged, weights)[0]])
    note = (
        f"Groups are FairFace's guesses from faces in the image; a meme counts for every group of its faces. Groups of "
        f"fewer than {SMALLEST_GROUP} memes are left out. Positive: {judged.head.labels[1]}."
    )
    columns = ["perceived group", "memes", "false positive rate", "false negative rate", "AUROC"]
    return [Table("Groups", columns, rows, note)]


def error_rates(truth: Ints, guess: Ints) -> tuple[float | None, float | None]:
    """False positive rate and false negative rate; None without negatives, or without positives."""
    negatives, positives = int((truth == 0).sum()), int((truth == 1).sum())
    false_positives, false_negatives = (
        int(((truth == 0) & (guess == 1)).sum()),
        int(((truth == 1) & (guess == 0)).sum()),
    )
    return (
        false_positives / negatives if negatives else None,
        false_negatives / positives if positives else None,
    )


def _history_table(model: Model) -> Table:
    """The best validation figure of any epoch, each metric's on its own."""
    history = model.artefacts.get("history")
    if not history:
        raise DataError(
            "the model keeps no history of validation figures",
            remedy="Train it with a validation split to use protocol=reference.",
        )
    names = [name for name in ("val_accuracy", "val_f1", "val_auc") if name in history[0]]
    rows: list[list[Cell]] = []
    for name in names:
        values = [epoch.get(name, float("nan")) for epoch in history]
        best = int(np.nanargmax(values))
        rows.append([name.removeprefix("val_"), values[best], best + 1])
    return Table(
        "Maxima over epochs (protocol reference)", ["metric", "best on the validation split", "epoch"], rows,
        "The epoch is another one for every metric; these are not figures of this split.",
    )  # fmt: skip
