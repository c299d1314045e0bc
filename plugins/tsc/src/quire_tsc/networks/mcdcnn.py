"""Multi-channel deep convolutional network."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import nn

from quire_tsc.networks.layers import conv1d, reset_parameters
from quire_tsc.networks.network import Network

if TYPE_CHECKING:
    from torch import Tensor


class MCDCNN(Network):
    """Two convolutions for each channel on its own, joined by a dense layer of 732 units (Ismail Fawaz et al., 2019).

    Grouped convolutions compute all channels' branches at once. Series under 60 time steps are same-padded.
    """

    minimum_length: ClassVar[int] = 4

    def __init__(self, channels: int, length: int, classes: int) -> None:
        super().__init__(channels, length, classes)
        same = length < 60
        shorter = 0 if same else 4
        pooled = ((length - shorter) // 2 - shorter) // 2
        self.branches = nn.Sequential(
            conv1d(channels, 8 * channels, 5, same=same, groups=channels),
            nn.ReLU(),
            nn.MaxPool1d(2),
            conv1d(8 * channels, 8 * channels, 5, same=same, groups=channels),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Flatten(),
        )
        self.hidden = nn.Linear(8 * channels * pooled, 732)
        self.head = nn.Linear(732, classes)
        reset_parameters(self)

    def embed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Last hidden layer, [n, 732]."""
        hidden: Tensor = self.hidden(self.branches(x)).relu()
        return hidden
