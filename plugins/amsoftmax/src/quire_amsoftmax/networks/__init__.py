"""The backbones by name: images in, embeddings out, which is all that a head asks of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire.errors import ConfigError, Where, nearest
from quire_amsoftmax.networks import iresnet, sphere
from quire_amsoftmax.networks.gnap import GNAP
from quire_amsoftmax.networks.iresnet import IResNet
from quire_amsoftmax.networks.lenetpp import LeNetPP
from quire_amsoftmax.networks.sphere import SphereNet

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BACKBONES", "GNAP", "IResNet", "LeNetPP", "SphereNet", "build_backbone"]

BACKBONES = (*sphere.UNITS, *iresnet.UNITS, "lenetpp")
SMALLEST = {"lenetpp": 12}
"""The least height and width, where it is not 16."""


def build_backbone(
    name: str,
    *,
    dim: int,
    input_size: tuple[int, int],
    in_channels: int = 3,
    width: float = 1.0,
    neck: str = "fc",
    dropout: float = 0.0,
) -> nn.Module:
    """A new network [n, in_channels, *input_size] -> [n, dim]. ConfigError for an unknown name or a size too small."""
    if name not in BACKBONES:
        raise ConfigError(
            f"there is no backbone {name!r}{nearest(name, BACKBONES)}",
            where=Where(field="backbone"),
            remedy=f"Backbones are: {', '.join(BACKBONES)}.",
        )
    least = SMALLEST.get(name, 16)
    if min(input_size) < least:
        raise ConfigError(
            f"images of {input_size[0]} x {input_size[1]} are too small for {name}, which needs {least} x {least}",
            where=Where(field="input_size"),
        )
    if neck == "gnap" and name not in iresnet.UNITS:
        raise ConfigError(f"{name} has no neck to choose", where=Where(field="neck"))
    if name == "lenetpp":
        return LeNetPP(dim=dim, input_size=input_size, in_channels=in_channels, width=width)
    if name in sphere.UNITS:
        units = sphere.UNITS[name]
        return SphereNet(units, dim=dim, input_size=input_size, in_channels=in_channels, width=width)
    return IResNet(
        iresnet.UNITS[name],
        dim=dim,
        input_size=input_size,
        in_channels=in_channels,
        width=width,
        dropout=dropout,
        neck="gnap" if neck == "gnap" else "fc",
    )
