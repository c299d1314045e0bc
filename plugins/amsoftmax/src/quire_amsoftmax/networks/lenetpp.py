"""LeNet++, the seven layers of the paper's 2-D and 3-D figures."""

from __future__ import annotations

from torch import Tensor, nn

from quire_amsoftmax.networks.sphere import uniform_by_fan_in

CHANNELS = (32, 64, 128)


class LeNetPP(nn.Module):
    """Images [n, in_channels, h, w] -> embeddings [n, dim] (2 or 3 for figures).

    Three stages of two 3x3 convolutions with PReLU and a pooling: 2x2, 2x2, and 3x3 with stride 2, whose windows may end
    outside as Caffe's do. All weights uniform by fan-in.
    """

    def __init__(
        self, *, dim: int = 2, input_size: tuple[int, int] = (28, 28), in_channels: int = 1, width: float = 1.0
    ) -> None:
        super().__init__()
        before, (height, wide) = in_channels, input_size
        layers: list[nn.Module] = []
        for number, count in enumerate(max(1, round(width * each)) for each in CHANNELS):
            for _ in range(2):
                layers += [nn.Conv2d(before, count, 3, padding=1), nn.PReLU(count)]
                before = count
            last = number == len(CHANNELS) - 1
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True) if last else nn.MaxPool2d(2))
            height, wide = (-(-(side - 3) // 2) + 1 if last else side // 2 for side in (height, wide))
        self.layers = nn.Sequential(*layers)
        self.embedding = nn.Linear(before * height * wide, dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                uniform_by_fan_in(module)

    def forward(self, x: Tensor) -> Tensor:
        """The embeddings, not normalised."""
        out: Tensor = self.embedding(self.layers(x).flatten(1))
        return out
