"""Two processes that train one model, held against one process with the same global batches.

Run as a script under torchrun, this file is one of the two processes; one launch serves all tests.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from quire.config import Config
from quire.dataset import Dataset, InMemory
from quire.hooks import StopPhase, StopTraining, hookimpl
from quire.run import Run
from quire.runtime import Runtime
from quire.runtime.processes import SynchronizedBatchNorm, uncounted
from quire.storage import load_tree, save_tree
from quire.task import SERIES_CLASSIFICATION
from quire.training import (
    ByCount,
    Every,
    NeuralModel,
    Optimization,
    Part,
    Phase,
    Selection,
    StepContext,
    read_metrics,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quire.modality import Sample

pytestmark = pytest.mark.slow
RUNTIME = Runtime(device="cpu", precision="fp32", seed=1)


@dataclass(frozen=True)
class Case:
    """One training; `observers` come to the process of that rank alone."""

    samples: int
    batch_size: int
    norm: bool = False
    double: bool = True
    adam: bool = False
    own_step: bool = False
    phases: tuple[dict[str, Any], ...] = field(default=({"epochs": 2},))
    observers: Mapping[int, object] = field(default_factory=dict)


class StopAt:
    """Raises `request`, or sends its process a signal, when step `at` is done."""

    def __init__(self, at: int, request: Exception | signal.Signals) -> None:
        self.at, self.request = at, request

    @hookimpl
    def quire_step_finished(self, step: int) -> None:
        if step == self.at:
            if isinstance(self.request, Exception):
                raise self.request
            os.kill(os.getpid(), self.request)


class Losses:
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    @hookimpl
    def quire_step_finished(self, losses: Mapping[str, Tensor]) -> None:
        self.losses.append(float(losses["loss"]))


class StopAtCheckpoint:
    """Wants to end the training when a checkpoint was written, which only the main process does."""

    @hookimpl
    def quire_checkpoint_saved(self) -> None:
        raise StopTraining("a checkpoint is all I want")


SELECTED = {"epochs": 3, "select": Selection("val_loss"), "patience": 2, "report": Every(epochs=1, steps=2)}
BODY_THEN_ALL = ({"name": "body", "epochs": 1, "trains": "network.body"}, {"name": "all", "epochs": 1})
CASES = {
    "last batch of one": Case(13, 4),
    "uneven shares": Case(14, 5),
    "single precision": Case(13, 4, double=False),
    "in parts, clipped": Case(13, 5, phases=({"epochs": 2, "accumulate": 3, "clip_norm": 0.05},)),
    "Adam, plateau, selection": Case(14, 5, adam=True, phases=(SELECTED,)),
    "two phases": Case(13, 5, phases=BODY_THEN_ALL),
    "a step of its own": Case(14, 4, own_step=True),
    "batch norm": Case(14, 5, norm=True),
    "batch norm, last batch of one": Case(13, 4, norm=True),
    "batch norm, selection": Case(14, 5, norm=True, adam=True, phases=(SELECTED,)),
    "batch norm, two phases": Case(13, 5, norm=True, phases=BODY_THEN_ALL),
}
STOPPED = {
    "a stop that the main process is asked for": Case(
        14, 5, phases=({"epochs": 9},), observers={0: StopAt(4, StopTraining("enough"))}
    ),
    "a stop that the other process is asked for": Case(
        14, 5, phases=({"epochs": 9},), observers={1: StopAt(4, StopTraining("enough"))}
    ),
    "a phase that the other process ends": Case(
        14, 5, phases=({"name": "one", "epochs": 9}, {"name": "two", "steps": 2}), observers={1: StopAt(3, StopPhase())}
    ),
    "a stop at a checkpoint": Case(
        14, 5, phases=({"epochs": 9, "checkpoint": Every(steps=3)},), observers={0: StopAtCheckpoint()}
    ),
}
INTERRUPTED = ("Adam, plateau, selection", "uneven shares", "batch norm")
SHARES = (5, 2)  # samples of each process in the tests of batch norm


class Net(nn.Module):
    """x [n, 2, length] -> logits [n, 2]"""

    def __init__(self, case: Case) -> None:
        super().__init__()
        convolution = nn.Conv1d(
            2, 4, 3, bias=not case.norm
        )  # its gradient would be rounding errors, which Adam scales up
        self.body = nn.Sequential(convolution, nn.BatchNorm1d(4) if case.norm else nn.Identity(), nn.Tanh())
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x).mean(2))
        return logits


class Parallel(NeuralModel):
    """A small convolutional network in double precision, where sums in another order differ by nothing that counts."""

    Config = Config
    task = SERIES_CLASSIFICATION
    case: Case
    seen: list[list[str]]
    draws: list[float]
    observer: Losses

    def build(self) -> nn.Module:
        net = Net(self.case)
        return net.double() if self.case.double else net

    def collate(self, samples: Sequence[Sample], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        if rng is not None:
            self.seen.append([sample["id"] for sample in samples])
            self.draws.append(rng.random())
        x = torch.from_numpy(np.stack([sample["series"] for sample in samples]))
        y = torch.tensor([int(sample["target"]) for sample in samples])
        return {"x": x.double() if self.case.double else x, "y": y}

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        logits = self.network(batch["x"])
        accuracy = (logits.argmax(1) == batch["y"]).double().mean()
        return {"loss": functional.cross_entropy(logits, batch["y"]), "accuracy": accuracy}

    def training_step(self, parts: Sequence[Part], context: StepContext) -> dict[str, Tensor]:
        if not self.case.own_step:
            return context.descend(parts)
        (part,) = parts
        loss = self.step(part.batch)["loss"] * part.weight
        self.network.zero_grad()
        (loss * context.runtime.processes).backward()  # type: ignore[no-untyped-call]
        context.runtime.average_gradients(self.network)
        context.optimizations[0].optimizer.step()
        return {"loss": loss.detach()}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        logits: Tensor = self.network(batch["x"])
        return logits

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        return list(self.outputs(samples))

    def phases(self, train: Dataset) -> list[Phase]:
        def optimizers(modules: Mapping[str, nn.Module], runtime: Runtime) -> list[Optimization]:
            parameters = modules["network"].parameters()
            if not self.case.adam:
                return [Optimization(runtime.optimizer(torch.optim.SGD, parameters, lr=0.1, momentum=0.9))]
            adam = runtime.optimizer(torch.optim.Adam, parameters, lr=0.05)
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(adam, patience=0)
            return [Optimization(adam, plateau, monitor="val_loss")]

        sampler = ByCount(len(train), self.case.batch_size, seed=2)
        return [
            Phase(optimizers, sampler, observers={"losses": self.observer} if number == 0 else {}, **options)
            for number, options in enumerate(self.case.phases)
        ]


def series(samples: int, seed: int) -> InMemory:
    rng = np.random.default_rng(seed)
    rows = [
        {"id": str(i), "series": rng.normal(i % 2, 1, (2, 6)).astype(np.float32), "target": str(i % 2)}
        for i in range(samples)
    ]
    return InMemory(rows, task=SERIES_CLASSIFICATION, name="series")


def fit(case: Case, run: Run | None, runtime: Runtime = RUNTIME) -> Parallel:
    model = Parallel(runtime=runtime)
    model.case, model.seen, model.draws, model.observer = case, [], [], Losses()
    model.fit(series(case.samples, seed=0), series(5, seed=1), run=run)
    return model


def outcome(model: Parallel, run: Run) -> dict[str, Any]:
    """What the tests look at, as it stands in this process."""
    return {
        "weights": model.network.state_dict(),
        "metrics": read_metrics(run.metrics_path),
        "seen": model.seen,
        "draws": model.draws,
        "losses": model.observer.losses,
    }


# ----------------------------------------------------------------------------------------------------- the two processes


def launched(root: Path) -> None:
    """All trainings, one after the other; each process writes down what it saw."""
    outcomes: dict[str, Any] = {}
    for name, case in {**CASES, **STOPPED}.items():
        run = create(root, name)
        if RUNTIME.rank in case.observers:
            run.hooks.add("observer", case.observers[RUNTIME.rank])
        outcomes[name] = outcome(fit(case, run), run)
    for name in INTERRUPTED:
        outcomes[f"interrupted {name}"] = interrupted(root, CASES[name], f"interrupted {name}")
    outcomes["clocks"] = of_different_clocks(root)
    outcomes["parts of batch norm"] = outcome(*parts_of_batch_norm(root))
    outcomes["random"] = {"share": RUNTIME.share(range(7)), "draw": drawn_in_training()}
    outcomes["normalised"] = {name: normalised(name, *share(name, RUNTIME.rank)) for name in NORMS}
    save_tree(root / f"process-{RUNTIME.rank}", outcomes)


def create(root: Path, name: str) -> Run:
    """A run in the first process; the second one gets a run of its own, where it must not write."""
    folder = root / ("runs" if RUNTIME.is_main else "runs of the second")
    return Run.create(folder, model="toy", config={}, name=name.replace(" ", "-").replace(",", ""))


def interrupted(root: Path, case: Case, name: str) -> dict[str, Any]:
    """A training of which the second process is told to end, and that both resume from the first one's checkpoint."""
    run = create(root, name)
    if not RUNTIME.is_main:
        run.hooks.add("signal", StopAt(4, signal.SIGTERM))
    state = "done"
    try:
        fit(case, run)
    except KeyboardInterrupt:
        state = "interrupted"
    RUNTIME.wait()
    resumed = Run.open(root / "runs" / run.path.name)
    step = load_tree(resumed.checkpoint_path)["learning"]["step"]
    return {**outcome(fit(case, resumed), resumed), "state": state, "step": step}


