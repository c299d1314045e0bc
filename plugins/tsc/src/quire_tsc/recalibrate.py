"""Batch-norm statistics recomputed over the training set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor


@torch.no_grad()
def recalibrate_batchnorm(network: nn.Module, batches: Callable[[], Iterable[tuple[Tensor, Tensor | None]]]) -> None:
    """Replace the running statistics of every batch norm by their plain average over a training set.

    batches() gives pairs (x [n, channels, length], mask [n, length] or None) that cover the set once; each batch counts
    by its number of series. With Keras's momentum the running averages lag for hundreds of updates, so that a network
    trained for a few epochs predicts badly with good weights. Only batch norms leave evaluation mode meanwhile
    (dropout stays off); modes and momenta are as before afterwards. A network without batch norm reads no batch.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
    if not norms:
        return
    training = {module: module.training for module in network.modules()}
    momenta = [norm.momentum for norm in norms]
    network.eval()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
        seen = 0
        for x, mask in batches():
            seen += len(x)
            for norm in norms:
                norm.momentum = len(x) / seen  # the running value becomes the mean over the series seen so far
            network(x, mask)
    finally:
        for module, mode in training.items():
            module.training = mode
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
