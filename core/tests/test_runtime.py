"""The runtime: what it chooses, what it measures, and that its speed changes no result."""

from __future__ import annotations

import json
import logging
import random
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from quire.errors import ConfigError, TrainingError
from quire.runtime import (
    Job,
    Meter,
    Runtime,
    available_memory,
    count_flop,
    in_batches_that_fit,
    is_out_of_memory,
    largest_batch,
)
from quire.runtime.device import choose_device, choose_precision, choose_threads
from quire.storage import load_tree, save_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from quire.dataset import Dataset
    from quire.training import NeuralModel, Phase

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretends that the machine has `count` accelerators of the type `kind`, and a CPU with or without AMX."""

    def pretend(kind: str | None = None, count: int = 0, amx: bool = False) -> None:
        found = torch.device(kind) if kind else None
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: found)
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx})

    return pretend


def test_auto_takes_the_accelerator_if_there_is_one(machine: Callable[..., None]) -> None:
    machine()
    assert choose_device("auto") == CPU
    machine("cuda", 2)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cpu") == CPU
    assert choose_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize(
    ("asked", "complaint"), [("tpu9", "there is no device 'tpu9'"), ("mps", "not available"), ("cuda:2", "there are 2")]
)
def test_devices_that_are_not_there_are_refused(machine: Callable[..., None], asked: str, complaint: str) -> None:
    machine("cuda", 2)
    with pytest.raises(ConfigError, match=complaint):
        choose_device(asked)


def test_a_machine_without_accelerator_refuses_one(machine: Callable[..., None]) -> None:
    machine()
    with pytest.raises(ConfigError, match=r"'cuda' is not available here.*quire doctor"):
        Runtime(device="cuda")


def test_precision_is_bf16_only_where_that_is_fast(machine: Callable[..., None]) -> None:
    machine(amx=False)
    assert choose_precision("auto", CPU) is torch.float32
    machine(amx=True)
    assert choose_precision("auto", CPU) is torch.bfloat16
    assert choose_precision("fp32", CPU) is torch.float32
    assert choose_precision("bf16", CPU) is torch.bfloat16
    assert choose_precision("fp16", torch.device("cuda")) is torch.float16
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        Runtime(device="cpu", precision="fp16")


def test_autocast_is_what_the_precision_says() -> None:
    layer, x = nn.Linear(2, 2), torch.ones(1, 2)
    with Runtime(device="cpu", precision="bf16").autocast():
        assert layer(x).dtype is torch.bfloat16
    with Runtime(device="cpu", precision="fp32").autocast():
        assert layer(x).dtype is torch.float32


def test_small_networks_get_one_thread_and_large_ones_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.cpu_count", lambda logical: None if logical else 6)
    assert choose_threads("auto", 1_000_000) == 1
    assert choose_threads("auto", 200_000_000) == 6
    assert choose_threads(3, 200_000_000) == 3


def test_begin_sets_the_process_up() -> None:
    threads = torch.get_num_threads()
    try:
        Runtime(device="cpu", threads=2).begin()
        assert torch.get_num_threads() == 2
        Runtime(device="cpu").begin(nn.Linear(2, 2))
        assert torch.get_num_threads() == 1
        assert not torch.are_deterministic_algorithms_enabled()
        Runtime(device="cpu", deterministic=True).begin()
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"workers": -1}, "workers is -1"), ({"threads": 0}, "threads is 0"), ({"seed": -1}, "seed is -1")],
)
def test_impossible_settings_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Runtime(device="cpu", **options)


def test_a_runtime_describes_itself_in_plain_values() -> None:
    described = Runtime(device="cpu", precision="bf16", seed=5).describe()
    assert json.loads(json.dumps(described)) == described
    assert {"device": "cpu", "precision": "bfloat16", "seed": 5, "processes": 1}.items() <= described.items()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
        (torch.optim.Adam, {"lr": 0.01, "amsgrad": True}),
        (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
        (torch.optim.Adagrad, {"lr": 0.1}),
    ],
)
def test_the_fused_form_of_an_optimiser_makes_the_same_steps(kind: Any, options: dict[str, Any]) -> None:
    networks = []
    for fused in (True, False):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        optimizer = Runtime(device="cpu").optimizer(
            kind, network.parameters(), **options, **({} if fused else {"fused": False})
        )
        assert bool(optimizer.defaults["fused"]) is fused
        for _ in range(20):
            optimizer.zero_grad()
            network(torch.randn(8, 4)).square().mean().backward()
            optimizer.step()
        networks.append(nn.utils.parameters_to_vector(network.parameters()))
    torch.testing.assert_close(*networks, rtol=1e-5, atol=1e-6)


def test_optimisers_without_a_fused_form_are_made_plainly() -> None:
    def parameters(dtype: torch.dtype) -> Iterator[nn.Parameter]:
        yield nn.Parameter(torch.ones(3, dtype=dtype))

    runtime = Runtime(device="cpu")
    rmsprop = runtime.optimizer(torch.optim.RMSprop, parameters(torch.float32), lr=0.5)
    assert rmsprop.defaults["lr"] == 0.5
    for dtype, options in [(torch.complex64, {}), (torch.float32, {"foreach": True})]:  # neither has a fused form
        for parameters_or_groups in (parameters(dtype), [{"params": parameters(dtype), "lr": 0.1}]):
            adam = runtime.optimizer(torch.optim.Adam, parameters_or_groups, **options)
            (parameter,) = adam.param_groups[0]["params"]
            before = parameter.detach().clone()
            parameter.grad = torch.ones_like(parameter)
            adam.step()
            assert not torch.equal(parameter, before)
            assert not adam.param_groups[0]["fused"]


@pytest.fixture(scope="module")
def _quick_release() -> Iterator[None]:
    """There is no memory to release after a fake error, and collecting garbage takes time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quire.runtime.memory.release_memory", lambda: None)
        yield


