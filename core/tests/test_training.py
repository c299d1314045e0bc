"""The training loop, held against loops that are written out, step by step."""

from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from quire.config import Config
from quire.dataset import Concatenation, Dataset, InMemory, Subset
from quire.errors import ConfigError, DataError, RunError, TrainingError
from quire.hooks import StopPhase, StopTraining, hookimpl
from quire.run import Run
from quire.runtime import Runtime
from quire.storage import load_tree
from quire.task import VECTOR_CLASSIFICATION
from quire.training import (
    ByCount,
    Every,
    Mixture,
    NeuralModel,
    Optimization,
    Part,
    Phase,
    Selection,
    StepContext,
    read_metrics,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from quire.modality import Sample

    Plan = Callable[["Tiny", Dataset], list[Phase]]

pytestmark = pytest.mark.usefixtures("toy_plugin")
CPU = Runtime(device="cpu", precision="fp32", seed=11)


class TinyConfig(Config):
    """The options of Tiny."""

    norm: bool = Field(False, description="batch norm in the body")
    dropout: float = Field(0.0, description="in the body")
    plan: Literal["sgd"] = Field("sgd", description="unless a test sets `plan`")


class Net(nn.Module):
    """x [n, 3] -> logits [n, 2]"""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        norm = nn.BatchNorm1d(6) if config.norm else nn.Identity()
        self.body = nn.Sequential(nn.Linear(3, 6), norm, nn.Tanh(), nn.Dropout(config.dropout))
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


class Tiny(NeuralModel):
    """A network with a body and a head, trained as the test says."""

    Config = TinyConfig
    task = VECTOR_CLASSIFICATION
    prediction_batch = 4
    config: TinyConfig
    plan: Plan | None = None

    def build(self) -> nn.Module:
        return Net(self.config)

    def collate(self, samples: Sequence[Sample], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        labels = self.facts["labels"]
        return {
            "x": torch.from_numpy(np.stack([sample["vector"] for sample in samples])),
            "y": torch.tensor([labels.index(sample["target"]) for sample in samples]),
        }

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        logits = self.network(batch["x"])
        accuracy = (logits.argmax(1) == batch["y"]).float().mean()
        return {"loss": functional.cross_entropy(logits, batch["y"]), "accuracy": accuracy}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        logits: Tensor = self.network(batch["x"])
        return logits

    def phases(self, train: Dataset) -> list[Phase]:
        return self.plan(self, train) if self.plan is not None else [phase(train)]

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        return [self.facts["labels"][column] for column in self.outputs(samples).argmax(1)]


def sgd(
    path: str = "", *, lr: float = 0.1, schedule: Callable[[Any], Any] | None = None, **options: Any
) -> Callable[[Mapping[str, nn.Module], Runtime], list[Optimization]]:
    """Momentum SGD for the modules at `path`."""

    def optimizers(modules: Mapping[str, nn.Module], runtime: Runtime) -> list[Optimization]:
        part = nn.ModuleDict(dict(modules)).get_submodule(path)
        optimizer = runtime.optimizer(torch.optim.SGD, part.parameters(), lr=lr, momentum=0.9)
        return [Optimization(optimizer, schedule(optimizer) if schedule else None, **options)]

    return optimizers


def phase(train: Dataset, *, batch_size: int = 5, **options: Any) -> Phase:
    """Two epochs of SGD, unless said otherwise."""
    defaults: dict[str, Any] = {"optimizers": sgd(), "sampler": ByCount(len(train), batch_size, seed=3)}
    if "steps" not in options:
        defaults["epochs"] = 2
    return Phase(**{**defaults, **options})


def tiny(*phases: Callable[[Dataset], Phase], cls: type[Tiny] = Tiny, **config: Any) -> Tiny:
    model = cls(TinyConfig(**config), runtime=CPU)
    if phases:
        model.plan = lambda _, train: [make(train) for make in phases]
    return model


def points(samples: int = 13, *, seed: int = 0, labels: tuple[str, str] = ("a", "b"), name: str = "points") -> InMemory:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(samples, 3)).astype(np.float32)
    rows = [{"id": str(i), "vector": v, "target": labels[int(v.sum() > 0)]} for i, v in enumerate(vectors)]
    return InMemory(rows, task=VECTOR_CLASSIFICATION, name=name)


def weights(module: nn.Module | Tensor) -> Tensor:
    assert isinstance(module, nn.Module)
    return torch.cat([tensor.detach().flatten().double() for tensor in module.state_dict().values()])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "runs", model="toy", config={})


def gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def descend(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def reopened(run: Run) -> Run:
    return Run.open(run.path)


class Watch:
    """Keeps what every report said, and a copy of the network's weights at that moment; may stop or interrupt."""

    def __init__(self, model: Tiny, *, interrupt_at: int | None = None, stops: Mapping[int, Exception] | None = None):
        self.model, self.interrupt_at, self.stops = model, interrupt_at, stops or {}
        self.metrics: list[Mapping[str, float]] = []
        self.weights: list[Tensor] = []
        self.steps: list[tuple[str, int, int]] = []
        self.finished: list[tuple[str, str]] = []
        self.checkpoints = 0
        self.made = 0

    @hookimpl
    def quire_step_finished(self, phase: str, epoch: int, step: int) -> None:
        self.made += 1
        if self.made == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)

    @hookimpl
    def quire_epoch_finished(self, phase: str, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        self.steps.append((phase, epoch, step))
        self.metrics.append(dict(metrics))
        self.weights.append(weights(self.model.network))
        if len(self.steps) in self.stops:
            raise self.stops[len(self.steps)]

    @hookimpl
    def quire_checkpoint_saved(self) -> None:
        self.checkpoints += 1

    @hookimpl
    def quire_run_finished(self, state: str, reason: str) -> None:
        self.finished.append((state, reason))


def watched(model: Tiny, run: Run, **options: Any) -> Watch:
    watch = Watch(model, **options)
    run.hooks.add("watch", watch)
    return watch


# ------------------------------------------------------------------------------------------------------------ one step


def plain_training(
    train: Dataset, *, clip: float | None, step_lr: tuple[int, float], per: Literal["step", "epoch"]
) -> Net:
    """Two epochs of the same training, written out."""
    CPU.seed_everything()
    net = Net(TinyConfig())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, *step_lr)
    x = torch.from_numpy(np.stack([train[i]["vector"] for i in range(len(train))]))
    y = torch.tensor([train.labels.index(train[i]["target"]) for i in range(len(train))])
    for epoch in range(2):
        for batch in ByCount(len(train), 5, seed=3).batches(epoch):
            optimizer.zero_grad()
            descend(functional.cross_entropy(net(x[list(batch)]), y[list(batch)]))
            if clip is not None:
                nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimizer.step()
            if per == "step":
                schedule.step()
        if per == "epoch":
            schedule.step()
    return net


@pytest.mark.parametrize("accumulate", [1, 2, 3, 50])
@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("per", ["step", "epoch"])
def test_the_loop_is_the_plain_loop(accumulate: int, clip: float | None, per: Literal["step", "epoch"]) -> None:
    optimizers = sgd(schedule=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7), interval=per)
    train = points()
    model = tiny(lambda data: phase(data, accumulate=accumulate, clip_norm=clip, optimizers=optimizers)).fit(train)
    expected = plain_training(train, clip=clip, step_lr=(1, 0.7), per=per)
    torch.testing.assert_close(weights(model.network), weights(expected), rtol=1e-5, atol=1e-7)


def test_metrics_are_means_over_samples_however_batches_are_split(tmp_path: Path) -> None:
    lines = []
    for accumulate in (1, 3):
        run = Run.create(tmp_path, model="toy", config={})
        tiny(lambda data, k=accumulate: phase(data, accumulate=k)).fit(points(), run=run)  # type: ignore[misc]
        lines.append(read_metrics(run.metrics_path))
    assert [line["step"] for line in lines[0]] == [3, 6]
    for one, other in zip(*lines, strict=True):
        assert one.pop("phase") == other.pop("phase") == "train"
        assert one == pytest.approx(other, rel=1e-5)


def test_gradients_are_clipped_to_the_norm() -> None:
    moved = []
    for clip in (1e-3, 1e9, None):
        model = tiny(lambda data, c=clip: phase(data, steps=1, clip_norm=c, optimizers=sgd(lr=1.0)))  # type: ignore[misc]
        CPU.seed_everything()
        start = weights(Net(TinyConfig()))
        moved.append(float((weights(model.fit(points()).network) - start).norm()))
    assert moved[0] == pytest.approx(1e-3, rel=1e-3)
    assert moved[1] == moved[2] > 0.01


