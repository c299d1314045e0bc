"""AdaFace (Kim et al., 2022): a margin that follows the quality of the image, told by the feature's norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from quire_amsoftmax.heads.margin import Margin, MarginSchedule, angle_of, monotone_cosine

if TYPE_CHECKING:
    from torch import Tensor

    from quire_amsoftmax.heads.margin import Sum


class AdaFace(Margin):
    """f(theta) = cos(theta - m z) - (m + m z), z = clip(h (norm - mu) / (sigma + 1e-3), -1, 1) without a gradient.

    mu and sigma are running moments of the norms (from 20 and 100). z = 0 is AM-Softmax, z = -1 is ArcFace. An angle below 0
    counts as 0, as in the reference; beyond pi the cosine goes on decreasing, where the reference has no gradient.
    """

    kind = "adaface"
    scale = 64.0
    margin = 0.4
    typical_norm = 20.0
    observes = True
    mu: Tensor
    sigma: Tensor

    def __init__(
        self,
        margin: float | None = None,
        schedule: MarginSchedule | None = None,
        h: float = 0.333,
        momentum: float = 0.01,
    ) -> None:
        super().__init__(margin, schedule)
        self.h, self.momentum = h, momentum
        self.register_buffer("mu", torch.tensor(20.0))
        self.register_buffer("sigma", torch.tensor(100.0))

    def observe(self, cosine: Tensor, norms: Tensor, total: Sum) -> None:
        """Move mu and sigma by the batch's mean and (unbiased) standard deviation."""
        norms = norms.clamp(1e-3, 100)
        count, summed = total(torch.stack([norms.new_tensor(float(len(norms))), norms.sum()]))
        mean = summed / count
        squares = total((norms - mean).square().sum())
        self.mu.lerp_(mean.to(self.mu.dtype), self.momentum)
        if count > 1:
            self.sigma.lerp_((squares / (count - 1)).sqrt().to(self.sigma.dtype), self.momentum)

    def quality(self, norms: Tensor) -> Tensor:
        """z in [-1, 1] of each sample."""
        mu, sigma = self.mu.to(norms), self.sigma.to(norms)
        return (self.h * (norms.detach().clamp(1e-3, 100) - mu) / (sigma + 1e-3)).clamp(-1, 1)

    def target(self, cosine: Tensor, norms: Tensor, noise: Tensor | None = None) -> Tensor:
        """cos(theta - m z) - (m + m z)."""
        shift = self.m * self.quality(norms)
        return monotone_cosine((angle_of(cosine) - shift).clamp_min(0)) - (self.m + shift)
