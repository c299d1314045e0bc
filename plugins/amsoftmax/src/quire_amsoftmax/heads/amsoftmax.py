"""AM-Softmax (Wang et al., 2018), which is CosFace (Wang et al., 2018) by another name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from quire_amsoftmax.heads.margin import Margin, MarginSchedule

if TYPE_CHECKING:
    from torch import Tensor


class AMSoftmaxMargin(Margin):
    """f(theta) = cos theta - m (eq. 5).

    margin_gate: "none" is the paper's formula. "positive" is what the authors' code does and the paper does not say: the
    margin is subtracted only where cos theta > m, which works like a warm-up, for at first hardly any cosine is so large.
    """

    kind = "amsoftmax"
    margin = 0.35

    def __init__(
        self,
        margin: float | None = None,
        schedule: MarginSchedule | None = None,
        margin_gate: Literal["none", "positive"] = "none",
    ) -> None:
        super().__init__(margin, schedule)
        self.margin_gate = margin_gate

    def target(self, cosine: Tensor, norms: Tensor, noise: Tensor | None = None) -> Tensor:
        """cos theta - m; its derivative is 1 in both branches of the gate."""
        harder = cosine - self.m
        return harder if self.margin_gate == "none" else torch.where(cosine > self.m, harder, cosine)
