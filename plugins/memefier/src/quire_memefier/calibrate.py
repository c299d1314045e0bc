"""After training: a temperature that makes probabilities honest, and thresholds that make decisions good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quire_memefier.heads import MISSING, Head

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = 20.0  # temperature; a head that needs more knows nothing


def negative_log_likelihood(
    head: Head, logits: NDArray[np.float64], targets: NDArray[np.int64], temperature: float
) -> float:
    """The mean negative log-likelihood in nats of the targets that are known."""
    known = targets[:, 0] != MISSING
    probabilities = np.clip(head.probabilities(logits[known], temperature), 1e-12, 1 - 1e-12)
    if head.kind == "multilabel":
        given = np.where(targets[known] == 1, probabilities, 1 - probabilities)
        return float(-np.log(given).mean())
    return float(-np.log(probabilities[np.arange(len(probabilities)), targets[known][:, 0]]).mean())


def fit_temperature(head: Head, logits: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    """The temperature by which the logits are divided to be most likely (Guo et al., 2017); 1 without targets."""
    from scipy.optimize import minimize_scalar

    if not (targets[:, 0] != MISSING).any():
        return 1.0
    bound = float(np.log(LARGEST))
    found = minimize_scalar(
        lambda log: negative_log_likelihood(head, logits, targets, float(np.exp(log))),
        bounds=(-bound, bound),
        method="bounded",
    )
    return float(np.exp(found.x))


def best_threshold(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """The threshold of the positive class's probability [n] with the highest macro-F1 on truth [n] of 0 and 1.

    It lies in the middle between two probabilities; of equals the one nearest to one half. 0.5 for a single class.
    """
    if truth.min(initial=1) == truth.max(initial=0):
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    ranked, hits = probabilities[order], np.concatenate([[0], np.cumsum(truth[order])])
    chosen = np.arange(len(truth) + 1)
    positives, n = int(truth.sum()), len(truth)
    positive = 2 * hits / (chosen + positives)
    negative = 2 * (n - chosen - positives + hits) / (2 * n - chosen - positives)
    scores = np.nan_to_num((positive + negative) / 2)
    upper, lower = np.concatenate([[1.0], ranked]), np.concatenate([ranked, [0.0]])
    possible = upper > lower  # samples of equal probability are decided alike
    thresholds = (upper + lower) / 2
    best = scores[possible].max()
    candidates = thresholds[possible & np.isclose(scores, best)]
    return float(candidates[np.abs(candidates - 0.5).argmin()])


def fit_thresholds(
    head: Head, logits: NDArray[np.float64], targets: NDArray[np.int64], temperature: float
) -> dict[str, float]:
    """Label -> threshold, of a binary head's positive label or of every label of a multilabel head."""
    if head.kind not in ("binary", "multilabel"):
        return {}
    known = targets[:, 0] != MISSING
    probabilities = head.probabilities(logits[known], temperature)
    if head.kind == "binary":
        return {head.labels[1]: best_threshold(probabilities[:, 1], targets[known][:, 0])}
    return {
        label: best_threshold(probabilities[:, column], targets[known][:, column])
        for column, label in enumerate(head.labels)
    }
