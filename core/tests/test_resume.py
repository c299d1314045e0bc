"""Runs that are killed: what stands on disk at every moment, and that the end is that of an unbroken run.

Run as a script, this file is the server that forks the processes that the tests kill.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from quire import registry
from quire.config import Config
from quire.dataset import Dataset, InMemory
from quire.hooks import hookimpl
from quire.run import Run
from quire.runtime import Runtime
from quire.storage import load_tree
from quire.task import VECTOR_CLASSIFICATION
from quire.training import ByCount, Every, NeuralModel, Optimization, Phase, Selection, read_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from quire.modality import Sample

EPOCHS, STEPS_PER_EPOCH = 6, 5


class FragileConfig(Config):
    """The options of Fragile."""

    checkpoint_every: int = Field(1, description="steps from one checkpoint to the next")


class Fragile(NeuralModel):
    """Everything that a resumed training can get wrong: dropout, batch norm, augmentation, Adam, plateau, selection."""

    Config = FragileConfig
    task = VECTOR_CLASSIFICATION
    config: FragileConfig

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 4))

    def build_training_only(self) -> dict[str, nn.Module]:
        return {"head": nn.Linear(4, 2)}

    def collate(self, samples: Sequence[Sample], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        vectors = np.stack([sample["vector"] for sample in samples])
        if rng is not None:
            vectors = vectors + rng.normal(0, 0.1, vectors.shape).astype(np.float32)
        return {"x": torch.from_numpy(vectors), "y": torch.tensor([int(sample["target"]) for sample in samples])}

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        logits = self.training_only["head"](self.network(batch["x"]))
        scale = 1 + 0.1 * np.random.random() + 0.1 * random.random() if self.network.training else 1.0
        return {"loss": functional.cross_entropy(logits, batch["y"]) * scale}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        outputs: Tensor = self.network(batch["x"])
        return outputs

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        return list(self.outputs(samples))

    def phases(self, train: Dataset) -> list[Phase]:
        """All of it, then the head alone."""

        def adam(modules: Mapping[str, nn.Module], runtime: Runtime) -> list[Optimization]:
            parameters = nn.ModuleDict(dict(modules)).parameters()
            optimizer = runtime.optimizer(torch.optim.Adam, parameters, lr=0.05)
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
            return [Optimization(optimizer, plateau, monitor="val_loss")]

        def sgd(modules: Mapping[str, nn.Module], runtime: Runtime) -> list[Optimization]:
            optimizer = runtime.optimizer(torch.optim.SGD, modules["head"].parameters(), lr=0.1, momentum=0.9)
            return [Optimization(optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2), interval="step")]

        shared: dict[str, Any] = {
            "sampler": ByCount(len(train), -(-len(train) // STEPS_PER_EPOCH), seed=self.runtime.seed),
            "epochs": EPOCHS // 2,
            "checkpoint": Every(steps=self.config.checkpoint_every),
            "clip_norm": 1.0,
            "accumulate": 2,
            "select": Selection("val_loss"),
            "patience": 9,
        }
        return [Phase(adam, name="all", **shared), Phase(sgd, name="head", trains="head", **shared)]


class Pace:
    """Says every step on stdout, and makes it last long enough that a signal can come in the middle of things."""

    @hookimpl
    def quire_step_finished(self) -> None:
        print("step", flush=True)
        time.sleep(0.002)


def points(samples: int, seed: int) -> InMemory:
    rng = np.random.default_rng(seed)
    rows = [
        {"id": str(i), "vector": rng.normal(i % 2, 1, 3).astype(np.float32), "target": str(i % 2)}
        for i in range(samples)
    ]
    return InMemory(rows, task=VECTOR_CLASSIFICATION, name="points")


def train(run: Run) -> Fragile:
    model = Fragile(FragileConfig(**run.info.config), runtime=Runtime(device="cpu", precision="fp32", seed=5))
    model.fit(points(24, seed=0), points(9, seed=1), run=run)
    model.save(run.model_path)
    return model


def serve() -> None:
    """Train the runs whose paths are read, each in a process of its own that begins with everything imported."""
    import torch._dynamo  # noqa: F401 - what the first optimiser of a process spends its seconds on

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                train_locked(Path(line.strip()))
                code = 0
            finally:
                os._exit(code)
        print(f"process {child}", flush=True)
        _, status = os.waitpid(child, 0)
        print(f"end {os.waitstatus_to_exitcode(status)}", flush=True)


def train_locked(path: Path) -> None:
    run = Run.open(path)
    run.hooks.add("pace", Pace())
    with run.writing():
        train(run)


class Server:
    """The process that forks the processes that train."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.orders, self.answers = process.stdin, process.stdout
        self.child = 0
        self.code: int | None = None

    def start(self, run: Run) -> None:
        self.code = None
        self.orders.write(f"{run.path}\n")
        self.orders.flush()
        self._read_until("process")

    def wait_for_steps(self, steps: int) -> None:
        """Until it made so many more steps, or ended."""
        for _ in range(steps):
            self._read_until("step")

    def end(self, number: signal.Signals | None = None) -> int:
        """Its exit code, after a signal if one is given."""
        if number is not None and self.code is None:
            os.kill(self.child, number)
        while self.code is None:
            self._read_until("end")
        return self.code

    def _read_until(self, what: str) -> None:
        while self.code is None:
            said, _, value = self.answers.readline().strip().partition(" ")
            if said == "process":
                self.child = int(value)
            if said == "end":
                self.code = int(value)
            if said == what:
                return


