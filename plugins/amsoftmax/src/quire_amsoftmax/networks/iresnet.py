"""IResNet, what faces are mostly embedded with today (insightface's, after Duta et al., 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from quire_amsoftmax.networks.gnap import GNAP

if TYPE_CHECKING:
    from collections.abc import Sequence

UNITS = {
    "iresnet18": (2, 2, 2, 2),
    "iresnet34": (3, 4, 6, 3),
    "iresnet50": (3, 4, 14, 3),
    "iresnet100": (3, 13, 30, 3),
    "iresnet200": (6, 26, 60, 6),
}
CHANNELS = (64, 128, 256, 512)
EPS = 1e-5


class Block(nn.Module):
    """BN-conv-BN-PReLU-conv(stride)-BN plus the shortcut: [n, before, h, w] -> [n, channels, h/stride, w/stride]."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.BatchNorm2d(before, eps=EPS),
            nn.Conv2d(before, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels, eps=EPS),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(channels, eps=EPS),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels, eps=EPS)
            )

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        out: Tensor = self.residual(x) + self.shortcut(x)
        return out


class IResNet(nn.Module):
    """Images [n, in_channels, h, w] -> embeddings [n, dim].

    The first convolution keeps the size, the first block of each of the four stages halves it. neck: "fc" is BN, dropout, a
    linear layer and BN with its weight fixed at 1; "gnap" pools by norm instead (see GNAP) and then has the linear layer.
    """

    def __init__(
        self,
        units: Sequence[int] = UNITS["iresnet50"],
        *,
        dim: int = 512,
        input_size: tuple[int, int] = (112, 112),
        in_channels: int = 3,
        width: float = 1.0,
        dropout: float = 0.0,
        neck: Literal["fc", "gnap"] = "fc",
    ) -> None:
        super().__init__()
        channels = [max(1, round(width * each)) for each in CHANNELS]
        before, (height, wide) = channels[0], input_size
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, before, 3, padding=1, bias=False),
            nn.BatchNorm2d(before, eps=EPS),
            nn.PReLU(before),
        ]
        for count, number in zip(channels, units, strict=True):
            layers += [Block(before if k == 0 else count, count, 2 if k == 0 else 1) for k in range(number)]
            before, height, wide = count, (height + 1) // 2, (wide + 1) // 2
        self.layers = nn.Sequential(*layers)
        if neck == "gnap":
            self.neck = nn.Sequential(GNAP(before), nn.Linear(before, dim))
        else:
            self.neck = nn.Sequential(
                nn.BatchNorm2d(before, eps=EPS),
                nn.Flatten(),
                nn.Dropout(dropout),
                nn.Linear(before * height * wide, dim),
            )
        self.features = nn.BatchNorm1d(dim, eps=EPS)
        nn.init.ones_(self.features.weight)
        self.features.weight.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """The embeddings, not normalised."""
        out: Tensor = self.features(self.neck(self.layers(x)))
        return out
