"""Several processes train the same model as one, from the command line: nothing has to be wrapped by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from quire.readers.folder import FolderDataset
from quire.training import read_metrics

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
