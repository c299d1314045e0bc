"""Installing a plugin for tests: from its source, into a folder on the path, without a network or a build backend."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CORE = Path(__file__).parents[1]
TOY = Path(__file__).parent / "toy_plugin"


def write_metadata(project: Path, site: Path) -> None:
    """The .dist-info folder that installing `project` would leave in `site`."""
    described: dict[str, Any] = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    stem = f"{described['name'].replace('-', '_')}-{described['version']}"
    info = site / f"{stem}.dist-info"
    info.mkdir(parents=True)
    headers = [("Metadata-Version", "2.4"), ("Name", described["name"]), ("Version", described["version"])]
    optional = {"description": "Summary", "license": "License-Expression", "requires-python": "Requires-Python"}
    headers += [(header, described[key]) for key, header in optional.items() if key in described]
    headers += [("Requires-Dist", requirement) for requirement in described.get("dependencies", ())]
    readme = project / described.get("readme", "no readme")
    text = "".join(f"{name}: {value}\n" for name, value in headers)
    (info / "METADATA").write_text(f"{text}\n{readme.read_text() if readme.is_file() else ''}")
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
            for group, points in described.get("entry-points", {}).items()
        )
    )
    (info / "RECORD").write_text("")


def install(project: Path, site: Path) -> None:
    """Install the project that stands at `project` into the folder `site`."""
    shutil.copytree(project / "src", site, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    write_metadata(project, site)


@pytest.fixture(scope="session")
def toy_plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that quire-toy is installed in, importable here and in processes that tests start.

    quire-core's own metadata come along where the tests run on its source alone.
    """
    site = tmp_path_factory.mktemp("site")
    install(TOY, site)
    try:
        importlib.metadata.version("quire-core")
    except importlib.metadata.PackageNotFoundError:
        write_metadata(CORE, site)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
        yield site


@pytest.fixture
def installed(toy_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Path]]:
    """A function that installs the project at a path, for this test and the processes that it starts."""
    before = set(sys.modules)
    site = tmp_path / "installed"

    def make(project: Path) -> Path:
        install(project, site)
        monkeypatch.syspath_prepend(site)
        monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
        return site

    yield make
    for name in set(sys.modules) - before:
        if name.startswith("quire_"):
            del sys.modules[name]


@pytest.fixture
def installed_variant(
    toy_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Callable[[Path], None]], str]]:
    """A function that installs quire-toy as "quire-variant" after an edit of its source; returns the model's name."""
    before = set(sys.modules)

    def make(edit: Callable[[Path], None]) -> str:
        project = tmp_path / "project"
        shutil.copytree(TOY, project, ignore=shutil.ignore_patterns("__pycache__"))
        (project / "src" / "quire_toy").rename(project / "src" / "quire_variant")
        for file in (file for file in project.rglob("*") if file.suffix in (".py", ".toml", ".md")):
            text = file.read_text().replace("quire_toy", "quire_variant").replace("quire-toy", "quire-variant")
            text = text.replace("toy =", "variant =").replace("toy-points", "variant-points")
            file.write_text(text.replace("quire train toy ", "quire train variant "))
        edit(project)
        install(project, tmp_path / "site")
        monkeypatch.syspath_prepend(tmp_path / "site")
        return "variant"

    yield make
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "quire_variant":
            del sys.modules[name]
