"""The networks of the review and InceptionTime's, one file each."""

from __future__ import annotations

from quire_tsc.networks.encoder import Encoder
from quire_tsc.networks.fcn import FCN
from quire_tsc.networks.inception import Inception
from quire_tsc.networks.mcdcnn import MCDCNN
from quire_tsc.networks.mcnn import MCNN
from quire_tsc.networks.mlp import MLP
from quire_tsc.networks.network import Network, PooledNetwork
from quire_tsc.networks.resnet import ResNet
from quire_tsc.networks.time_cnn import TimeCNN
from quire_tsc.networks.tlenet import TLeNet

NETWORKS: dict[str, type[Network]] = {
    "mlp": MLP,
    "fcn": FCN,
    "resnet": ResNet,
    "encoder": Encoder,
    "mcnn": MCNN,
    "tlenet": TLeNet,
    "mcdcnn": MCDCNN,
    "time_cnn": TimeCNN,
    "inception": Inception,
}

__all__ = [
    "FCN",
    "MCDCNN",
    "MCNN",
    "MLP",
    "NETWORKS",
    "Encoder",
    "Inception",
    "Network",
    "PooledNetwork",
    "ResNet",
    "TLeNet",
    "TimeCNN",
]