def test_every_optimiser_steps() -> None:
    def two(modules: Mapping[str, nn.Module], runtime: Runtime) -> list[Optimization]:
        return [*sgd("network.body", lr=0.2)(modules, runtime), *sgd("network.head", lr=0.05)(modules, runtime)]

    def groups(modules: Mapping[str, nn.Module], runtime: Runtime) -> list[Optimization]:
        net: Any = modules["network"]
        parameters = [{"params": net.body.parameters(), "lr": 0.2}, {"params": net.head.parameters(), "lr": 0.05}]
        return [Optimization(runtime.optimizer(torch.optim.SGD, parameters, momentum=0.9))]

    fitted = [
        tiny(lambda data, o=optimizers: phase(data, optimizers=o, clip_norm=0.1)).fit(points())  # type: ignore[misc]
        for optimizers in (two, groups)
    ]
    torch.testing.assert_close(weights(fitted[0].network), weights(fitted[1].network))


def test_mixed_precision_trains_the_same_network() -> None:
    full, mixed = tiny(), tiny()
    full.fit(points())
    mixed.fit(points(), runtime=replace(CPU, precision="bf16"))
    assert all(parameter.dtype is torch.float32 for parameter in mixed.network.parameters())
    assert not torch.equal(weights(mixed.network), weights(full.network))
    torch.testing.assert_close(weights(mixed.network), weights(full.network), rtol=0.1, atol=0.02)


class InnerLoop(Tiny):
    """Its step is Reptile's: three plain steps on the batch, then a part of the way there."""

    def training_step(self, parts: Sequence[Part], context: StepContext) -> dict[str, Tensor]:
        (part,) = parts
        batch = context.runtime.move(part.batch)
        parameters = list(self.network.parameters())
        start = [parameter.detach().clone() for parameter in parameters]
        for _ in range(3):
            loss = context.stepper(batch)["loss"]
            for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.data -= 0.5 * slope
        for parameter, before in zip(parameters, start, strict=True):
            parameter.data = before + 0.1 * (parameter.data - before)
        return {"loss": loss.detach() * part.weight}


