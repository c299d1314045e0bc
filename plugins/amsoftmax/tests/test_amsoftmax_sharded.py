"""A head shared by several processes is the head of one process, and its checkpoint fits any number of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sharded_worker as worker
import torch
from safetensors.torch import load_file
from torch import Tensor

from quire.errors import ConfigError, RunError
from quire_amsoftmax.heads import MarginHead, ShardedMarginHead, load_sharded, save_sharded

EXACT = {"rtol": 0.0, "atol": 1e-12}


def launch(folder: Path, world: int, resume: Path | None = None) -> list[dict[str, Tensor]]:
    """What each process found."""
    folder.mkdir()
    arguments = [str(folder / "store"), str(folder), *([str(resume)] if resume is not None else [])]
    processes = [
        subprocess.Popen(
            [sys.executable, worker.__file__, str(rank), str(world), *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    failed = [process.communicate(timeout=300)[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(failed)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(world)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int | str, list[dict[str, Tensor]]]:
    """Two processes that save, three that go on from there, one that starts afresh."""
    root = tmp_path_factory.mktemp("sharded")
    return {
        2: launch(root / "two", 2),
        3: launch(root / "three", 3, root / "two/head"),
        1: launch(root / "one", 1),
        "folder": [{"path": torch.frombuffer(bytearray(str(root), "utf8"), dtype=torch.uint8)}],
    }


def root_of(found: dict[int | str, list[dict[str, Tensor]]]) -> Path:
    return Path(bytes(found["folder"][0]["path"].tolist()).decode())


def single(kind: str, seed: int = 0) -> MarginHead:
    """One process's head with the weight that the shards begin with."""
    head = MarginHead(worker.DIM, worker.CLASSES, kind).double()
    head.weight.data = ShardedMarginHead(worker.DIM, worker.CLASSES, kind, seed=seed).double().weight.data
    return head


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("kind", worker.KINDS)
def test_loss_gradients_and_statistics_are_those_of_one_process(
    found: dict[int | str, list[dict[str, Tensor]]], kind: str, world: int
) -> None:
    """11 classes and 13 samples divide neither by 2 nor by 3; arcface is computed in chunks."""
    head = single(kind)
    x, y = worker.batch()
    x.requires_grad_()
    judged = head.judge(x, y)
    judged.loss.backward()
    parts = found[world]
    for part in parts:
        torch.testing.assert_close(part[f"{kind}.loss"], judged.loss.detach(), **EXACT)
        torch.testing.assert_close(part[f"{kind}.hardest"], judged.hardest_cosine, **EXACT)
        for name, buffer in head.named_buffers():
            torch.testing.assert_close(part[f"{kind}.{name}"], buffer, **EXACT)
    torch.testing.assert_close(torch.cat([part[f"{kind}.x"] for part in parts]), x.grad, **EXACT)
    torch.testing.assert_close(torch.cat([part[f"{kind}.weight"] for part in parts]), head.weight.grad, **EXACT)


def trained(steps: int) -> tuple[MarginHead, torch.nn.Linear]:
    head, net = single("curricularface", seed=1), worker.backbone()
    worker.train(head, net, worker.optimizer_of(head, net), range(steps))
    return head, net


@pytest.mark.parametrize(("world", "steps"), [(1, worker.STEPS), (2, worker.STEPS), (3, worker.STEPS + worker.MORE)])
def test_a_training_with_ddp_is_that_of_one_process(
    found: dict[int | str, list[dict[str, Tensor]]], world: int, steps: int
) -> None:
    """Three processes went on from what two had saved, momentum and running statistics included."""
    head, net = trained(steps)
    parts = found[world]
    tolerance = {"rtol": 0.0, "atol": 1e-11}
    torch.testing.assert_close(torch.cat([part["trained.weight"] for part in parts]), head.weight.detach(), **tolerance)
    for part in parts:
        torch.testing.assert_close(part["trained.net"], net.weight.detach(), **tolerance)
        torch.testing.assert_close(part["trained.t"], head.margin.t, **tolerance)


def test_one_process_goes_on_from_two_without_a_process_group(
    found: dict[int | str, list[dict[str, Tensor]]],
) -> None:
    folder = root_of(found) / "two/head"
    head = ShardedMarginHead(worker.DIM, worker.CLASSES, "curricularface", seed=9).double()
    net = worker.backbone()
    optimizer = worker.optimizer_of(head, net)
    load_sharded(folder, head, optimizer)
    saved = torch.load(folder.with_suffix(".net"), weights_only=True)
    net.load_state_dict(saved["net"])
    for parameter, momentum in zip(net.parameters(), saved["momentum"], strict=True):
        optimizer.state[parameter]["momentum_buffer"] = momentum
    worker.train(head, net, optimizer, range(worker.STEPS, worker.STEPS + worker.MORE))
    due, due_net = trained(worker.STEPS + worker.MORE)
    torch.testing.assert_close(head.weight, due.weight, rtol=0, atol=1e-11)
    torch.testing.assert_close(net.weight, due_net.weight, rtol=0, atol=1e-11)


def test_a_checkpoint_is_safetensors_alone(found: dict[int | str, list[dict[str, Tensor]]]) -> None:
    files = list((root_of(found) / "two/head").iterdir())
    assert len(files) >= 2
    assert {file.suffix for file in files} <= {".safetensors", ".json"}


def test_another_number_of_classes_is_refused(found: dict[int | str, list[dict[str, Tensor]]], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has 11 classes of 6 numbers, this one 12 of 6"):
        load_sharded(root_of(found) / "two/head", ShardedMarginHead(worker.DIM, 12))
    with pytest.raises(RunError, match="no checkpoint"):
        load_sharded(tmp_path, ShardedMarginHead(worker.DIM, 12))


def test_alone_it_saves_and_loads(tmp_path: Path) -> None:
    head = ShardedMarginHead(worker.DIM, 2000, sub_centers=2)  # more rows than one block of the first weight
    assert head.weight.shape == (4000, worker.DIM)
    assert len(head.weight.unique(dim=0)) == 4000
    head.step_to(5)
    save_sharded(tmp_path / "head", head)
    save_sharded(tmp_path / "head", head)  # replaces
    other = ShardedMarginHead(worker.DIM, 2000, sub_centers=2, seed=3)
    load_sharded(tmp_path / "head", other)
    assert torch.equal(head.weight, other.weight)
    assert other.margin.step == 5