def of_different_clocks(root: Path) -> dict[str, Any]:
    """Time is over at different steps, were the processes not to agree."""
    ticks = itertools.count(step=1.0 + RUNTIME.rank)
    clock = SimpleNamespace(perf_counter=lambda: next(ticks), monotonic=lambda: next(ticks))
    run = create(root, "clocks")
    with mock.patch("quire.training.loop.time", clock):
        case = Case(14, 5, phases=({"epochs": 9, "max_seconds": 9.5, "checkpoint": Every(epochs=100)},))
        return outcome(fit(case, run), run)


def parts_of_batch_norm(root: Path) -> tuple[Parallel, Run]:
    """Shares of 3 and 2 in parts of one: the second process has no sample for the last part."""
    run = create(root, "parts of batch norm")
    return fit(Case(10, 5, norm=True, phases=({"epochs": 1, "accumulate": 3},)), run), run


def drawn_in_training() -> list[float]:
    RUNTIME.seed_everything(0, RUNTIME.rank)
    drawn: list[float] = torch.rand(2).tolist()
    return drawn


NORMS: dict[str, dict[str, Any]] = {
    "vectors": {"shape": (4,)},
    "series": {"shape": (4, 6)},
    "images": {"shape": (4, 3, 2)},
    "cumulative average": {"shape": (4,), "momentum": None},
    "not affine": {"shape": (4,), "affine": False},
    "no statistics": {"shape": (4,), "track_running_stats": False},
    "bfloat16": {"shape": (4,), "dtype": torch.bfloat16},
    "an uncounted share": {"shape": (4,), "uncounted": 1},
}


