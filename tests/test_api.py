"""quire's public surface is what the snapshot beside this file says, and a plugin says for which core it is built.

The surface is `quire.__all__`, what the template of `quire new` imports from quire, and what the manual's pages for
authors import and name: signatures, members, fields.
`python tests/test_api.py` writes the snapshot anew.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_origin

import pytest

import quire

ROOT = Path(__file__).parents[1]
SNAPSHOT = Path(__file__).with_name("api_snapshot.json")
PAGES = ("interfaces.md", "writing-a-plugin.md")
TEMPLATE = ROOT / "core/src/quire/template"
MODULES = (
    "dataset", "errors", "evaluator", "hooks", "modality", "model", "report", "run", "runtime", "table", "task", "tester",
    "training",
)  # fmt: skip
COMMAND = "python tests/test_api.py"

Surface = dict[str, dict[str, str]]


def core_api() -> str:
    """The version that a plugin's requirement on quire-core names: major and minor."""
    version: str = tomllib.loads((ROOT / "core/pyproject.toml").read_text())["project"]["version"]
    return ".".join(version.split(".")[:2])


def documented() -> set[str]:
    """ "quire.module.name" for what the pages for authors and the template of `quire new` import from quire, and for what
    these pages name in the text."""
    pages = "\n".join((ROOT / "docs" / page).read_text() for page in PAGES)
    code = "\n".join([pages, *(path.read_text() for path in sorted(TEMPLATE.rglob("*.py.jinja")))])
    found = set()
    for module, names in re.findall(r"^\s*from (quire[\w.]*) import (\([^)]*\)|.*)$", code, flags=re.M):
        if module.partition(".")[0] == "quire":
            found |= {f"{module}.{name}" for name in re.findall(r"\w+", names)}
    named = set(re.findall(r"`(\w+)", pages))
    for module in MODULES:
        loaded = vars(importlib.import_module(f"quire.{module}"))
        found |= {f"quire.{module}.{name}" for name in named & loaded.keys() if is_own(loaded[name], module)}
    return found


def is_own(value: Any, module: str) -> bool:
    """Whether it is a class or a function that the module makes or offers, or a task."""
    home = f"quire.{module}"
    return isinstance(value, quire.Task) or getattr(value, "__module__", "").startswith((home, f"{home}."))


def surface() -> Surface:
    """Every public name -> its members -> what each is; what the name itself is stands under ""."""
    public = {f"quire.{name}": resolved(f"quire.{name}") for name in quire.__all__}
    known = {id(value): name for name, value in public.items()}
    found = {name: described(value) for name, value in public.items()}
    for name in documented() - found.keys():
        value = resolved(name)
        found[name] = {"": f"is {known[id(value)]}"} if id(value) in known else described(value)
    return dict(sorted(found.items()))


