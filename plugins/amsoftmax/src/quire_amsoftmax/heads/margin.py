"""What a margin is: how the logit of the true class is made harder than the others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from quire.errors import ConfigError, Where

if TYPE_CHECKING:
    from collections.abc import Callable

    Sum = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class MarginSchedule:
    """A margin that moves linearly from `start` to `end` within `steps` optimiser steps, and stays there.

    The reference's network without feature normalisation uses min(0.4, 5e-5 t): MarginSchedule(0, 0.4, 8000).
    """

    start: float
    end: float
    steps: int

    def at(self, step: int) -> float:
        """The margin after `step` optimiser steps."""
        return self.start + (self.end - self.start) * min(1.0, step / self.steps)


class Harder(NamedTuple):
    """What became of the other classes' cosines, and the derivative by the cosine that they had; both [n, classes]."""

    cosines: Tensor
    derivative: Tensor


class Margin(nn.Module):
    """Base of all kinds: a formula for the true class's cosine, by which the logits are scale * f(cosine).

    Cosines and norms are float [n] of the samples' own dtype, at least float32. `step` is the number of optimiser steps
    made so far, for what is annealed.
    """

    kind: ClassVar[str] = ""
    scale: ClassVar[float] = 30.0
    margin: ClassVar[float] = 0.0
    feature_norm: ClassVar[bool] = True
    """Whether features are normalised; without, the feature's own norm takes the place of the scale."""
    weight_norm: ClassVar[bool] = True
    """Whether the rows of the weight are normalised; without, "cosines" are plain logits (softmax)."""
    centers: ClassVar[int] = 1
    hardens: ClassVar[bool] = False
    """Whether `harden` changes anything."""
    observes: ClassVar[bool] = False
    """Whether `observe` does."""

    def __init__(self, margin: float | None = None, schedule: MarginSchedule | None = None) -> None:
        super().__init__()
        self.value = type(self).margin if margin is None else margin
        self.schedule = schedule
        self.step = 0
        for value in (self.value, *((schedule.start, schedule.end) if schedule is not None else ())):
            self.check(value)

    def check(self, margin: float) -> None:
        """ConfigError for a margin that the formula does not take."""
        if not (math.isfinite(margin) and margin >= 0):
            raise ConfigError(
                f"the margin of {self.kind} is {margin}, but can't be negative", where=Where(field="margin")
            )

    @property
    def m(self) -> float:
        """The margin now."""
        return self.value if self.schedule is None else self.schedule.at(self.step)

    def target(self, cosine: Tensor, norms: Tensor, noise: Tensor | None = None) -> Tensor:
        """f(cosine) [n] of the true class; differentiable by `cosine` and `norms`."""
        raise NotImplementedError

    def harden(self, cosines: Tensor, target_cosine: Tensor) -> Harder:
        """What becomes of the other classes' cosines [n, classes]; asked where `hardens`."""
        return Harder(cosines, torch.ones_like(cosines))

    def penalty(self, norms: Tensor) -> Tensor | None:
        """What a sample's norm adds to its loss, [n]; differentiable."""
        return None

    def noise(self, like: Tensor) -> Tensor | None:
        """The random numbers [n] that `target` uses in training, None for a formula without chance."""
        return None

    def observe(self, cosine: Tensor, norms: Tensor, total: Sum) -> None:
        """Move running statistics by a training batch, before its loss; asked where `observes`.

        `total` sums a tensor over all processes.
        """

    def best(self, num_classes: int) -> float:
        """f(1): what a sample at its class centre reaches with the full margin."""
        step, self.step = self.step, 2**62
        try:
            with torch.no_grad():
                one = torch.ones(1, dtype=torch.float64)
                return float(self.target(one, self.typical_norm * one))
        finally:
            self.step = step

    typical_norm: ClassVar[float] = 1.0
    """The feature norm for which `best` is told."""


def sine(cosine: Tensor) -> Tensor:
    """sqrt(1 - cosine^2), with a gradient that is finite at cosine = +-1 (no arc cosine is taken)."""
    squared = (1 - cosine) * (1 + cosine)
    return squared.clamp_min(torch.finfo(cosine.dtype).eps).sqrt()


def added_angle(cosine: Tensor, angle: Tensor | float) -> Tensor:
    """cos(theta + angle) for theta of `cosine`; beyond theta + angle = pi, cos(theta) - angle sin(angle).

    The second branch keeps the function decreasing in theta: without it a sample that is worst of all is rewarded.
    angle: radians in [0, pi], one for all samples or one each.
    """
    angle = torch.as_tensor(angle, dtype=cosine.dtype, device=cosine.device)
    rotated = cosine * angle.cos() - sine(cosine) * angle.sin()
    return torch.where(cosine > -angle.cos(), rotated, cosine - angle * angle.sin())


def monotone_cosine(angle: Tensor) -> Tensor:
    """(-1)^k cos(angle) - 2k on [k pi, (k+1) pi]: the cosine, continued so that it decreases for all angles >= 0."""
    with torch.no_grad():
        k = (angle / math.pi).floor()
    sign = 1 - 2 * k.remainder(2)
    return sign * angle.cos() - 2 * k


def angle_of(cosine: Tensor) -> Tensor:
    """theta in [0, pi], with a gradient that is finite at both ends."""
    return torch.atan2(sine(cosine), cosine)
