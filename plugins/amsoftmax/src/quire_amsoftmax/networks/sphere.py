"""The paper's network: residual units of plain convolutions, without batch norm (SphereFace's, sec. 3.3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

UNITS = {"sphere4": (0, 0, 0, 0), "sphere20": (1, 2, 4, 1), "sphere36": (2, 4, 8, 2), "sphere64": (3, 8, 16, 3)}
CHANNELS = (64, 128, 256, 512)


class Unit(nn.Module):
    """h + PReLU(conv(PReLU(conv(h)))): PReLU before the addition and none after, [n, channels, h, w] unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.PReLU(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The unit's output."""
        out: Tensor = x + self.layers(x)
        return out


class SphereNet(nn.Module):
    """Images [n, in_channels, h, w] -> embeddings [n, dim], without an activation after the last layer.

    Four stages, each a convolution of stride 2 and then `units[k]` residual units. width scales the channels.
    `sphere20` at 112 x 96 has 22,666,944 parameters.
    """

    def __init__(
        self,
        units: Sequence[int] = UNITS["sphere20"],
        *,
        dim: int = 512,
        input_size: tuple[int, int] = (112, 96),
        in_channels: int = 3,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        channels = [max(1, round(width * each)) for each in CHANNELS]
        stages: list[nn.Module] = []
        before, (height, wide) = in_channels, input_size
        for count, number in zip(channels, units, strict=True):
            stages += [nn.Conv2d(before, count, 3, stride=2, padding=1), nn.PReLU(count)]
            stages += [Unit(count) for _ in range(number)]
            before, height, wide = count, (height + 1) // 2, (wide + 1) // 2
        self.stages = nn.Sequential(*stages)
        self.embedding = nn.Linear(before * height * wide, dim)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """The embeddings, not normalised."""
        out: Tensor = self.embedding(self.stages(x).flatten(1))
        return out


def _initialise(module: nn.Module) -> None:
    """Units: normal(0, 0.01); everything else: uniform(-a, a), a = sqrt(3 / fan_in), biases 0."""
    if isinstance(module, Unit):
        for layer in module.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
    elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        uniform_by_fan_in(module)


def uniform_by_fan_in(layer: nn.Conv2d | nn.Linear) -> None:
    """Caffe's "xavier": uniform(-a, a) with a = sqrt(3 / fan_in); the bias is 0."""
    bound = math.sqrt(3 / layer.weight[0].numel())
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