def out_of_memory_above(limit: int) -> Callable[[int], None]:
    def attempt(size: int) -> None:
        if size > limit:
            raise torch.OutOfMemoryError("a fake")

    return attempt


def test_what_counts_as_out_of_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    assert is_out_of_memory(caught.value)


@pytest.mark.usefixtures("_quick_release")
@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 300), st.integers(1, 20))
def test_largest_batch_is_the_largest_that_fits(fits: int, limit: int, start: int) -> None:
    start, tried = min(start, limit), []

    def attempt(size: int) -> None:
        tried.append(size)
        out_of_memory_above(fits)(size)

    if start > fits:
        with pytest.raises(TrainingError, match=f"a batch of {start} does not fit"):
            largest_batch(attempt, start=start, limit=limit)
    else:
        assert largest_batch(attempt, start=start, limit=limit) == min(fits, limit)
        assert len(tried) <= 2 * limit.bit_length() + 2
        assert max(tried) <= limit


@pytest.mark.usefixtures("_quick_release")
@settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 80), st.integers(1, 80))
def test_batches_back_off_until_they_fit(items: int, size: int, fits: int) -> None:
    sizes = []

    def work(batch: Sequence[int]) -> list[int]:
        out_of_memory_above(fits)(len(batch))
        sizes.append(len(batch))
        return list(batch)

    results: list[Any] = list(in_batches_that_fit(range(items), size, work))
    assert [item for batch in results for item in batch] == list(range(items))
    assert all(one <= min(size, fits) for one in sizes)
    assert all(first >= second for first, second in pairwise(sizes))


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    def broken(_: object) -> None:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        largest_batch(broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        list(in_batches_that_fit([1, 2], 2, broken))
    with pytest.raises(TrainingError, match="a single sample does not fit"):
        list(in_batches_that_fit([1, 2], 2, lambda batch: out_of_memory_above(0)(len(batch))))


def draw() -> list[Any]:
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.random(),
        np.random.standard_normal(),
        torch.rand(2).tolist(),
        torch.randperm(5).tolist(),
    ]