def test_a_model_may_own_its_step(run: Run) -> None:
    train = points(4)
    model = tiny(lambda data: phase(data, epochs=1, batch_size=4), cls=InnerLoop).fit(train, run=run)
    CPU.seed_everything()
    net = Net(TinyConfig())
    fast = Net(TinyConfig())
    fast.load_state_dict(net.state_dict())
    (order,) = ByCount(4, 4, seed=3).batches(0)
    batch = model.collate([train[index] for index in order])
    for _ in range(3):
        fast.zero_grad()
        loss = functional.cross_entropy(fast(batch["x"]), batch["y"])
        descend(loss)
        with torch.no_grad():
            for parameter in fast.parameters():
                parameter.copy_(parameter - 0.5 * gradient(parameter))
    expected = weights(net) + 0.1 * (weights(fast) - weights(net))
    torch.testing.assert_close(weights(model.network), expected, rtol=1e-5, atol=1e-7)
    assert read_metrics(run.metrics_path)[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_gradients_pass_through_another_model() -> None:
    judge = tiny().fit(points())
    judge.network.requires_grad_(False).zero_grad()
    before = weights(judge.network)

    class Attack(Tiny):
        """Learns to change inputs so that the judge takes them for class b."""

        def build(self) -> nn.Module:
            return nn.Linear(3, 3)

        def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            logits = judge.network(batch["x"] + self.network(batch["x"]))
            return {"loss": functional.cross_entropy(logits, torch.ones_like(batch["y"]))}

    attack = tiny(lambda data: phase(data, steps=1, batch_size=13), cls=Attack)
    attack.fit(points())
    CPU.seed_everything()
    change = nn.Linear(3, 3)
    batch = judge.collate([points()[index] for index in range(13)])
    logits = judge.network(batch["x"] + change(batch["x"]))
    descend(functional.cross_entropy(logits, torch.ones(13, dtype=torch.long)))
    expected = torch.cat([(p - 0.1 * gradient(p)).flatten() for p in change.parameters()]).detach()
    torch.testing.assert_close(weights(attack.network), expected.double(), rtol=1e-5, atol=1e-7)
    assert torch.equal(weights(judge.network), before)
    assert all(parameter.grad is None for parameter in judge.network.parameters())


def test_counting_flop_leaves_no_trace() -> None:
    class Queue(Tiny):
        """Its step keeps a running sum and draws a random number, in evaluation too."""

        def build(self) -> nn.Module:
            net = super().build()
            net.register_buffer("seen", torch.zeros(()))
            return net

        def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            self.network.get_buffer("seen").add_(len(batch["x"]))
            return {"loss": super().step(batch)["loss"] * torch.rand(())}

    model = tiny(lambda data: phase(data, epochs=1), cls=Queue).fit(points())
    assert model.network.seen == 13


# -------------------------------------------------------------------------------------------------------------- phases


def test_a_phase_changes_nothing_but_what_it_trains() -> None:
    body_only, head_only = (
        lambda data, path=path: phase(data, trains=f"network.{path}", name=path) for path in ("body", "head")
    )
    CPU.seed_everything()
    fresh = Net(TinyConfig(norm=True, dropout=0.5))
    trained_body = tiny(body_only, norm=True, dropout=0.5).fit(points()).network
    trained_both = tiny(body_only, head_only, norm=True, dropout=0.5).fit(points()).network
    assert torch.equal(weights(trained_body.head), weights(fresh.head))
    assert not torch.equal(weights(trained_body.body), weights(fresh.body))
    assert torch.equal(weights(trained_both.body), weights(trained_body.body))  # statistics of batch norm included
    assert not torch.equal(weights(trained_both.head), weights(fresh.head))
    assert all(parameter.requires_grad for parameter in trained_both.parameters())


def test_a_frozen_part_is_in_evaluation_mode() -> None:
    modes = []

    class Spy(Tiny):
        def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            net: Any = self.network
            modes.append((net.body.training, net.head.training))
            return super().step(batch)

    tiny(
        lambda data: phase(data, epochs=1, trains="network.head"),
        lambda data: phase(data, epochs=1, name="all"),
        cls=Spy,
    ).fit(points())
    assert modes[0] == (False, False)  # the one that counts FLOP
    assert modes[1:] == [(False, True)] * 3 + [(True, True)] * 3


def test_phases_follow_one_another_with_their_own_steps_and_optimisers(run: Run) -> None:
    model = tiny()

    def entropy(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": -model.network(batch["x"]).log_softmax(1).mean(), "two": torch.tensor(2.0)}

    model.plan = lambda _, data: [
        phase(data, name="first", steps=4, optimizers=sgd(lr=0.3)),
        phase(data, name="second", epochs=1, step=entropy, optimizers=sgd(lr=0.01)),
    ]
    watch = watched(model, run)
    model.fit(points(), points(5), run=run)
    assert watch.steps == [("first", 1, 3), ("first", 1, 4), ("second", 1, 3)]
    assert [metrics["learning_rate"] for metrics in watch.metrics] == [0.3, 0.3, 0.01]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= watch.metrics[0].keys()
    assert watch.metrics[2]["two"] == watch.metrics[2]["val_two"] == 2
    assert "accuracy" not in watch.metrics[2]
    assert watch.checkpoints == 1
    assert watch.finished == [("done", "")]


def test_a_phase_that_is_stopped_makes_way_for_the_next(run: Run) -> None:
    model = tiny(lambda data: phase(data, name="first", epochs=9), lambda data: phase(data, name="second", epochs=1))
    watch = watched(model, run, stops={2: StopPhase("enough of this")})
    model.fit(points(), run=run)
    assert watch.steps == [("first", 1, 3), ("first", 2, 6), ("second", 1, 3)]
    assert watch.finished == [("done", "")]


@pytest.mark.parametrize("report", [1, 2], ids=["inside", "after the last step"])
def test_a_training_that_is_stopped_begins_no_further_phase(run: Run, report: int) -> None:
    model = tiny(lambda data: phase(data, name="first", steps=4), lambda data: phase(data, name="second", epochs=1))
    watch = watched(model, run, stops={report: StopTraining("enough of all")})
    model.fit(points(), run=run)
    assert watch.steps == [("first", 1, 3), ("first", 1, 4)][:report]
    assert watch.finished == [("done", "enough of all")]
    assert watch.checkpoints == 0
    assert reopened(run).info.reason == "enough of all"


def test_a_stop_between_phases_ends_the_training(run: Run) -> None:
    class Stopping:
        @hookimpl
        def quire_checkpoint_saved(self) -> None:
            raise StopTraining("one phase will do")

    model = tiny(
        lambda data: phase(data, name="first", trains="network.body", select=Selection()),
        lambda data: phase(data, name="second", trains="network.head"),
    )
    watch = watched(model, run)
    run.hooks.add("stopping", Stopping())
    model.fit(points(), run=run)
    assert {name for name, _, _ in watch.steps} == {"first"}
    assert watch.finished == [("done", "one phase will do")]


class WithMargin(Tiny):
    """The head that it is trained with is not a part of the model."""

    def build(self) -> nn.Module:
        return nn.Linear(3, 4)

    def build_training_only(self) -> dict[str, nn.Module]:
        return {"margin": nn.Linear(4, 2)}

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        logits = self.training_only["margin"](self.network(batch["x"]))
        return {"loss": functional.cross_entropy(logits, batch["y"])}


def test_training_only_modules_are_in_the_checkpoint_and_not_in_the_model(run: Run, tmp_path: Path) -> None:
    model = tiny(lambda data: phase(data, checkpoint=Every(epochs=1)), cls=WithMargin).fit(points(), run=run)
    kept = load_tree(run.checkpoint_path)["modules"]
    assert kept["margin"].keys() == {"weight", "bias"}
    assert torch.equal(kept["network"]["weight"], model.network.weight)  # type: ignore[arg-type]
    CPU.seed_everything()
    nn.Linear(3, 4)
    assert not torch.equal(kept["margin"]["weight"], nn.Linear(4, 2).weight)
    saved = load_tree(model.save(tmp_path / "model") / "model.safetensors")
    assert saved["state"]["network"].keys() == {"weight", "bias"}
    assert "margin" not in str(saved)
    assert len(model.training_only) == 0


# -------------------------------------------------------------------------- reports, schedules, choice of weights, ends


class Scripted(Tiny):
    """Its validation says what the test wants, once a report."""

    script: tuple[float, ...] = ()

    def validate(self, phase: Phase, batches: Iterator[tuple[Any, int]]) -> dict[str, float]:
        self.reports = getattr(self, "reports", -1) + 1
        return {"score": self.script[self.reports]}


def scripted(run: Run, script: Sequence[float], **options: Any) -> tuple[Scripted, Watch]:
    model = Scripted(TinyConfig(norm=True), runtime=CPU)
    model.script = tuple(script)
    model.plan = lambda _, data: [phase(data, **{"epochs": len(script), **options})]
    watch = watched(model, run)
    return model.fit(points(), points(3), run=run), watch


NAN = math.nan


@pytest.mark.parametrize(
    ("selection", "script", "best"),
    [
        (Selection("val_score"), [3, 1, 2, 1, 4], 1),
        (Selection("val_score", ties="last"), [3, 1, 2, 1, 4], 3),
        (Selection("val_score", "max"), [3, 4, 2, 4, 1], 1),
        (Selection("val_score", "max", "last"), [3, 4, 2, 4, 1], 3),
        (Selection("val_score"), [NAN, 5, NAN, 6], 1),
        (Selection("val_score"), [NAN, NAN, NAN], 2),
        (Selection("val_score", "max"), [1, 2, math.inf], 2),
    ],
)
def test_the_best_weights_are_the_ones_that_stay(
    run: Run, selection: Selection, script: list[float], best: int
) -> None:
    model, watch = scripted(run, script, select=selection)
    assert len({str(kept.tolist()) for kept in watch.weights}) == len(script)
    assert torch.equal(weights(model.network), watch.weights[best])
    assert not model.network.training


def test_patience_counts_reports_without_a_better_one(run: Run) -> None:
    model, watch = scripted(run, [5, 3, 3, 4, 2, 2, 9, 9, 9], select=Selection("val_score"), patience=3)
    assert len(watch.steps) == 8
    assert torch.equal(weights(model.network), watch.weights[4])
    assert watch.finished == [("done", "val_score did not improve for 3 reports")]
    assert reopened(run).info.reason == "val_score did not improve for 3 reports"


def test_patience_of_one_phase_is_not_that_of_another(run: Run) -> None:
    model = Scripted(TinyConfig(), runtime=CPU)
    model.script = (1, 2, 3, 4, 5, 6)
    selected: dict[str, Any] = {"select": Selection("val_score"), "patience": 2, "epochs": 9}
    model.plan = lambda _, data: [phase(data, name=name, **selected) for name in ("first", "second")]
    watch = watched(model, run)
    model.fit(points(), points(3), run=run)
    assert [name for name, _, _ in watch.steps] == ["first"] * 3 + ["second"] * 3


@pytest.mark.parametrize(
    ("interval", "rates"),
    [("epoch", [0.8, 0.4, 0.2]), ("step", [0.1, 0.1 / 8, 0.1 / 64])],
)
def test_schedules_step_as_they_are_told(run: Run, interval: str, rates: list[float]) -> None:
    def halving(optimizer: Any) -> Any:
        return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    model = tiny(lambda data: phase(data, epochs=3, optimizers=sgd(lr=0.8, schedule=halving, interval=interval)))
    watch = watched(model, run)
    model.fit(points(), run=run)
    found = [metrics["learning_rate"] for metrics in watch.metrics]
    assert found == pytest.approx([0.4, 0.2, 0.1] if interval == "epoch" else rates)


def test_a_monitored_schedule_steps_on_its_metric(run: Run) -> None:
    def plateau(optimizer: Any) -> Any:
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=1)

    optimizers = sgd(lr=1e-3, schedule=plateau, monitor="val_score")
    _, watch = scripted(run, [5, 4, 4, 4, 3, 3, 3], optimizers=optimizers)
    rates = [metrics["learning_rate"] for metrics in watch.metrics]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-4])  # reported before the schedule's step


