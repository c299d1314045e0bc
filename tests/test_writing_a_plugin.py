"""The manual's page for authors, followed to the letter from an empty folder in a new environment.

quire itself is installed from the wheel of this repository's core, all else from the package index.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/writing-a-plugin.md"


def sibling(name: str) -> Any:
    """The module of the tests beside this one."""
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


manual = sibling("test_docs")


class Newcomer(manual.Reader):  # type: ignore[misc,name-defined]
    """Does what the page says in a new environment, where every `pip install` is one; uv does the installing."""

    def __init__(self, folder: Path, wheels: Path, uv: str) -> None:
        super().__init__(PAGE, folder / "work")
        self.folder.mkdir()
        scripts = folder / "environment" / "bin"
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, scripts.parent], check=True)
        (scripts / "pip").write_text(f'#!/bin/sh\nexec "{uv}" pip "$@"\n')
        (scripts / "pip").chmod(0o755)
        (core,) = wheels.glob("quire_core-*.whl")
        constraints = folder / "constraints.txt"
        constraints.write_text(f"{(ROOT / 'constraints.txt').read_text()}\nquire-core @ {core.as_uri()}\n")
        del self.environment["PYTHONPATH"]
        self.environment |= {
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": str(scripts.parent),
            "UV_CONSTRAINT": str(constraints),
            "UV_FIND_LINKS": os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS", ""),
            "OMP_NUM_THREADS": "1",
            "LC_ALL": "C.UTF-8",  # the order in which files are listed
        }

    def do(self, block: Any) -> None:
        """The same, but that no code runs in this process, whose environment is another."""
        assert block.title is not None or block.language != "python"
        super().do(block)

    def install(self, command: str) -> None:
        """Nothing is done for the reader: the command itself runs."""
        self.execute(command, "...\n")


@pytest.mark.slow
def test_the_page_works_to_the_letter(tmp_path: Path) -> None:
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed; `tox run -e third_party` has it")
    build = [uv, "build", "--quiet", "--wheel", "--out-dir", tmp_path / "wheels", ROOT / "core"]
    subprocess.run(build, check=True)
    reader = Newcomer(tmp_path, tmp_path / "wheels", uv)
    for block in manual.blocks(PAGE):
        reader.do(block)
    done = subprocess.run(
        ["quire", "check", "mine", "--json"],
        env=reader.environment,
        cwd=reader.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert {outcome["outcome"] for outcome in json.loads(done.stdout)} == {"passed", "skipped"}


def test_the_page_begins_with_twelve_lines() -> None:
    first = next(block for block in manual.blocks(PAGE) if block.language == "python")
    lines = first.text[first.text.index("class ") :].splitlines()
    assert len([line for line in lines if line.strip()]) == 12


def test_the_page_names_every_kind_of_plugin_that_there_is() -> None:
    from quire.cli.new import KINDS

    named = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), flags=re.M)
    assert tuple(named) == KINDS