def test_all_generators_continue_from_a_saved_state(tmp_path: Path) -> None:
    runtime = Runtime(device="cpu", seed=3)
    runtime.seed_everything()
    draw()  # leaves Python's and numpy's second normal number pending
    save_tree(tmp_path / "state", runtime.random_state())
    expected = [draw() for _ in range(3)]
    runtime.seed_everything(1)
    runtime.restore_random_state(load_tree(tmp_path / "state"))
    assert [draw() for _ in range(3)] == expected


def test_seeds_differ_by_their_salt_and_repeat() -> None:
    def drawn(seed: int, *salt: int) -> str:
        Runtime(device="cpu", seed=seed).seed_everything(*salt)
        return str(draw())

    salts: list[tuple[int, ...]] = [(), (0,), (1,), (0, 0), (0, 1), (1, 0)]
    for seed in (0, 5, 2**40):
        streams = {salt: drawn(seed, *salt) for salt in salts}
        assert len(set(streams.values())) == len(salts)
        assert all(drawn(seed, *salt) == stream for salt, stream in streams.items())
    assert drawn(0) != drawn(5)


def test_prefetched_batches_are_those_that_are_loaded_in_place() -> None:
    def load(indices: Sequence[int], rng: np.random.Generator) -> dict[str, Any]:
        values = torch.tensor(indices, dtype=torch.float64)
        return {"values": values + torch.from_numpy(rng.random(len(indices))), "ids": list(indices)}

    jobs = [Job([number, number + 7], (0, 1, number)) for number in range(9)]
    torch.manual_seed(0)
    before = torch.get_rng_state()
    loaded = [list(Runtime(device="cpu", seed=4, workers=workers).load(load, jobs)) for workers in (0, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(*loaded, strict=True):
        assert torch.equal(one["values"], other["values"])
        assert one["ids"] == other["ids"]
    noise = torch.cat([batch["values"] % 1 for batch in loaded[0]])
    assert len(set(noise.tolist())) == len(noise)
    (again,) = Runtime(device="cpu", seed=4).load(load, jobs[5:6])
    assert torch.equal(again["values"], loaded[0][5]["values"])


def test_the_meter_leaves_pauses_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 14.0, 100.0, 101.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    meter = Meter(CPU)
    meter.start()
    meter.samples += 30
    meter.pause()
    meter.pause()
    meter.start()
    meter.samples += 20
    meter.pause()
    meter.flop_per_sample = 7
    read = meter.read()
    assert (read.samples, read.seconds, read.samples_per_second, read.flop_per_second) == (50, 5.0, 10.0, 210.0)
    assert read.peak_memory_bytes > 1_000_000
    assert json.loads(json.dumps(read.to_json()))["samples_per_second"] == 10.0


def test_a_meter_that_measured_nothing_says_so() -> None:
    read = Meter(CPU).read()
    assert (read.samples, read.samples_per_second, read.flop_per_second) == (0, 0.0, None)


def test_flop_are_those_of_products_and_convolutions() -> None:
    linear, convolution = nn.Linear(5, 7), nn.Conv1d(2, 3, 4)
    assert count_flop(lambda: linear(torch.ones(11, 5))) == 2 * 11 * 5 * 7
    assert count_flop(lambda: convolution(torch.ones(6, 2, 20))) == 2 * 6 * 3 * 17 * 2 * 4


def test_free_memory_is_a_sensible_number() -> None:
    assert 2**20 < available_memory(CPU) < 2**50


# ---------------------------------------------------------------------------------------- the runtime inside a training


@pytest.fixture
def points(toy_plugin: Path, tmp_path: Path) -> Dataset:
    """The 24 training points of quire-toy."""
    from quire import registry

    reader: Any = registry.get("toy-points")
    opened: Dataset = reader.open(reader.sample(tmp_path / "points"))
    return opened


def toy(memory: int = 10**9, accumulate: int = 1, steps_per_report: int | None = None) -> NeuralModel:
    """quire-toy without randomness, on a device that has memory for batches of `memory` samples."""
    from quire import registry
    from quire.training import Every

    Toy: Any = registry.get("toy")

    class LimitedToy(Toy):  # type: ignore[misc]
        def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            losses: dict[str, Tensor] = super().step(batch)
            out_of_memory_above(memory)(len(batch["vector"]))
            return losses

        def phases(self, train: Dataset) -> list[Phase]:
            report = Every(epochs=1, steps=steps_per_report)
            return [replace(phase, accumulate=accumulate, report=report) for phase in super().phases(train)]

    config = Toy.Config(n_epochs=3, noise=0, dropout=0)
    return LimitedToy(config, runtime=Runtime(device="cpu", precision="fp32"))


def weights(model: NeuralModel) -> Tensor:
    return nn.utils.parameters_to_vector(model.network.parameters()).detach()


def test_too_little_memory_is_answered_by_smaller_parts(points: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        limited = weights(toy(memory=2).fit(points))
    assert [record.message.partition(":")[2] for record in caplog.records] == [
        " batches are now computed in parts of 4 samples",
        " batches are now computed in parts of 2 samples",
    ]
    assert torch.equal(limited, weights(toy(accumulate=4).fit(points)))
    torch.testing.assert_close(limited, weights(toy().fit(points)), rtol=1e-4, atol=1e-5)
    assert torch.equal(weights(toy(memory=2, accumulate=4).fit(points)), limited)


def test_a_sample_that_does_not_fit_ends_the_training(points: Dataset) -> None:
    with pytest.raises(TrainingError, match="a single training sample does not fit into memory"):
        toy(memory=0).fit(points)


def test_validation_backs_off_by_itself(points: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from quire.run import Run
    from quire.training import read_metrics

    runs = [Run.create(tmp_path / "runs", model="toy", config={}) for _ in range(2)]
    with caplog.at_level(logging.WARNING):
        for run, memory in zip(runs, (8, 10**9), strict=True):  # 8: training fits, 24 validation samples do not
            toy(memory=memory, steps_per_report=2).fit(points, points, run=run)
    limited, free = (read_metrics(run.metrics_path) for run in runs)
    assert [line["step"] for line in limited] == [line["step"] for line in free] == [2, 3, 4, 6, 8, 9]
    assert [line["loss"] for line in limited] == [line["loss"] for line in free]
    assert [line["val_loss"] for line in limited] == pytest.approx([line["val_loss"] for line in free], rel=1e-5)
    assert not caplog.records


def test_predictions_back_off_until_they_fit(points: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = toy().fit(points)
    samples = [points[index] for index in range(len(points))]
    expected, forward, sizes = model.outputs(samples), model.forward, []

    def limited(batch: dict[str, Tensor]) -> Tensor:
        out_of_memory_above(5)(len(batch["vector"]))
        sizes.append(len(batch["vector"]))
        result: Tensor = forward(batch)
        return result

    monkeypatch.setattr(model, "forward", limited)
    torch.testing.assert_close(model.outputs(samples), expected)
    assert sizes == [3] * 8


def test_workers_change_no_weight(points: Dataset) -> None:
    from quire import registry

    fitted = [
        registry.create("toy", n_epochs=2).fit(points, runtime=Runtime(device="cpu", workers=workers))
        for workers in (0, 2)
    ]
    assert torch.equal(*map(weights, fitted))


def test_the_throughput_stands_in_run_json(points: Dataset, tmp_path: Path) -> None:
    from quire.run import Run

    run = Run.create(tmp_path / "runs", model="toy", config={})
    toy().fit(points, points, run=run)
    throughput = Run.open(run.path).info.throughput
    assert throughput["samples"] == 3 * 24
    assert throughput["samples_per_second"] == pytest.approx(72 / throughput["seconds"])
    flop_per_sample = 2 * (3 * 8 + 8 * 3)
    assert throughput["flop_per_second"] == pytest.approx(3 * flop_per_sample * throughput["samples_per_second"])
    assert throughput["peak_memory_bytes"] > 1_000_000
