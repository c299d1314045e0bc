"""Time LeNet."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import nn

from quire_tsc.augment import SHORTEST_TLENET_SLICE
from quire_tsc.networks.layers import SameConv1d, reset_parameters
from quire_tsc.networks.network import Network

if TYPE_CHECKING:
    from torch import Tensor


class TLeNet(Network):
    """Two convolutions and a dense layer on a slice of the series (Ismail Fawaz et al., 2019).

    length: of a slice (augment.tlenet_slicing).
    """

    minimum_length: ClassVar[int] = SHORTEST_TLENET_SLICE

    def __init__(self, channels: int, length: int, classes: int) -> None:
        super().__init__(channels, length, classes)
        self.hidden = nn.Sequential(
            SameConv1d(channels, 5, 5),
            nn.ReLU(),
            nn.MaxPool1d(2),
            SameConv1d(5, 20, 5),
            nn.ReLU(),
            nn.MaxPool1d(4),
            nn.Flatten(),
            nn.Linear(20 * (length // 2 // 4), 500),
            nn.ReLU(),
        )
        self.head = nn.Linear(500, classes)
        reset_parameters(self)

    def embed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Last hidden layer, [n, 500]."""
        hidden: Tensor = self.hidden(x)
        return hidden
