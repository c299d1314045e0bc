"""Networks of several seeds, trained as one: equal to trainings one by one."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from quire import Runtime
from quire.training import ByCount
from quire_tsc.config import FAST
from quire_tsc.grouped import GroupedNetwork, GroupedStep, detach_member
from quire_tsc.networks import NETWORKS, Network
from quire_tsc.recalibrate import recalibrate_batchnorm
from quire_tsc.training import optimization

if TYPE_CHECKING:
    from torch import Tensor

SEEDS = (0, 1, 5)
SHAPES = {"channels": 2, "length": 61, "classes": 3}
GROUPABLE = ("fcn", "resnet", "inception", "mlp", "time_cnn", "mcdcnn")


def members(name: str, dtype: torch.dtype = torch.float64) -> list[Network]:
    """One network a seed, of the review's shape but with fewer filters where that can be chosen."""
    small = {"fcn": {"filters": (8, 16, 8)}, "resnet": {"filters": 8}, "inception": {"filters": 4, "bottleneck": 4}}
    built = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        built.append(NETWORKS[name](**SHAPES, **small.get(name, {"units": 20} if name == "mlp" else {})).to(dtype))  # type: ignore[arg-type]
    return built


def data(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """17 series: with batches of 5 the last one of an epoch is ragged."""
    generator = torch.Generator().manual_seed(9)
    x = torch.randn(17, 2, 61, generator=generator, dtype=torch.float64)
    return x.to(dtype), torch.randint(0, 3, (17,), generator=generator)


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float(((ours - theirs).norm() / theirs.norm()).detach())


def gradient(network: Network) -> Tensor:
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def one_epoch(seed: int, epoch: int) -> list[list[int]]:
    return [list(batch) for batch in ByCount(17, 5, seed).batches(epoch)]


def rates(name: str, epochs: int, x: Tensor) -> dict[int, list[float]]:
    """A learning rate per seed and epoch: equal at first, then different.

    Small in single precision, where trainings at the usual one drift apart by rounding alone.
    """
    base = FAST[name].learning_rate * (1.0 if x.dtype is torch.float64 else 0.03)
    return {
        seed: [base if epoch == 0 else base / (1 + number) for epoch in range(epochs)]
        for number, seed in enumerate(SEEDS)
    }


def train_alone(network: Network, name: str, seed: int, x: Tensor, y: Tensor, epochs: int) -> list[float]:
    """The plain loop that a group has to equal; the losses of all steps."""
    (optimizer,) = (optimization(FAST[name], network, Runtime(device="cpu")).optimizer,)
    torch.manual_seed(seed)
    network.train()
    losses = []
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = rates(name, epochs, x)[seed][epoch]
        for batch in one_epoch(seed, epoch):
            optimizer.zero_grad()
            loss = network.loss(network(x[batch]), y[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
    return losses


def train_together(
    built: list[Network], name: str, x: Tensor, y: Tensor, epochs: int
) -> tuple[GroupedNetwork, list[list[float]]]:
    group = GroupedNetwork(built)
    optimizers = [optimization(FAST[name], member, Runtime(device="cpu")).optimizer for member in built]
    grouped_step = GroupedStep(group, optimizers)
    group.seed_dropout(SEEDS)
    group.train()
    losses = []
    for epoch in range(epochs):
        for optimizer, seed in zip(optimizers, SEEDS, strict=True):
            optimizer.param_groups[0]["lr"] = rates(name, epochs, x)[seed][epoch]
        for batches in zip(*(one_epoch(seed, epoch) for seed in SEEDS), strict=True):
            index = torch.tensor(batches).T
            group.zero_grad()
            each = group.losses(group(x[index]), y[index])
            each.sum().backward()  # type: ignore[no-untyped-call]
            grouped_step.step()
            losses.append(each.tolist())
    return group, [list(column) for column in zip(*losses, strict=True)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", GROUPABLE)
def test_outputs_and_gradients_equal_those_of_each_network(
    name: str, training: bool, dtype: torch.dtype, tolerance: float
) -> None:
    built = members(name, dtype)
    alone = deepcopy(built)
    x, y = data(dtype)
    group = GroupedNetwork(built).train(training)
    group.seed_dropout(SEEDS)
    index = torch.stack([torch.randperm(17, generator=torch.Generator().manual_seed(seed))[:5] for seed in SEEDS], 1)
    logits = group(x[index])
    group.losses(logits, y[index]).sum().backward()  # type: ignore[no-untyped-call]
    group.share_gradients()
    for number, network in enumerate(alone):
        network.train(training)
        torch.manual_seed(SEEDS[number])
        expected = network(x[index[:, number]])
        network.loss(expected, y[index[:, number]]).backward()  # type: ignore[no-untyped-call]
        assert relative(logits[:, number], expected) < tolerance
        mine, theirs = gradient(built[number]), gradient(network)
        assert relative(mine, theirs) < tolerance
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max()))


@pytest.mark.parametrize("name", GROUPABLE)
def test_twenty_steps_in_double_precision_equal_separate_trainings(name: str) -> None:
    built = members(name)
    alone = deepcopy(built)
    x, y = data()
    group, losses = train_together(built, name, x, y, epochs=5)  # of 4 steps, the last one with 2 series
    for number, (network, seed) in enumerate(zip(alone, SEEDS, strict=True)):
        expected = train_alone(network, name, seed, x, y, epochs=5)
        assert len(expected) == 20
        np.testing.assert_allclose(losses[number], expected, rtol=1e-10)
        for key, tensor in network.state_dict().items():
            torch.testing.assert_close(
                built[number].state_dict()[key].to(tensor.dtype) if tensor.ndim else tensor,
                tensor,
                rtol=1e-8,
                atol=1e-10,
            )
        network.eval()
        group.eval()
        assert relative(group(x)[:, number], network(x)) < 1e-10
        assert relative(built[number].eval()(x), network(x)) < 1e-10


@pytest.mark.parametrize("name", GROUPABLE)
def test_twenty_steps_in_single_precision_equal_separate_trainings(name: str) -> None:
    built = members(name, torch.float32)
    alone = deepcopy(built)
    x, y = data(torch.float32)
    _, losses = train_together(built, name, x, y, epochs=5)
    for number, seed in enumerate(SEEDS):
        np.testing.assert_allclose(losses[number], train_alone(alone[number], name, seed, x, y, epochs=5), rtol=1e-5)


@pytest.mark.parametrize("equal", [True, False])
def test_the_grouped_step_is_torchs_adam(equal: bool) -> None:
    built = members("fcn")
    group = GroupedNetwork(built)
    theirs = [[p.detach().clone().requires_grad_() for p in member.parameters()] for member in built]
    rate = [0.01] * 3 if equal else [0.01, 0.002, 0.01]
    mine = [torch.optim.Adam(m.parameters(), lr=lr, eps=1e-7, fused=True) for m, lr in zip(built, rate, strict=True)]
    plain = [
        torch.optim.Adam(p, lr=lr, eps=1e-7, foreach=False, fused=False) for p, lr in zip(theirs, rate, strict=True)
    ]
    step = GroupedStep(group, mine)
    generator = torch.Generator().manual_seed(2)
    for number in range(7):
        if number == 4:  # as a resumed training does: loaded optimisers, a new group
            saved = deepcopy([optimizer.state_dict() for optimizer in mine])
            mine = [torch.optim.Adam(member.parameters(), lr=0.5, eps=1e-7, fused=True) for member in built]
            for optimizer, state in zip(mine, saved, strict=True):
                optimizer.load_state_dict(state)
            step = GroupedStep(group, mine)
        for parameter in group.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        group.share_gradients()
        for member, parameters in zip(built, theirs, strict=True):
            for own, other in zip(member.parameters(), parameters, strict=True):
                other.grad = own.grad
        step.step()
        for optimizer in plain:
            optimizer.step()
    for member, parameters in zip(built, theirs, strict=True):
        for own, other in zip(member.parameters(), parameters, strict=True):
            torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-14)


def test_members_share_the_groups_memory_until_they_are_detached() -> None:
    built = members("resnet")
    before = deepcopy(built)
    group = GroupedNetwork(built)
    for member, old in zip(built, before, strict=True):
        for key, tensor in old.state_dict().items():
            assert torch.equal(member.state_dict()[key], tensor)
    built[1].load_state_dict(before[0].state_dict())
    x, _ = data()
    logits = group.eval()(x)
    assert torch.equal(logits[:, 0], logits[:, 1])
    assert not torch.equal(logits[:, 0], logits[:, 2])
    detach_member(built[0])
    with torch.no_grad():
        for parameter in built[0].parameters():
            parameter.zero_()
    assert torch.equal(group(x), logits)


def test_recalibration_of_a_group_is_that_of_its_members() -> None:
    built = members("inception")
    alone = deepcopy(built)
    x, _ = data()
    parts = [(x[:7], None), (x[7:14], None), (x[14:], None)]
    recalibrate_batchnorm(GroupedNetwork(built), lambda: parts)
    for member, network in zip(built, alone, strict=True):
        recalibrate_batchnorm(network, lambda: parts)
        for (key, mine), (_, other) in zip(member.named_buffers(), network.named_buffers(), strict=True):
            if "num_batches" not in key:
                torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-14)


def test_a_layer_without_a_grouped_form_is_refused() -> None:
    with pytest.raises(TypeError, match="SampleInstanceNorm can't be grouped"):
        GroupedNetwork([NETWORKS["encoder"](1, 30, 2)])