def resolved(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    found = importlib.import_module(module)
    return getattr(found, attribute) if hasattr(found, attribute) else importlib.import_module(name)


def described(value: Any) -> dict[str, str]:
    if inspect.ismodule(value):
        public = {name: member for name, member in vars(value).items() if not name.startswith("_")}
        own = {name: member for name, member in public.items() if getattr(member, "__module__", "") == value.__name__}
        return {"": "module", **{name: one_line(member) for name, member in sorted(own.items())}}
    if not isinstance(value, type):
        return {"": one_line(value)}
    return {"": f"class({', '.join(base.__name__ for base in value.__bases__)})", **dict(sorted(members(value)))}


def members(cls: type) -> list[tuple[str, str]]:
    """The public members of a class and of those of quire that it derives from; the constructor is "__init__"."""
    found: dict[str, str] = {}
    for base in reversed([base for base in cls.__mro__ if base.__module__.partition(".")[0] == "quire"]):
        for name, annotation in inspect.get_annotations(base).items():
            if not name.startswith("_"):
                found[name] = f"{annotation}{default_of(base, name)}"
        for name, member in vars(base).items():
            shown = not name.startswith("_") or name in ("__init__", "__getitem__", "__len__", "__call__")
            if shown and (callable(member) or isinstance(member, property | classmethod | staticmethod)):
                found[name] = one_line(member)
    if is_dataclass(cls) or "__init__" in found:
        found["__init__"] = f"def{inspect.signature(cls)}"
    return list(found.items())


def default_of(cls: type, name: str) -> str:
    """ " = value" where a class attribute has a plain default."""
    if is_dataclass(cls) and name not in {field.name for field in fields(cls)}:
        return ""
    value = vars(cls).get(name)
    return f" = {value!r}" if isinstance(value, str | int | float | bool | tuple) else ""


def one_line(value: Any) -> str:
    if isinstance(value, property):
        result = inspect.signature(value.fget).return_annotation if value.fget else ""
        return f"property -> {result}"
    if isinstance(value, classmethod | staticmethod):
        return f"{type(value).__name__}{signature(value.__func__)}"
    if isinstance(value, type):
        return "class"
    if get_origin(value) is not None:
        return str(value)
    return f"def{signature(value)}" if inspect.isroutine(value) else type(value).__name__


def signature(function: Any) -> str:
    try:
        return re.sub(r" at 0x[0-9a-f]+", "", str(inspect.signature(function)))
    except (TypeError, ValueError):
        return "(...)"


def changes(before: Surface, now: Surface) -> list[str]:
    """What is gone, other or new, one line each."""
    lines = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name, {}), now.get(name, {})
        for member in sorted(old.keys() | new.keys()):
            title = f"{name}.{member}" if member else name
            if member not in new:
                lines.append(f"- {title}: {old[member]}")
            elif member not in old:
                lines.append(f"+ {title}: {new[member]}")
            elif old[member] != new[member]:
                lines.append(f"! {title}: was {old[member]}, is {new[member]}")
    return lines


def verdict(snapshot: dict[str, Any], now: Surface, version: str) -> str:
    """Why the surface is not what the snapshot says, and what to do; the empty string where it is."""
    found = changes(snapshot["surface"], now)
    if not found and snapshot["core_api"] == version:
        return ""
    broken = [line for line in found if not line.startswith("+")]
    text = "\n".join(["The public surface of quire-core is not that of tests/api_snapshot.json:", *found])
    if broken and snapshot["core_api"] == version:
        return (
            f"{text}\nWhat is gone or has another signature can break plugins that are built for core API {version}. Undo "
            f"it; or, if it is meant and {version} has been released, raise the version in core/pyproject.toml (the minor "
            f"number of 0.x, else the major one) and the requirement of every plugin. Then write the snapshot: {COMMAND}"
        )
    return f"{text}\nIf that is meant, write the snapshot: {COMMAND}"


def write() -> None:
    snapshot = {"core_api": core_api(), "surface": surface()}
    SNAPSHOT.write_text(json.dumps(snapshot, indent=1, ensure_ascii=False) + "\n")


# --------------------------------------------------------------------------------------------------------------- tests


def test_the_public_surface_is_that_of_the_snapshot() -> None:
    problem = verdict(json.loads(SNAPSHOT.read_text()), surface(), core_api())
    assert not problem, problem


def test_everything_public_can_be_imported() -> None:
    namespace: dict[str, Any] = {}
    exec("from quire import *", namespace)
    assert set(quire.__all__) <= namespace.keys()
    assert set(quire.__all__) <= set(dir(quire))


def test_the_surface_has_the_signatures_of_the_interfaces() -> None:
    now = surface()
    assert now["quire.Classifier"]["predict_proba"].startswith("def(self, samples: 'Sequence[Sample]')")
    assert now["quire.Classifier"]["fit"] == now["quire.Model"]["fit"]
    assert now["quire.Dataset"]["open"].startswith("classmethod(cls, path: 'Path', *, split: ")
    assert now["quire.Runtime"]["__init__"].startswith("def(device: ")
    assert now["quire.registry"]["get"].startswith("def(name: 'str', kind: ")
    assert "quire.config.Config" in now or "quire.config" in now


