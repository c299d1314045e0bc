"""The events of a run: their order, what observers may ask for, and that their faults stay theirs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from quire import registry
from quire.errors import PluginError
from quire.hooks import Hooks, StopPhase, StopTraining, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from quire.model import Model
    from quire.run import Run


class Recorder:
    """Writes down every event, and raises `error` in the one named `at`."""

    def __init__(self, at: str = "", error: Exception | None = None) -> None:
        self.events: list[str] = []
        self.values: list[dict[str, Any]] = []
        self.at, self.error = at, error

    def _record(self, event: str, **values: Any) -> None:
        self.events.append(event)
        self.values.append(values)
        if event == self.at and self.error is not None:
            raise self.error

    @hookimpl
    def quire_run_started(self, run: Run | None, plan: Mapping[str, Any]) -> None:
        self._record("started", run=run, plan=plan)

    @hookimpl
    def quire_step_finished(self, phase: str, epoch: int, step: int, samples: int, losses: Mapping[str, Any]) -> None:
        self._record("step", phase=phase, epoch=epoch, step=step, samples=samples, losses=losses)

    @hookimpl
    def quire_epoch_finished(self, phase: str, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        self._record("epoch", phase=phase, epoch=epoch, step=step, metrics=metrics)

    @hookimpl
    def quire_checkpoint_saved(self, run: Run, path: Path) -> None:
        self._record("checkpoint", run=run, path=path)

    @hookimpl
    def quire_run_finished(self, state: str, reason: str) -> None:
        self._record("finished", state=state, reason=reason)


@pytest.fixture
def train(toy_plugin: Path, tmp_path: Path) -> Callable[..., tuple[Model, Run]]:
    """Trains quire-toy for `n_epochs` epochs of two steps, observed by `observers`."""

    def train(*observers: object, n_epochs: int = 2) -> tuple[Model, Run]:
        from quire.dataset import Subset
        from quire.run import Run

        points: Any = registry.get("toy-points")
        data = points.open(points.sample(tmp_path / "points"))
        model = registry.create("toy", n_epochs=n_epochs)
        run = Run.create(tmp_path / "runs", model="toy", config={})
        for number, observer in enumerate(observers):
            run.hooks.add(f"observer-{number}", observer)
        model.fit(Subset(data, range(12)), run=run)
        return model, run

    return train


def test_events_come_in_order_and_tell_what_happened(train: Callable[..., tuple[Model, Run]]) -> None:
    recorder = Recorder()
    _, run = train(recorder)
    assert recorder.events == ["started", "step", "step", "epoch", "step", "step", "epoch", "finished"]
    started, first, second, epoch, *_, last, finished = recorder.values
    assert started["run"] is run
    assert started["plan"] == {
        "phases": [{"name": "train", "epochs": 2, "steps": None}],
        "train": 12,
        "validation": 0,
    }
    assert {"phase": "train", "epoch": 1, "step": 1, "samples": 8}.items() <= first.items()
    assert {"phase": "train", "epoch": 1, "step": 2, "samples": 4}.items() <= second.items()
    assert {"phase": "train", "epoch": 1, "step": 2}.items() <= epoch.items()
    mean = (8 * float(first["losses"]["loss"]) + 4 * float(second["losses"]["loss"])) / 12
    assert epoch["metrics"]["loss"] == pytest.approx(mean, rel=1e-6)
    assert (last["epoch"], last["step"]) == (2, 4)
    assert finished == {"state": "done", "reason": ""}


@pytest.mark.parametrize("event", ["started", "step", "epoch", "finished"])
def test_a_raising_hook_is_logged_once_and_the_run_goes_on(
    train: Callable[..., tuple[Model, Run]], event: str, caplog: pytest.LogCaptureFixture
) -> None:
    raising, witness = Recorder(event, RuntimeError("a fault of its own")), Recorder()
    with caplog.at_level(logging.ERROR):
        train(raising, witness)
    assert raising.events == witness.events == ["started", *["step", "step", "epoch"] * 2, "finished"]
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert f"observer-0' failed in quire_{'run' if event in ('started', 'finished') else event}" in errors[0].message
    assert "a fault of its own" in caplog.text
    assert witness.values[-1] == {"state": "done", "reason": ""}


@pytest.mark.parametrize(("event", "steps"), [("started", 0), ("step", 1), ("epoch", 2), ("finished", 4)], ids=str)
@pytest.mark.parametrize("request_type", [StopTraining, StopPhase])
def test_a_request_to_stop_ends_the_run_with_its_reason(
    train: Callable[..., tuple[Model, Run]], event: str, steps: int, request_type: type[StopTraining]
) -> None:
    asking, witness = Recorder(event, request_type("enough is enough")), Recorder()
    model, run = train(asking, witness)
    assert witness.events.count("step") == steps
    reason = "enough is enough" if steps < 4 else ""
    assert witness.values[-1] == {"state": "done", "reason": reason}
    assert run.info.reason == reason
    assert len(model.predict([{"vector": [0.0, 1.0, 2.0]}])) == 1


def test_steps_before_a_stop_are_reported(train: Callable[..., tuple[Model, Run]]) -> None:
    from quire.training import read_metrics

    _, run = train(Recorder("step", StopTraining("enough")))
    assert [line["step"] for line in read_metrics(run.metrics_path)] == [1]


def test_a_stop_of_the_training_outweighs_a_stop_of_the_phase() -> None:
    for first, second in [(StopPhase, StopTraining), (StopTraining, StopPhase)]:
        hooks = Hooks({"a": Recorder("epoch", first("a")), "b": Recorder("epoch", second("b"))})
        with pytest.raises(StopTraining) as caught:
            hooks.emit("quire_epoch_finished", run=None, phase="", epoch=1, step=1, metrics={})
        assert type(caught.value) is StopTraining


def test_every_observer_hears_an_event_that_one_wants_to_stop() -> None:
    witness = Recorder()
    hooks = Hooks({"stops": Recorder("finished", StopTraining("x")), "hears": witness})
    with pytest.raises(StopTraining, match="x"):
        hooks.emit("quire_run_finished", run=None, state="done", reason="")
    assert witness.events == ["finished"]


def test_an_observer_added_late_is_told_from_then_on() -> None:
    hooks, late = Hooks(), Recorder()
    hooks.emit("quire_run_finished", run=None, state="done", reason="")
    hooks.add("late", late)
    hooks.emit("quire_run_finished", run=None, state="done", reason="")
    assert late.events == ["finished"]


def test_observers_of_a_block_leave_with_it() -> None:
    hooks, guest = Hooks(), Recorder()
    for _ in range(2):
        with hooks.observed_by({"guest": guest}):
            hooks.emit("quire_run_finished", run=None, state="done", reason="")
        hooks.emit("quire_run_finished", run=None, state="done", reason="")
    assert guest.events == ["finished", "finished"]


class Counting:
    """An observer with a state."""

    def __init__(self, count: int = 0) -> None:
        self.count = count

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]


class Broken(Counting):
    """One whose state can be neither taken nor given."""

    def state_dict(self) -> dict[str, Any]:
        raise ValueError("no state today")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        raise ValueError("no state today")


def test_states_are_kept_by_name_and_unknown_ones_left_out() -> None:
    assert Hooks({"counting": Counting(7), "stateless": Recorder()}).state_dict() == {"counting": {"count": 7}}
    counting = Counting()
    Hooks({"counting": counting}).load_state_dict({"counting": {"count": 7}, "gone": {"count": 1}})
    assert counting.count == 7


def test_a_state_that_fails_is_logged_and_the_others_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    sound = Counting(3)
    hooks = Hooks({"broken": Broken(), "sound": sound})
    assert hooks.state_dict() == {"sound": {"count": 3}}
    hooks.load_state_dict({"broken": {"count": 1}, "sound": {"count": 9}})
    assert sound.count == 9
    assert [record.message for record in caplog.records] == [
        "hook 'broken' failed in state_dict; the run goes on",
        "hook 'broken' failed in load_state_dict; the run goes on",
    ]


class WrongValue:
    @hookimpl
    def quire_run_finished(self, mood: str) -> None: ...


class WrongEvent:
    @hookimpl
    def quire_run_finnished(self) -> None: ...


@pytest.mark.parametrize(("observer", "named"), [(WrongValue(), "mood"), (WrongEvent(), "quire_run_finnished")])
def test_an_observer_of_something_that_does_not_exist_is_refused(observer: object, named: str) -> None:
    hooks, witness = Hooks(), Recorder()
    with pytest.raises(PluginError, match=named):
        hooks.add("wrong", observer)
    hooks.add("witness", witness)
    hooks.emit("quire_run_finished", run=None, state="done", reason="")
    assert witness.events == ["finished"]


OBSERVERS = """
from quire.hooks import hookimpl

