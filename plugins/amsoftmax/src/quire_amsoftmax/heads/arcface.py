"""ArcFace (Deng et al., 2019): an added angle."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from quire.errors import ConfigError, Where
from quire_amsoftmax.heads.margin import Margin, added_angle

if TYPE_CHECKING:
    from torch import Tensor


class ArcFace(Margin):
    """f(theta) = cos(theta + m) up to theta + m = pi, then cos theta - m sin m; m in radians."""

    kind = "arcface"
    scale = 64.0
    margin = 0.5

    def check(self, margin: float) -> None:
        """ConfigError for an angle outside 0..pi."""
        if not 0 <= margin < math.pi:
            raise ConfigError(
                f"the margin of {self.kind} is {margin}, but must be an angle from 0 to pi (in radians)",
                where=Where(field="margin"),
            )

    def target(self, cosine: Tensor, norms: Tensor, noise: Tensor | None = None) -> Tensor:
        """cos(theta + m), monotone in theta."""
        return added_angle(cosine, self.m)
