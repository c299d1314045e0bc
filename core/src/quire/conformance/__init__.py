"""The rules that every plugin must keep, as small checks that anyone can run on their own.

In a plugin's tests:

    from quire.conformance import parametrize

    @parametrize("toy")
    def test_conformance(check):
        check()
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

from quire import registry
from quire.conformance import capabilities, datasets, evaluators, models, options, package, testers, trainings
from quire.conformance.subject import Broken, NotApplicable, Subject
from quire.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = ["Broken", "Check", "NotApplicable", "Outcome", "check_class", "check_plugin", "checks_for", "parametrize"]

_CHECKS: dict[str, tuple[ModuleType, ...]] = {
    "model": (options, trainings, models, capabilities),
    "dataset": (options, datasets),
    "evaluator": (options, evaluators),
    "tester": (options, testers),
    "package": (package,),
}
_SUBJECTS: dict[str, type[Subject]] = {
    "model": models.ModelSubject,
    "dataset": datasets.DatasetSubject,
    "evaluator": evaluators.EvaluatorSubject,
    "tester": testers.TesterSubject,
}


@dataclass(frozen=True)
class Outcome:
    """What came of one check; `message` says what is wrong and how to mend it, or why the check does not apply."""

    plugin: str
    check: str
    outcome: Literal["passed", "failed", "skipped"]
    message: str = ""


@dataclass
class _Lazy:
    """A subject that is made when the first check needs it, and shared by all of them."""

    make: Callable[[], Subject]

    @cached_property
    def subject(self) -> Subject:
        return self.make()


@dataclass(frozen=True)
class Check:
    """One check, bound to what it checks.

    Calling it raises Broken where the rule is broken, and whatever else the plugin raises; `outcome` catches all that.
    """

    plugin: str
    function: Callable[[Any], None]
    _lazy: _Lazy = field(repr=False)

    @property
    def name(self) -> str:
        """The check's name, without "check_"."""
        return self.function.__name__.removeprefix("check_")

    def __call__(self) -> None:
        """Run it; within pytest, a check that does not apply is a skipped test."""
        self.function(self._lazy.subject)

    def outcome(self) -> Outcome:
        """Run it and say what came of it."""
        try:
            self()
        except NotApplicable as reason:
            return Outcome(self.plugin, self.name, "skipped", str(reason))
        except Broken as broken:
            return Outcome(self.plugin, self.name, "failed", str(broken))
        except Exception as error:  # whatever a plugin raises, the other checks go on
            rule = " ".join((self.function.__doc__ or "").partition("\n\n")[0].split()).rstrip(".")
            message = (
                f"{self._lazy.subject.title} raised {type(error).__name__}: {str(error).rstrip('.')}. The rule: {rule}."
            )
            return Outcome(self.plugin, self.name, "failed", message)
        return Outcome(self.plugin, self.name, "passed")


def checks_for(kind: str) -> list[Callable[[Any], None]]:
    """The checks for plugins of `kind`; "package" stands for the distributions that they come in.

    A kind that has no checks of its own has none here.
    """
    return [
        value
        for module in _CHECKS.get(kind, ())
        for name, value in vars(module).items()
        if name.startswith("check_") and value.__module__ == module.__name__
    ]


def check_plugin(name: str, kind: str | None = None) -> list[Outcome]:
    """Hold what is installed as `name` to the rules for its kind (all its kinds, if none is given) and its package.

    The kind "package" stands for the rules of its package alone.
    Raises PluginError if nothing of that name, or of that name and kind, is installed.
    """
    return [check.outcome() for check in _checks(name, kind)]


def check_class(name: str, kind: str, cls: type) -> list[Outcome]:
    """Hold `cls` to the rules for `kind`, as if it were what is installed as `name`."""
    lazy = _Lazy(partial(_SUBJECTS[kind], name, cls))
    return [Check(name, function, lazy).outcome() for function in checks_for(kind)]


def parametrize(name: str, kind: str | None = None) -> Any:
    """A pytest decorator: runs the test once for every check of `check_plugin`, which it gets as `check`."""
    import pytest

    def case(check: Check) -> Any:
        def run() -> None:
            try:
                check()
            except NotApplicable as reason:
                pytest.skip(str(reason))

        return pytest.param(run, id=f"{check.plugin}-{check.name}")

    return pytest.mark.parametrize("check", [case(check) for check in _checks(name, kind)])


def _checks(name: str, kind: str | None) -> list[Check]:
    wanted = None if kind == "package" else kind
    found = [entry for entry in registry.descriptions(wanted) if entry.name == name]
    if not found:
        registry.describe(name, wanted)  # says what there is instead
    checks = []
    for distribution in dict.fromkeys(entry.distribution for entry in found):
        lazy = _Lazy(partial(package.PackageSubject, name, distribution))
        checks += [Check(name, function, lazy) for function in checks_for("package")]
    for each in dict.fromkeys(entry.kind for entry in found if kind != "package"):
        lazy = _Lazy(partial(_loaded, name, each))
        checks += [Check(name, function, lazy) for function in checks_for(each)]
    return checks


def _loaded(name: str, kind: str) -> Subject:
    try:
        return _SUBJECTS[kind](name, registry.get(name, kind))
    except PluginError as error:
        raise NotApplicable(f"check_entry_points comes first: {error}") from error
