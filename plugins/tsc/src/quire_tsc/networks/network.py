"""What all networks share: embedding, linear head, loss and probability rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch.nn.functional as F
from torch import nn

from quire_tsc.lengths import require_length
from quire_tsc.networks.layers import masked_mean

if TYPE_CHECKING:
    from torch import Tensor


class Network(nn.Module, ABC):
    """A classifier of series: logits = head(embed(x)).

    x float32 [n, channels, length]; mask bool [n, length], True where a series has values (x must be 0 elsewhere).
    Networks of fixed length take the zeros as values and leave the mask aside. channels, length, classes: what it was
    built for; length is a slice's for networks of slices.
    A series shorter than `minimum_length` raises quire.errors.DataError at construction.
    """

    minimum_length: ClassVar[int] = 1
    head: nn.Linear

    def __init__(self, channels: int, length: int, classes: int, *, minimum: int | None = None) -> None:
        super().__init__()
        require_length(type(self).__name__, length, minimum or self.minimum_length)
        self.channels, self.length, self.classes = channels, length, classes

    @abstractmethod
    def embed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Input of the head, [n, d]: the pooled features, or the last hidden layer."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits, [n, classes]."""
        logits: Tensor = self.head(self.embed(x, mask))
        return logits

    def loss(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Cross-entropy, a scalar; target int64 [n], weight one factor per class [classes]."""
        return F.cross_entropy(logits, target, weight)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities [n, classes], rows sum to 1."""
        return logits.softmax(dim=1)


class PooledNetwork(Network):
    """A network that ends in global average pooling: any length, and a class activation map for every class."""

    @abstractmethod
    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Last activations A_m(t), [n, filters, length]; 0 outside the mask."""

    def embed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mean of the last activations over the time steps of the mask, [n, filters]."""
        return masked_mean(self.features(x, mask), mask)
