"""Global norm-aware pooling, an extra of the authors' repository."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GNAP(nn.Module):
    """[n, channels, h, w] -> [n, channels]: every location counts the same, whatever its norm.

    BN; each location is normalised over the channels and multiplied by the mean norm of the image's locations; their mean; BN.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = nn.BatchNorm2d(channels, affine=False)
        self.after = nn.BatchNorm1d(channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """The pooled map."""
        x = self.before(x)
        norms = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-12)
        pooled = (x / norms).mean(dim=(2, 3)) * norms.mean(dim=(2, 3))
        out: Tensor = self.after(pooled)
        return out
