"""Networks of several seeds, trained as one: equal to trainings one by one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from quire import Runtime
from quire.dataset import InMemory
from quire.errors import ConfigError
from quire.hooks import hookimpl
from quire.run import Run, RunInfo
from quire.study import Cell, Method, Source
from quire.study.execute import run_cell, run_cells
from quire.study.together import bundles
from quire.training import ByCount, Phase, read_metrics
from quire_tsc.config import FAST, TSCConfig
from quire_tsc.grouped import GroupedNetwork, GroupedStep, GroupTraining, detach_member
from quire_tsc.model import TSC
from quire_tsc.networks import NETWORKS, Network
from quire_tsc.recalibrate import recalibrate_batchnorm
from quire_tsc.samples import write_release
from quire_tsc.training import optimization

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

Fit = Callable[..., TSC]
Ramps = Callable[..., InMemory]
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


# ------------------------------------------------------------------------------------------------------- whole models


def new_run(folder: Path) -> Run:
    folder.mkdir()
    return Run(folder, RunInfo(model="tsc", distribution="quire-tsc", created="", updated=""))


def alone_and_together(
    fit: Fit, train: InMemory, architecture: str, seeds: Sequence[int] = (0, 1, 4), **settings: Any
) -> tuple[list[TSC], list[TSC]]:
    alone = [fit(train, architecture, seed=seed, group_seeds=False, **settings) for seed in seeds]
    config = alone[0].config.model_copy(update={"group_seeds": True})
    together = [TSC(config) for _ in seeds]
    TSC.fit_seeds(together, train, [Runtime(device="cpu", threads=1, seed=seed) for seed in seeds])
    return alone, together


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("fcn", {}),
        ("fcn", {"recipe": "paper", "class_weight": "balanced"}),
        ("resnet", {"n_epochs": 2}),
        ("inception", {"select": "last"}),
        ("mlp", {}),
        ("mlp", {"recipe": "paper", "n_epochs": 10}),  # Adadelta
        ("time_cnn", {}),
        ("mcdcnn", {"optimizer": "sgd"}),
    ],
)
def test_models_trained_together_equal_models_trained_alone(
    fit: Fit, ramps: Ramps, architecture: str, settings: dict[str, Any]
) -> None:
    train = ramps(17, labels=("a", "b", "c"))
    small = {"learning_rate": 3e-5} if architecture in ("fcn", "resnet", "inception") else {}
    alone, together = alone_and_together(fit, train, architecture, batch_size=5, **{**small, **settings})
    test = list(ramps(9, labels=("a", "b", "c"), seed=1))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.predict_proba(test), one.predict_proba(test), atol=1e-4)
        assert other.state()["facts"] == one.state()["facts"]
        assert other.runtime.seed == one.runtime.seed
        assert {n: t.shape for n, t in other.network.state_dict().items()} == {
            n: t.shape for n, t in one.network.state_dict().items()
        }
    assert not np.allclose(together[0].predict_proba(test), together[1].predict_proba(test))


def test_a_model_trained_together_is_saved_by_itself(tmp_path: Path, fit: Fit, ramps: Ramps) -> None:
    _, together = alone_and_together(fit, ramps(), "fcn", n_epochs=1)
    test = list(ramps(5, seed=1))
    before = [model.predict_proba(test) for model in together]
    folder = together[1].save(tmp_path / "model")
    assert np.array_equal(TSC.load(folder, runtime=Runtime(device="cpu")).predict_proba(test), before[1])
    with torch.no_grad():
        for parameter in together[0].network.parameters():
            parameter.zero_()
    assert np.array_equal(together[1].predict_proba(test), before[1])


def test_every_member_has_its_own_plateaus_and_its_own_best_epoch(
    ramps: Ramps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the definitions, on the losses that the training reports: rates halve and snapshots are taken apart."""
    train = ramps(17, labels=("a", "b", "c"))
    config = TSCConfig(architecture="fcn", n_epochs=12, batch_size=5, learning_rate=0.05, group_seeds=True)
    recipe = replace(FAST["fcn"], epochs=12, batch=5, learning_rate=0.05, plateau=(2, 1e-4))
    monkeypatch.setattr("quire_tsc.model.recipe_of", lambda config: recipe)
    seen: list[dict[str, Any]] = []
    rates: list[list[float]] = []
    chosen: dict[str, Any] = {}

    class Watched(GroupTraining):
        def training_step(self, parts: Any, context: Any) -> Any:
            self.now = [each.optimizer.param_groups[0]["lr"] for each in context.optimizations]
            return super().training_step(parts, context)

        def phase(self) -> Phase:
            watch = Watch(self)
            made = super().phase()
            return replace(made, observers={**made.observers, "watch": watch})

        def choose(self) -> None:
            super().choose()
            chosen.update({name: tensor.clone() for name, tensor in self.network.state_dict().items()})

    class Watch:
        def __init__(self, group: Watched) -> None:
            self.group = group

        @hookimpl
        def quire_epoch_finished(self, metrics: Mapping[str, float]) -> None:
            weights = {name: tensor.clone() for name, tensor in self.group.network.state_dict().items()}
            seen.append({"metrics": dict(metrics), "weights": weights})
            rates.append(self.group.now)

    monkeypatch.setattr("quire_tsc.model.GroupTraining", Watched)
    models = [TSC(config) for _ in range(3)]
    TSC.fit_seeds(models, train, [Runtime(device="cpu", threads=1, seed=seed) for seed in range(3)])
    bests = []
    for k in range(3):
        losses = [epoch["metrics"][f"loss_{k + 1}"] for epoch in seen]
        bests.append(int(np.argmin(losses)))
        for name, tensor in chosen.items():
            if tensor.ndim:
                assert torch.equal(tensor.chunk(3)[k], seen[bests[k]]["weights"][name].chunk(3)[k])
        rate, best, waited = 0.05, np.inf, 0
        for epoch, loss in enumerate(losses):
            assert rates[epoch][k] == pytest.approx(rate)
            waited = 0 if loss < best - 1e-4 else waited + 1
            best = loss if waited == 0 else best
            if waited == 2:
                rate, waited = max(rate / 2, 1e-4), 0
    assert len(set(bests)) > 1
    assert any(len(set(epoch)) > 1 for epoch in rates)


