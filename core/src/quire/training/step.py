"""One training step: a batch in parts, the gradients of its losses, and what may learn from them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from quire.runtime.processes import uncounted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from quire.runtime import Runtime
    from quire.training.neural import NeuralModel
    from quire.training.phase import Optimization, Phase

Losses = dict[str, Tensor]


class Part(NamedTuple):
    """A batch, or one of the parts of it; the weights of an optimiser step's parts sum to one over all processes."""

    batch: Any
    weight: float


class Stepper(nn.Module):
    """The model's step as a module's forward, so that wrappers (several processes, compilation) see the whole of it."""

    def __init__(self, model: NeuralModel, phase: Phase) -> None:
        super().__init__()
        self.network = model.network
        self.training_only = model.training_only
        self._step = phase.step or model.step

    def forward(self, batch: Any) -> Losses:
        """The step's losses."""
        return self._step(batch)


@dataclass
class StepContext:
    """What a training step works with. `modules` holds the network under "network" and the training-only modules."""

    runtime: Runtime
    phase: Phase
    modules: Mapping[str, nn.Module]
    optimizations: Sequence[Optimization]
    scaler: torch.amp.GradScaler
    stepper: nn.Module
    epoch: int = 0
    step: int = 0

    def descend(self, parts: Sequence[Part]) -> Losses:
        """The usual step: gradients of the parts' weighted losses, clipped; every optimiser steps once."""
        for optimization in self.optimizations:
            optimization.optimizer.zero_grad(set_to_none=True)
        totals: Losses = {}
        for number, part in enumerate(parts, start=1):
            sync = contextlib.nullcontext() if number == len(parts) else self.runtime.without_sync(self.stepper)
            with sync, uncounted(part.weight == 0):
                batch = self.runtime.move(part.batch)
                with self.runtime.autocast():
                    losses: Losses = self.stepper(batch)
                self.scaler.scale(losses["loss"] * (part.weight * self.runtime.processes)).backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + value.detach().float() * part.weight
        self._clip()
        for optimization in self.optimizations:
            self.scaler.step(optimization.optimizer)
        self.scaler.update()
        return totals

    def _clip(self) -> None:
        if self.phase.clip_norm is None:
            return
        for optimization in self.optimizations:
            self.scaler.unscale_(optimization.optimizer)
        parameters = [p for o in self.optimizations for g in o.optimizer.param_groups for p in g["params"]]
        nn.utils.clip_grad_norm_(parameters, self.phase.clip_norm)


def part_of(modules: Mapping[str, nn.Module], path: str) -> nn.Module:
    """The module at the dotted `path`; all of them for the empty path."""
    if not path:
        return nn.ModuleDict(dict(modules))
    name, _, rest = path.partition(".")
    return modules[name].get_submodule(rest)


@contextlib.contextmanager
def only_training(modules: Mapping[str, nn.Module], path: str) -> Iterator[None]:
    """Freeze every parameter outside `path` for the time of a phase."""
    everything = nn.ModuleDict(dict(modules))
    learning = {id(parameter) for parameter in part_of(modules, path).parameters()}
    frozen = [p for p in everything.parameters() if p.requires_grad and id(p) not in learning]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
