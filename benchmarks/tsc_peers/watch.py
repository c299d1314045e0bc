"""What a training is watched for: the seconds of its epochs, or the time until its predictions are good."""

from __future__ import annotations

import contextlib
import statistics
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np


class Enough(Exception):
    """Raised by the loop of a contender when the watch has seen what it wanted."""


class Channel(Protocol):
    """The line to the process that compares."""

    def send(self, message: dict[str, Any]) -> None: ...

    def wait(self) -> None: ...


class Predictor(Protocol):
    """Class numbers [n] of series [n, 1, length] by the training as it is, and the CPU and wall seconds that a training
    which ended here would still have needed (to recompute statistics)."""

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, float, float]: ...


class Watch(Protocol):
    """A contender calls `begin` before an epoch and `end` after it; True from `end` means that it may stop."""

    def begin(self) -> None: ...

    def end(self, samples: int, predict: Callable[[], Predictor]) -> bool: ...


class Rounds:
    """CPU and wall seconds of rounds of epochs; between two rounds the training waits for the others.

    The first `warm` epochs are run and not counted. Only what lies between `begin` and `end` counts.
    """

    def __init__(self, channel: Channel, *, warm: int, epochs: int, rounds: int, facts: dict[str, Any]) -> None:
        self._channel, self._facts = channel, facts
        self._warm, self._epochs, self._left = warm, epochs, rounds
        self._seen = 0
        self._taken = [0.0, 0.0, 0.0]
        self._marks = (0.0, 0.0)

    @property
    def total(self) -> int:
        """How many epochs the training needs to have."""
        return self._warm + self._epochs * self._left

    def begin(self) -> None:
        self._marks = (time.process_time(), time.perf_counter())

    def end(self, samples: int, predict: Callable[[], Predictor]) -> bool:
        now = (time.process_time(), time.perf_counter())
        self._seen += 1
        if self._seen == self._warm:
            self._channel.send({"ready": self._facts})
            self._channel.wait()
        if self._seen <= self._warm:
            return False
        spent = (now[0] - self._marks[0], now[1] - self._marks[1], samples)
        self._taken = [total + one for total, one in zip(self._taken, spent, strict=True)]
        if (self._seen - self._warm) % self._epochs == 0:
            cpu, wall, count = self._taken
            self._left -= 1
            self._taken = [0.0, 0.0, 0.0]
            self._channel.send({"cpu": cpu, "wall": wall, "samples": count})
            if not self._left:
                return True
            self._channel.wait()
        return False


class Race:
    """The time from the start of the process until test accuracy reaches `target` and holds it in the next epoch too.

    After every epoch the training predicts; what that takes is on no clock, but for what the predictor says a training
    that ended here would have needed. To save the benchmark's own time every eighth series comes first, and the others
    only where that leaves hope. `started` is time.monotonic() at the start of the process.
    """

    EVERY, HOPE = 8, 0.07  # 97 % on a thousand series and less than 90 % on every eighth: one in ten thousand

    def __init__(self, x: np.ndarray, y: np.ndarray, *, target: float, max_epochs: int, started: float) -> None:
        self._x, self._y, self._target, self._max, self._started = x, y, target, max_epochs, started
        self.imported = self._clock()
        self._paused = (0.0, 0.0)
        self._mark = 0.0
        self._epoch_seconds: list[float] = []
        self._reached: dict[str, Any] | None = None
        self.accuracies: list[float] = []
        self.result: dict[str, Any] | None = None

    def _clock(self) -> tuple[float, float]:
        return time.process_time(), time.monotonic() - self._started

    @contextlib.contextmanager
    def _stopped(self) -> Iterator[tuple[float, float]]:
        """Yields the clock's reading, without all earlier pauses."""
        cpu, wall = self._clock()
        yield cpu - self._paused[0], wall - self._paused[1]
        after = self._clock()
        self._paused = (self._paused[0] + after[0] - cpu, self._paused[1] + after[1] - wall)

    @staticmethod
    def _measured(predictor: Predictor, x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
        classes, cpu, wall = predictor(x)
        return float((classes == y).mean()), cpu, wall

    def begin(self) -> None:
        self._mark = time.process_time()

    def end(self, samples: int, predict: Callable[[], Predictor]) -> bool:
        self._epoch_seconds.append(time.process_time() - self._mark)
        with self._stopped() as (cpu, wall):
            predictor = predict()
            accuracy, settling, settling_wall = self._measured(
                predictor, self._x[:: self.EVERY], self._y[:: self.EVERY]
            )
            if accuracy >= self._target - self.HOPE:
                accuracy, settling, settling_wall = self._measured(predictor, self._x, self._y)
        self.accuracies.append(accuracy)
        epoch = len(self.accuracies)
        if accuracy < self._target:
            self._reached = None
        elif self._reached is None:
            self._reached = {
                "epochs": epoch, "accuracy": accuracy, "cpu": cpu + settling, "wall": wall + settling_wall,
                "settling": settling,
            }  # fmt: skip
        else:
            # the first epoch builds graphs and buffers: the warm ones say what training alone costs
            warm = statistics.median(self._epoch_seconds[1:])
            self.result = {**self._reached, "training_cpu": self._reached["epochs"] * warm + self._reached["settling"]}
            return True
        return epoch >= self._max
