"""Sums and maxima over the processes that share a head; alone, there is nothing to exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from torch import Tensor
    from torch.autograd.function import FunctionCtx


class Alone:
    """One process."""

    size = 1
    rank = 0

    def total(self, values: Tensor) -> Tensor:
        """The element-wise sum over all processes."""
        return values

    def largest(self, values: Tensor) -> Tensor:
        """The element-wise maximum over all processes."""
        return values

    def first(self, values: Tensor) -> Tensor:
        """The values of the first process."""
        return values


class Group(Alone):
    """The processes of a torch process group."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group = group if group is not None else dist.group.WORLD
        self.size, self.rank = dist.get_world_size(self.group), dist.get_rank(self.group)

    def total(self, values: Tensor) -> Tensor:
        """All-reduce SUM."""
        values = values.clone()
        dist.all_reduce(values, group=self.group)
        return values

    def largest(self, values: Tensor) -> Tensor:
        """All-reduce MAX."""
        values = values.clone()
        dist.all_reduce(values, op=dist.ReduceOp.MAX, group=self.group)
        return values

    def first(self, values: Tensor) -> Tensor:
        """Broadcast from rank 0 of the group."""
        values = values.clone()
        dist.broadcast(values, group=self.group, group_src=0)
        return values

    def counts(self, rows: int, device: torch.device) -> list[int]:
        """How many rows each process has."""
        mine = torch.tensor([rows], device=device)
        every = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(every, mine, group=self.group)
        return [int(count) for count in every]

    def gather(self, rows: Tensor, counts: list[int]) -> Tensor:
        """The rows of all processes, in rank order; uneven numbers are padded on the way. Not differentiable."""
        most = max(counts)
        padded = rows.new_zeros((most, *rows.shape[1:]))
        padded[: len(rows)] = rows
        every = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(every, padded, group=self.group)
        return torch.cat([piece[:count] for piece, count in zip(every, counts, strict=True)])


class GatherEmbeddings(torch.autograd.Function):
    """The embeddings of all processes; backward sums the processes' gradients and keeps the own rows, times `factor`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int], group: Group, factor: float) -> Tensor:  # noqa: D102
        ctx.group, ctx.factor = group, factor
        ctx.start, ctx.rows = sum(counts[: group.rank]), len(rows)
        return group.gather(rows, counts)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: D102
        own: Any = ctx
        summed = own.group.total(gradients[0].contiguous())
        return summed[own.start : own.start + own.rows] * own.factor, None, None, None
