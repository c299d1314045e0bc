"""MagFace (Meng et al., 2021): the margin grows with the feature's norm, which becomes a measure of quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire.errors import ConfigError, Where
from quire_amsoftmax.heads.margin import Margin, MarginSchedule, added_angle

if TYPE_CHECKING:
    from torch import Tensor


class MagFace(Margin):
    """ArcFace with m(a), linear in a = clip(norm, low, high) from `low_margin` to `high_margin`, and lambda_g g(a).

    g(a) = 1/a + a/high^2 pulls norms up; margin and penalty both have gradients by the norm.
    """

    kind = "magface"
    scale = 64.0
    typical_norm = 110.0

    def __init__(
        self,
        margin: float | None = None,
        schedule: MarginSchedule | None = None,
        norms: tuple[float, float] = (10.0, 110.0),
        margins: tuple[float, float] = (0.45, 0.8),
        lambda_g: float = 35.0,
    ) -> None:
        super().__init__(0.0, None)
        if margin is not None or schedule is not None:
            raise ConfigError(
                "magface has a margin for low and for high norms", where=Where(field="margin"), remedy="Set margins."
            )
        if not (0 < norms[0] < norms[1] and 0 <= margins[0] <= margins[1]):
            raise ConfigError(
                f"norms {list(norms)} and margins {list(margins)} must rise", where=Where(field="margins")
            )
        self.norms, self.margins, self.lambda_g = norms, margins, lambda_g

    def margin_of(self, norms: Tensor) -> Tensor:
        """m(a) in radians, [n]."""
        (low, high), (least, most) = self.norms, self.margins
        return least + (most - least) / (high - low) * (norms.clamp(low, high) - low)

    def target(self, cosine: Tensor, norms: Tensor, noise: Tensor | None = None) -> Tensor:
        """cos(theta + m(a)), monotone in theta."""
        return added_angle(cosine, self.margin_of(norms))

    def penalty(self, norms: Tensor) -> Tensor:
        """lambda_g g(a)."""
        a = norms.clamp(*self.norms)
        return self.lambda_g * (1 / a + a / self.norms[1] ** 2)
