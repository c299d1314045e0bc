"""A training whose class centres are shared among the processes, on the core's loop.

The head stands outside of what the loop wraps and checkpoints: its gradients are complete in every process, and each
process writes its own part of the checkpoint, which any number of processes can read again.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from quire.errors import ConfigError, RunError, Where
from quire.runtime.processes import uncounted
from quire_amsoftmax.heads import MarginHead, load_sharded, save_sharded
from quire_amsoftmax.heads.collective import Group

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from quire.training import Part, StepContext
    from quire_amsoftmax.heads import ShardedMarginHead

KEPT = 2
"""Checkpoints of the head: the loop's own checkpoint is of the last one or the one before."""


class ShardedSteps:
    """Optimiser steps and checkpoints of a sharded head. folder: of the run's checkpoints, None for none.

    interval: optimiser steps from one checkpoint to the next, the same as the loop's.
    """

    def __init__(self, head: ShardedMarginHead, folder: Path | None, interval: int) -> None:
        self.head, self.folder, self.interval = head, folder, interval
        self.counts_batch = True
        """Whether this process's samples are of the batch: one without any computes with one that doesn't count."""
        self._context: StepContext | None = None

    def descend(self, parts: Sequence[Part], context: StepContext) -> dict[str, Tensor]:
        """StepContext.descend, with the loss of the global batch: every process differentiates the same number."""
        if context.scaler.is_enabled():
            raise ConfigError(
                "a sharded head can't be trained in fp16", where=Where(field="precision"), remedy="Use bf16."
            )
        if self._context is None:
            self._resume(context)
        for optimization in context.optimizations:
            optimization.optimizer.zero_grad(set_to_none=True)
        totals: dict[str, Tensor] = {}
        for number, part in enumerate(parts, start=1):
            share = float(context.runtime.sum(torch.tensor(part.weight, device=self.head.weight.device)))
            self.counts_batch = part.weight > 0
            last = number == len(parts)
            with uncounted(part.weight == 0):
                if last:
                    losses = self._backward(part, share, context)
                else:
                    with context.runtime.without_sync(context.stepper):
                        losses = self._backward(part, share, context)
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + value.detach().float() * part.weight
        if context.phase.clip_norm is not None:
            self._clip(context.phase.clip_norm, context)
        for optimization in context.optimizations:
            optimization.optimizer.step()
        step = context.step + 1
        if self.folder is not None and step % self.interval == 0:
            self.save(step)
        return totals

    def _backward(self, part: Part, share: float, context: StepContext) -> dict[str, Tensor]:
        batch = context.runtime.move(part.batch)
        with context.runtime.autocast():
            losses: dict[str, Tensor] = context.stepper(batch)
        (losses["loss"] * share).backward()  # type: ignore[no-untyped-call]
        return losses

    def _clip(self, largest: float, context: StepContext) -> None:
        """Clip by the norm of the gradients of the backbone and of all shards, the same in every process."""
        own = list(self.head.parameters())
        shared = list(context.modules["network"].parameters())
        squares = [_squared_norm(shared), self.head.processes.total(_squared_norm(own))]
        norm = torch.stack([each.to(squares[0]) for each in squares]).sum().sqrt()
        factor = (largest / (norm + 1e-6)).clamp(max=1.0)
        for parameter in [*own, *shared]:
            if parameter.grad is not None:
                parameter.grad.mul_(factor)

    def save(self, step: int) -> None:
        """Write the head after `step` optimiser steps; called by all processes."""
        if self.folder is None or self._context is None:
            return
        save_sharded(self.folder / f"head-{step}", self.head, _optimizer_of(self.head, self._context))
        if self.head.processes.rank == 0:
            for old in sorted(self.folder.glob("head-*"), key=_number)[:-KEPT]:
                shutil.rmtree(old)

    def interrupted(self) -> None:
        """Write the head beside the checkpoint that the loop has just written."""
        if self._context is not None:
            self.save(self._context.step)

    def _resume(self, context: StepContext) -> None:
        self._context = context
        if context.step == 0:
            return
        folder = self.folder / f"head-{context.step}" if self.folder is not None else None
        if folder is None or not folder.is_dir():
            raise RunError("the class centres of this checkpoint are missing", where=Where(file=folder))
        load_sharded(folder, self.head, _optimizer_of(self.head, context))


def whole_head(shards: ShardedMarginHead, whole: MarginHead) -> MarginHead:
    """`whole` with the centres and statistics of all shards; called by all processes."""
    rows = shards.weight.detach()
    if isinstance(shards.processes, Group):
        rows = shards.processes.gather(rows, shards.processes.counts(len(rows), rows.device))
    whole.to(rows.device)
    whole.load_state_dict({**shards.state_dict(), "weight": rows})
    return whole


def _squared_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return torch.stack([torch.linalg.vector_norm(each).square() for each in gradients]).sum()


def _optimizer_of(head: MarginHead, context: StepContext) -> torch.optim.Optimizer:
    for optimization in context.optimizations:
        groups: list[dict[str, Any]] = optimization.optimizer.param_groups
        if any(parameter is head.weight for group in groups for parameter in group["params"]):
            return optimization.optimizer
    raise AssertionError("no optimiser has the head's weight")


def _number(folder: Path) -> int:
    return int(folder.name.removeprefix("head-"))