def norm_batch(name: str) -> tuple[Tensor, Tensor]:
    """A global batch for a norm, and the gradient of the loss by its output."""
    generator = torch.Generator().manual_seed(len(name))
    shape = (sum(SHARES), *NORMS[name]["shape"])
    x, gradient = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    dtype = NORMS[name].get("dtype", torch.float64)
    return (3 * x + 5).to(dtype), gradient.to(dtype)


def share(name: str, rank: int) -> tuple[Tensor, Tensor]:
    part = slice(0, SHARES[0]) if rank == 0 else slice(SHARES[0], None)
    x, gradient = norm_batch(name)
    return x[part], gradient[part]


def normalised(name: str, x: Tensor, gradient: Tensor, kind: type[nn.Module] = SynchronizedBatchNorm) -> dict[str, Any]:
    """Two training passes and an evaluation of a norm: outputs, gradients, statistics."""
    options = {key: value for key, value in NORMS[name].items() if key in ("momentum", "affine", "track_running_stats")}
    norm: Any = kind(4, **options)
    if x.dtype is torch.float64:
        norm.double()
    if norm.affine:
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([0.5, 1, 2, -1]))
            norm.bias.copy_(torch.tensor([0, 1, 2, 3]))
    outputs = []
    x = x.clone().requires_grad_()
    silent = NORMS[name].get("uncounted") == RUNTIME.rank and RUNTIME.processes > 1
    for scale in (1, 2):
        with uncounted(silent):
            outputs.append(norm(x * scale))
        outputs[-1].backward(gradient * 0 if silent else gradient)
    norm.eval()
    outputs.append(norm(x))
    return {
        "outputs": [output.detach() for output in outputs],
        "gradient": x.grad,
        "parameters": [parameter.grad for parameter in norm.parameters()],
        "statistics": dict(norm.named_buffers()),
    }