class Seen:
    def __init__(self):
        self.states = []

    @hookimpl
    def quire_run_finished(self, state):
        self.states.append(state)

SEEN = Seen()

class FromClass:
    @hookimpl
    def quire_run_finished(self, state):
        SEEN.states.append(f"class {state}")

class Misfit:
    @hookimpl
    def quire_run_finished(self, mood): ...

@hookimpl
def quire_run_finished(state):
    SEEN.states.append(f"module {state}")
"""


def test_installed_observers_are_found_and_broken_ones_left_out(
    installed_variant: Callable[[Callable[[Path], None]], str], caplog: pytest.LogCaptureFixture
) -> None:
    points = {
        "an-object": "quire_variant.observers:SEEN",
        "a-class": "quire_variant.observers:FromClass",
        "a-module": "quire_variant.observers",
        "misfit": "quire_variant.observers:Misfit",
        "missing": "quire_variant.nowhere:SEEN",
    }

    def add_observers(project: Path) -> None:
        (project / "src" / "quire_variant" / "observers.py").write_text(OBSERVERS)
        table = "".join(f'{name} = "{target}"\n' for name, target in points.items())
        manifest = project / "pyproject.toml"
        manifest.write_text(manifest.read_text() + f'\n[project.entry-points."quire.hooks"]\n{table}')

    installed_variant(add_observers)
    hooks = Hooks()
    hooks.add_installed()
    hooks.emit("quire_run_finished", run=None, state="done", reason="")
    seen = registry.get("an-object", "hook")
    assert sorted(seen.states) == ["class done", "done", "module done"]
    errors = sorted(record.message for record in caplog.records)
    assert len(errors) == 2
    assert "'misfit'" in errors[0]
    assert "mood" in errors[0]
    assert "'missing'" in errors[1]
    assert "quire-variant" in errors[1]
