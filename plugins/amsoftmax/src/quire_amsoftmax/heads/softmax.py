"""Plain softmax, the baseline: W x + b."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire_amsoftmax.heads.margin import Margin

if TYPE_CHECKING:
    from torch import Tensor


class Softmax(Margin):
    """logit_j = <W_j, x> + b_j: neither normalised nor with a margin; embeddings are compared by cosine all the same."""

    kind = "softmax"
    scale = 1.0
    feature_norm = False
    weight_norm = False

    def target(self, cosine: Tensor, norms: Tensor, noise: Tensor | None = None) -> Tensor:
        """The logit itself."""
        return cosine