@pytest.mark.parametrize(
    ("name", "member", "value", "line"),
    [
        ("quire.Model", "fit", "def(self)", "! quire.Model.fit: was def(self), is def(self, train: "),
        ("quire.Model", "gone", "def(self)", "- quire.Model.gone: def(self)"),
        ("quire.Gone", "", "class(object)", "- quire.Gone: class(object)"),
    ],
)
def test_a_broken_promise_asks_for_another_version(name: str, member: str, value: str, line: str) -> None:
    now = surface()
    before = {"core_api": "0.1", "surface": {**now, name: {**now.get(name, {}), member: value}}}
    message = verdict(before, now, "0.1")
    assert f"\n{line}" in message
    assert "raise the version in core/pyproject.toml" in message
    assert COMMAND in message
    assert "raise the version" not in verdict(before, now, "0.2"), "with another version it is a matter of the snapshot"


def test_what_is_new_asks_for_the_snapshot_alone() -> None:
    now = surface()
    before = {name: members for name, members in now.items() if name != "quire.Run"}
    message = verdict({"core_api": "0.1", "surface": before}, now, "0.1")
    assert "\n+ quire.Run: class(object)" in message
    assert message.endswith(f"write the snapshot: {COMMAND}")
    assert "raise the version" not in message


def test_another_version_has_another_snapshot() -> None:
    now = surface()
    assert verdict({"core_api": "0.1", "surface": now}, now, "0.1") == ""
    assert COMMAND in verdict({"core_api": "0.1", "surface": now}, now, "0.2")


PLUGIN = """\
from quire.model import Classifier


class Old(Classifier):
    pass
"""


@pytest.mark.parametrize("requirement", [">=0.0.1,<0.0.5", ">=99"])
def test_a_plugin_for_another_core_is_refused_and_both_versions_are_named(tmp_path: Path, requirement: str) -> None:
    answer = get_plugin(tmp_path, f"Requires-Dist: quire-core{requirement}\n")
    stated = ",".join(sorted(requirement.split(",")))
    assert answer.startswith("PluginError: the model 'old' of quire-old 0.3 is built for quire-core ")
    assert f"quire-core {quire.__version__} is installed. " in answer
    assert all(part in answer for part in stated.split(","))
    assert answer.endswith("Install a pair that fits: pip install --upgrade quire-core quire-old")


@pytest.mark.parametrize("requirement", ["", f"Requires-Dist: quire-core>=0.1,<{int(core_api().split('.')[0]) + 1}\n"])
def test_a_plugin_for_this_core_or_for_any_loads(tmp_path: Path, requirement: str) -> None:
    assert get_plugin(tmp_path, requirement) == "Old"


def test_the_conformance_suite_asks_for_a_requirement_with_an_upper_bound(tmp_path: Path) -> None:
    install_plugin(tmp_path, "Requires-Dist: quire-core>=0.1\n")
    code = (
        "from quire.conformance import check_plugin\n"
        "print(next(each.message for each in check_plugin('old', 'package') if each.check == 'core_version'))"
    )
    assert printed(tmp_path, code) == (
        "quire-old 0.3 is built for >=0.1 of quire-core. "
        'Write dependencies = ["quire-core>=0.1,<0.2", ...] in pyproject.toml, with an upper bound.'
    )


def get_plugin(site: Path, requirement: str) -> str:
    """What a new process gets for the name of a plugin that is installed in `site`."""
    install_plugin(site, requirement)
    code = (
        "from quire import PluginError, registry\n"
        "try:\n    print(registry.get('old').__name__)\n"
        "except PluginError as error:\n    print(f'PluginError: {error}')"
    )
    return printed(site, code)


def install_plugin(site: Path, requirement: str) -> None:
    (site / "quire_old.py").write_text(PLUGIN)
    info = site / "quire_old-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: quire-old\nVersion: 0.3\n{requirement}\n")
    (info / "entry_points.txt").write_text("[quire.models]\nold = quire_old:Old\n")
    (info / "RECORD").write_text("")


def printed(site: Path, code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


if __name__ == "__main__":
    write()
