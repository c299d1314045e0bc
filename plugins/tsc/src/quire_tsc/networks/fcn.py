"""Fully convolutional network."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn

from quire_tsc.networks.layers import ConvNorm, reset_parameters
from quire_tsc.networks.network import PooledNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class FCN(PooledNetwork):
    """Convolution, batch normalisation and ReLU, three times; global average pooling (Ismail Fawaz et al., 2019)."""

    def __init__(
        self,
        channels: int,
        length: int,
        classes: int,
        *,
        filters: Sequence[int] = (128, 256, 128),
        kernels: Sequence[int] = (8, 5, 3),
    ) -> None:
        super().__init__(channels, length, classes)
        widths = pairwise((channels, *filters))
        self.blocks = nn.ModuleList(
            ConvNorm(inputs, outputs, kernel) for (inputs, outputs), kernel in zip(widths, kernels, strict=True)
        )
        self.head = nn.Linear(filters[-1], classes)
        reset_parameters(self)

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Last activations, [n, filters, length]."""
        for block in self.blocks:
            x = block(x, mask).relu_()
        return x
