from __future__ import annotations

import numpy as np
import pytest
import torch

from quire.errors import ConfigError
from quire_tsc.cam import choose_classes, class_activation_map, plot_class_activation_maps, scale_maps
from quire_tsc.networks import FCN, Inception, PooledNetwork, ResNet


def trained(network: PooledNetwork) -> PooledNetwork:
    """The network with batch-norm statistics of some data."""
    torch.manual_seed(0)
    for _ in range(3):
        network(torch.randn(4, 2, 40) + 0.5)
    with torch.no_grad():
        network.head.bias.normal_()
    return network.eval()


@pytest.fixture(params=["fcn", "resnet", "inception"])
def network(request: pytest.FixtureRequest) -> PooledNetwork:
    torch.manual_seed(1)
    kinds: dict[str, PooledNetwork] = {
        "fcn": FCN(2, 40, 3, filters=(8, 12, 8)),
        "resnet": ResNet(2, 40, 3, filters=8),
        "inception": Inception(2, 40, 3, filters=4, bottleneck=4),
    }
    return trained(kinds[request.param])


def test_mean_of_the_map_plus_bias_is_the_logit(network: PooledNetwork) -> None:
    x = torch.randn(5, 2, 40)
    maps = class_activation_map(network, x)
    assert maps.shape == (5, 3, 40)
    torch.testing.assert_close(maps.mean(dim=2) + network.head.bias, network(x), rtol=1e-5, atol=1e-5)


def test_identity_over_the_mask(network: PooledNetwork) -> None:
    lengths = torch.tensor([40, 23, 9])
    mask = torch.arange(40) < lengths[:, None]
    x = torch.randn(3, 2, 40) * mask[:, None]
    maps = class_activation_map(network, x, mask)
    assert not maps.masked_select(~mask[:, None]).any()
    means = maps.sum(dim=2) / lengths[:, None]
    torch.testing.assert_close(means + network.head.bias, network(x, mask), rtol=1e-5, atol=1e-5)


def test_one_class_per_series_is_a_row_of_the_whole(network: PooledNetwork) -> None:
    x = torch.randn(4, 2, 40)
    classes = torch.tensor([2, 0, 1, 1])
    chosen = class_activation_map(network, x, classes=classes)
    assert chosen.shape == (4, 1, 40)
    torch.testing.assert_close(chosen[:, 0], class_activation_map(network, x)[torch.arange(4), classes])


def test_shifted_pattern_has_a_shifted_map(network: PooledNetwork) -> None:
    x = torch.zeros(1, 2, 400)
    x[..., 180:200] = torch.randn(2, 20)
    shifted = class_activation_map(network, x.roll(15, dims=2))
    reach = slice(150, 250)  # away from the ends, where zero padding meets the batch norms' constants
    expected = class_activation_map(network, x).roll(15, dims=2)
    if isinstance(network, Inception):  # six modules of width 40 see the ends from everywhere
        reach = slice(195, 215)
        torch.testing.assert_close(shifted[..., reach], expected[..., reach], rtol=1e-3, atol=1e-3)
    else:
        torch.testing.assert_close(shifted[..., reach], expected[..., reach], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(shifted, class_activation_map(network, x), atol=1e-3)


def test_training_mode_is_kept_and_statistics_stay(network: PooledNetwork) -> None:
    network.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    class_activation_map(network, torch.randn(2, 2, 40))
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_choice_of_the_class() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    assert choose_classes("predicted", logits).tolist() == [1, 0]
    assert choose_classes("true", logits, torch.tensor([2, 2])).tolist() == [2, 2]
    assert choose_classes(1, logits).tolist() == [1, 1]
    with pytest.raises(ConfigError, match="no labels"):
        choose_classes("true", logits)
    with pytest.raises(ConfigError, match="no class 3; the classes are 0 to 2"):
        choose_classes(3, logits)


def test_scales() -> None:
    maps = [np.array([1.0, 2.0, 3.0]), np.array([0.0, 5.0]), np.array([2.0, 2.0])]
    own = scale_maps(maps)
    assert [one.tolist() for one in own] == [[0.0, 50.0, 100.0], [0.0, 100.0], [0.0, 0.0]]
    shared = scale_maps(maps, "shared")
    assert [one.tolist() for one in shared] == [[20.0, 40.0, 60.0], [0.0, 100.0], [40.0, 40.0]]


def lines(figure: object) -> list[list[object]]:
    from matplotlib.collections import LineCollection

    axes = [plot for plot in figure.axes if plot.get_label() != "<colorbar>"]  # type: ignore[attr-defined]
    return [[item for item in plot.collections if isinstance(item, LineCollection)] for plot in axes]


def test_figure_draws_each_channel_in_2000_points() -> None:
    series = [np.array([[0.0, 1.0, 0.0], [2.0, 2.0, 2.0]]), np.array([[1.0, -1.0, 4.0, 0.0], [0.0, 0.0, 1.0, 1.0]])]
    maps = [np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0, 3.0, 5.0])]
    figure = plot_class_activation_maps(series, maps, titles=["first", "second"])
    drawn = lines(figure)
    assert [len(plot) for plot in drawn] == [2, 2]
    first = drawn[0][0]
    assert first.get_cmap().name == "cividis"  # type: ignore[attr-defined]
    vertices = np.array(first.get_segments())  # type: ignore[attr-defined]
    assert vertices.shape == (1999, 2, 2)
    np.testing.assert_allclose(vertices[:, 0, 1], np.interp(vertices[:, 0, 0], [0, 1, 2], [0.0, 1.0, 0.0]))
    heat = first.get_array()  # type: ignore[attr-defined]
    np.testing.assert_allclose(heat, np.interp(vertices[:, 0, 0], [0, 1, 2], [0.0, 100 / 3, 100.0]))
    assert [plot.get_title() for plot in figure.axes[:2]] == ["first", "second"]


def test_overlay_draws_all_series_in_one_plot() -> None:
    series, maps = [np.ones((1, 5)), np.zeros((1, 8))], [np.arange(5.0), np.arange(8.0)]
    figure = plot_class_activation_maps(series, maps, overlay=True, colour_map="jet", scale="shared")
    assert [len(plot) for plot in lines(figure)] == [2]


def test_series_of_one_step_and_unknown_colours() -> None:
    assert plot_class_activation_maps([np.ones((1, 1))], [np.ones(1)]).axes
    with pytest.raises(ConfigError, match="no colour map 'rainbows'"):
        plot_class_activation_maps([np.ones((1, 5))], [np.ones(5)], colour_map="rainbows")
