"""What may import what: a cold start, core and plugins, the order of core's modules."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quire.registry import OFFICIAL

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
CORE = ROOT / "core/src/quire"
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))

ORDER = (
    "errors",
    "lazy",
    "storage",
    "config",
    "values",
    "registry",
    "table",
    "modality",
    "task",
    "dataset",
    "readers",
    "discovery",
    "runtime",
    "hooks",
    "run",
    "model",
    "training",
    "report",
    "predictions",
    "evaluator",
    "classification",
    "tester",
    "target",
    "ocr",
    "study",
    "index",
    "conformance",
    "cli",
)
"""Core's modules from the ground up: each imports, when it is imported itself, only from those before it."""


def modules_after(statement: str) -> list[str]:
    """The top-level modules that a fresh interpreter has imported after `statement`."""
    code = (
        f"import json, sys\ntry:\n    {statement}\nexcept SystemExit:\n    pass\nprint(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [name for name in json.loads(done.stdout.splitlines()[-1]) if "." not in name]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["list", "--json"], ["list", "model"], ["train", "--help"]]
)
def test_a_light_command_imports_neither_torch_nor_a_plugin(arguments: list[str]) -> None:
    imported = modules_after(f"sys.argv = ['quire', *{arguments}]; from quire.cli import main; main()")
    assert "quire" in imported
    heavy = {"torch", "numpy", "pandas", "matplotlib", "sklearn", "scipy", "accelerate"}
    assert not heavy.intersection(imported)
    assert not [name for name in imported if name.startswith("quire_")]


def test_importing_quire_costs_nothing() -> None:
    assert not {"torch", "numpy", "pydantic", "stevedore", "typer"}.intersection(modules_after("import quire"))


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imports(nodes: list[ast.stmt], *, at_import_time: bool) -> Iterator[str]:
    """The absolute names that statements import; `at_import_time` leaves out functions and `if TYPE_CHECKING`."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from quire import registry` names a module, `from quire.task import Task` what is in one
            names = [f"quire.{alias.name}" for alias in node.names]
            yield from names if node.module == "quire" else [node.module]
        elif at_import_time and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        elif at_import_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports(node.orelse, at_import_time=at_import_time)
        else:
            for field in ("body", "orelse", "finalbody", "handlers"):
                yield from imports(getattr(node, field, []), at_import_time=at_import_time)


@pytest.mark.parametrize("path", sources(CORE), ids=lambda path: path.relative_to(CORE).as_posix())
def test_core_imports_from_the_ground_up(path: Path) -> None:
    own = path.relative_to(CORE).parts[0].removesuffix(".py")
    if own == "__init__":
        own = ORDER[0]  # the package itself imports nothing before it is asked for
    assert own in ORDER, f"give {own} its place in ORDER"
    below = {*ORDER[: ORDER.index(own)], own, "__version__"}
    found = imports(ast.parse(path.read_text()).body, at_import_time=True)
    used = {name.split(".")[1] for name in found if name.startswith("quire.")}
    assert used <= below


def test_order_names_no_module_that_is_gone() -> None:
    there = {path.name.removesuffix(".py") for path in CORE.iterdir()}
    assert set(ORDER) <= there


@pytest.mark.parametrize("path", sources(CORE), ids=lambda path: path.relative_to(CORE).as_posix())
def test_core_knows_no_paper(path: Path) -> None:
    text = path.read_text()
    found = imports(ast.parse(text).body, at_import_time=False)
    assert not [name for name in found if name.startswith("quire_")]
    if path == CORE / "registry.py":
        text = re.sub(r"^OFFICIAL = \{.*?^\}", "", text, flags=re.MULTILINE | re.DOTALL)
    named = re.findall(rf"\b(?:{'|'.join(OFFICIAL)})\b", text)
    assert not named, "quire.registry.OFFICIAL is the one place that names papers"


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_imports_no_other_plugin(plugin: Path) -> None:
    files = sources(plugin)
    assert files
    own = f"quire_{plugin.name.replace('-', '_')}"
    for path in files:
        found = imports(ast.parse(path.read_text()).body, at_import_time=False)
        others = [name for name in found if name.startswith("quire_") and name.split(".")[0] != own]
        assert not others, path


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_names_no_device(plugin: Path) -> None:
    named = [path for path in sources(plugin / "src") if re.search(r"\.cuda\(|['\"]cuda['\":]", path.read_text())]
    assert not named
