"""The fused margin head of quire-amsoftmax beside pytorch-metric-learning's CosFaceLoss, forward and backward.

    OMP_NUM_THREADS=1 python benchmarks/amsoftmax_head.py [--classes 10000,100000] [--rounds 9] [--write]

512 numbers, 256 embeddings, s = 30, m = .35, float32, one thread. Time: CPU seconds of a step, the two in turn in one
process; the ratio is that of the medians. Memory: how far the resident set rises above what it was before the first step
(Linux), the median of three processes; both figures include the weight's gradient. Loss and gradients must agree.
Requirement: time at most .65, memory at most .35 of the peer's. `--write` puts the figures into
benchmarks/results/amsoftmax_head.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_metric_learning
import torch
from pytorch_metric_learning.losses import CosFaceLoss

from quire_amsoftmax import MarginHead

RESULTS = Path(__file__).parent / "results" / "amsoftmax_head.json"
DIM, BATCH, SCALE, MARGIN = 512, 256, 30.0, 0.35


def make(name: str, classes: int) -> torch.nn.Module:
    torch.manual_seed(0)
    if name == "quire":
        return MarginHead(DIM, classes, scale=SCALE, margin=MARGIN)
    return CosFaceLoss(classes, DIM, margin=MARGIN, scale=SCALE)


def batch(classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(BATCH, DIM, generator=generator), torch.randint(classes, (BATCH,), generator=generator)


def step(head: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[float, torch.Tensor]:
    head.zero_grad(set_to_none=True)
    features = x.clone().requires_grad_()
    loss = head(features, y)
    loss.backward()
    assert features.grad is not None
    return float(loss.detach()), features.grad


def agreement(classes: int) -> dict[str, float]:
    """Relative differences of the loss and of the gradients."""
    ours, theirs = make("quire", classes), make("pml", classes)
    theirs.W.data = ours.weight.detach().T.clone()
    x, y = batch(classes)
    (loss, grad), (other_loss, other_grad) = step(ours, x, y), step(theirs, x, y)
    weights = ours.weight.grad, theirs.W.grad.T
    return {
        "loss": abs(loss - other_loss) / other_loss,
        "embeddings": float((grad - other_grad).norm() / other_grad.norm()),
        "weight": float((weights[0] - weights[1]).norm() / weights[1].norm()),
    }


def seconds(classes: int, rounds: int) -> dict[str, float]:
    heads = {name: make(name, classes) for name in ("quire", "pml")}
    x, y = batch(classes)
    taken: dict[str, list[float]] = {name: [] for name in heads}
    for head in heads.values():
        step(head, x, y)
    for _ in range(rounds):
        for name, head in heads.items():
            started = time.process_time()
            step(head, x, y)
            taken[name].append(time.process_time() - started)
    return {name: statistics.median(values) for name, values in taken.items()}


def resident(field: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at most."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def memory_here(name: str, classes: int) -> float:
    """MiB that one step adds, in this process."""
    small = make(name, 10)
    step(small, *batch(10))
    head, (x, y) = make(name, classes), batch(classes)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    before = resident("VmRSS")
    step(head, x, y)
    return resident("VmHWM") - before


def memory(name: str, classes: int) -> float:
    """The median of three processes: what the allocator keeps differs from one to the next."""
    command = [sys.executable, __file__, "--memory", name, "--classes", str(classes)]
    return statistics.median(
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)
    )


def compare(classes: int, rounds: int) -> dict[str, Any]:
    taken = seconds(classes, rounds)
    used = {name: memory(name, classes) for name in taken}
    row = {
        "classes": classes,
        "cpu_seconds": taken,
        "time_ratio": taken["quire"] / taken["pml"],
        "extra_mib": used,
        "memory_ratio": used["quire"] / used["pml"],
        "relative_difference": agreement(classes),
    }
    print(json.dumps(row, indent=2), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", default="10000,100000")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        print(memory_here(options.memory, int(options.classes)))
        return
    results = {
        "date": datetime.date.today().isoformat(),
        "environment": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": 1,
            "torch": torch.__version__,
            "pytorch_metric_learning": pytorch_metric_learning.__version__,
            "python": platform.python_version(),
        },
        "heads": [compare(int(each), options.rounds) for each in options.classes.split(",")],
    }
    if options.write:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