@pytest.mark.parametrize("asks", ["select", "monitor"])
def test_a_metric_that_is_not_measured_is_named(asks: str) -> None:
    def plateau(optimizer: Any) -> Any:
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)

    options: dict[str, Any] = (
        {"select": Selection("val_loss")}
        if asks == "select"
        else {"optimizers": sgd(schedule=plateau, monitor="val_loss")}
    )
    with pytest.raises(TrainingError, match=r"'only'.*'val_loss', which is not measured.*loss.*validation set"):
        tiny(lambda data: phase(data, name="only", **options)).fit(points())


@pytest.mark.parametrize(
    ("report", "length", "steps"),
    [
        (Every(epochs=1), {"epochs": 3}, [3, 6, 9]),
        (Every(epochs=2), {"epochs": 3}, [6, 9]),
        (Every(steps=2), {"epochs": 3}, [2, 4, 6, 8, 9]),
        (Every(epochs=1, steps=2), {"epochs": 2}, [2, 3, 4, 6]),
        (Every(epochs=1), {"steps": 5}, [3, 5]),
        (Every(steps=5), {"steps": 5}, [5]),
        (Every(epochs=1), {"steps": 6}, [3, 6]),
    ],
)
def test_reports_are_made_when_due_and_at_the_end(
    run: Run, report: Every, length: dict[str, int], steps: list[int]
) -> None:
    model = tiny(lambda data: phase(data, report=report, **length))
    watch = watched(model, run)
    model.fit(points(), run=run)
    assert [step for _, _, step in watch.steps] == steps
    assert [line["step"] for line in read_metrics(run.metrics_path)] == steps