def create(root: Path, name: str, checkpoint_every: int) -> Run:
    return Run.create(root, model="toy", config={"checkpoint_every": checkpoint_every}, name=name)


def require_same_end(run: Run, unbroken: Run) -> None:
    assert run.metrics_path.read_bytes() == unbroken.metrics_path.read_bytes()
    ends = [load_tree(each.model_path / "model.safetensors")["state"]["network"] for each in (run, unbroken)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.fixture(scope="module")
def unbroken(toy_plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nobody disturbed, in this process."""
    run = create(tmp_path_factory.mktemp("runs"), "unbroken", 2)
    train(run)
    assert [line["phase"] for line in read_metrics(run.metrics_path)] == ["all"] * 3 + ["head"] * 3
    return run


@pytest.fixture(scope="module")
def server(toy_plugin: Path) -> Iterator[Server]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield Server(process)
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint_every", [1, 3])
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    unbroken: Run, server: Server, tmp_path: Path, checkpoint_every: int
) -> None:
    """Ten kills at random moments, each of them in what the last one left."""
    run, rng = create(tmp_path, "killed", checkpoint_every), random.Random(checkpoint_every)
    reached = []
    for _ in range(10):
        server.start(run)
        server.wait_for_steps(rng.randrange(1, 5))
        time.sleep(rng.random() * 0.01)
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
        progress = Run.open(run.path).info.progress
        reached.append((progress.get("phase", ""), progress.get("step", 0)))
        read_metrics(run.metrics_path)
        if run.checkpoint_path.is_file():
            load_tree(run.checkpoint_path)
        assert not run.model_path.exists()
    assert reached == sorted(reached)
    assert len(set(reached)) > 1
    server.start(run)
    assert server.end() == 0
    require_same_end(run, unbroken)


@pytest.mark.slow
def test_files_are_whole_whenever_they_are_read(unbroken: Run, server: Server, tmp_path: Path) -> None:
    run = create(tmp_path, "read", 1)
    progress, lines = set(), [0]
    server.start(run)
    for _ in range(EPOCHS * STEPS_PER_EPOCH):
        server.wait_for_steps(1)
        progress.add(str(json.loads((run.path / "run.json").read_text())["progress"]))
        lines.append(len(read_metrics(run.metrics_path)))
        if run.checkpoint_path.is_file():
            assert load_tree(run.checkpoint_path)["modules"].keys() == {"network", "head"}
    assert server.end() == 0
    assert len(progress) > 5
    assert lines == sorted(lines)
    require_same_end(run, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_end_writes_a_checkpoint(
    unbroken: Run, server: Server, tmp_path: Path, number: signal.Signals
) -> None:
    run = create(tmp_path, "ended", 1000)
    server.start(run)
    server.wait_for_steps(7)
    assert server.end(number) == 1
    info = Run.open(run.path).info
    assert info.progress["phase"] == "all"
    assert info.progress["step"] >= 7
    assert load_tree(run.checkpoint_path)["learning"]["step"] == info.progress["step"]
    server.start(run)
    assert server.end() == 0
    require_same_end(run, unbroken)


def quire(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from quire.cli import main; main()", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_command_that_is_asked_to_end_says_so_and_resumes(toy_plugin: Path, tmp_path: Path) -> None:
    reader: Any = registry.get("toy-points")
    data, path = reader.sample(tmp_path / "points"), tmp_path / "runs" / "broken"
    options = ["--data", data, "--runs", path.parent, "--name", path.name, "--device", "cpu", "--precision", "fp32"]
    with quire("train", "toy", *options, "n_epochs=400") as process:
        while process.poll() is None and not read_metrics(path / "metrics.jsonl"):
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "quire train --resume" in errors
    interrupted = Run.open(path)
    assert interrupted.info.state == "interrupted"
    assert interrupted.info.progress["step"] == load_tree(interrupted.checkpoint_path)["learning"]["step"] > 0
    with quire("train", "--resume", path) as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    resumed = Run.open(path)
    assert resumed.info.state == "done"
    unbroken = Run.create(path.parent, model="toy", config={}, name="unbroken")
    model = registry.create("toy", n_epochs=400)
    model.fit(reader.open(data), runtime=Runtime(device="cpu", precision="fp32"), run=unbroken)
    model.save(unbroken.model_path)
    require_same_end(resumed, unbroken)


if __name__ == "__main__":
    serve()
