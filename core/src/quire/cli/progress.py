"""The progress bar of a training: an observer like any other."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

from quire.hooks import hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping


class ProgressBar:
    """A bar with rate and time left on a terminal; elsewhere a line now and then."""

    quiet_seconds = 10.0

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        from quire.cli.output import console

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}"),
            console=console(error=True),
            refresh_per_second=4,
        )
        self._live = sys.stderr.isatty()
        self._plan: dict[str, Mapping[str, Any]] = {}
        self._tasks: dict[str, Any] = {}
        self._samples = 0
        self._started = self._said = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._bar.stop()  # also where a model does not tell its end; a bar that lives on hides the cursor

    @hookimpl
    def quire_run_started(self, plan: Mapping[str, Any]) -> None:
        """Show the bar."""
        self._plan = {phase["name"]: phase for phase in plan["phases"]}
        self._started = self._said = time.monotonic()
        if self._live:
            self._bar.start()

    @hookimpl
    def quire_step_finished(self, samples: int) -> None:
        """Count samples for the rate."""
        self._samples += samples

    @hookimpl
    def quire_epoch_finished(self, phase: str, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Advance."""
        by_epochs = self._plan[phase]["epochs"] is not None
        done, total = (epoch, self._plan[phase]["epochs"]) if by_epochs else (step, self._plan[phase]["steps"])
        rate = self._samples / max(time.monotonic() - self._started, 1e-9)
        text = "  ".join(f"{name} {value:.4g}" for name, value in list(metrics.items())[:4])
        text = f"{text}  {rate:.0f} samples/s"
        unit = "epochs" if by_epochs else "steps"
        if self._live:
            if phase not in self._tasks:
                self._tasks[phase] = self._bar.add_task(phase, total=total, unit=unit, metrics="")
            self._bar.update(self._tasks[phase], completed=done, metrics=text)
        elif time.monotonic() - self._said > self.quiet_seconds or done == total:
            self._said = time.monotonic()
            print(f"{phase}: {done}/{total} {unit}  {text}", file=sys.stderr)