def test_intervals_are_due_when_any_of_them_has_passed() -> None:
    every = Every(epochs=2, steps=5)
    assert [step for step in range(1, 12) if every.due(epoch=None, step=step)] == [5, 10]
    assert every.due(epoch=2, step=3)
    assert not every.due(epoch=3, step=3)
    assert Every(seconds=1e-9).due(epoch=None, step=1, since=0.0)
    assert not Every(seconds=1e9).due(epoch=None, step=1, since=0.0)
    assert not Every(seconds=1e-9).due(epoch=None, step=1)


def test_training_ends_when_its_time_is_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    clock.perf_counter = clock.monotonic = lambda: clock.now
    monkeypatch.setattr("quire.training.loop.time", clock)

    class Slow(Tiny):
        """A step takes a second, a validation an hour."""

        def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            clock.now += 1 if self.network.training else 3600
            return super().step(batch)

    model = tiny(
        lambda data: phase(data, name="first", epochs=99, max_seconds=3.5),
        lambda data: phase(data, name="second", epochs=99, max_seconds=2.5),
        cls=Slow,
    )
    watch = watched(model, run)
    model.fit(points(), points(3), run=run)
    assert watch.steps == [("first", 1, 3), ("first", 1, 4), ("second", 1, 3)]
    assert watch.finished == [("done", "")]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_step_and_phase(run: Run, value: float) -> None:
    class Diverging(Tiny):
        def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: loss * value for name, loss in super().step(batch).items()}

    model = tiny(
        lambda data: phase(data, name="sound", steps=2, step=lambda batch: Tiny.step(model, batch)),
        lambda data: phase(data, name="wild", report=Every(steps=2)),
        cls=Diverging,
    )
    watch = watched(model, run)
    with pytest.raises(TrainingError, match=r"loss is (nan|inf) at step 2 of phase 'wild'.*learning rate"):
        model.fit(points(), run=run)
    assert watch.finished[0][0] == "failed"
    assert "step 2" in watch.finished[0][1]


