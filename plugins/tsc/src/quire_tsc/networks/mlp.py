"""Multilayer perceptron."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire_tsc.networks.layers import reset_parameters
from quire_tsc.networks.network import Network
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class MLP(Network):
    """Three dense layers of 500 ReLU units with dropout 0.1, 0.2, 0.2, 0.3 (review, sec. 3.2.1)."""

    def __init__(self, channels: int, length: int, classes: int, *, units: int = 500) -> None:
        super().__init__(length)
        self.hidden = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(channels * length, units),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(units, units),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(units, units),
            nn.ReLU(),
            nn.Dropout(0.3),
        )
        self.head = nn.Linear(units, classes)
        reset_parameters(self)

    def embed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Last hidden layer, [n, units]."""
        hidden: Tensor = self.hidden(x)
        return hidden
