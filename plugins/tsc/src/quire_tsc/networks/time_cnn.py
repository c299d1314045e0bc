"""Time convolutional network, with a squared error on sigmoid outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch.nn.functional as F
from torch import nn

from quire_tsc.networks.layers import conv1d, reset_parameters
from quire_tsc.networks.network import Network

if TYPE_CHECKING:
    from torch import Tensor


class TimeCNN(Network):
    """Two convolutions with sigmoids and average pooling; one sigmoid output per class (Ismail Fawaz et al., 2019).

    The logits are the outputs before the sigmoid. The loss is the mean over cases and classes of
    (sigmoid(logit) - one-hot)^2; probabilities are the sigmoids divided by their sum. Series under 60 time steps are
    same-padded.
    """

    minimum_length: ClassVar[int] = 9

    def __init__(self, channels: int, length: int, classes: int) -> None:
        super().__init__(channels, length, classes)
        same = length < 60
        shorter = 0 if same else 6
        pooled = ((length - shorter) // 3 - shorter) // 3
        self.convolutions = nn.Sequential(
            conv1d(channels, 6, 7, same=same),
            nn.Sigmoid(),
            nn.AvgPool1d(3),
            conv1d(6, 12, 7, same=same),
            nn.Sigmoid(),
            nn.AvgPool1d(3),
            nn.Flatten(),
        )
        self.head = nn.Linear(12 * pooled, classes)
        reset_parameters(self)

    def embed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Flattened last layer, [n, 12 * pooled length]."""
        out: Tensor = self.convolutions(x)
        return out

    def loss(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean squared error of the sigmoids against the one-hot target int64 [n], a scalar."""
        wanted = F.one_hot(target, logits.shape[1]).to(logits.dtype)
        errors = (logits.sigmoid() - wanted).square().mean(dim=1)
        if weight is None:
            return errors.mean()
        factors = weight[target]
        return (errors * factors).sum() / factors.sum()

    def probabilities(self, logits: Tensor) -> Tensor:
        """Sigmoids divided by their sum, [n, classes]."""
        # in logs, so that outputs which all underflow still give a distribution
        return F.logsigmoid(logits).softmax(dim=1)
