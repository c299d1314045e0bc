"""Layers and initialisation as Keras defines them, in PyTorch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire.runtime.processes import world_size

if TYPE_CHECKING:
    from collections.abc import Iterable


WORTH_VECTORS = 2**16  # values from which on a batch's statistics are found faster by several vectorised operations


class SameConv1d(nn.Conv1d):
    """Convolution that keeps the length: of the kernel_size - 1 zeros, floor((k - 1) / 2) left and the rest right.

    [n, inputs, length] -> [n, outputs, length]. Equal to padding="same", without torch's warning for even kernels.
    """

    def __init__(self, inputs: int, outputs: int, kernel_size: int, *, bias: bool = True, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel_size, padding=(kernel_size - 1) // 2, groups=groups, bias=bias)
        self.extra = (kernel_size - 1) % 2  # an even kernel needs one zero more on the right, hence a padded copy

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, length] -> [n, outputs, length]."""
        return super().forward(F.pad(x, (0, 1)) if self.extra else x)


class _Normalise(torch.autograd.Function):
    """Batch normalisation of [n, channels, length] by its own mean and variance, which are returned as well.

    torch's kernel finds the variance by a scalar loop; sums and norms of rows are vectorised.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean = x.mean(dim=2).mean(dim=0)
        centred = x - mean.unsqueeze(1)
        variance = torch.linalg.vector_norm(centred, dim=2).square_().sum(dim=0).div_(x.numel() // x.shape[1])
        zero = torch.zeros_like(mean)
        out = torch.native_batch_norm(centred, weight, bias, zero, variance, False, 0.0, eps)[0]
        ctx.save_for_backward(centred, weight, zero, (variance + eps).rsqrt_())
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        centred, weight, zero, scale = ctx.saved_tensors
        x, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, centred, weight, None, None, zero, scale, True, 0.0, [True, True, True]
        )
        return x, by_weight, by_bias, None


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation with Keras's eps 1e-3 and momentum 0.99 (torch writes 0.01).

    With a mask, statistics come from the time steps of the mask only, and the output is 0 elsewhere: after a ReLU the
    next convolution sees the zeros of its own padding, so that a padded series gives what it gives alone. A single value
    a channel becomes the bias in training, as in Keras, and does not count for the running statistics.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[n, channels, length] -> the same; mask bool [n, length]."""
        if mask is None:
            return self._normalised(x)
        if not self.training:
            return zero_outside(super().forward(x), mask)
        steps = x.transpose(1, 2)
        normalised = torch.zeros_like(steps)
        normalised[mask] = self._normalised(steps[mask])
        return normalised.transpose(1, 2)

    def _normalised(self, x: Tensor) -> Tensor:
        """[n, channels, length] or [n, channels] -> the same."""
        alone = self.training and world_size() == 1  # else the statistics are those of all processes' batches
        if alone and x.numel() == x.shape[1]:
            return 0.0 * x + self.bias.view(1, -1, *[1] * (x.ndim - 2))
        on_cpu = x.device.type == "cpu" and x.dtype == self.weight.dtype
        worth = x.ndim == 3 and x.numel() >= WORTH_VECTORS
        if alone and worth and on_cpu and not torch.compiler.is_compiling():
            return self._by_batch_statistics(x)
        return super().forward(x)

    def _by_batch_statistics(self, x: Tensor) -> Tensor:
        """What torch computes, a good deal faster on a CPU."""
        out, mean, variance = _Normalise.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            count = x.numel() // x.shape[1]
            self.num_batches_tracked.add_(1)
            momentum = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), momentum)
        return cast("Tensor", out)


class ZeroOutside(nn.Module):
    """What is left of a BatchNorm whose scale and shift were folded into the convolution before it."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[n, channels, length] -> the same, 0 outside the mask."""
        return x if mask is None else zero_outside(x, mask)


class ConvNorm(nn.Module):
    """Same-padded convolution, then batch normalisation: [n, inputs, length] -> [n, outputs, length]."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, *, bias: bool = True) -> None:
        super().__init__()
        self.conv = SameConv1d(inputs, outputs, kernel_size, bias=bias)
        self.norm: BatchNorm | ZeroOutside = BatchNorm(outputs)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[n, inputs, length] -> [n, outputs, length]."""
        out: Tensor = self.norm(self.conv(x), mask)
        return out


class SampleInstanceNorm(nn.Module):
    """Normalises each sample over channels and time together: (x - mean) / (std + 1e-3), scalar gain and offset.

    [n, channels, length] -> the same. A constant sample becomes the offset.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, length] -> the same."""
        deviation, mean = torch.std_mean(x, dim=(1, 2), correction=0, keepdim=True)
        return (x - mean) / (deviation + 1e-3) * self.weight + self.bias


class ChannelInstanceNorm(nn.Module):
    """Normalises each channel of each sample over time: (x - mean) / sqrt(var + 1e-3), gain and offset per channel.

    [n, channels, length] -> the same. Unlike torch's layer it takes a length of 1, which becomes the offset.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, length] -> the same."""
        variance, mean = torch.var_mean(x, dim=2, correction=0, keepdim=True)
        return (x - mean) * (variance + 1e-3).rsqrt() * self.weight + self.bias


def conv1d(inputs: int, outputs: int, kernel_size: int, *, same: bool, groups: int = 1) -> nn.Conv1d:
    """Same-padded convolution, or an unpadded one that shortens the series by kernel_size - 1."""
    if same:
        return SameConv1d(inputs, outputs, kernel_size, groups=groups)
    return nn.Conv1d(inputs, outputs, kernel_size, groups=groups)


def zero_outside(x: Tensor, mask: Tensor) -> Tensor:
    """x [n, channels, length] with 0 where mask [n, length] is False."""
    return x.masked_fill(~mask.unsqueeze(1), 0.0)


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over time of x [n, channels, length] -> [n, channels]; with mask [n, length], over its time steps only."""
    if mask is None:
        return x.mean(dim=2)
    return zero_outside(x, mask).sum(dim=2) / mask.sum(dim=1, keepdim=True).clamp_min(1)


@torch.no_grad()
def reset_parameters(network: nn.Module) -> None:
    """Keras's initial values: Glorot-uniform weights, zero biases and PReLU slopes, unit gains; from torch's seed."""
    for module in network.modules():
        match module:
            case nn.Conv1d():
                _glorot_uniform(module.weight, groups=module.groups)
                _zero(module.bias)
            case nn.Linear():
                _glorot_uniform(module.weight, groups=1)
                _zero(module.bias)
            case nn.PReLU():
                _zero(module.weight)
            case nn.BatchNorm1d():
                module.reset_parameters()
            case SampleInstanceNorm() | ChannelInstanceNorm():
                module.weight.fill_(1.0)
                _zero(module.bias)


def trainable_parameters(network: nn.Module) -> int:
    """Number of trainable values, as the paper's table of networks counts them."""
    return sum(parameter.numel() for parameter in _trainable(network))


def _trainable(network: nn.Module) -> Iterable[nn.Parameter]:
    return (parameter for parameter in network.parameters() if parameter.requires_grad)


def _glorot_uniform(weight: Tensor, *, groups: int) -> None:
    # torch's xavier_uniform_ counts the outputs of all groups as one layer's; each group is a layer of its own here
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    limit = math.sqrt(6.0 / (weight[0, 0].numel() * (inputs + outputs)))
    nn.init.uniform_(weight, -limit, limit)


def _zero(parameter: Tensor | None) -> None:
    if parameter is not None:
        parameter.zero_()
