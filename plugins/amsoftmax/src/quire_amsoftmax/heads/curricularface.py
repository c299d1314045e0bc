"""CurricularFace (Huang et al., 2020): hard negatives count more as training proceeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from quire_amsoftmax.heads.arcface import ArcFace
from quire_amsoftmax.heads.margin import Harder, MarginSchedule, sine

if TYPE_CHECKING:
    from torch import Tensor

    from quire_amsoftmax.heads.margin import Sum


class CurricularFace(ArcFace):
    """ArcFace's target; negatives with cos_j > cos(theta_y + m) become cos_j (t + cos_j).

    t is the running mean of the target cosines, t <- .99 t + .01 mean(cos_y) from 0, a buffer over all processes.
    """

    kind = "curricularface"
    hardens = True
    observes = True
    t: Tensor

    def __init__(
        self, margin: float | None = None, schedule: MarginSchedule | None = None, momentum: float = 0.01
    ) -> None:
        super().__init__(margin, schedule)
        self.momentum = momentum
        self.register_buffer("t", torch.zeros(()))

    def observe(self, cosine: Tensor, norms: Tensor, total: Sum) -> None:
        """Move t by the batch."""
        summed = total(torch.stack([cosine.sum(), cosine.new_tensor(float(len(cosine)))]))
        self.t.lerp_((summed[0] / summed[1]).to(self.t.dtype), self.momentum)

    def harden(self, cosines: Tensor, target_cosine: Tensor) -> Harder:
        """The negatives that are harder than the target with its margin."""
        angle = target_cosine.new_tensor(self.m)
        threshold = target_cosine * angle.cos() - sine(target_cosine) * angle.sin()
        hard = cosines > threshold[:, None]
        t = self.t.to(cosines.dtype)
        derivative = torch.where(hard, t + 2 * cosines, 1.0)
        return Harder(torch.where(hard, cosines * (t + cosines), cosines), derivative)