def test_validation_metrics_are_means_over_samples_in_evaluation_mode(run: Run) -> None:
    validation = points(7, seed=5)  # batches of 4 and 3
    model = tiny(lambda data: phase(data, epochs=1), dropout=0.5, norm=True)
    watch = watched(model, run)
    model.fit(points(), validation, run=run)
    samples = [validation[index] for index in range(7)]
    with torch.no_grad():
        whole = model.step(model.collate(samples))
    assert watch.metrics[0]["val_loss"] == pytest.approx(float(whole["loss"]), rel=1e-5)
    assert watch.metrics[0]["val_accuracy"] == pytest.approx(float(whole["accuracy"]))
    assert watch.metrics[0]["val_accuracy"] == pytest.approx(
        np.mean([got == sample["target"] for got, sample in zip(model.predict(samples), samples, strict=True)])
    )


def test_validation_changes_no_weight() -> None:
    alone, validated = tiny(dropout=0.3, norm=True), tiny(dropout=0.3, norm=True)
    alone.fit(points())
    validated.fit(points(), points(7, seed=5))
    assert torch.equal(weights(alone.network), weights(validated.network))


def test_weights_are_settled_before_they_are_judged() -> None:
    calls: list[Any] = []

    class Settling(Tiny):
        def settle(self, phase: Phase, batches: Callable[[], Iterator[Any]]) -> None:
            calls.append(torch.cat([batch["x"] for batch in batches()]))

        def validate(self, phase: Phase, batches: Iterator[tuple[Any, int]]) -> dict[str, float]:
            calls.append("validate")
            return super().validate(phase, batches)

    train = points()
    tiny(cls=Settling).fit(train, points(3))
    assert [call if isinstance(call, str) else "settle" for call in calls] == ["settle", "validate"] * 2 + ["settle"]
    in_order = torch.from_numpy(np.stack([train[index]["vector"] for index in range(13)]))
    assert torch.equal(calls[0], in_order)


# ---------------------------------------------------------------------------------------------------------------- data


def test_several_data_sets_in_one_training() -> None:
    seen: list[tuple[str, ...]] = []

    class Mixed(Tiny):
        def collate(self, samples: Sequence[Sample], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
            if rng is not None:
                seen.append(tuple(sample["dataset"] for sample in samples))
            return super().collate(samples, rng)

    both = Concatenation([points(6, name="one"), points(9, seed=1, name="two")])
    sampler = Mixture((6, 9), batch_size=4, batches_per_epoch=5, weights=(1, 1), seed=2)
    tiny(lambda data: phase(data, sampler=sampler), cls=Mixed).fit(both)
    assert len(seen) == 10
    assert all(len(names) == 4 and len(set(names)) == 1 for names in seen)
    assert {names[0] for names in seen} == {"one", "two"}


def test_augmentation_draws_anew_for_every_batch_and_the_same_in_every_run() -> None:
    draws: list[float] = []

    class Augmented(Tiny):
        def collate(self, samples: Sequence[Sample], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
            if rng is not None:
                draws.append(rng.random())
            return super().collate(samples, rng)

    for _ in range(2):
        tiny(lambda data: phase(data, accumulate=2), cls=Augmented).fit(points(), points(3))
    assert len(draws) == 2 * 12
    assert draws[:12] == draws[12:]
    assert len(set(draws)) == 12


def test_trainings_that_can_not_be_are_refused() -> None:
    with pytest.raises(DataError, match="points has no samples to train on"):
        tiny().fit(Subset(points(), []))
    with pytest.raises(TrainingError, match="phase 'train' has no batches"):
        tiny(lambda data: phase(data, sampler=ByCount(13, 20, drop_last=True))).fit(points())
    with pytest.raises(TrainingError, match="two phases share a name"):
        tiny(phase, phase).fit(points())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"epochs": None}, "either epochs or steps"),
        ({"epochs": 1, "steps": 1}, "either epochs or steps"),
        ({"patience": 2}, "nothing to select on"),
        ({"accumulate": 0}, "accumulates 0 parts"),
        ({"report": Every(seconds=5)}, "must report every so many epochs or steps"),
    ],
)
def test_phases_that_make_no_sense_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        phase(points(), **options)


def test_an_interval_is_positive() -> None:
    with pytest.raises(ConfigError, match="an interval of 0 steps"):
        Every(steps=0)


# ------------------------------------------------------------------------------------- interruption, resume, save, load


def test_an_interrupted_training_continues_in_the_same_process(run: Run, tmp_path: Path) -> None:
    def plan(data: Dataset) -> Phase:
        return phase(data, epochs=4, select=Selection(), patience=9)

    unbroken = tiny(plan, dropout=0.4, norm=True).fit(
        points(), run=Run.create(tmp_path, model="toy", config={}, name="unbroken")
    )
    model = tiny(plan, dropout=0.4, norm=True)
    watch = watched(model, run, interrupt_at=5)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        model.fit(points(), run=run)
    assert signal.getsignal(signal.SIGINT) is handler
    assert watch.made == 5
    assert watch.finished == [("interrupted", "interrupted")]
    assert reopened(run).info.progress == {"phase": "train", "epoch": 1, "step": 5}
    resumed = tiny(plan, dropout=0.4, norm=True).fit(points(), run=run)
    assert torch.equal(weights(resumed.network), weights(unbroken.network))
    assert run.metrics_path.read_text() == (tmp_path / "unbroken" / "metrics.jsonl").read_text()


