"""quire: every research paper is a plugin, and all of them train, evaluate, predict, test and serve alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quire import registry
    from quire.dataset import Dataset, InMemory, Subset
    from quire.errors import (
        ConfigError,
        DataError,
        InvalidSample,
        MissingExtra,
        PluginError,
        QuireError,
        RunError,
        TaskMismatch,
        TrainingError,
        Where,
    )
    from quire.evaluator import Evaluator, Report
    from quire.model import Classifier, Embedder, Explainer, FewShot, Generator, Model, Transform
    from quire.run import Run
    from quire.runtime import Runtime
    from quire.task import Task
    from quire.tester import Tester, TestReport
    from quire.training import NeuralModel, Phase

    __version__: str

__all__ = [
    "Classifier",
    "ConfigError",
    "DataError",
    "Dataset",
    "Embedder",
    "Evaluator",
    "Explainer",
    "FewShot",
    "Generator",
    "InMemory",
    "InvalidSample",
    "MissingExtra",
    "Model",
    "NeuralModel",
    "Phase",
    "PluginError",
    "QuireError",
    "Report",
    "Run",
    "RunError",
    "Runtime",
    "Subset",
    "Task",
    "TaskMismatch",
    "TestReport",
    "Tester",
    "TrainingError",
    "Transform",
    "Where",
    "__version__",
    "registry",
]

_MODULES = {
    "dataset": ("Dataset", "InMemory", "Subset"),
    "errors": (
        "ConfigError",
        "DataError",
        "InvalidSample",
        "MissingExtra",
        "PluginError",
        "QuireError",
        "RunError",
        "TaskMismatch",
        "TrainingError",
        "Where",
    ),
    "evaluator": ("Evaluator", "Report"),
    "model": ("Classifier", "Embedder", "Explainer", "FewShot", "Generator", "Model", "Transform"),
    "run": ("Run",),
    "runtime": ("Runtime",),
    "task": ("Task",),
    "tester": ("TestReport", "Tester"),
    "training": ("NeuralModel", "Phase"),
}
_HOMES = {name: module for module, exported in _MODULES.items() for name in exported}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for, so that `import quire` costs nothing."""
    from importlib import import_module

    if name == "registry":
        return import_module("quire.registry")
    if name == "__version__":
        return _version()
    if name in _HOMES:
        value = getattr(import_module(f"quire.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'quire' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """The version of the installed quire-core; "0+unknown" in a source tree that was never installed."""
    from importlib import metadata

    try:
        return metadata.version("quire-core")
    except metadata.PackageNotFoundError:
        return "0+unknown"
