"""All three margins at once (Deng et al., 2019, sec. 2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire.errors import ConfigError, Where
from quire_amsoftmax.heads.margin import Margin, MarginSchedule, angle_of, monotone_cosine

if TYPE_CHECKING:
    from torch import Tensor


class Combined(Margin):
    """f(theta) = cos(m1 theta + m2) - m3, the cosine continued beyond pi so that it goes on decreasing.

    margins: (m1, m2, m3); each acts whatever the others are. ArcFace's authors also use (1, .3, .2) and (.9, .4, .15).
    """

    kind = "combined"
    scale = 64.0

    def __init__(
        self,
        margin: float | None = None,
        schedule: MarginSchedule | None = None,
        margins: tuple[float, float, float] = (1.0, 0.5, 0.0),
    ) -> None:
        super().__init__(0.0, None)
        if margin is not None or schedule is not None:
            raise ConfigError(
                "combined has three margins", where=Where(field="margin"), remedy="Set margins=[m1,m2,m3]."
            )
        self.margins = margins
        if margins[0] <= 0 or margins[1] < 0 or margins[2] < 0:
            raise ConfigError(
                f"the margins {list(margins)} must be positive, and not negative for the last two",
                where=Where(field="margins"),
            )

    def target(self, cosine: Tensor, norms: Tensor, noise: Tensor | None = None) -> Tensor:
        """cos(m1 theta + m2) - m3."""
        m1, m2, m3 = self.margins
        return monotone_cosine(m1 * angle_of(cosine) + m2) - m3
