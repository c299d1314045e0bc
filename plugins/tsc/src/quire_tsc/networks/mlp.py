"""Multilayer perceptron."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from quire_tsc.networks.layers import reset_parameters
from quire_tsc.networks.network import Network

if TYPE_CHECKING:
    from torch import Tensor


class MLP(Network):
    """Three dense layers of 500 ReLU units with dropout 0.1, 0.2, 0.2, 0.3 (Ismail Fawaz et al., 2019)."""

    def __init__(self, channels: int, length: int, classes: int, *, units: int = 500) -> None:
        super().__init__(channels, length, classes)
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
