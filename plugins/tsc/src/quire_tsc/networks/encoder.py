"""Encoder: convolutions with attention over their last features."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from torch import nn

from quire_tsc.networks.layers import ChannelInstanceNorm, SameConv1d, SampleInstanceNorm, reset_parameters
from quire_tsc.networks.network import Network

if TYPE_CHECKING:
    from torch import Tensor

Norm = Literal["sample", "channel"]


class Encoder(Network):
    """Three convolutions with instance norm, then half of the channels weighs the other half (Ismail Fawaz et al., 2019).

    norm: "sample" normalises over time and channels together (the paper's code), "channel" each channel over time.
    attention_axis: the axis over which the weights sum to 1: "channel" (the paper's code) or "time".
    """

    minimum_length: ClassVar[int] = 4

    def __init__(
        self,
        channels: int,
        length: int,
        classes: int,
        *,
        norm: Norm = "sample",
        attention_axis: Literal["channel", "time"] = "channel",
    ) -> None:
        super().__init__(channels, length, classes)
        self.convolutions = nn.Sequential(
            *_block(channels, 128, 5, norm),
            nn.MaxPool1d(2),
            *_block(128, 256, 11, norm),
            nn.MaxPool1d(2),
            *_block(256, 512, 21, norm),
        )
        self.attention_dim = {"channel": 1, "time": 2}[attention_axis]
        self.dense = SameConv1d(256, 256, 1)  # one dense layer, applied at every time step
        self.norm = _instance_norm(256, norm)
        self.head = nn.Linear(256 * (length // 2 // 2), classes)
        reset_parameters(self)

    def embed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Flattened last layer, [n, 256 * (length // 4)]."""
        values, scores = self.convolutions(x).chunk(2, dim=1)  # [n, 256, length // 4] each
        attended = values * scores.softmax(dim=self.attention_dim)
        out: Tensor = self.norm(self.dense(attended).sigmoid()).flatten(1)
        return out


def _block(inputs: int, outputs: int, kernel_size: int, norm: Norm) -> list[nn.Module]:
    return [
        SameConv1d(inputs, outputs, kernel_size),
        _instance_norm(outputs, norm),
        nn.PReLU(outputs),
        nn.Dropout(0.2),
    ]


def _instance_norm(channels: int, norm: Norm) -> nn.Module:
    return SampleInstanceNorm() if norm == "sample" else ChannelInstanceNorm(channels)
