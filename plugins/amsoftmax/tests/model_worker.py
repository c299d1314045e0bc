"""One of several processes that train the model with a sharded head: model_worker.py FOLDER NAME STOP, under torchrun.

Ends like Ctrl-C after optimiser step STOP (0: never), and goes on from the run's checkpoint where there is one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from quire import InMemory, Run, Runtime
from quire.hooks import hookimpl
from quire.task import IMAGE_CLASSIFICATION
from quire_amsoftmax.config import AMSoftmaxConfig
from quire_amsoftmax.model import AMSoftmax

OPTIONS: dict[str, Any] = {
    "preset": "toy",
    "width": 0.1,
    "input_size": (16, 16),
    "resize": "none",
    "embedding_dim": 6,
    "batch_size": 7,
    "epochs": 2,
    "hflip": 0.0,
    "shift": 0,
    "head": "curricularface",
    "scale": 10.0,
    "sharding": "class",
    "shard_checkpoint_steps": 2,
    "grad_clip": 1.0,
}


def pictures() -> InMemory:
    """Seven identities and 22 images: the last batch has one image."""
    rng = np.random.default_rng(0)
    samples = [
        {"id": str(k), "image": rng.integers(0, 256, (16, 16, 3), dtype=np.uint8), "target": f"p{k % 7}"}
        for k in range(22)
    ]
    return InMemory(samples, task=IMAGE_CLASSIFICATION, name="noise")


class Stop:
    """Ctrl-C after a step."""

    def __init__(self, at: int) -> None:
        self.at = at

    @hookimpl
    def quire_step_finished(self, step: int) -> None:
        if step == self.at:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)


def main() -> None:
    folder, name, stop = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    runtime = Runtime(device="cpu", precision="fp32", threads=1)
    path = folder / "runs" / name
    if runtime.is_main and not path.exists():
        Run.create(folder / "runs", model="amsoftmax", config={}, name=name)
    runtime.wait()
    run = Run.open(path)
    if stop:
        run.hooks.add("stop", Stop(stop))
    model = AMSoftmax(AMSoftmaxConfig.parse(OPTIONS, owner="amsoftmax"), runtime=runtime)
    try:
        model.fit(pictures(), run=run)
    except KeyboardInterrupt:
        print("interrupted")
        return
    if runtime.is_main:
        model.save(folder / name)


if __name__ == "__main__":
    main()
