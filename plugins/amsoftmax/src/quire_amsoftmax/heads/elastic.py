"""ElasticFace (Boutros et al., 2022): the additive margin is drawn anew for every sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from quire_amsoftmax.heads.margin import Margin, MarginSchedule

if TYPE_CHECKING:
    from torch import Tensor


class Elastic(Margin):
    """f(theta) = cos theta - N(m, sigma); in evaluation the margin is m."""

    kind = "elastic"
    scale = 64.0
    margin = 0.35

    def __init__(
        self, margin: float | None = None, schedule: MarginSchedule | None = None, sigma: float = 0.05
    ) -> None:
        super().__init__(margin, schedule)
        self.sigma = sigma

    def noise(self, like: Tensor) -> Tensor:
        """Standard normal, one a sample."""
        return torch.randn_like(like)

    def target(self, cosine: Tensor, norms: Tensor, noise: Tensor | None = None) -> Tensor:
        """cos theta minus the sample's margin."""
        return cosine - (self.m if noise is None else self.m + self.sigma * noise)
