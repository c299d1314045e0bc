"""Several processes train the same model as one, from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from quire.training import read_metrics
from quire_tsc import TimeSeriesDataset

if TYPE_CHECKING:
    from pathlib import Path


def train(folder: Path, data: Path, name: str, launcher: list[str]) -> list[dict[str, Any]]:
    options = ["architecture=resnet", "n_epochs=2", "batch_size=7", f"--data={data}", f"--name={name}", "--device=cpu"]
    subprocess.run(
        [sys.executable, *launcher, "-m", "quire.cli", "train", "tsc", *options],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=300,
    )
    assert json.loads((folder / "runs" / name / "run.json").read_text())["state"] == "done"
    return read_metrics(folder / "runs" / name / "metrics.jsonl")


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(tmp_path: Path) -> None:
    data = TimeSeriesDataset.sample(tmp_path / "CBF")
    alone = train(tmp_path, data, "alone", [])
    together = train(tmp_path, data, "together", ["-m", "torch.distributed.run", "--nproc-per-node=2"])
    assert len(alone) == 2
    for name in ("loss", "accuracy"):
        assert [report[name] for report in together] == pytest.approx([report[name] for report in alone], rel=1e-4)
