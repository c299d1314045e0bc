"""NormFace (Wang et al., 2017): normalised softmax without a margin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire_amsoftmax.heads.margin import Margin

if TYPE_CHECKING:
    from torch import Tensor


class NormFace(Margin):
    """f(theta) = cos theta."""

    kind = "normface"

    def target(self, cosine: Tensor, norms: Tensor, noise: Tensor | None = None) -> Tensor:
        """The cosine itself."""
        return cosine
