"""Several processes train the same model as one, from the command line: nothing has to be wrapped by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import model_worker
import pytest
import torch

from quire import Runtime
from quire.readers.folder import FolderDataset
from quire.training import read_metrics
from quire_amsoftmax.config import AMSoftmaxConfig
from quire_amsoftmax.heads import ShardedMarginHead
from quire_amsoftmax.model import AMSoftmax

if TYPE_CHECKING:
    from pathlib import Path


def train(folder: Path, data: Path, name: str, launcher: list[str]) -> list[dict[str, Any]]:
    options = ["preset=toy", "head=curricularface", "scale=10", "epochs=2", "batch_size=7", "hflip=0", "shift=0"]
    flags = [f"--data={data}", "--dataset=folder", f"--name={name}", "--device=cpu"]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "quire.cli", "train", "amsoftmax", *options, *flags],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "runs" / name / "run.json").read_text())["state"] == "done"
    return read_metrics(folder / "runs" / name / "metrics.jsonl")


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(tmp_path: Path) -> None:
    """Batches of 7 are shared unevenly; the running mean of the target cosines is that of the whole batch."""
    data = FolderDataset.sample(tmp_path / "images")
    alone = train(tmp_path, data, "alone", [])
    together = train(tmp_path, data, "together", ["-m", "torch.distributed.run", "--nproc-per-node=2"])
    assert len(alone) == 2
    for name in ("loss", "target_cosine", "feature_norm"):
        assert [report[name] for report in together] == pytest.approx([report[name] for report in alone], rel=1e-3)


def launch(folder: Path, name: str, processes: int, stop: int = 0) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"),
            *(model_worker.__file__, str(folder), name, str(stop)),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert ("interrupted" in done.stdout) == bool(stop)


@pytest.mark.slow
def test_a_sharded_head_is_trained_stopped_and_resumed_by_another_number_of_processes(tmp_path: Path) -> None:
    """Two processes stop after step 5, three go on; the same as one process whose head is whole, and sharded by one."""
    launch(tmp_path, "resumed", 2, stop=5)
    launch(tmp_path, "resumed", 3)
    options = {**model_worker.OPTIONS, "sharding": "none"}
    runtime = Runtime(device="cpu", precision="fp32", threads=1)
    sharded = AMSoftmax(AMSoftmaxConfig.parse(model_worker.OPTIONS, owner="amsoftmax"), runtime=runtime)
    alone = sharded.fit(model_worker.pictures())
    assert type(alone.head).__name__ == "MarginHead"
    found = AMSoftmax.load(tmp_path / "resumed", runtime=runtime)
    for name, tensor in alone.network.state_dict().items():
        torch.testing.assert_close(found.network.state_dict()[name], tensor, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found.head.weight, alone.head.weight, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found.head.margin.t, alone.head.margin.t, rtol=1e-4, atol=1e-6)
    whole = AMSoftmax(AMSoftmaxConfig.parse(options, owner="amsoftmax"), runtime=runtime)
    build = whole.build_head

    def same_start(*arguments: Any, **keywords: Any) -> Any:
        head = build(*arguments, **keywords)
        start = ShardedMarginHead(head.dim, head.num_classes, "curricularface", seed=runtime.seed)
        head.weight.data.copy_(start.weight.data)
        return head

    whole.build_head = same_start  # type: ignore[method-assign]
    whole.fit(model_worker.pictures())
    for name, tensor in whole.network.state_dict().items():
        torch.testing.assert_close(alone.network.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)
    kept = sorted(path.name for path in (tmp_path / "runs/resumed/checkpoint").glob("head-*"))
    assert len(kept) <= 2
