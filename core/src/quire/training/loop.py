"""The loop that most models share: phases, steps, reports, checkpoints, resume."""

from __future__ import annotations

import functools
import logging
import math
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from quire.errors import TrainingError
from quire.hooks import Hooks, StopPhase, StopTraining
from quire.runtime import Job, Meter, count_flop, is_out_of_memory, release_memory
from quire.storage import save_tree
from quire.training.checkpoint import checkpoint_state, read_checkpoint, restore_checkpoint
from quire.training.interrupt import Interrupt
from quire.training.observers import EarlyStopping, MetricsFile
from quire.training.step import Losses, Part, StepContext, Stepper, only_training, part_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from quire.dataset import Dataset
    from quire.run import Run
    from quire.training.neural import NeuralModel
    from quire.training.phase import Phase

log = logging.getLogger(__name__)


class Trainer:
    """One training of one model: walks its phases and keeps what a checkpoint must hold."""

    def __init__(self, model: NeuralModel, train: Dataset, validation: Dataset | None, run: Run | None) -> None:
        self.model, self.train_set, self.validation, self.run = model, train, validation, run
        self.runtime = model.runtime
        self.hooks = run.hooks if run is not None else Hooks()
        self.phases = model.phases(train)
        if len({phase.name for phase in self.phases}) != len(self.phases):
            raise TrainingError(f"two phases share a name: {', '.join(phase.name for phase in self.phases)}")
        self.load = model.loader(train, training=True)
        self.modules = {"network": model.network, **model.training_only}
        self.meter = Meter(self.runtime.torch_device)
        self.interrupted = False
        self.stop: StopTraining | None = None
        self.out_of_time = False
        self._asked: StopTraining | None = None
        self._interrupt = Interrupt()
        self.phase_number = 0
        self.batch_number = 0
        self.part_size: int | None = None
        self.validation_size = model.prediction_batch
        self.best: float | None = None
        self.best_weights: dict[str, Tensor] | None = None
        self.totals: dict[str, Tensor] = {}
        self.samples = 0
        self.seconds = 0.0
        self._last_checkpoint = time.monotonic()
        self.context: StepContext

    @functools.cached_property
    def _load_in_order(self) -> Callable[..., Any]:
        return self.model.loader(self.train_set, training=False)

    @functools.cached_property
    def _load_validation(self) -> Callable[..., Any]:
        assert self.validation is not None
        return self.model.loader(self.validation, training=False)

    @property
    def stops_training(self) -> bool:
        """Whether the whole training is to end, not only the phase."""
        return _of_training(self.stop)

    def train(self) -> None:
        """All phases, from the checkpoint if there is one. Raises TrainingError; KeyboardInterrupt after a checkpoint."""
        with self.hooks.observed_by(self._observers()):
            self._train()

    def _observers(self) -> dict[str, object]:
        """Those that the run and its phases bring along, by name."""
        observers: dict[str, object] = {}
        if self.run is not None and self.runtime.is_main:
            observers["metrics-file"] = MetricsFile(self.run.metrics_path)
        for phase in self.phases:
            if phase.patience is not None and phase.select is not None:
                observers[f"early-stopping:{phase.name}"] = EarlyStopping(phase.name, phase.select, phase.patience)
            observers.update({f"{name}:{phase.name}": observer for name, observer in phase.observers.items()})
        return observers

    def _train(self) -> None:
        self.runtime.begin(self.model.network)
        for module in self.modules.values():
            self.runtime.broadcast(module)
        checkpoint = read_checkpoint(self)
        if checkpoint is not None:
            self.hooks.load_state_dict(checkpoint["hooks"])
        plan = {
            "phases": [{"name": p.name, "epochs": p.epochs, "steps": p.steps} for p in self.phases],
            "train": len(self.train_set),
            "validation": len(self.validation) if self.validation is not None else 0,
        }
        self._emit("quire_run_started", plan=plan)
        with self._interrupt.watched():
            try:
                self._all_phases(checkpoint)
            except KeyboardInterrupt:
                self._emit("quire_run_finished", state="interrupted", reason="interrupted")
                raise
            except Exception as error:
                self._emit("quire_run_finished", state="failed", reason=str(error))
                raise
        reason = str(self.stop or "")
        if self.run is not None and self.runtime.is_main:
            self.run.update(throughput=self.meter.read().to_json(), reason=reason)
        self._emit("quire_run_finished", state="done", reason=reason)

    def _all_phases(self, checkpoint: dict[str, Any] | None) -> None:
        first = checkpoint["phase"] if checkpoint is not None else 0
        for number in range(first, len(self.phases)):
            self._one_phase(number, checkpoint if number == first else None)
            if self.stops_training:
                return

    def _emit(self, event: str, **values: Any) -> None:
        """Tell the hooks; what they ask for is heeded when the processes agree next."""
        try:
            self.hooks.emit(event, run=self.run, **values)
        except StopTraining as stop:
            if not _of_training(self._asked):
                self._asked = stop

    def _agree(self, phase: Phase) -> None:
        """Let all processes end together: what one of them was asked by a hook, a signal or its clock holds for all."""
        late = phase.max_seconds is not None and self.seconds >= phase.max_seconds
        asked = [self._interrupt.came, late, self._asked is not None, _of_training(self._asked)]
        self.interrupted, self.out_of_time, stops_phase, stops_training = self.runtime.any(asked)
        if stops_training and not _of_training(self._asked):
            self._asked = StopTraining("another process was asked to stop")
        elif stops_phase and self._asked is None:
            self._asked = StopPhase("another process was asked to end the phase")
        self.stop = self._asked

    def _one_phase(self, number: int, checkpoint: dict[str, Any] | None) -> None:
        phase = self.phases[number]
        self.phase_number = number
        with only_training(self.modules, phase.trains):
            self.context = StepContext(
                runtime=self.runtime,
                phase=phase,
                modules=self.modules,
                optimizations=phase.optimizers(self.modules, self.runtime),
                scaler=self.runtime.gradient_scaler(),
                stepper=self.runtime.wrap(Stepper(self.model, phase)),
            )
            self._begin_phase(checkpoint)
            self.meter.start()
            try:
                self._epochs(phase)
            finally:
                self.meter.pause()
            if self.stop is not None:
                log.info("phase %s ended: %s", phase.name, self.stop)
            self._finish_phase(phase)
            if number + 1 < len(self.phases) and not self.stops_training:
                self.stop = self._asked = None
                self.phase_number, self.context.epoch, self.context.step = number + 1, 0, 0
                self.checkpoint(fresh=True)
                self._agree(phase)

    def _begin_phase(self, checkpoint: dict[str, Any] | None) -> None:
        self.batch_number, self.best, self.best_weights = 0, None, None
        self.totals, self.samples, self.seconds, self.out_of_time = {}, 0, 0.0, False
        if checkpoint is not None:
            restore_checkpoint(self, checkpoint)
        if checkpoint is None or checkpoint["fresh"]:
            self.runtime.seed_everything(self.phase_number, self.runtime.rank)
        self._last_checkpoint = time.monotonic()
        self._agree(self.context.phase)

    def _epochs(self, phase: Phase) -> None:
        context = self.context
        while not self._over(phase):
            batches = phase.sampler.batches(context.epoch)
            if not batches:
                raise TrainingError(f"phase {phase.name!r} has no batches")
            self._one_epoch(phase, batches)
            if self.batch_number < len(batches):
                return
            context.epoch += 1
            self.batch_number = 0
            for optimization in context.optimizations:
                if optimization.schedule is not None and optimization.interval == "epoch" and not optimization.monitor:
                    optimization.schedule.step()
            self._after_step(phase, epoch=context.epoch)

    def _one_epoch(self, phase: Phase, batches: Sequence[Sequence[int]]) -> None:
        """The rest of an epoch, from batch `self.batch_number` on; starts over from there when memory runs out."""
        while self.batch_number < len(batches) and not self._over(phase):
            if not self._steps(phase, batches):
                release_memory()

    def _steps(self, phase: Phase, batches: Sequence[Sequence[int]]) -> bool:
        """As many steps as the memory allows; whether it did for all."""
        loaded = self._parts(batches)
        for batch in batches[self.batch_number :]:
            try:
                parts = [Part(next(loaded), weight) for _, weight in self._split(batch)]
                losses = self._one_step(parts, len(batch))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink(error, len(batch))
                return False
            self._count_step(phase, losses, len(batch))
            if self.batch_number < len(batches) and not self._over(phase):
                self._after_step(phase, epoch=None)
            if self._over(phase):
                return True
        return True

    def _one_step(self, parts: Sequence[Part], samples: int) -> Losses:
        self._training_mode()
        if self.meter.flop_per_sample is None and self.meter.samples == 0:
            self._count_flop(parts[0], max(1, round(parts[0].weight * samples)))
        started = time.perf_counter()
        losses = self.runtime.sum_each(self.model.training_step(parts, self.context))
        self.seconds += time.perf_counter() - started
        return losses

    def _training_mode(self) -> None:
        """What the phase trains in training mode; what it leaves as it is (dropout, statistics) in evaluation mode."""
        trains, roots = self.context.phase.trains, list(self.modules.values())
        learning = [part_of(self.modules, trains)] if trains else roots
        # the roots tell: to set the mode of every submodule at every step would cost more than some networks
        if all(module.training for module in learning) and not any(m.training for m in roots if m not in learning):
            return
        for module in roots:
            module.eval()
        for module in learning:
            module.train()

    def _count_step(self, phase: Phase, losses: Losses, samples: int) -> None:
        context = self.context
        context.step += 1
        self.batch_number += 1
        self.samples += samples
        self.meter.samples += samples
        for name, value in losses.items():
            self.totals[name] = self.totals.get(name, 0.0) + value * samples
        for optimization in context.optimizations:
            if optimization.schedule is not None and optimization.interval == "step" and not optimization.monitor:
                optimization.schedule.step()
        epoch = context.epoch + 1
        self._emit(
            "quire_step_finished", phase=phase.name, epoch=epoch, step=context.step, samples=samples, losses=losses
        )
        self._agree(phase)

    def _after_step(self, phase: Phase, *, epoch: int | None) -> None:
        """Reports and checkpoints that are due; `epoch` epochs are done, None inside an epoch."""
        step = self.context.step
        if phase.report.due(epoch=epoch, step=step) and self.samples:
            self._report(phase)
        if self.interrupted and self.stop is None:
            self.checkpoint()
            raise KeyboardInterrupt
        if self.stop is None and phase.checkpoint.due(epoch=epoch, step=step, since=self._last_checkpoint):
            self.checkpoint()

    def _over(self, phase: Phase) -> bool:
        if self.stop is not None or self.out_of_time:
            return True
        if phase.steps is not None and self.context.step >= phase.steps:
            return True
        return phase.epochs is not None and self.context.epoch >= phase.epochs

    def _report(self, phase: Phase) -> None:
        """Metrics since the last report, validation, selection of weights, monitored schedules, the hooks."""
        self.meter.pause()
        metrics = {name: float(total) / self.samples for name, total in self.totals.items()}
        self.totals, self.samples = {}, 0
        _require_finite(metrics, phase, self.context.step)
        optimizations = self.context.optimizations
        metrics["learning_rate"] = float(optimizations[0].optimizer.param_groups[0]["lr"]) if optimizations else 0.0
        if self.validation is not None and len(self.validation):
            self._settle(phase)
            metrics.update({f"val_{name}": value for name, value in self._validate().items()})
        for optimization in optimizations:
            if optimization.schedule is not None and optimization.monitor:
                optimization.schedule.step(_measured(metrics, optimization.monitor, phase))
        if phase.select is not None:
            self._select(phase, metrics)
        self._emit(
            "quire_epoch_finished",
            phase=phase.name,
            epoch=self.context.epoch,
            step=self.context.step,
            metrics=metrics,
        )
        self._agree(phase)
        self.meter.start()

    def _select(self, phase: Phase, metrics: Mapping[str, float]) -> None:
        assert phase.select is not None
        value = _measured(metrics, phase.select.metric, phase)
        if phase.select.better(value, self.best):
            self.best = value
            part = part_of(self.modules, phase.trains)
            self.best_weights = {name: tensor.detach().clone() for name, tensor in part.state_dict().items()}

    def _finish_phase(self, phase: Phase) -> None:
        if self.samples:  # steps after the last report count too
            self._report(phase)
            self.meter.pause()
        if self.best_weights is not None:
            part_of(self.modules, phase.trains).load_state_dict(self.best_weights)
        self._settle(phase)

    def _settle(self, phase: Phase) -> None:
        self.model.settle(phase, lambda: self._in_order(phase))

    def _in_order(self, phase: Phase) -> Iterator[Any]:
        """The training samples in batches of the phase's size."""
        load, samples = self._load_in_order, len(self.train_set)
        size = max(len(batch) for batch in phase.sampler.batches(0))
        for start in range(0, samples, size):
            yield self.runtime.move(load(range(start, min(start + size, samples)), None))

    def _validate(self) -> dict[str, float]:
        """Metrics over the validation set, in batches that fit into memory."""
        while True:
            try:
                return self._validate_by(self.validation_size)
            except Exception as error:
                if self.validation_size == 1 or not is_out_of_memory(error):
                    raise
            release_memory()
            self.validation_size //= 2

    @torch.no_grad()
    def _validate_by(self, size: int) -> dict[str, float]:
        assert self.validation is not None
        load = self._load_validation
        for module in self.modules.values():
            module.eval()

        def batches() -> Iterator[tuple[Any, int]]:
            for start in range(0, len(self.validation or ()), size):
                indices = range(start, min(start + size, len(self.validation or ())))
                yield self.runtime.move(load(indices, None)), len(indices)

        with self.runtime.autocast():
            return self.model.validate(self.context.phase, batches())

    def _split(self, batch: Sequence[int]) -> list[tuple[list[int], float]]:
        """This process's parts of a global batch, with their weights; all processes have the same number of parts.

        Where a process has no sample left for a part, it computes with one that weighs nothing.
        """
        share, largest = self.runtime.share(batch), self._largest_share(len(batch))
        size = -(-largest // self.context.phase.accumulate)
        if self.part_size is not None:
            size = min(size, self.part_size)
        parts = [share[start : start + size] for start in range(0, largest, size)]
        return [(part or [batch[0]], len(part) / len(batch)) for part in parts]

    def _largest_share(self, samples: int) -> int:
        """How many samples of a global batch the first process has."""
        return -(-samples // self.runtime.processes)

    def _parts(self, batches: Sequence[Sequence[int]]) -> Iterator[Any]:
        jobs = [
            Job(part, (self.phase_number, self.context.epoch, number, piece, self.runtime.rank))
            for number, batch in enumerate(batches[self.batch_number :], start=self.batch_number)
            for piece, (part, _) in enumerate(self._split(batch))
        ]
        return self.runtime.load(self.load, jobs)

    def _shrink(self, error: Exception, samples: int) -> None:
        """Halve the parts from now on: one of those that a batch of `samples` was computed in did not fit."""
        current = -(-self._largest_share(samples) // self.context.phase.accumulate)
        if self.part_size is not None:
            current = min(current, self.part_size)
        if current == 1:
            raise TrainingError(
                "a single training sample does not fit into memory", remedy="Use a smaller model or input."
            ) from error
        self.part_size = -(-current // 2)
        log.warning("out of memory: batches are now computed in parts of %d samples", self.part_size)

    def _count_flop(self, part: Part, samples: int) -> None:
        """Once, without a trace: in evaluation mode, no gradient, random state and buffers as before."""
        state = self.runtime.random_state()
        buffers = [(buffer, buffer.clone()) for module in self.modules.values() for buffer in module.buffers()]
        for module in self.modules.values():
            module.eval()
        try:
            batch = self.runtime.move(part.batch)
            self.meter.flop_per_sample = count_flop(lambda: self.context.stepper(batch)) / samples
        except Exception as error:
            log.debug("FLOP could not be counted: %s", error)
            self.meter.flop_per_sample = 0.0
        self.runtime.restore_random_state(state)
        for buffer, before in buffers:
            buffer.copy_(before)
        self._training_mode()

    def checkpoint(self, *, fresh: bool = False) -> None:
        """Write what is needed to continue after the last step; `fresh`: the phase has not begun yet."""
        if self.run is None:
            return
        self.meter.pause()
        if self.runtime.is_main:
            path = self.run.checkpoint_path
            path.parent.mkdir(exist_ok=True)
            save_tree(path, checkpoint_state(self, fresh=fresh))
            progress = {
                "phase": self.phases[self.phase_number].name,
                "epoch": self.context.epoch,
                "step": self.context.step,
            }
            self.run.update(progress=progress)
            self._emit("quire_checkpoint_saved", path=path)
        self._last_checkpoint = time.monotonic()
        self.meter.start()


def _of_training(stop: StopTraining | None) -> bool:
    return stop is not None and not isinstance(stop, StopPhase)


def _measured(metrics: Mapping[str, float], name: str, phase: Phase) -> float:
    if name not in metrics:
        raise TrainingError(
            f"phase {phase.name!r} needs the metric {name!r}, which is not measured",
            remedy=f"Measured are: {', '.join(metrics)}; val_... needs a validation set.",
        )
    return metrics[name]


def _require_finite(metrics: Mapping[str, float], phase: Phase, step: int) -> None:
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"{name} is {value} at step {step} of phase {phase.name!r}",
                remedy="Lower the learning rate, clip the gradients, or look for extreme values in the data.",
            )
