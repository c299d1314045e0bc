"""What the README, CONTRIBUTING and the workflow say of tox and of quire is what these know; no part is forgotten."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from quire.cli import VERBS, app

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path.parent.name for path in (ROOT / "plugins").glob("*/pyproject.toml"))


def tox_section(name: str) -> configparser.SectionProxy:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    return tox[name]


def default_environments() -> list[str]:
    return re.split(r"[,\s]+", tox_section("tox")["env_list"].strip())


def known_environments() -> set[str]:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    return {*default_environments(), *(name.partition(":")[2] for name in tox.sections())}


def workspace() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_tox_knows_every_environment_that_is_named(page: str) -> None:
    commands = re.findall(r"\btox run\b(?: -e (\S+?))?(?=[\s`])", (ROOT / page).read_text())
    assert commands
    assert {name for name in commands if name} <= known_environments()


def test_the_readme_has_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert "\npython -m pip install tox && tox run -e demo\n" in text
    assert "\npython -m pip install tox && tox run\n" in text


def test_the_readme_uses_verbs_that_there_are() -> None:
    for page in (ROOT / "README.md", ROOT / "core/README.md"):
        used = re.findall(r"^(?:\$| {3}) ?quire (\w+)", page.read_text(), flags=re.MULTILINE)
        assert used
        assert set(used) <= set(VERBS)


def test_continuous_integration_runs_every_environment() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    matrix = workflow["jobs"]["tox"]["strategy"]["matrix"]
    assert sorted(matrix["environment"]) == sorted(default_environments())


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_plugin_has_its_place_in_the_workspace(plugin: str) -> None:
    project = workspace()
    extras = project["project"]["optional-dependencies"]
    assert plugin in default_environments()
    assert f"plugins/{plugin}[test]" in tox_section("testenv:lowest")["commands_pre"]
    assert any(requirement.startswith(f"quire-{plugin}==") for requirement in extras[plugin])
    assert plugin in re.findall(r"[\w-]+", " ".join(extras["all"]))
    assert project["tool"]["uv"]["sources"][f"quire-{plugin}"] == {"workspace": True}
    assert f"plugins/{plugin}/src" in project["tool"]["mypy"]["mypy_path"]
    assert f"quire-{plugin}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("part", ["core", *(f"plugins/{name}" for name in PLUGINS)])
def test_every_part_ships_the_license_and_its_types(part: str) -> None:
    assert (ROOT / part / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert list((ROOT / part / "src").glob("*/py.typed"))
    assert (ROOT / part / "README.md").read_text().startswith("# ")


@pytest.mark.parametrize("verb", VERBS)
def test_the_manual_names_every_option(verb: str) -> None:
    page = (ROOT / f"docs/verbs/{verb}.md").read_text()
    command = typer.main.get_command(app).get_command(None, verb)
    for parameter in command.params:
        long = [option for option in parameter.opts if option.startswith("--") and option != "--help"]
        assert not long or any(option in page for option in long), long
