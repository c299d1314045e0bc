"""What a training achieves: samples per second, FLOP per second, peak memory."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from quire.runtime.memory import peak_memory

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Throughput:
    """Samples and seconds of training steps alone; FLOP/s is three forward passes per sample, as is customary."""

    samples: int
    seconds: float
    samples_per_second: float
    flop_per_second: float | None
    peak_memory_bytes: int

    def to_json(self) -> dict[str, Any]:
        """The fields as plain numbers."""
        return asdict(self)


class Meter:
    """Counts samples and time; `pause` keeps evaluation and checkpoints out of it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.samples = 0
        self.seconds = 0.0
        self.flop_per_sample: float | None = None
        self._since: float | None = None

    def start(self) -> None:
        """Begin, or go on, counting time."""
        self._since = time.perf_counter()

    def pause(self) -> None:
        """Stop counting time; waits for the device, so that queued work is counted."""
        if self._since is None:
            return
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        self.seconds += time.perf_counter() - self._since
        self._since = None

    def read(self) -> Throughput:
        """The figures so far, up to the last `pause`."""
        rate = self.samples / self.seconds if self.seconds else 0.0
        flop = self.flop_per_sample * 3 * rate if self.flop_per_sample else None
        return Throughput(self.samples, self.seconds, rate, flop, peak_memory(self.device))


def count_flop(forward: Callable[[], object]) -> int:
    """Floating point operations of one call of `forward`: those of matrix products and convolutions."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        forward()
    return counter.get_total_flops()
