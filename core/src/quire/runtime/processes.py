"""Several processes that train one model: global sums, and batch norm over the global batch."""

from __future__ import annotations

import functools
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_functional
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

_uncounted: ContextVar[bool] = ContextVar("uncounted", default=False)


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(values: Tensor) -> Tensor:
    """The element-wise sum of `values` over all processes (not differentiable)."""
    if world_size() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def _differentiable_sum(values: Tensor) -> Tensor:
    return cast("Tensor", dist_functional.all_reduce(values))  # type: ignore[no-untyped-call]


@contextmanager
def uncounted(inputs: bool = True) -> Iterator[None]:
    """A forward pass whose inputs only keep this process in step with the others: batch norm leaves them out."""
    token = _uncounted.set(inputs)
    try:
        yield
    finally:
        _uncounted.reset(token)


class SynchronizedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm whose statistics are those of the global batch, on any device and for unequal shares.

    torch's SyncBatchNorm refuses CPU tensors; this one is the same formula over a differentiable all-reduce.
    Input [n, channels, ...].
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, got {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `input` by the global batch in training, by the running statistics otherwise."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        dims = [d for d in range(values.dim()) if d != 1]
        channels = values.shape[1]
        shape = [1, channels] + [1] * (values.dim() - 2)
        counted = 0.0 if _uncounted.get() else 1.0
        count = values.new_full((1,), values.numel() / channels)
        total = _differentiable_sum(torch.cat([values.sum(dims), count]) * counted)
        n = total[-1]
        mean = total[:-1] / n
        centred = values - mean.view(shape)
        variance = _differentiable_sum(centred.square().sum(dims) * counted) / n
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            self._update_running(mean.detach(), variance.detach() * n.detach() / (n.detach() - 1).clamp_min(1))
        output = centred * torch.rsqrt(variance.view(shape) + self.eps)
        if self.affine:
            output = output * self.weight.view(shape) + self.bias.view(shape)
        return output.to(input.dtype)

    def _update_running(self, mean: Tensor, unbiased: Tensor) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        cast("Tensor", self.running_mean).lerp_(mean, momentum)
        cast("Tensor", self.running_var).lerp_(unbiased, momentum)


def synchronize_batch_norm(module: nn.Module) -> None:
    """Let every batch norm inside `module` use the statistics of the global batch, in place; weights stay the same objects."""
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and not isinstance(child, nn.SyncBatchNorm):
            kind: Any = type(child)
            child.__class__ = _synchronized(kind)


@functools.cache
def _synchronized(cls: Any) -> Any:
    """`cls`, whose `super().forward` is that of SynchronizedBatchNorm: what a plugin's batch norm adds stays."""
    if issubclass(cls, SynchronizedBatchNorm):
        return cls
    return type(f"Synchronized{cls.__name__}", (cls, SynchronizedBatchNorm), {})
