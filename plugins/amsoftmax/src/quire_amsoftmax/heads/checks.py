"""What a head is given, held to what it takes, before anything is computed from it."""

from __future__ import annotations

import torch
from torch import Tensor

from quire.errors import DataError, Where


class InvalidBatch(DataError, ValueError):
    """Embeddings or labels that a head can't take; names the row."""


def check_embeddings(embeddings: Tensor, dim: int, *, empty: bool = False) -> None:
    """InvalidBatch unless they are floating-point [n, dim], finite, and no row is zero; n may be 0 if `empty`."""
    if embeddings.dim() != 2 or embeddings.shape[1] != dim:
        raise InvalidBatch(f"the embeddings have the shape {list(embeddings.shape)}, the head takes [samples, {dim}]")
    if not embeddings.is_floating_point():
        raise InvalidBatch(f"the embeddings are {_name(embeddings.dtype)}, not floating-point numbers")
    if len(embeddings) == 0 and empty:
        return
    if len(embeddings) == 0:
        raise InvalidBatch("there are no embeddings")
    size = embeddings.detach().abs().amax(dim=1)
    good = torch.isfinite(size) & (size > 0)
    if not bool(good.all()):
        row = int((~good).nonzero()[0])
        what = "is all zero" if float(size[row]) == 0 else "is not finite"
        raise InvalidBatch(
            f"an embedding {what}",
            where=Where(sample=row),
            remedy="Look at that image, lower the learning rate, or clip the gradients.",
        )


def check_labels(labels: Tensor, samples: int, num_classes: int) -> None:
    """InvalidBatch unless they are whole numbers [samples] in 0..num_classes - 1."""
    if labels.dim() != 1 or len(labels) != samples:
        raise InvalidBatch(f"the labels have the shape {list(labels.shape)} for {samples} embeddings")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype is torch.bool:
        raise InvalidBatch(
            f"the labels are {_name(labels.dtype)}, not whole numbers", remedy="Give int64 class numbers."
        )
    outside = (labels < 0) | (labels >= num_classes)
    if bool(outside.any()):
        row = int(outside.nonzero()[0])
        raise InvalidBatch(
            f"the label {int(labels[row])} is outside 0..{num_classes - 1}",
            where=Where(sample=row),
            remedy=f"The head has {num_classes} classes.",
        )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