# ------------------------------------------------------------------------------------------------------------- the tests


@pytest.fixture(scope="module")
def processes(toy_plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder that two processes worked in, and what each of them saw."""
    root = tmp_path_factory.mktemp("distributed")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", __file__, root]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return root, [load_tree(root / f"process-{rank}") for rank in range(2)]


def alone(case: Case, tmp_path: Path) -> dict[str, Any]:
    run = Run.create(tmp_path, model="toy", config={})
    return outcome(fit(case, run), run)


def require_equal(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> None:
    """Equal metrics line by line, and equal weights."""
    assert [(line["phase"], line["step"]) for line in one["metrics"]] == [
        (line["phase"], line["step"]) for line in other["metrics"]
    ]
    for first, second in zip(one["metrics"], other["metrics"], strict=True):
        assert first.keys() == second.keys()
        numbers = [name for name in first if name != "phase"]
        assert [first[name] for name in numbers] == pytest.approx([second[name] for name in numbers], rel=1e-6)
    assert one["weights"].keys() == other["weights"].keys()
    for name, tensor in one["weights"].items():
        torch.testing.assert_close(tensor, other["weights"][name], rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_what_one_does(processes: Any, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    first, second = (process[name] for process in processes[1])
    expected = alone(case, tmp_path)
    require_equal(first, expected, 1e-9 if case.double else 1e-6)
    assert first["losses"] == second["losses"] == pytest.approx(expected["losses"], rel=1e-6)
    assert all(torch.equal(first["weights"][key], second["weights"][key]) for key in first["weights"])


def test_every_sample_goes_to_one_process(processes: Any) -> None:
    _, (first, second) = processes
    ids = [[item for batch in process["uneven shares"]["seen"][:3] for item in batch] for process in (first, second)]
    assert sorted(ids[0] + ids[1], key=int) == [str(number) for number in range(14)]
    assert first["random"]["share"] == [0, 2, 4, 6]
    assert second["random"]["share"] == [1, 3, 5]


def test_processes_draw_different_numbers(processes: Any) -> None:
    _, (first, second) = processes
    assert first["random"]["draw"] != second["random"]["draw"]
    draws = first["last batch of one"]["draws"] + second["last batch of one"]["draws"]
    assert len(set(draws)) == len(draws) == 16


def test_only_the_main_process_writes(processes: Any) -> None:
    root, _ = processes
    runs = sorted(path.name for path in (root / "runs").iterdir() if path.is_dir() and not path.is_symlink())
    others = sorted(path.name for path in (root / "runs of the second").iterdir() if not path.is_symlink())
    assert runs == others
    for name in runs:
        assert (root / "runs" / name / "metrics.jsonl").is_file()
        second = root / "runs of the second" / name
        assert [path.name for path in second.iterdir()] == ["run.json"]
        info = Run.open(second).info
        assert info.created == info.updated
    assert (root / "runs" / "two-phases" / "checkpoint" / "state.safetensors").is_file()
    assert Run.open(root / "runs" / "two-phases").info.throughput["samples"] == 26


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("a stop that the main process is asked for", [3, 4]),
        ("a stop that the other process is asked for", [3, 4]),
        ("a phase that the other process ends", [3, 2]),
        ("a stop at a checkpoint", [3, 4]),
        ("clocks", [3, 5]),
    ],
)
def test_processes_end_together(processes: Any, name: str, steps: list[int]) -> None:
    _, (first, second) = processes
    assert [line["step"] for line in first[name]["metrics"]] == steps
    assert all(torch.equal(first[name]["weights"][key], second[name]["weights"][key]) for key in first[name]["weights"])


@pytest.mark.parametrize("name", INTERRUPTED)
def test_a_run_of_two_processes_resumes(processes: Any, name: str) -> None:
    _, outcomes = processes
    unbroken = outcomes[0][name]
    for resumed in (process[f"interrupted {name}"] for process in outcomes):
        assert (resumed["state"], resumed["step"]) == ("interrupted", 4)
        assert resumed["metrics"] == unbroken["metrics"]
        assert resumed["losses"] == unbroken["losses"][4:]
        weights = resumed["weights"]
        assert all(torch.equal(weights[key], unbroken["weights"][key]) for key in weights)


def test_processes_with_parts_of_different_number_stay_in_step(processes: Any) -> None:
    _, outcomes = processes
    first, second = (process["parts of batch norm"] for process in outcomes)
    assert [len(batch) for batch in first["seen"] + second["seen"]] == [1] * 12
    assert all(torch.equal(first["weights"][key], second["weights"][key]) for key in first["weights"])
    assert all(tensor.isfinite().all() for tensor in first["weights"].values())


@pytest.mark.parametrize("name", NORMS)
def test_synchronised_batch_norm_is_batch_norm_of_the_global_batch(processes: Any, name: str) -> None:
    _, outcomes = processes
    results = [process["normalised"][name] for process in outcomes]
    counted = results[:1] if "uncounted" in NORMS[name] else results
    x, gradient = norm_batch(name)
    samples = sum(SHARES[: len(counted)])
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[x.dim()]
    expected = normalised(name, x[:samples], gradient[:samples], kind)
    tolerance: dict[str, Any] = (
        {"rtol": 0.02, "atol": 0.05} if x.dtype is torch.bfloat16 else {"rtol": 1e-9, "atol": 1e-9}
    )
    training_passes = 2 if name == "no statistics" else 3  # which in evaluation uses those of its own inputs
    for number in range(training_passes):
        output = torch.cat([result["outputs"][number] for result in counted])
        assert output.dtype is x.dtype
        torch.testing.assert_close(output, expected["outputs"][number], **tolerance)
    torch.testing.assert_close(torch.cat([result["gradient"] for result in counted]), expected["gradient"], **tolerance)
    for number, parameter in enumerate(expected["parameters"]):
        total = sum(result["parameters"][number] for result in results)
        torch.testing.assert_close(total, parameter, **tolerance)
    for result in results:
        assert result["statistics"].keys() == expected["statistics"].keys()
        for statistic, value in expected["statistics"].items():
            torch.testing.assert_close(result["statistics"][statistic], value, **tolerance)


def test_synchronised_batch_norm_of_one_process_is_batch_norm() -> None:
    x, gradient = norm_batch("series")
    one, other = (normalised("series", x, gradient, kind) for kind in (SynchronizedBatchNorm, nn.BatchNorm1d))
    assert all(torch.equal(a, b) for a, b in zip(one["outputs"], other["outputs"], strict=True))
    assert all(torch.equal(one["statistics"][name], other["statistics"][name]) for name in one["statistics"])
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        SynchronizedBatchNorm(3)(torch.ones(3))


def test_an_unlaunched_runtime_is_alone() -> None:
    runtime = replace(RUNTIME)
    assert (runtime.processes, runtime.rank, runtime.is_main) == (1, 0, True)
    assert runtime.share([4, 5, 6]) == [4, 5, 6]
    assert runtime.any([True, False]) == [True, False]
    assert torch.equal(runtime.sum(torch.arange(3)), torch.arange(3))
    layer = nn.Linear(2, 2)
    assert runtime.wrap(layer) is layer


if __name__ == "__main__":
    launched(Path(sys.argv[1]))
