"""What a tester can aim at: a run, a server, a Python function, a program. All are classifiers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quire import registry
from quire.errors import ConfigError, TaskMismatch, Where
from quire.model import Classifier
from quire.run import Run
from quire.target.callables import CallableDeclaration, CallableTarget, import_callable
from quire.target.command import CommandDeclaration, CommandTarget
from quire.target.endpoint import Endpoint, Reading, read_endpoint
from quire.target.external import Declaration, External
from quire.target.http import HttpTarget
from quire.target.rate import TokenBucket
from quire.target.wrapper import Moderator, Wrapper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quire.runtime import Runtime
    from quire.task import Task

__all__ = [
    "CallableDeclaration",
    "CallableTarget",
    "CommandDeclaration",
    "CommandTarget",
    "Declaration",
    "Endpoint",
    "External",
    "HttpTarget",
    "Moderator",
    "Reading",
    "TokenBucket",
    "Wrapper",
    "open_target",
    "run_behind",
]

FORMS = (
    "a run's folder, http://HOST:PORT, a YAML file that describes an endpoint, package.module:function, or cmd:PROGRAM"
)
PYTHON = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.\w+)*")


def open_target(
    spec: str | Path,
    *,
    task: Task | str | None = None,
    labels: Sequence[str] | None = None,
    toxic_labels: Sequence[str] | None = None,
    runtime: Runtime | None = None,
    allow_network: bool = False,
    **options: Any,
) -> Classifier:
    """The classifier that `spec` names, in one of these forms:

    - a run's folder, such as runs/latest, whose model is a Classifier;
    - http://... or https://...: a server of quire's own protocol (quire.target.protocol);
    - a .yaml or .yml file that describes an HTTP endpoint (Endpoint);
    - package.module:function (CallableTarget), or package.module:name of a Classifier object;
    - cmd:PROGRAM ARGUMENT ... (CommandTarget); no shell runs it.

    task (a Task or the name of an installed one) and labels: of a target that does not say them itself; a run does.
    toxic_labels: the labels that a moderator acts on, whatever the target says of that. allow_network: a server on
    another machine may be asked. options: of the kind of target, the fields of Endpoint, CallableDeclaration or
    CommandDeclaration.

    Raises ConfigError for a spec or an option that is no such thing, RunError for a run that has no model, TaskMismatch
    for one that is no classifier, TargetError for a server that does not answer.
    """
    text = str(spec)
    known: Task | None = registry.get(task, "task") if isinstance(task, str) else task
    declared = _declared(labels, toxic_labels, options)
    if text.startswith(("http://", "https://")):
        endpoint = Endpoint.parse({**declared, "url": text}, owner="an HTTP target")
        return HttpTarget(endpoint, task=known, runtime=runtime, allow_network=allow_network)
    if text.startswith("cmd:"):
        command = CommandDeclaration.parse({**declared, "command": text[4:]}, owner="a command")
        return CommandTarget(command, task=known, runtime=runtime)
    path = Path(text)
    if path.suffix in (".yaml", ".yml"):
        return HttpTarget(read_endpoint(path, declared), task=known, runtime=runtime, allow_network=allow_network)
    if PYTHON.fullmatch(text) and not path.exists():
        found = import_callable(text)
        if not isinstance(found, Classifier):
            function = CallableDeclaration.parse({**declared, "function": text}, owner="a function")
            return CallableTarget(found, function, task=known, runtime=runtime)
        return _as_it_is(found, text, known, labels, toxic_labels, options, runtime)
    if not path.exists():
        raise ConfigError(f"there is no target {text!r}", remedy=f"A target is {FORMS}.")
    return _as_it_is(_model_of_run(path, runtime), text, known, labels, toxic_labels, options, None)


def run_behind(spec: str | Path) -> Run | None:
    """The run whose folder `spec` is, if it is one."""
    path = Path(spec)
    return Run.open(path) if (path / "run.json").is_file() else None


def _declared(
    labels: Sequence[str] | None, toxic_labels: Sequence[str] | None, options: dict[str, Any]
) -> dict[str, Any]:
    given = {"labels": labels, "toxic_labels": toxic_labels}
    return {**options, **{name: tuple(value) for name, value in given.items() if value is not None}}


def _model_of_run(path: Path, runtime: Runtime | None) -> Classifier:
    run = Run.open(path)
    model = run.load_model(runtime=runtime)
    if not isinstance(model, Classifier):
        raise TaskMismatch(
            f"{path} is a run of {run.info.model}, which is no classifier: it gives no label that could be wrong",
            remedy="Aim at a classifier's run.",
        )
    return model


def _as_it_is(
    model: Classifier,
    spec: str,
    task: Task | None,
    labels: Sequence[str] | None,
    toxic_labels: Sequence[str] | None,
    options: dict[str, Any],
    runtime: Runtime | None,
) -> Classifier:
    """A classifier of quire's, which needs no declaration but that of what is toxic."""
    if options:
        raise ConfigError(f"{next(iter(options))!r} is no option of a target that is a model", where=Where(field=spec))
    if (labels is not None and tuple(labels) != model.labels) or (task is not None and task.name != model.task.name):
        raise ConfigError(
            f"{spec} has the task {model.task.name} and the labels {', '.join(model.labels)}",
            remedy="Leave out --task and --labels.",
        )
    if runtime is not None:
        model.runtime = runtime
    return model if toxic_labels is None else Moderator(model, toxic_labels)
