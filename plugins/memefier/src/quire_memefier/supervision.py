"""What the training memes teach: targets of all heads, their counts and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from quire.errors import DataError, Where
from quire_memefier.heads import split_targets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from quire.modality import Sample
    from quire_memefier.heads import Head


def encode_targets(heads: Sequence[Head], samples: Sequence[Sample]) -> Tensor:
    """Targets int64 [n, targets of all heads]; the first head's is "target" where "heads" does not tell."""
    rows = []
    for number, sample in enumerate(samples):
        given = {heads[0].name: sample.get("target"), **(sample.get("heads") or {})}
        where = Where(sample=sample.get("id", number), field="target")
        rows.append([value for head in heads for value in head.encode(given.get(head.name), where)])
    return torch.tensor(rows)


def label_counts(heads: Sequence[Head], samples: Sequence[Sample]) -> dict[str, list[int]]:
    """How many training memes have each label of each head. DataError for a label that none has."""
    counts = {}
    for head, columns in zip(heads, split_targets(heads, encode_targets(heads, samples)), strict=True):
        if head.kind == "multilabel":
            counts[head.name] = [int((columns[:, k] == 1).sum()) for k in range(len(head.labels))]
        else:
            counts[head.name] = [int((columns[:, 0] == k).sum()) for k in range(len(head.labels))]
        absent = [label for label, count in zip(head.labels, counts[head.name], strict=True) if not count]
        if absent:
            raise DataError(
                f"no training meme has the label {absent[0]!r} of head {head.name!r}",
                remedy="Train on data that has it, or leave the label out of the head.",
            )
    return counts


def class_weights(heads: Sequence[Head], counts: Mapping[str, Sequence[int]]) -> dict[str, list[float]]:
    """Inverse frequencies, of mean 1 over the memes, for heads that ask for them."""
    return {
        head.name: [sum(counts[head.name]) / (len(head.labels) * count) for count in counts[head.name]]
        for head in heads
        if head.class_weight == "balanced"
    }
