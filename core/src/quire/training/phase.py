"""What a training is made of: phases that follow one another, each with its optimisers, length and choice of weights."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from quire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor, nn
    from torch.optim import Optimizer

    from quire.runtime import Runtime
    from quire.training.sampling import BatchSampler


@dataclass(frozen=True)
class Every:
    """An interval in epochs, optimiser steps or seconds; due when any of those given has passed."""

    epochs: int | None = None
    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"an interval of {value} {name} is not positive")

    def due(self, *, epoch: int | None, step: int, since: float | None = None) -> bool:
        """Whether it is due after optimiser step `step`; `epoch` is the number of epochs done, None inside an epoch.

        `since` is the time.monotonic() of the last time.
        """
        return (
            (self.epochs is not None and epoch is not None and epoch % self.epochs == 0)
            or (self.steps is not None and step % self.steps == 0)
            or (self.seconds is not None and since is not None and time.monotonic() - since >= self.seconds)
        )


@dataclass
class Optimization:
    """An optimiser and its schedule.

    `schedule` is any torch learning-rate scheduler, stepped after every optimiser step or every epoch; with `monitor`,
    it is stepped at every report with that metric (ReduceLROnPlateau).
    """

    optimizer: Optimizer
    schedule: Any = None
    interval: Literal["step", "epoch"] = "epoch"
    monitor: str | None = None


@dataclass(frozen=True)
class Selection:
    """Keep the weights of the report whose `metric` is best; `ties` says which one of equals."""

    metric: str = "loss"
    mode: Literal["min", "max"] = "min"
    ties: Literal["first", "last"] = "first"

    def better(self, value: float, best: float | None) -> bool:
        """Whether `value` takes the place of the best so far."""
        if best is None:
            return not math.isnan(value)
        if value == best:
            return self.ties == "last"
        return value < best if self.mode == "min" else value > best


@dataclass(frozen=True)
class Phase:
    """A stretch of training.

    `optimizers` makes the optimisers for the modules by name: "network" and the model's training-only modules.
    `trains` names the part that learns, as a dotted path into those modules ("network.members.2"); everything else
    keeps its weights. A phase lasts `epochs` or `steps` (exactly one of them), or until `max_seconds` of training passed.
    `step` gives the losses of a batch where they are not the model's usual ones. Metrics are reported, validated and
    selected on at every `report`; `patience` ends the phase after that many reports without a better one.
    `observers` are told of the phase's events like any hook, and are kept in its checkpoints.
    `accumulate` splits every batch into that many parts of one optimiser step.
    """

    optimizers: Callable[[Mapping[str, nn.Module], Runtime], Sequence[Optimization]]
    sampler: BatchSampler
    epochs: int | None = None
    steps: int | None = None
    name: str = "train"
    trains: str = ""
    step: Callable[[Any], dict[str, Tensor]] | None = None
    select: Selection | None = None
    patience: int | None = None
    observers: Mapping[str, object] = field(default_factory=dict)
    report: Every = field(default_factory=lambda: Every(epochs=1))
    checkpoint: Every = field(default_factory=lambda: Every(seconds=60))
    accumulate: int = 1
    clip_norm: float | None = None
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ConfigError(f"phase {self.name!r} must say either epochs or steps")
        if self.patience is not None and self.select is None:
            raise ConfigError(f"phase {self.name!r} has a patience but nothing to select on")
        if self.report.epochs is None and self.report.steps is None:
            raise ConfigError(f"phase {self.name!r} must report every so many epochs or steps, not seconds")
        if self.accumulate < 1:
            raise ConfigError(f"phase {self.name!r} accumulates {self.accumulate} parts; it must be at least 1")
