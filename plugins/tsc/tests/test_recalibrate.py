from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from quire_tsc.networks import FCN, MLP, ResNet
from quire_tsc.networks.layers import BatchNorm
from quire_tsc.recalibrate import recalibrate_batchnorm

if TYPE_CHECKING:
    from collections.abc import Iterator


def batches_of(x: torch.Tensor, size: int) -> list[tuple[torch.Tensor, None]]:
    return [(part, None) for part in torch.split(x, size)]


def first_norm(network: nn.Module) -> BatchNorm:
    return next(module for module in network.modules() if isinstance(module, BatchNorm))


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(10, 1, 12, generator=torch.Generator().manual_seed(0)) * 2 + 1


def test_statistics_are_the_average_over_the_set(x: torch.Tensor) -> None:
    network = FCN(1, 12, 2, filters=(4, 4, 4))
    outputs = network.blocks[0].conv(x)  # type: ignore[operator]
    batches = batches_of(x, 4)  # 4, 4 and 2 series
    recalibrate_batchnorm(network, lambda: batches)
    norm = first_norm(network)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, outputs.mean(dim=(0, 2)))
    weighted = sum(len(part) * part.var(dim=(0, 2)) for part in torch.split(outputs, 4)) / 10
    torch.testing.assert_close(norm.running_var, weighted)


def test_one_batch_makes_evaluation_equal_training(x: torch.Tensor) -> None:
    network = ResNet(1, 12, 2, filters=4)
    expected = network.train()(x)
    recalibrate_batchnorm(network, lambda: batches_of(x, 10))
    # torch keeps the unbiased variance, of 120 values
    torch.testing.assert_close(network.eval()(x), expected, rtol=0.05, atol=0.05)


def test_what_was_there_before_does_not_matter(x: torch.Tensor) -> None:
    network = FCN(1, 12, 2, filters=(4, 4, 4))
    recalibrate_batchnorm(network, lambda: batches_of(x, 5))
    fresh = {key: value.clone() for key, value in network.state_dict().items()}
    network.train()(1000 * x)
    recalibrate_batchnorm(network, lambda: batches_of(x, 5))
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, fresh[key])


def test_weights_momentum_and_modes_are_untouched(x: torch.Tensor) -> None:
    network = FCN(1, 12, 2, filters=(4, 4, 4)).train()
    network.blocks[1].eval()
    modes = [module.training for module in network.modules()]
    weights = [parameter.clone() for parameter in network.parameters()]
    recalibrate_batchnorm(network, lambda: batches_of(x, 5))
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(*pair) for pair in zip(weights, network.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in network.parameters())
    assert first_norm(network).momentum == 0.01


def test_modes_and_momentum_survive_a_failing_batch(x: torch.Tensor) -> None:
    def failing() -> Iterator[tuple[torch.Tensor, None]]:
        yield x, None
        raise OSError("the disk is gone")

    network = FCN(1, 12, 2, filters=(4, 4, 4)).eval()
    with pytest.raises(OSError, match="the disk"):
        recalibrate_batchnorm(network, failing)
    assert not any(module.training for module in network.modules())
    assert first_norm(network).momentum == 0.01


def test_masked_batches_count_their_time_steps_only(x: torch.Tensor) -> None:
    network = FCN(1, 12, 2, filters=(4, 4, 4))
    mask = torch.arange(12) < torch.tensor([[7]] * 10)
    recalibrate_batchnorm(network, lambda: [(x * mask[:, None], mask)])
    padded = first_norm(network).running_mean
    assert padded is not None
    padded = padded.clone()
    recalibrate_batchnorm(network, lambda: [(x[..., :7], None)])
    torch.testing.assert_close(padded, first_norm(network).running_mean)


def test_dropout_stays_off_and_no_batch_is_read_without_batch_norm(x: torch.Tensor) -> None:
    class Spy(FCN):
        def features(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
            self.dropping = nn.functional.dropout(torch.ones(1000), training=self.training).eq(0).any()
            return super().features(x, mask)

    network = Spy(1, 12, 2, filters=(4, 4, 4)).train()
    recalibrate_batchnorm(network, lambda: batches_of(x, 5))
    assert not network.dropping

    def unread() -> list[tuple[torch.Tensor, None]]:
        raise AssertionError("read")

    recalibrate_batchnorm(MLP(1, 12, 2, units=3), unread)
