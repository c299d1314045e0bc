"""Decisions: what is said of a meme, by the heads' thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from quire_memefier.heads import Head


@dataclass(frozen=True)
class Decision:
    """What is said of one meme: per head the label (or labels) that the thresholds give, probabilities, warnings."""

    sample: str
    labels: dict[str, str | list[str]]
    probabilities: dict[str, dict[str, float]]
    warnings: tuple[str, ...]


def decided(head: Head, probabilities: NDArray[np.float32], thresholds: Mapping[str, float]) -> str | list[str]:
    """The label (of a multilabel head: the labels) that probabilities float32 [labels] give."""
    if head.kind == "multilabel":
        return [label for label, each in zip(head.labels, probabilities, strict=True) if each > thresholds[label]]
    if head.kind == "binary":
        return head.labels[int(probabilities[1] > thresholds[head.labels[1]])]
    return head.labels[int(probabilities.argmax())]
