from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from quire.errors import DataError
from quire_tsc.augment import mcnn_slicing, tlenet_slicing
from quire_tsc.networks import (
    FCN,
    MCDCNN,
    MCNN,
    MLP,
    NETWORKS,
    Encoder,
    Inception,
    Network,
    PooledNetwork,
    ResNet,
    TimeCNN,
)
from quire_tsc.networks.layers import (
    BatchNorm,
    ChannelInstanceNorm,
    SameConv1d,
    SampleInstanceNorm,
    masked_mean,
    reset_parameters,
    trainable_parameters,
)

if TYPE_CHECKING:
    from quire_tsc.networks.encoder import Norm

POOLED = {name: network for name, network in NETWORKS.items() if issubclass(network, PooledNetwork)}
LENGTHS = (8, 15, 24, 60, 150, 700)


def build(name: str, channels: int, length: int, classes: int) -> tuple[Network, int]:
    """A network for series of `length`, and the length of what it takes (a slice's for MCNN and t-LeNet)."""
    if name == "mcnn":
        size = mcnn_slicing(length).size
        return MCNN(channels, size, classes, series_length=length), size
    size = tlenet_slicing(length, 50).size if name == "tlenet" else length
    return NETWORKS[name](channels, size, classes), size


def with_statistics(network: Network) -> Network:
    """The network in evaluation mode, with batch norms that do something."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, BatchNorm):
            for value in (module.running_mean, module.bias):
                assert value is not None
                value.data.normal_(generator=generator)
            for value in (module.running_var, module.weight):
                assert value is not None
                value.data.uniform_(0.5, 2.0, generator=generator)
    return network.eval()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mlp", 577_502),
        ("fcn", 264_962),
        ("resnet", 504_258),
        ("encoder", 3_200_138),
        ("mcnn", 672_770),
        ("tlenet", 12_052),
        ("mcdcnn", 201_678),
        ("time_cnn", 902),
        ("inception", 420_450),
    ],
)
def test_parameter_counts_of_gunpoint(name: str, expected: int) -> None:
    assert trainable_parameters(build(name, 1, 150, 2)[0]) == expected


def test_encoder_with_channel_norm_has_its_parameter_count() -> None:
    assert trainable_parameters(Encoder(1, 150, 2, norm="channel")) == 3_202_434


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (2, 60), (12, 2), (62, 60)])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", NETWORKS)
def test_output_shapes(name: str, length: int, channels: int, classes: int) -> None:
    with torch.device("meta"):  # shapes without arithmetic
        if length < NETWORKS[name].minimum_length:
            with pytest.raises(DataError):
                build(name, channels, length, classes)
            return
        network, size = build(name, channels, length, classes)
        assert network(torch.empty(3, channels, size)).shape == (3, classes)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_embedding_is_the_input_of_the_head(name: str) -> None:
    network, size = build(name, 2, 24, 3)
    x = torch.randn(4, 2, size)
    embedding = network.eval().embed(x)
    assert embedding.shape == (4, network.head.in_features)
    torch.testing.assert_close(network.head(embedding), network(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_shortest_series(name: str) -> None:
    network = NETWORKS[name]
    shortest = network.minimum_length
    logits = network(2, shortest, 3).eval()(torch.randn(1, 2, shortest))
    assert logits.shape == (1, 3)
    assert logits.isfinite().all()
    with pytest.raises(DataError, match=rf"at least {shortest} time steps, and gets {shortest - 1}.*fcn"):
        network(2, shortest - 1, 3)


def test_mcnn_needs_a_time_step_for_every_pool() -> None:
    with pytest.raises(DataError, match="at least 5"):
        MCNN(1, 4, 2, pool_factor=5)


@pytest.mark.parametrize("name", NETWORKS)
def test_predictions_do_not_depend_on_the_batch(name: str) -> None:
    network, size = build(name, 2, 24, 3)
    with_statistics(network)
    x = torch.randn(4, 2, size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(x)[1:2], network(x[1:2]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_one_seed_gives_one_network(name: str) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(build(name, 1, 24, 2)[0].state_dict())
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key])


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_is_trained(name: str) -> None:
    network, size = build(name, 2, 24, 3)
    x = torch.randn(6, 2, size, generator=torch.Generator().manual_seed(0))
    loss = network.loss(network(x), torch.tensor([0, 1, 2, 0, 1, 2]))
    loss.backward()  # type: ignore[no-untyped-call]
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("norm", ["sample", "channel"])
def test_encoder_has_finite_gradients_for_a_constant_series(norm: Norm) -> None:
    network = Encoder(1, 8, 2, norm=norm)
    network(torch.zeros(2, 1, 8)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


def test_encoder_attention_axes_weigh_differently() -> None:
    x = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(0))
    by_channel = Encoder(1, 16, 2).eval()
    by_time = Encoder(1, 16, 2, attention_axis="time").eval()
    by_time.load_state_dict(by_channel.state_dict())
    assert not torch.allclose(by_channel(x), by_time(x))


@pytest.mark.parametrize("name", POOLED)
def test_pooled_networks_take_any_length(name: str) -> None:
    network = with_statistics(POOLED[name](1, 150, 2))
    x = torch.randn(2, 1, 37)
    assert isinstance(network, PooledNetwork)
    assert network.features(x).shape == (2, network.head.in_features, 37)
    torch.testing.assert_close(network.embed(x), network.features(x).mean(dim=2))


@pytest.mark.parametrize("name", POOLED)
def test_a_padded_series_gives_what_it_gives_alone(name: str) -> None:
    network = with_statistics(POOLED[name](2, 30, 3))
    x = torch.randn(2, 2, 30, generator=torch.Generator().manual_seed(0)) - 1.0
    mask = torch.arange(30) < torch.tensor([[30], [17]])
    padded = x * mask[:, None]
    logits = network(padded, mask)
    torch.testing.assert_close(logits[:1], network(x[:1]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits[1:], network(x[1:, :, :17]), rtol=1e-5, atol=1e-5)


def test_batch_norm_takes_statistics_of_the_mask_only() -> None:
    x = torch.randn(3, 2, 9, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) < torch.tensor([[9], [4], [6]])
    norm = BatchNorm(2).train()
    out = norm(x, mask).detach().numpy()
    steps = np.concatenate([x[i, :, : int(mask[i].sum())].numpy() for i in range(3)], axis=1)  # [channels, 19]
    mean, variance = steps.mean(axis=1), steps.var(axis=1)
    expected = (x.numpy() - mean[:, None]) / np.sqrt(variance[:, None] + 1e-3) * mask[:, None].numpy()
    np.testing.assert_allclose(out, expected, atol=1e-5)
    assert norm.running_mean is not None
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.01 * mean, atol=1e-7)


def test_masked_mean_of_an_empty_series_is_zero() -> None:
    mask = torch.tensor([[True, True, False], [False, False, False]])
    x = torch.tensor([[[1.0, 3.0, 100.0]], [[1.0, 2.0, 3.0]]])
    assert masked_mean(x, mask).tolist() == [[2.0], [0.0]]


@pytest.mark.parametrize("kernel", [1, 2, 3, 8, 11, 20, 40])
def test_same_padding_is_torchs_without_its_warning(kernel: int) -> None:
    x = torch.randn(2, 3, 25, generator=torch.Generator().manual_seed(0))
    conv = SameConv1d(3, 4, kernel)
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            out = conv(x)
    finally:
        torch.set_warn_always(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = nn.functional.conv1d(x, conv.weight, conv.bias, padding="same")
    torch.testing.assert_close(out, expected)


def test_a_kernel_of_eight_sees_three_steps_left_and_four_right() -> None:
    conv = SameConv1d(1, 1, 8, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.arange(1.0, 9.0).view(1, 1, 8))
    impulse = torch.zeros(1, 1, 20)
    impulse[0, 0, 10] = 1.0
    response = conv(impulse).flatten()
    # the step 4 before the impulse sees it last, the step 3 after it first
    assert response[6:14].tolist() == [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    assert response.count_nonzero() == 8


def test_glorot_uniform_as_keras_defines_it() -> None:
    torch.manual_seed(0)
    cases: list[tuple[nn.Conv1d | nn.Linear, float]] = [
        (SameConv1d(16, 32, 5), math.sqrt(6 / (5 * 16 + 5 * 32))),
        (nn.Linear(100, 50), math.sqrt(6 / 150)),
        (SameConv1d(12, 96, 5, groups=12), math.sqrt(6 / (5 * 1 + 5 * 8))),  # twelve layers of 1 -> 8 channels
    ]
    for layer, limit in cases:
        reset_parameters(layer)
        assert layer.weight.abs().max() <= limit
        assert layer.weight.abs().max() > 0.97 * limit
        assert abs(layer.weight.mean().item()) < 0.1 * limit
        assert layer.bias is not None
        assert not layer.bias.any()


def test_reset_parameters_resets_all_layers() -> None:
    network = Encoder(1, 8, 2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(7.0)
    reset_parameters(network)
    assert not any((parameter == 7.0).any() for parameter in network.parameters())
    assert all(not module.weight.any() for module in network.modules() if isinstance(module, nn.PReLU))
    assert all(module.weight.item() == 1.0 for module in network.modules() if isinstance(module, SampleInstanceNorm))


def test_instance_norms_against_their_definitions() -> None:
    x = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0)) * 5 + 2
    values = x.numpy()
    sample = (values - values.mean((1, 2), keepdims=True)) / (values.std((1, 2), keepdims=True) + 1e-3)
    np.testing.assert_allclose(SampleInstanceNorm()(x).detach().numpy(), sample, atol=1e-5)
    channel = (values - values.mean(2, keepdims=True)) / np.sqrt(values.var(2, keepdims=True) + 1e-3)
    np.testing.assert_allclose(ChannelInstanceNorm(3)(x).detach().numpy(), channel, atol=1e-5)


def test_batch_norm_has_keras_constants() -> None:
    norm = BatchNorm(1).train()
    norm(torch.tensor([[[1.0, 3.0]]]))
    assert norm.running_mean is not None
    assert norm.running_mean.item() == pytest.approx(0.01 * 2.0)
    assert norm.eval()(torch.tensor([[[0.02]]])).item() == pytest.approx(0.0, abs=1e-6)
    assert norm.eps == 1e-3


@pytest.mark.parametrize("length", [30, 80])
def test_mcdcnn_groups_are_branches(length: int) -> None:
    network = MCDCNN(3, length, 2).eval()
    x = torch.randn(4, 3, length, generator=torch.Generator().manual_seed(0))
    first, second = (layer for layer in network.branches if isinstance(layer, nn.Conv1d))
    padding = 2 if length < 60 else 0
    branches = []
    for channel in range(3):
        own = slice(8 * channel, 8 * channel + 8)
        out = x[:, channel : channel + 1]
        for layer in (first, second):
            assert layer.bias is not None
            out = nn.functional.conv1d(out, layer.weight[own], layer.bias[own], padding=padding).relu()
            out = nn.functional.max_pool1d(out, 2)
        branches.append(out.flatten(1))
    expected = network.head(network.hidden(torch.cat(branches, dim=1)).relu())
    torch.testing.assert_close(network(x), expected, rtol=1e-6, atol=1e-6)


def test_time_cnn_loss_is_the_mean_squared_error_of_sigmoids() -> None:
    network = TimeCNN(1, 24, 3)
    logits = torch.tensor([[0.5, -1.0, 2.0], [3.0, 0.0, -4.0]])
    sigmoids = 1 / (1 + np.exp(-logits.numpy()))
    errors = ((sigmoids - np.array([[0, 0, 1], [0, 1, 0]])) ** 2).mean(axis=1)
    target = torch.tensor([2, 1])
    assert network.loss(logits, target).item() == pytest.approx(errors.mean(), rel=1e-6)
    weighted = network.loss(logits, target, torch.tensor([1.0, 3.0, 1.0])).item()
    assert weighted == pytest.approx((errors[0] + 3 * errors[1]) / 4, rel=1e-6)
    expected = sigmoids / sigmoids.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(network.probabilities(logits).numpy(), expected, rtol=1e-5)


def test_time_cnn_probabilities_survive_underflow() -> None:
    probabilities = TimeCNN(1, 24, 2).probabilities(torch.tensor([[-300.0, -301.0]]))
    np.testing.assert_allclose(probabilities.numpy(), [[1 / (1 + math.exp(-1)), 1 / (1 + math.e)]], rtol=1e-5)


def test_probabilities_and_loss_of_the_others() -> None:
    network = MLP(1, 4, 2, units=3)
    logits = torch.tensor([[0.0, math.log(3.0)]])
    np.testing.assert_allclose(network.probabilities(logits).numpy(), [[0.25, 0.75]], rtol=1e-6)
    assert network.loss(logits, torch.tensor([0])).item() == pytest.approx(math.log(4.0))


def test_resnet_projects_even_where_widths_agree_by_chance() -> None:
    # 64 channels in, 64 filters: the reference projects the first two shortcuts whatever the widths
    assert trainable_parameters(ResNet(64, 20, 2)) - trainable_parameters(ResNet(63, 20, 2)) == 64 * 8 + 64


@pytest.mark.parametrize(("depth", "shortcuts"), [(1, 0), (3, 1), (5, 1), (6, 2), (9, 3)])
def test_inception_has_a_shortcut_around_every_three_modules(depth: int, shortcuts: int) -> None:
    network = Inception(2, 20, 2, depth=depth, filters=4, kernel_size=8)
    assert len(network.blocks) == depth
    assert len(network.shortcuts) == shortcuts
    assert network(torch.randn(2, 2, 20)).shape == (2, 2)
    assert len(Inception(2, 20, 2, depth=depth, filters=4, residual=False).shortcuts) == 0


def test_inception_bottleneck_rules() -> None:
    def has_bottleneck(**options: int | None) -> list[bool]:
        network = Inception(12, 20, 2, depth=2, filters=4, **options)  # type: ignore[arg-type]
        return [isinstance(block.bottleneck, nn.Conv1d) for block in network.blocks if isinstance(block, nn.Module)]

    assert has_bottleneck() == [True, True]
    assert has_bottleneck(bottleneck_min_channels=12) == [False, True]
    assert has_bottleneck(bottleneck=None) == [False, False]


def test_fcn_takes_other_widths() -> None:
    network = FCN(1, 20, 2, filters=(4, 6), kernels=(3, 2))
    assert network.features(torch.randn(2, 1, 20)).shape == (2, 6, 20)
