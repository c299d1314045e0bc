"""The published schedule and rule for stopping (sec. 3.8), and the metrics that epochs are chosen by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch.optim.lr_scheduler import LambdaLR

from quire.hooks import StopPhase, hookimpl
from quire_memefier.heads import MISSING, Head, split_logits, split_targets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch.optim import Optimizer

    from quire_memefier.config import LrDropOptions


def lr_schedule(optimizer: Optimizer, epochs: int, drop: LrDropOptions) -> LambdaLR:
    """The rate is multiplied by `factor` from epoch floor(epochs * at) on (0-based)."""
    first = int(epochs * drop.at)
    return LambdaLR(optimizer, lambda epoch: drop.factor if epoch >= first else 1.0)


def falls_for(values: Sequence[float], patience: int) -> bool:
    """The reference's rule: the last `patience` values are all strictly below the value just before them."""
    return len(values) > patience and all(value < values[-patience - 1] for value in values[-patience:])


class ReferenceStopping:
    """Ends the phase by the reference's rule, on a metric that is better when it is higher."""

    def __init__(self, metric: str, patience: int) -> None:
        self.metric, self.patience = metric, patience
        self.values: list[float] = []

    @hookimpl
    def quire_epoch_finished(self, metrics: Mapping[str, float]) -> None:
        """Note the value, and stop if it fell for long enough."""
        sign = -1.0 if self.metric == "val_loss" else 1.0
        self.values.append(sign * metrics[self.metric])
        if falls_for(self.values, self.patience):
            raise StopPhase(f"{self.metric} was worse for {self.patience} epochs than the epoch before them")

    def state_dict(self) -> dict[str, Any]:
        """The values so far."""
        return {"values": list(self.values)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after them."""
        self.values = list(state["values"])


class History:
    """The validation metrics of every epoch, for the reference's protocol."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    @hookimpl
    def quire_epoch_finished(self, metrics: Mapping[str, float]) -> None:
        """Keep what was measured on the validation split."""
        self.epochs.append({name: value for name, value in metrics.items() if name.startswith("val_")})

    def state_dict(self) -> dict[str, Any]:
        """The metrics so far."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after them."""
        self.epochs = [dict(epoch) for epoch in state["epochs"]]


def head_metrics(head: Head, logits: NDArray[np.float64], targets: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, macro-F1 and, of binary heads, AUC, over the samples that have a target; what is undefined is left out.

    logits [n, head.logits], targets [n, head.targets]. A multilabel head's figures are means over its labels.
    """
    from sklearn.metrics import f1_score, roc_auc_score

    known = targets[:, 0] != MISSING
    if not known.any():
        return {}
    logits, targets = logits[known], targets[known]
    if head.kind == "multilabel":
        single = Head(labels=("0", "1"))
        parts = [head_metrics(single, logits[:, [k]], targets[:, [k]]) for k in range(len(head.labels))]
        return {name: float(np.mean([part[name] for part in parts])) for name in ("accuracy", "f1")}
    probabilities, truth = head.probabilities(logits), targets[:, 0]
    guess = probabilities.argmax(axis=1)
    metrics = {
        "accuracy": float((guess == truth).mean()),
        "f1": float(f1_score(truth, guess, average="macro", zero_division=0)),
    }
    if head.kind == "binary" and 0 < truth.sum() < len(truth):
        metrics["auc"] = float(roc_auc_score(truth, probabilities[:, 1]))
    return metrics


def mean_metrics(heads: Sequence[Head], logits: NDArray[np.float64], targets: NDArray[np.int64]) -> dict[str, float]:
    """The mean over the heads of each metric; auc is the first head's."""
    each = [
        head_metrics(head, *columns)
        for head, *columns in zip(heads, split_logits(heads, logits), split_targets(heads, targets), strict=True)
    ]
    metrics = {
        name: float(np.mean([part[name] for part in each if name in part]))
        for name in ("accuracy", "f1")
        if any(name in part for part in each)
    }
    return {**metrics, **({"auc": each[0]["auc"]} if "auc" in each[0] else {})}
