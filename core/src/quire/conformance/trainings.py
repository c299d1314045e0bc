"""Rules for the training of a model."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from quire.conformance.subject import NotApplicable, differences, listed
from quire.hooks import hookimpl
from quire.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from quire.conformance.models import ModelSubject
    from quire.model import Model


def check_demo(subject: ModelSubject) -> None:
    """The model says with which sampled data it can be tried, and its task fits them."""
    mend = "Set the class attribute demo = Demo(dataset=..., settings=..., quick=...)."
    subject.require(subject.cls.demo is not None, "has no demo", mend)
    for dataset in subject.data:
        subject.new().task.require_fit(dataset.task, this=subject.name, that=dataset.name)


def check_fit(subject: ModelSubject) -> None:
    """The model trains on its demo's data without a validation set, and fit returns the model itself."""
    model, returned = subject.training
    subject.require(returned is model, f"returns {type(returned).__name__} from fit", "Return self.")


def check_seed(subject: ModelSubject) -> None:
    """Two trainings with one seed give the same weights, bit by bit."""
    different = list(differences(subject.trained.state(), subject.twin.state()))
    subject.require(
        not different,
        f"differs between two trainings with the same seed: {listed(different)}",
        "Draw from torch's global generator, which the runtime seeds, or from the generator that collate is given.",
    )


def check_resume(subject: ModelSubject) -> None:
    """A training that was interrupted twice and resumed ends with the weights of one that was not, bit by bit."""
    if threading.current_thread() is not threading.main_thread():
        raise NotApplicable("only the main thread can be interrupted")
    subject.rest_on(check_seed)
    counter = _StepCounter()
    path = _new_run(subject)
    _train_in(subject, path, counter)
    if counter.steps < 2:
        raise NotApplicable("its training is not made of steps")
    path = _new_run(subject)
    for stop in (1, counter.steps // 2):
        with suppress(KeyboardInterrupt):
            _train_in(subject, path, _StepCounter(stop))
        subject.require(
            Run.open(path).checkpoint_path.is_file(),
            "leaves no checkpoint when it is interrupted",
            "Train with quire.training, or write run.checkpoint_path before KeyboardInterrupt leaves fit.",
        )
    resumed = _train_in(subject, path, _StepCounter())
    different = list(differences(subject.trained.state(), resumed.state()))
    subject.require(
        not different,
        f"ends with other weights when it was interrupted and resumed: {listed(different)}",
        "Keep what changes during training in modules or observers that the checkpoint holds, not in attributes.",
    )


class _StepCounter:
    """Counts the steps of a training, and interrupts it like Ctrl-C after `stop` of them."""

    def __init__(self, stop: int | None = None) -> None:
        self.steps = 0
        self._stop = stop

    @hookimpl
    def quire_step_finished(self) -> None:
        """One more."""
        self.steps += 1
        if self.steps == self._stop:
            signal.raise_signal(signal.SIGINT)


def _new_run(subject: ModelSubject) -> Path:
    config = subject.new().config.model_dump(mode="json")
    return Run.create(subject.new_folder(), model=subject.name, config=config, runtime=subject.runtime).path


def _train_in(subject: ModelSubject, path: Path, counter: _StepCounter) -> Model:
    """A new model trained in the run at `path`, from its checkpoint if there is one."""
    run, model = Run.open(path), subject.new()
    run.hooks.add("conformance", counter)
    with run.writing():
        model.fit(subject.train, runtime=subject.runtime, run=run)
    return model
