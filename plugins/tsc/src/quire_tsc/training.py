"""Optimisers, schedules and phases of the recipes, with Keras's constants (sec. 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from quire.hooks import StopPhase, hookimpl
from quire.training import Optimization

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn
    from torch.optim import Optimizer

    from quire.runtime import Runtime
    from quire_tsc.config import Recipe


def optimization(recipe: Recipe, module: nn.Module, runtime: Runtime) -> Optimization:
    """The recipe's optimiser for `module` and its learning-rate schedule."""
    optimizer = _optimizer(recipe, module, runtime)
    if recipe.plateau is not None:
        return Optimization(optimizer, plateau_schedule(optimizer, *recipe.plateau), monitor="loss")
    if recipe.decay:
        return Optimization(optimizer, decay_schedule(optimizer, recipe.decay), interval="step")
    return Optimization(optimizer)


def plateau_schedule(optimizer: Optimizer, patience: int, min_lr: float) -> ReduceLROnPlateau:
    """Halve the rate after `patience` epochs whose loss is not below the best by more than 1e-4.

    torch waits one epoch more than Keras, hence patience - 1.
    """
    return ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience - 1, threshold=1e-4, threshold_mode="abs", min_lr=min_lr
    )


def decay_schedule(optimizer: Optimizer, decay: float) -> LambdaLR:
    """After t updates the rate is lr / (1 + decay t)."""
    return LambdaLR(optimizer, lambda updates: 1.0 / (1.0 + decay * updates))


class UpdatePatience:
    """MCNN's patience: 10,000 updates, doubled from an epoch whose error fell by .5 %; also ends at a loss of 0."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.allowed = 10_000
        self.best = float("inf")

    @hookimpl
    def quire_epoch_finished(self, phase: str, step: int, metrics: Mapping[str, float]) -> None:
        """Extend the patience, or end the phase."""
        if phase != self.phase:
            return
        error = metrics["val_loss"]
        if error < 0.995 * self.best:
            self.best = error
            self.allowed = max(self.allowed, 2 * step)
        if step >= self.allowed or metrics["loss"] == 0.0:
            raise StopPhase("no better validation error within the patience, or nothing left to learn")

    def state_dict(self) -> dict[str, Any]:
        """What is allowed, and the best error."""
        return {"allowed": self.allowed, "best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue."""
        self.allowed, self.best = state["allowed"], state["best"]


def _optimizer(recipe: Recipe, module: nn.Module, runtime: Runtime) -> Optimizer:
    parameters, lr = module.parameters(), recipe.learning_rate
    match recipe.optimizer:
        case "adam":
            return runtime.optimizer(torch.optim.Adam, parameters, lr=lr, eps=1e-7)
        case "adadelta":
            return runtime.optimizer(torch.optim.Adadelta, parameters, lr=lr, rho=0.95, eps=1e-7)
        case "sgd":
            return runtime.optimizer(torch.optim.SGD, parameters, lr=lr, momentum=0.9)
