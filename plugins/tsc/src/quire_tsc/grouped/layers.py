"""Layers that compute K layers of one shape at once: what belongs to seed k is block k of every first dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from quire_tsc.networks.inception import InceptionModule
from quire_tsc.networks.layers import BatchNorm, SameConv1d

if TYPE_CHECKING:
    from collections.abc import Sequence


class GroupedLinear(nn.Module):
    """K linear layers: [n, K * inputs] -> [n, K * outputs]. weight [K * outputs, inputs], bias [K * outputs]."""

    def __init__(self, inputs: int, outputs: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.weight = nn.Parameter(torch.empty(count * outputs, inputs))
        self.bias = nn.Parameter(torch.empty(count * outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[n, K * inputs] -> [n, K * outputs]."""
        weight = self.weight.view(self.count, -1, self.weight.shape[1]).transpose(1, 2)  # [K, inputs, outputs]
        bias = self.bias.view(self.count, 1, -1)
        out = torch.baddbmm(bias, x.reshape(len(x), self.count, -1).transpose(0, 1), weight)
        return out.transpose(0, 1).flatten(1)


class GroupedDropout(nn.Module):
    """K dropouts with a stream of random numbers each: [n, K * features] -> the same.

    Block k is zeroed where `nn.Dropout` would zero it in a process whose generator stands where `generators[k]` does.
    """

    def __init__(self, p: float, count: int) -> None:
        super().__init__()
        self.p = p
        self.generators: Sequence[torch.Generator] = [torch.Generator() for _ in range(count)]

    def forward(self, x: Tensor) -> Tensor:
        """[n, K * features, ...] -> the same."""
        if not self.training or self.p == 0.0:
            return x
        shape = (len(x), x.shape[1] // len(self.generators), *x.shape[2:])
        keep = [x.new_empty(shape).bernoulli_(1.0 - self.p, generator=each) for each in self.generators]
        return x * torch.cat(keep, dim=1).div_(1.0 - self.p)


def grouped_twin(module: nn.Module, count: int) -> nn.Module:
    """`module` with every layer in it replaced by one that does the work of `count`; its weights are to be set.

    Layers without weights that treat channels alike stay as they are. TypeError for a layer that has no such form.
    """
    match module:
        case SameConv1d() | nn.Conv1d():
            return _convolution(module, count)
        case BatchNorm():
            return BatchNorm(count * module.num_features)
        case nn.Linear():
            return GroupedLinear(module.in_features, module.out_features, count)
        case nn.Dropout():
            return GroupedDropout(module.p, count)
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    if own:
        raise TypeError(f"{type(module).__name__} can't be grouped")
    for name, child in module.named_children():
        setattr(module, name, grouped_twin(child, count))
    if isinstance(module, InceptionModule):
        module.groups = count
    return module


def _convolution(module: nn.Conv1d, count: int) -> nn.Conv1d:
    kind = SameConv1d if isinstance(module, SameConv1d) else nn.Conv1d
    return kind(
        count * module.in_channels,
        count * module.out_channels,
        module.kernel_size[0],
        bias=module.bias is not None,
        groups=count * module.groups,
    )
