"""Rules for the distribution that a plugin comes in."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from quire import registry
from quire.conformance.subject import NotApplicable, Subject, listed
from quire.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quire.registry import Description

_DEVICE = re.compile(r"(cuda|mps|xpu|hip)(:\d+)?")
_PRECISION_METHODS = {"cuda", "half", "bfloat16", "mps", "xpu"}
_GLOBAL_SETTINGS = {
    "torch.cuda",
    "torch.set_default_device",
    "torch.set_default_dtype",
    "torch.set_num_threads",
    "torch.set_float32_matmul_precision",
    "torch.use_deterministic_algorithms",
    "torch.backends.cuda",
    "torch.backends.cudnn",
}


_SHOWN_KINDS = ("model", "dataset", "evaluator", "tester", "command")
_INTERFACES = {
    "model": "quire.model:Model",
    "dataset": "quire.dataset:Dataset",
    "evaluator": "quire.evaluator:Evaluator",
    "tester": "quire.tester:Tester",
    "study": "quire.study:Study",
    "task": "quire.task:Task",
    "command": "typer:Typer",
}
"""What an entry point of each kind leads to: a class of this one, or, of the last two, an instance of it."""


class PackageSubject(Subject):
    """An installed distribution that offers plugins."""

    def __init__(self, name: str, distribution: str) -> None:
        super().__init__(name, None)
        self.distribution = distribution
        self.metadata = importlib.metadata.metadata(distribution)

    @property
    def title(self) -> str:
        """The distribution and its version."""
        return f"{self.distribution} {self.metadata['Version']}"

    @property
    def descriptions(self) -> list[Description]:
        """Everything that it offers."""
        return [entry for entry in registry.descriptions() if entry.distribution == self.distribution]

    @property
    def packages(self) -> list[str]:
        """The top-level packages that its entry points lead to."""
        return sorted({re.split(r"[.:]", entry.target)[0].strip() for entry in self.descriptions})

    @cached_property
    def sources(self) -> list[tuple[Path, ast.Module]]:
        """Its Python files, parsed."""
        files = (file for folder in self.folders for file in sorted(folder.rglob("*.py")))
        return [(file, ast.parse(file.read_bytes())) for file in files]

    @property
    def extensions(self) -> list[Path]:
        """The files of the modules that it offers in groups of other plugins, such as quire.fusion_rules."""
        targets = [
            point.value.partition(":")[0].strip().split(".")[1:]
            for point in importlib.metadata.distribution(self.distribution).entry_points
            if point.group.startswith(registry.PREFIX) and point.group not in registry.GROUPS.values()
        ]
        return [folder.joinpath(*target).with_suffix(".py") for folder in self.folders for target in targets if target]

    @property
    def folders(self) -> list[Path]:
        """Where its packages stand; finding them imports nothing."""
        specs = [find_spec(name) for name in self.packages]
        return [Path(place) for spec in specs if spec is not None for place in spec.submodule_search_locations or ()]

    def imported(self, code: str) -> set[str]:
        """The modules that a new process has imported after `code`."""
        report = f"import sys\n{code}\nprint('\\n' + '\\n'.join(sys.modules))"
        path = os.pathsep.join(entry for entry in sys.path if entry)
        done = subprocess.run(
            [sys.executable, "-c", report],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        last = done.stderr.strip().splitlines()[-1:] or [""]
        self.require(done.returncode == 0, f"does not survive `{code}`: {last[0]}", "Mend what is raised.")
        return set(done.stdout.splitlines())


def check_entry_points(subject: PackageSubject) -> None:
    """Everything that the distribution offers can be imported."""
    broken = []
    for entry in subject.descriptions:
        try:
            registry.get(entry.name, entry.kind)
        except PluginError as error:
            broken.append(str(error))
    subject.require(not broken, f"offers what can't be loaded: {listed(broken)}", "Mend its entry points.")


def check_kinds(subject: PackageSubject) -> None:
    """Everything is offered in the group that its kind belongs to."""
    wrong = []
    for entry in subject.descriptions:
        try:
            found = registry.get(entry.name, entry.kind)
        except PluginError:
            continue  # what check_entry_points reports
        if not _is_of_kind(found, entry.kind):
            wrong.append(f"{entry.target} as a {entry.kind}")
    subject.require(
        not wrong,
        f"offers what is not of its kind: {listed(wrong)}",
        "Mend the group or the target of the entry point.",
    )


def check_discovery(subject: PackageSubject) -> None:
    """Listing and describing plugins imports neither torch nor the plugin."""
    first = subject.descriptions[0]
    loaded = subject.imported(
        f"from quire import registry; registry.names(); registry.describe({first.name!r}, {first.kind!r})"
    )
    heavy = loaded & {"torch", *(name for name in subject.packages if name != "quire")}
    subject.require(
        not heavy, f"is imported by being listed: {listed(sorted(heavy))}", "Let no .pth or sitecustomize import it."
    )


def check_light_import(subject: PackageSubject) -> None:
    """Importing the package itself does not import torch."""
    for name in subject.packages:
        subject.require(
            "torch" not in subject.imported(f"import {name}"),
            f"imports torch when {name} is imported",
            f"Import nothing heavy in {name}/__init__.py.",
        )


def check_licence(subject: PackageSubject) -> None:
    """The metadata name a licence."""
    known = [*_values(subject, "License-Expression"), *_values(subject, "License")]
    known += [line for line in _values(subject, "Classifier") if line.startswith("License ::")]
    subject.require(bool(known), "names no licence", 'Write license = "..." (an SPDX expression) in pyproject.toml.')


def check_version(subject: PackageSubject) -> None:
    """The version can be compared with others."""
    try:
        Version(subject.metadata["Version"])
    except InvalidVersion:
        subject.require(False, "has a version that can't be compared", "Follow the form 1.2.3.")


def check_summary(subject: PackageSubject) -> None:
    """The metadata say in a line what the plugin is: `quire list` shows it."""
    subject.require(any(_values(subject, "Summary")), "has no summary", "Write description = ... in pyproject.toml.")


def check_readme(subject: PackageSubject) -> None:
    """The metadata hold the README."""
    text = "".join(_values(subject, "Description"))
    subject.require(bool(text.strip()), "has no README", 'Write readme = "README.md" in pyproject.toml.')


def check_readme_names(subject: PackageSubject) -> None:
    """The README names every model, data set, evaluator, tester and command that the distribution offers."""
    _require_plugin(subject)
    text = "".join(_values(subject, "Description"))
    if not text.strip():
        raise NotApplicable("check_readme comes first: there is no README")
    known = set(re.findall(r"[\w-]+", text))
    offered = {entry.name for entry in subject.descriptions if entry.kind in _SHOWN_KINDS}
    subject.require(
        not offered - known,
        f"has a README that does not name {listed(sorted(offered - known))}",
        "Show each with a command, and say what it is for.",
    )


def check_core_version(subject: PackageSubject) -> None:
    """The distribution says for which versions of quire-core it is built."""
    _require_plugin(subject)
    needed = subject.descriptions[0].requires_core or ""
    bounded = any(each.operator in ("<", "<=", "==", "===", "~=") for each in SpecifierSet(needed))
    subject.require(
        bounded,
        f"is built for {needed or 'any version'} of quire-core",
        'Write dependencies = ["quire-core>=0.1,<0.2", ...] in pyproject.toml, with an upper bound.',
    )


def check_typed(subject: PackageSubject) -> None:
    """The package tells type checkers that it is typed."""
    bare = [folder.name for folder in subject.folders if not (folder / "py.typed").is_file()]
    subject.require(not bare, f"has no py.typed in {listed(bare)}", "Add the empty file.")


def check_imports(subject: PackageSubject) -> None:
    """The plugin imports no other plugin, but where it extends one in an entry-point group of that one's own."""
    others = [
        f"{module} in {file.name}, line {line}"
        for file, tree in subject.sources
        if file not in subject.extensions
        for module, line in _imports(tree)
        if module.startswith("quire_") and module not in subject.packages
    ]
    subject.require(not others, f"imports another plugin: {listed(others)}", "What two plugins need belongs in core.")


