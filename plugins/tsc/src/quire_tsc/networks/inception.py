"""Inception network, the member of the InceptionTime ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from quire_tsc.networks.layers import BatchNorm, ConvNorm, SameConv1d, ZeroOutside, reset_parameters, zero_outside
from quire_tsc.networks.network import PooledNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class InceptionModule(nn.Module):
    """Convolutions of three widths beside a pooled path: [n, inputs, length] -> [n, 4 * filters, length]."""

    def __init__(self, inputs: int, filters: int, kernels: Sequence[int], bottleneck: int | None) -> None:
        super().__init__()
        self.bottleneck = SameConv1d(inputs, bottleneck, 1, bias=False) if bottleneck else nn.Identity()
        width = bottleneck or inputs
        self.convolutions = nn.ModuleList(SameConv1d(width, filters, kernel, bias=False) for kernel in kernels)
        self.pooled = SameConv1d(inputs, filters, 1, bias=False)
        self.norm: BatchNorm | ZeroOutside = BatchNorm(filters * (len(kernels) + 1))
        self.groups = 1  # modules that this one computes at once

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[n, inputs, length] -> [n, 4 * filters, length]."""
        narrow = self.bottleneck(x)
        paths = [convolution(narrow) for convolution in self.convolutions]
        paths.append(self.pooled(_max_pool(x, mask)))
        if self.groups == 1:
            joined = torch.cat(paths, dim=1)
        else:
            joined = torch.cat([path.unflatten(1, (self.groups, -1)) for path in paths], dim=2).flatten(1, 2)
        out: Tensor = self.norm(joined, mask).relu_()
        return out


class Inception(PooledNetwork):
    """Six inception modules with a shortcut around every three, global average pooling (InceptionTime, 2020).

    kernel_size: the widest kernel, the others are a half and a quarter of it; bottleneck_min_channels: a module on
    more channels than this begins with a bottleneck of `bottleneck` channels, None for no bottleneck anywhere.
    """

    def __init__(
        self,
        channels: int,
        length: int,
        classes: int,
        *,
        depth: int = 6,
        filters: int = 32,
        kernel_size: int = 40,
        bottleneck: int | None = 32,
        bottleneck_min_channels: int = 1,
        residual: bool = True,
    ) -> None:
        super().__init__(channels, length, classes)
        width = 4 * filters
        kernels = [max(1, kernel_size // divisor) for divisor in (1, 2, 4)]
        inputs = [channels] + [width] * (depth - 1)
        self.blocks = nn.ModuleList(
            InceptionModule(count, filters, kernels, bottleneck if count > bottleneck_min_channels else None)
            for count in inputs
        )
        self.shortcuts = nn.ModuleList(
            ConvNorm(inputs[last - 2], width, 1, bias=False) for last in range(2, depth, 3) if residual
        )
        self.head = nn.Linear(width, classes)
        reset_parameters(self)

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Last activations, [n, 4 * filters, length]."""
        source = x
        for index, module in enumerate(self.blocks):
            x = module(x, mask)
            if self.shortcuts and index % 3 == 2:
                x = source = (x + self.shortcuts[index // 3](source, mask)).relu_()
        return x


def _max_pool(x: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return F.max_pool1d(x, 3, stride=1, padding=1)
    # Padding must lose against negative values, as the layer's own padding of -inf does
    inside = x.masked_fill(~mask.unsqueeze(1), torch.finfo(x.dtype).min)
    return zero_outside(F.max_pool1d(inside, 3, stride=1, padding=1), mask)
