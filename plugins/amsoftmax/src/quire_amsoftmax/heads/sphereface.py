"""A-Softmax (SphereFace, Liu et al., 2017): a multiplied angle, annealed by lambda."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from quire.errors import ConfigError, Where
from quire_amsoftmax.heads.margin import Margin, MarginSchedule

if TYPE_CHECKING:
    from torch import Tensor


class SphereFace(Margin):
    """f(theta) = (lambda cos theta + psi) / (1 + lambda), psi = (-1)^k cos(m theta) - 2k on [k pi/m, (k+1) pi/m].

    The feature's norm is the scale. lambda = max(lambda_min, lambda_base / (1 + lambda_gamma t)) at optimiser step t; at
    lambda 5, m = 4 acts like about 1.5. The gradient is the true one, where the original layer rescales it.
    """

    kind = "sphereface"
    scale = 1.0
    margin = 4
    feature_norm = False

    def __init__(
        self,
        margin: float | None = None,
        schedule: MarginSchedule | None = None,
        lambda_base: float = 1000.0,
        lambda_gamma: float = 0.12,
        lambda_min: float = 5.0,
    ) -> None:
        self.base, self.gamma, self.least = lambda_base, lambda_gamma, lambda_min
        super().__init__(margin, schedule)

    def check(self, margin: float) -> None:
        """ConfigError unless the margin is a whole number from 1 on."""
        if margin < 1 or margin != int(margin):
            raise ConfigError(
                f"the margin of {self.kind} is {margin}, but must be a whole number from 1 on: it multiplies the angle",
                where=Where(field="margin"),
            )

    @property
    def annealing(self) -> float:
        """lambda now."""
        return max(self.least, self.base / (1 + self.gamma * self.step))

    def target(self, cosine: Tensor, norms: Tensor, noise: Tensor | None = None) -> Tensor:
        """The annealed f(theta)."""
        m = int(self.m)
        with torch.no_grad():
            k = (m * cosine.clamp(-1, 1).acos() / math.pi).floor()
        psi = (1 - 2 * k.remainder(2)) * _chebyshev(cosine, m) - 2 * k
        return (self.annealing * cosine + psi) / (1 + self.annealing)


def _chebyshev(cosine: Tensor, m: int) -> Tensor:
    """cos(m theta) as a polynomial of cos(theta), whose gradient is finite everywhere."""
    before, now = torch.ones_like(cosine), cosine
    for _ in range(m - 1):
        before, now = now, 2 * cosine * now - before
    return now
