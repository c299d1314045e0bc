"""The progress bar of a training: an observer like any other."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

from quire.hooks import hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping

_BESIDE_METRICS = 60  # columns of a terminal that the bar, the counts, the time and the rate take


class ProgressBar:
    """A bar with rate and time left on a terminal; elsewhere a line now and then."""

    quiet_seconds = 10.0

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        from quire.cli.output import console

        whole = Column(no_wrap=True)
        self._console = console(error=True)
        self._bar = Progress(
            TextColumn("{task.description}", table_column=whole),
            BarColumn(bar_width=12),
            TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}", table_column=whole),
            TimeRemainingColumn(table_column=whole),
            TextColumn("left {task.fields[rate]}", table_column=whole),
            TextColumn("{task.fields[metrics]}"),
            console=self._console,
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
        shown = [f"{name} {value:.4g}" for name, value in list(metrics.items())[:4]]
        unit = "epochs" if by_epochs else "steps"
        if self._live:
            if phase not in self._tasks:
                self._tasks[phase] = self._bar.add_task(phase, total=total, unit=unit, rate="", metrics="")
            while shown and len("  ".join(shown)) > self._console.width - _BESIDE_METRICS - len(phase):
                shown.pop()
            metrics_text = "  ".join(shown)
            self._bar.update(self._tasks[phase], completed=done, rate=f"{rate:.0f} samples/s", metrics=metrics_text)
        elif time.monotonic() - self._said > self.quiet_seconds or done == total:
            self._said = time.monotonic()
            print(f"{phase}: {done}/{total} {unit}  {'  '.join([*shown, f'{rate:.0f} samples/s'])}", file=sys.stderr)