def check_device(subject: PackageSubject) -> None:
    """Device and precision come from the runtime alone."""
    _require_plugin(subject)
    chosen = [
        f"{what} in {file.name}, line {line}" for file, tree in subject.sources for what, line in _device_choices(tree)
    ]
    subject.require(
        not chosen,
        f"chooses a device or a precision by itself: {listed(chosen)}",
        "Use the runtime, or a tensor's own device.",
    )


def _is_of_kind(found: object, kind: str) -> bool:
    if kind not in _INTERFACES:
        return True
    module, name = _INTERFACES[kind].split(":")
    interface = getattr(import_module(module), name)
    if kind in ("task", "command"):
        return isinstance(found, interface)
    return isinstance(found, type) and issubclass(found, interface)


def _values(subject: PackageSubject, header: str) -> list[str]:
    return list(subject.metadata.get_all(header) or ())


def _require_plugin(subject: PackageSubject) -> None:
    if subject.distribution == registry.CORE:
        raise NotApplicable("it is core itself")


def _imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The top-level names of absolute imports, also of those by import_module("..."), with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0], node.lineno
        elif isinstance(node, ast.Call) and _dotted(node.func).endswith(("import_module", "__import__")):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value.partition(".")[0], node.lineno


def _device_choices(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names of devices, methods that move or cast, and settings of the whole process."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _DEVICE.fullmatch(node.value):
            yield repr(node.value), node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in _PRECISION_METHODS:
                yield f".{node.func.attr}()", node.lineno
            elif _dotted(node.func) in _GLOBAL_SETTINGS:
                yield _dotted(node.func), node.lineno
        elif isinstance(node, ast.Attribute) and _dotted(node) in _GLOBAL_SETTINGS:
            yield _dotted(node), node.lineno


def _dotted(node: ast.expr) -> str:
    """ "torch.backends.cudnn" for that expression; the empty string for one that is no name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return ""