def test_observers_of_a_phase_are_kept_in_its_checkpoints(run: Run) -> None:
    class Average:
        """The running mean of the losses, which a fresh observer could not know."""

        def __init__(self) -> None:
            self.total, self.count = torch.zeros(()), 0

        @hookimpl
        def quire_step_finished(self, losses: Mapping[str, Tensor]) -> None:
            self.total = self.total + losses["loss"]
            self.count += 1

        def state_dict(self) -> dict[str, Any]:
            return {"total": self.total, "count": self.count}

        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            self.total, self.count = state["total"], state["count"]

    averages = [Average() for _ in range(3)]
    plans = [lambda data, a=average: phase(data, observers={"average": a}) for average in averages]
    tiny(plans[0]).fit(points())
    interrupted = tiny(plans[1])
    watched(interrupted, run, interrupt_at=4)
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(points(), run=run)
    tiny(plans[2]).fit(points(), run=reopened(run))
    assert averages[1].count == 4
    assert averages[2].count == averages[0].count == 6
    assert torch.equal(averages[2].total, averages[0].total)


@pytest.mark.parametrize("change", ["labels", "samples", "configuration", "seed", "nothing"])
def test_a_checkpoint_of_other_data_or_settings_is_refused(run: Run, change: str) -> None:
    tiny(lambda data: phase(data, epochs=2, checkpoint=Every(steps=2))).fit(points(), run=run)
    model = tiny(lambda data: phase(data, epochs=2), dropout=0.1 if change == "configuration" else 0.0)
    train = points(12 if change == "samples" else 13, labels=("a", "c") if change == "labels" else ("a", "b"))
    runtime = replace(CPU, seed=12) if change == "seed" else CPU
    if change == "nothing":
        model.fit(train, runtime=runtime, run=reopened(run))
        return
    with pytest.raises(RunError, match=r"state\.safetensors: .* changed since the checkpoint.*start a new run"):
        model.fit(train, runtime=runtime, run=reopened(run))


def test_a_saved_model_is_the_same_model(tmp_path: Path) -> None:
    model = tiny(norm=True).fit(points())
    model.artefacts = {"threshold": 0.25, "gallery": np.arange(6, dtype=np.float32).reshape(2, 3), "names": ["x", "y"]}
    loaded = Tiny.load(model.save(tmp_path / "model"))
    samples = [points(9, seed=4)[index] for index in range(9)]
    assert torch.equal(loaded.outputs(samples), model.outputs(samples))
    assert loaded.config == model.config
    assert loaded.facts == model.facts == {"labels": ["a", "b"]}
    assert loaded.artefacts["threshold"] == 0.25
    assert np.array_equal(loaded.artefacts["gallery"], model.artefacts["gallery"])
    assert not loaded.network.training
    assert loaded.state()["network"].keys() == model.state()["network"].keys()
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"config.json", "model.safetensors"}


def test_models_that_can_not_be_loaded_say_why(tmp_path: Path) -> None:
    folder = tiny().fit(points()).save(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    with pytest.raises(RunError, match=r"not a .*WithMargin"):
        WithMargin.load(folder)
    with pytest.raises(RunError, match="there is no saved model here"):
        Tiny.load(tmp_path)
    for content, complaint in [
        ({**config, "format": 99}, "format 99"),
        ({"format": 1}, "not a saved model"),
        ([], "not a saved model"),
    ]:
        (folder / "config.json").write_text(json.dumps(content))
        with pytest.raises(RunError, match=complaint):
            Tiny.load(folder)
    (folder / "config.json").write_text(json.dumps({**config, "config": {"norn": True}}))
    with pytest.raises(ConfigError, match=r"'norn'.*did you mean 'norm'"):
        Tiny.load(folder)


def test_a_model_that_has_not_learned_can_not_answer() -> None:
    with pytest.raises(RunError, match="this Tiny has not been trained yet"):
        tiny().predict([points()[0]])
    with pytest.raises(DataError, match="there are no samples to predict"):
        tiny().fit(points()).predict([])
