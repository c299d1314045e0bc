"""The events of a run: everything that a plugin may observe, and how it is called."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pluggy

from quire.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from quire.run import Run

hookspec = pluggy.HookspecMarker("quire")
hookimpl = pluggy.HookimplMarker("quire")
log = logging.getLogger(__name__)


class StopTraining(Exception):
    """Raised by a hook to end the whole training in good order; the text is the reason that the run keeps."""


class StopPhase(StopTraining):
    """Raised by a hook to end the current phase (early stopping); the next phase, if any, begins."""


class Events:
    """What happens in a run, in this order. An observer implements any of these with `@hookimpl`.

    `run` is None for a training that nobody keeps on disk. Losses are those of the whole batch, as detached tensors: an
    observer that reads a number from them on every step makes a GPU wait.
    """

    @hookspec
    def quire_run_started(self, run: Run | None, plan: Mapping[str, Any]) -> None:
        """Training begins or resumes; `plan` holds `phases` (name, epochs, steps), `train` and `validation` (lengths)."""

    @hookspec
    def quire_step_finished(
        self, run: Run | None, phase: str, epoch: int, step: int, samples: int, losses: Mapping[str, Any]
    ) -> None:
        """Optimiser step number `step` (from 1, within the phase) was made on `samples` samples."""

    @hookspec
    def quire_epoch_finished(
        self, run: Run | None, phase: str, epoch: int, step: int, metrics: Mapping[str, float]
    ) -> None:
        """Epoch number `epoch` (from 1, within the phase) ended, or an evaluation was due inside it."""

    @hookspec
    def quire_checkpoint_saved(self, run: Run, path: Path) -> None:
        """A checkpoint from which the run can continue stands at `path`."""

    @hookspec
    def quire_evaluated(self, run: Run | None, report: Any) -> None:
        """An evaluator finished; `report` is a quire.Report."""

    @hookspec
    def quire_run_finished(self, run: Run | None, state: str, reason: str) -> None:
        """Training ended: `state` is done, interrupted or failed."""


class Hooks:
    """The observers of one run.

    An observer that raises is logged once per event and does not end the run, unless it raises StopTraining or StopPhase.
    An observer with `state_dict()` and `load_state_dict(state)` is kept in the checkpoint.
    """

    def __init__(self, observers: Mapping[str, object] | None = None) -> None:
        self._manager = pluggy.PluginManager("quire")
        self._manager.add_hookspecs(Events)
        self._callers: dict[str, list[tuple[str, Callable[..., Any]]]] = {}
        self._reported: set[tuple[str, str]] = set()
        for name, observer in (observers or {}).items():
            self.add(name, observer)

    def add(self, name: str, observer: object) -> None:
        """Register `observer` (any object with @hookimpl methods, or a module) under `name`.

        PluginError if it asks for an event, or for a value of an event, that does not exist.
        """
        self._callers.clear()
        try:
            self._manager.register(observer, name)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            self._remove(observer)
            raise PluginError(
                f"the hook {name!r} does not fit the events of a run: {str(error).splitlines()[-1].strip()}",
                remedy="quire.hooks.Events lists the events and their values.",
            ) from error

    @contextmanager
    def observed_by(self, observers: Mapping[str, object]) -> Iterator[None]:
        """Register `observers` for the time of the block."""
        try:
            for name, observer in observers.items():
                self.add(name, observer)
            yield
        finally:
            for observer in observers.values():
                self._remove(observer)

    def add_installed(self) -> None:
        """Register every observer that an installed package offers under the entry point group `quire.hooks`.

        A module or an object observes itself, a class is instantiated; what can't be used is logged and left out.
        """
        from quire import registry

        for name in registry.names("hook"):
            try:
                observer = registry.get(name, "hook")
                self.add(name, observer() if isinstance(observer, type) else observer)
            except Exception as error:
                log.error("the hook %r is left out: %s", name, error)

    def emit(self, event: str, **values: Any) -> None:
        """Tell every observer of `event`. Raises what they ask for: StopTraining goes before StopPhase."""
        callers = self._callers.get(event)
        if callers is None:
            callers = self._callers[event] = self._callers_of(event)
        stop: StopTraining | None = None
        for name, caller in callers:
            try:
                with self._isolated(name, event):
                    caller(**values)
            except StopTraining as request:
                if stop is None or (isinstance(stop, StopPhase) and not isinstance(request, StopPhase)):
                    stop = request
        if stop is not None:
            raise stop

    def state_dict(self) -> dict[str, Any]:
        """The states of the observers that have one, by name."""
        states = {}
        for name, observer in self._manager.list_name_plugin():
            if hasattr(observer, "state_dict"):
                with self._isolated(name, "state_dict"):
                    states[name] = observer.state_dict()
        return states

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Give each observer its state back; one that was not there when the state was taken starts afresh."""
        for name, state in states.items():
            observer: Any = self._manager.get_plugin(name)
            if observer is not None:
                with self._isolated(name, "load_state_dict"):
                    observer.load_state_dict(state)

    def _remove(self, observer: object) -> None:
        self._callers.clear()
        if self._manager.is_registered(observer):
            self._manager.unregister(observer)

    @contextmanager
    def _isolated(self, name: str, event: str) -> Iterator[None]:
        try:
            yield
        except StopTraining:
            raise
        except Exception:
            if (name, event) not in self._reported:
                self._reported.add((name, event))
                log.exception("hook %r failed in %s; the run goes on", name, event)

    def _callers_of(self, event: str) -> list[tuple[str, Callable[..., Any]]]:
        plugins = self._manager.list_name_plugin()
        observing = {impl.plugin_name for impl in getattr(self._manager.hook, event).get_hookimpls()}
        return [
            (name, self._manager.subset_hook_caller(event, [other for _, other in plugins if other is not observer]))
            for name, observer in plugins
            if name in observing
        ]
