"""The backbones are those that the papers describe."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from quire.errors import ConfigError
from quire_amsoftmax.networks import BACKBONES, GNAP, IResNet, LeNetPP, SphereNet, build_backbone, iresnet


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_sphere20_is_the_papers_to_the_parameter() -> None:
    with torch.device("meta"):
        network = SphereNet()
        assert parameters(network) == 22_666_944
        maps = torch.empty(1, 3, 112, 96)
        sizes = []
        for layer in network.stages:
            maps = layer(maps)
            sizes.append(tuple(maps.shape[1:]))
    assert list(dict.fromkeys(sizes)) == [(64, 56, 48), (128, 28, 24), (256, 14, 12), (512, 7, 6)]
    assert network.embedding.in_features == 21_504


def test_sphere20_has_no_batch_norm_and_biases_where_the_reference_has() -> None:
    network = SphereNet(width=0.1)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
    biased = [name for name, _ in network.named_parameters() if name.endswith("bias")]
    assert len(biased) == 5  # four strided convolutions and the embedding
    assert isinstance(list(network.children())[-1], nn.Linear)  # no activation confines the embedding


def test_initialisation() -> None:
    network = SphereNet(width=0.5, dim=64, input_size=(32, 32))
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    strided = [each for each in convolutions if each.stride == (2, 2)]
    units = [each for each in convolutions if each.stride == (1, 1)]
    assert (len(strided), len(units)) == (4, 16)
    for layer in [*strided[1:], network.embedding]:
        bound = math.sqrt(3 / layer.weight[0].numel())
        assert layer.weight.abs().max() <= bound
        assert float(layer.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert (layer.bias == 0).all()
    for layer in units:
        assert float(layer.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    slopes = [module.weight for module in network.modules() if isinstance(module, nn.PReLU)]
    assert all((slope == 0.25).all() for slope in slopes)


def test_units_of_sphere_networks() -> None:
    unit = SphereNet((1, 0, 0, 0), width=0.05, input_size=(16, 16)).stages[2]
    first, slope, second, last = unit.layers
    x = torch.randn(2, 3, 8, 8)
    expected = x + last(second(slope(first(x))))
    torch.testing.assert_close(unit(x), expected)
    with torch.device("meta"):
        networks = {
            name: build_backbone(name, dim=8, input_size=(112, 96)) for name in BACKBONES if name.startswith("sphere")
        }
    depths = {name: sum(isinstance(m, nn.Conv2d) for m in network.modules()) for name, network in networks.items()}
    assert depths == {"sphere4": 4, "sphere20": 20, "sphere36": 36, "sphere64": 64}


@pytest.mark.parametrize(
    ("name", "layers"),
    [("iresnet18", 17), ("iresnet34", 33), ("iresnet50", 49), ("iresnet100", 99), ("iresnet200", 197)],
)
def test_depth_of_iresnets(name: str, layers: int) -> None:
    with torch.device("meta"):
        network = build_backbone(name, dim=512, input_size=(112, 112))
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == layers
    assert sum(iresnet.UNITS[name]) * 2 + 1 == layers


def test_parameters_of_iresnet50_are_those_of_its_description() -> None:
    """Counted layer by layer from section 3.3: insightface's r50 has 43.59 million too."""
    count, before = 3 * 64 * 9 + 2 * 64 + 64, 64
    for channels, units in zip((64, 128, 256, 512), (3, 4, 14, 3), strict=True):
        for unit in range(units):
            count += (
                2 * before + before * channels * 9 + 2 * channels + channels + channels * channels * 9 + 2 * channels
            )
            count += (before * channels + 2 * channels) * (unit == 0)
            before = channels
    count += 2 * 512 + (512 * 7 * 7 * 512 + 512) + 2 * 512
    with torch.device("meta"):
        network = IResNet()
        assert parameters(network) == count
    assert round(count / 1e4) == 4359
    assert not network.features.weight.requires_grad


@pytest.mark.parametrize("name", ["sphere4", "sphere20", "iresnet18", "lenetpp"])
@pytest.mark.parametrize("size", [(28, 28), (29, 21)])
def test_any_input_size_and_width(name: str, size: tuple[int, int]) -> None:
    network = build_backbone(name, dim=3, input_size=size, in_channels=1, width=0.05)
    assert network(torch.randn(2, 1, *size)).shape == (2, 3)


def test_lenetpp_at_28_pixels() -> None:
    network = LeNetPP(dim=2)
    assert network.embedding.in_features == 128 * 3 * 3
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == 6


def test_gnap_pools_directions() -> None:
    pool = GNAP(4).eval()
    x = torch.randn(3, 4, 5, 6)
    norms = x.norm(dim=1, keepdim=True)
    expected = (x / norms).mean((2, 3)) * norms.mean((2, 3))
    torch.testing.assert_close(pool(x), expected, rtol=1e-3, atol=1e-4)
    network = build_backbone("iresnet18", dim=5, input_size=(32, 32), width=0.1, neck="gnap")
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 5)


def test_what_there_is_not_is_told() -> None:
    with pytest.raises(ConfigError, match=r"no backbone 'sphere21' \(did you mean 'sphere20'\?\)"):
        build_backbone("sphere21", dim=8, input_size=(112, 96))
    with pytest.raises(ConfigError, match="images of 8 x 8 are too small for sphere20"):
        build_backbone("sphere20", dim=8, input_size=(8, 8))
    with pytest.raises(ConfigError, match="sphere20 has no neck"):
        build_backbone("sphere20", dim=8, input_size=(112, 96), neck="gnap")