def test_inception_time_as_a_group_equals_its_networks_one_by_one(fit: Fit, ramps: Ramps) -> None:
    train, test = ramps(14), list(ramps(5, seed=1))
    settings: dict[str, Any] = {"learning_rate": 1e-4, "n_epochs": 5}
    alone = fit(train, "inception_time", group_seeds=False, **settings)
    together = fit(train, "inception_time", group_seeds=True, **settings)
    np.testing.assert_allclose(together.predict_proba(test), alone.predict_proba(test), rtol=2e-4)
    assert together.state()["network"].keys() == alone.state()["network"].keys()


def test_a_group_that_is_interrupted_goes_on_as_if_it_had_not_been(tmp_path: Path, fit: Fit, ramps: Ramps) -> None:
    train = ramps(14)
    settings: dict[str, Any] = {"n_epochs": 8, "group_seeds": True, "learning_rate": 0.02}
    whole = fit(train, "inception_time", run=new_run(tmp_path / "whole"), **settings)
    run = new_run(tmp_path / "broken")
    run.hooks.add("interrupt", Interrupt(after=9))
    with pytest.raises(KeyboardInterrupt):
        fit(train, "inception_time", run=run, **settings)
    resumed = fit(train, "inception_time", run=Run.open(tmp_path / "broken"), **settings)
    for (name, one), (_, other) in zip(
        whole.network.state_dict().items(), resumed.network.state_dict().items(), strict=True
    ):
        assert torch.equal(one, other), name
    lines = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "broken")]
    assert lines[0] == lines[1]
    assert {"loss", "loss_1", "loss_2"} <= lines[0][0].keys()


class Interrupt:
    """Asks for the end of the process in the middle of an epoch."""

    def __init__(self, after: int) -> None:
        self.after = after

    @hookimpl
    def quire_step_finished(self, step: int) -> None:
        if step == self.after:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    "settings",
    [
        {"architecture": "mcnn"},
        {"architecture": "encoder"},
        {"architecture": "fcn", "select": "val_loss"},
        {"architecture": "fcn", "early_stopping_patience": 3},
        {"architecture": "fcn", "unequal": "pad"},
        {"architecture": "fcn", "group_seeds": False},
    ],
)
def test_what_cannot_be_grouped_says_so(ramps: Ramps, settings: dict[str, Any]) -> None:
    models = [TSC(TSCConfig(**settings)) for _ in range(2)]
    assert not models[0].can_group_seeds
    assert not models[0].should_group_seeds(ramps(), Runtime(device="cpu"))
    with pytest.raises(ConfigError, match="can't be trained together"):
        TSC.fit_seeds(models, ramps(), [Runtime(seed=0), Runtime(seed=1)])


def test_groups_are_of_one_configuration(ramps: Ramps) -> None:
    with pytest.raises(ConfigError, match="of one configuration"):
        TSC.fit_seeds([TSC(TSCConfig(n_epochs=1)), TSC(TSCConfig(n_epochs=2))], ramps(), [Runtime(), Runtime()])


def test_the_seeds_of_a_study_are_trained_together(tmp_path: Path) -> None:
    """And have the figures that they have alone."""
    source = Source("CBF", write_release(tmp_path / "data"), reader="time-series")
    options = {"architecture": "mlp", "n_epochs": 10}
    cells = [Cell(Method("mlp", "tsc", options), source, seed) for seed in range(3)]
    assert [len(bundle) for bundle in bundles(cells, cells)] == [3]
    together = run_cells(cells, device="cpu")
    for each, outcome in zip(cells, together, strict=True):
        alone = run_cell(each, device="cpu")
        assert outcome.metrics["accuracy"] == pytest.approx(alone.metrics["accuracy"], abs=0.002)  # 1 case of 900
        assert (outcome.n_params, outcome.fingerprint) == (alone.n_params, alone.fingerprint)
    apart = [replace(each, method=Method("mlp", "tsc", {**options, "group_seeds": False})) for each in cells]
    assert [len(bundle) for bundle in bundles(apart, apart)] == [1, 1, 1]


@pytest.mark.parametrize(("cases", "length", "worth"), [(50, 150, True), (50, 2000, False), (1000, 24, True)])
def test_on_a_cpu_small_batches_are_grouped(ramps: Ramps, cases: int, length: int, worth: bool) -> None:
    train = ramps(cases, length=length)
    for choice, expected in (("auto", worth), (True, True)):
        config = TSCConfig(architecture="fcn", group_seeds=choice)  # type: ignore[arg-type]
        assert TSC(config).should_group_seeds(train, Runtime(device="cpu")) is expected
