"""Observers that most runs have: the metrics file, early stopping, TensorBoard."""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Any

from quire.errors import require
from quire.hooks import StopPhase, hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from quire.run import Run
    from quire.training.phase import Selection


class MetricsFile:
    """Appends every report to metrics.jsonl, one line in one write; a value that is not finite is null.

    Lines that were written after the checkpoint from which a run resumes are cut off, since their steps are made again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.length = 0

    @hookimpl
    def quire_run_started(self) -> None:
        """Cut the file to what the checkpoint knows of; to nothing for a fresh run."""
        with self.path.open("ab") as file:
            self.length = min(self.length, file.tell())  # a file that somebody removed begins anew
            file.truncate(self.length)

    @hookimpl
    def quire_epoch_finished(self, phase: str, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Write one line."""
        values = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        line = json.dumps({"phase": phase, "epoch": epoch, "step": step, **values}).encode() + b"\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
        self.length += len(line)

    def state_dict(self) -> dict[str, Any]:
        """How much of the file belongs to the checkpoint."""
        return {"length": self.length}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after that much."""
        self.length = state["length"]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The reports in a metrics.jsonl, in order; none if there is no file yet, and none that is still being written."""
    if not path.is_file():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


class EarlyStopping:
    """Ends a phase when its metric has not become strictly better for `patience` reports."""

    def __init__(self, phase: str, selection: Selection, patience: int) -> None:
        self.phase, self.selection, self.patience = phase, selection, patience
        self.best: float | None = None
        self.waited = 0

    @hookimpl
    def quire_epoch_finished(self, phase: str, metrics: Mapping[str, float]) -> None:
        """Count the reports without improvement."""
        if phase != self.phase:
            return
        value = metrics[self.selection.metric]
        if self.selection.better(value, self.best):
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            raise StopPhase(f"{self.selection.metric} did not improve for {self.patience} reports")

    def state_dict(self) -> dict[str, Any]:
        """The best value and how long it stands."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue waiting."""
        self.best, self.waited = state["best"], state["waited"]


class TensorBoard:
    """Writes every report's metrics as scalars for TensorBoard into run/tensorboard."""

    def __init__(self) -> None:
        self._writer: Any = None

    @hookimpl
    def quire_run_started(self, run: Run | None) -> None:
        """Open the event file."""
        if run is not None:
            require("tensorboard", extra="tensorboard", purpose="The TensorBoard hook")
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(run.path / "tensorboard"))

    @hookimpl
    def quire_epoch_finished(self, phase: str, step: int, metrics: Mapping[str, float]) -> None:
        """Write the scalars of one report."""
        if self._writer is not None:
            for name, value in metrics.items():
                self._writer.add_scalar(f"{phase}/{name}", value, step)

    @hookimpl
    def quire_run_finished(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
