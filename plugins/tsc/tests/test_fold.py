from __future__ import annotations

import pytest
import torch
from torch import nn

from quire_tsc.fold import fold_batchnorm
from quire_tsc.networks import FCN, MLP, Inception, Network, ResNet
from quire_tsc.networks.layers import BatchNorm
from quire_tsc.recalibrate import recalibrate_batchnorm


def with_statistics(network: Network) -> Network:
    """The network with statistics, scales and shifts that do something."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    recalibrate_batchnorm(network, lambda: [(3 * torch.randn(8, 2, 30) + 1, None)])
    return network


@pytest.mark.parametrize(
    ("network", "left"),
    [
        (FCN(2, 30, 3), 0),
        (ResNet(2, 30, 3, filters=16), 1),
        (Inception(2, 30, 3, filters=8), 0),
        (MLP(2, 30, 3, units=4), 0),
    ],
    ids=["fcn", "resnet", "inception", "mlp"],
)
def test_folded_is_unfolded(network: Network, left: int) -> None:
    with_statistics(network).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    folded = fold_batchnorm(network)
    assert network.training
    assert not folded.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert sum(isinstance(module, BatchNorm) for module in folded.modules()) == left
    x = torch.randn(4, 2, 30, generator=torch.Generator().manual_seed(0))
    network.eval()
    torch.testing.assert_close(folded(x), network(x), rtol=1e-5, atol=1e-5)
    mask = torch.arange(30) < torch.tensor([[30], [11], [20], [1]])
    torch.testing.assert_close(folded(x * mask[:, None], mask), network(x * mask[:, None], mask), rtol=1e-5, atol=1e-5)


def test_folding_twice_is_folding_once() -> None:
    folded = fold_batchnorm(with_statistics(FCN(2, 30, 2, filters=(4, 4, 4))))
    again = fold_batchnorm(folded)
    assert all(torch.equal(value, folded.state_dict()[key]) for key, value in again.state_dict().items())
