"""Residual network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from quire_tsc.networks.layers import BatchNorm, ConvNorm, reset_parameters
from quire_tsc.networks.network import PooledNetwork

if TYPE_CHECKING:
    from torch import Tensor


class ResidualBlock(nn.Module):
    """Three convolutions of width 8, 5 and 3 beside a shortcut: [n, inputs, length] -> [n, outputs, length]."""

    def __init__(self, inputs: int, outputs: int, *, project: bool) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, 8)
        self.second = ConvNorm(outputs, outputs, 5)
        self.third = ConvNorm(outputs, outputs, 3)
        self.shortcut = ConvNorm(inputs, outputs, 1) if project else BatchNorm(outputs)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[n, inputs, length] -> [n, outputs, length]."""
        residual = self.first(x, mask).relu_()
        residual = self.second(residual, mask).relu_()
        out: Tensor = (self.third(residual, mask) + self.shortcut(x, mask)).relu_()
        return out


class ResNet(PooledNetwork):
    """Three residual blocks, global average pooling (Ismail Fawaz et al., 2019).

    The last block does not change the width, so that its shortcut is normalised and not projected.
    """

    def __init__(self, channels: int, length: int, classes: int, *, filters: int = 64) -> None:
        super().__init__(channels, length, classes)
        self.blocks = nn.ModuleList(
            [
                ResidualBlock(channels, filters, project=True),
                ResidualBlock(filters, 2 * filters, project=True),
                ResidualBlock(2 * filters, 2 * filters, project=False),
            ]
        )
        self.head = nn.Linear(2 * filters, classes)
        reset_parameters(self)

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Last activations, [n, 2 * filters, length]."""
        for block in self.blocks:
            x = block(x, mask)
        return x
