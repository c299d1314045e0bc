"""A Python function as a target: `package.module:function`."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from quire.errors import ConfigError, QuireError, TargetError
from quire.storage import content_hash
from quire.target.answers import Refusal
from quire.target.external import Declaration, External
from quire.task import Task

if TYPE_CHECKING:
    from quire.modality import Sample
    from quire.runtime import Runtime

DECLARED = ("labels", "label_kind", "toxic_labels", "thresholds", "limits", "deterministic", "cost_per_call")
"""Attributes of a function that say what the options of the same names say; `task` is a Task or its name."""


class CallableDeclaration(Declaration):
    """What is said of a function."""

    function: str = Field("", description="package.module:function")


class CallableTarget(External):
    """Asks `function`: a list of samples -> probabilities [samples, labels], or a dict of label -> score for each.

    The function may carry its declaration as attributes (see DECLARED). What it raises costs the samples it was
    called with their answer, and no others: the batch is then asked one by one.
    """

    config: CallableDeclaration

    def __init__(
        self,
        function: Callable[[list[Sample]], Any],
        config: CallableDeclaration | None = None,
        *,
        task: Task | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self.function = function
        own = {name: getattr(function, name) for name in DECLARED if hasattr(function, name)}
        stated = getattr(function, "task", None)
        if isinstance(stated, Task):
            task = task or stated
        elif stated is not None:
            own["task"] = stated
        given = (config or CallableDeclaration()).model_dump(exclude_unset=True)
        config = CallableDeclaration.parse({**own, **given}, owner=_name(function))
        super().__init__(config, task=task, runtime=runtime)

    @property
    def name(self) -> str:
        """As the user named it."""
        return self.config.function or _name(self.function)

    def ask(self, samples: list[Sample]) -> Sequence[object]:
        """What the function returns, one entry a sample."""
        try:
            answers = self.function(samples)
        except TargetError:
            raise
        except Exception as error:  # whatever the user's function raises, it is these samples that have no answer
            cause = str(error) if isinstance(error, QuireError) else f"{type(error).__name__}: {error}"
            raise Refusal(f"{self.name} failed ({cause})", divisible=True) from error
        if isinstance(answers, Mapping | str | bytes) or not isinstance(answers, Iterable):
            raise TargetError(f"{self.name} gave {type(answers).__name__}, not one answer a sample: {answers!r:.300}")
        return [answer if isinstance(answer, Mapping | list | tuple) else np.asarray(answer) for answer in answers]

    def fingerprint(self) -> str:
        """A hash of the declaration, the module's source and its distribution's version, as far as they are known."""
        module = inspect.getmodule(self.function)
        try:
            source = inspect.getsource(module) if module is not None else inspect.getsource(self.function)
        except (OSError, TypeError):
            source = ""
        package = module.__name__.partition(".")[0] if module is not None else ""
        return content_hash("callable", self.name, self.config.model_dump(mode="json"), source, _version(package))


def import_callable(spec: str) -> Any:
    """What `package.module:attribute` names, looked for in the current folder after the installed packages.

    Raises ConfigError where there is no such module or attribute, or where importing it fails.
    """
    module_name, _, path = spec.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # a console script does not find the modules of the folder that it is called in
        sys.path.append(here)
    importlib.invalidate_caches()
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{module_name} can't be imported ({type(error).__name__}: {error})",
            remedy="A target in Python is written package.module:function.",
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"{module_name} has no {path}", remedy="Name a function of the module.")
        found = getattr(found, part)
    if not callable(found) and not hasattr(found, "predict_proba"):
        raise ConfigError(f"{spec} is a {type(found).__name__}, not a function")
    return found


def _name(function: object) -> str:
    module = getattr(function, "__module__", type(function).__module__)
    return f"{module}:{getattr(function, '__qualname__', type(function).__qualname__)}"


@cache
def _version(package: str) -> str:
    owners = importlib.metadata.packages_distributions().get(package, ())
    return ", ".join(f"{owner} {importlib.metadata.version(owner)}" for owner in sorted(set(owners)))
