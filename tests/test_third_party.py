"""A plugin from outside: built as a wheel, installed beside core's wheel in a new environment, and used there.

It stands in tests/third_party and is no part of the workspace. Its distance comes from dtaidistance, because no release
of aeon can be installed beside the pandas of constraints.txt.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

import quire
import quire_duo
from quire.cli.schemas import SCHEMAS

ROOT = Path(__file__).parents[1]
PLUGIN = Path(__file__).parent / "third_party"
LONGEST = 300  # seconds that one command may take

PUBLIC = set(json.loads((ROOT / "tests/api_snapshot.json").read_text())["surface"])
"""What authors may use: `quire.__all__`, and what the manual and the template of `quire new` import."""


@dataclass(frozen=True)
class Stranger:
    """Someone with a new environment and an empty folder, who has nothing of this repository but wheels."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: object) -> str:
        """stdout of a command that succeeds."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, verb: str, *arguments: object) -> Any:
        """What a verb prints with --json, checked against its schema."""
        value = json.loads(self.run("quire", verb, *arguments, "--json"))
        jsonschema.validate(value, SCHEMAS[verb])
        return value


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed; `tox run -e third_party` has it")
    home = tmp_path_factory.mktemp("stranger")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment = {
        **inherited,
        "PATH": f"{home / 'environment/bin'}{os.pathsep}{os.environ['PATH']}",
        "UV_CONSTRAINT": str(ROOT / "constraints.txt"),
        "UV_FIND_LINKS": os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS", ""),
        "QUIRE_CACHE": str(home / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    (home / "work").mkdir()
    stranger = Stranger(home / "work", environment)
    for part in (ROOT / "core", ROOT / "plugins/duo", PLUGIN):
        stranger.run(uv, "build", "--quiet", "--wheel", "--out-dir", home / "wheels", part)
    stranger.run(uv, "venv", "--quiet", "--python", sys.executable, home / "environment")
    wheels = sorted((home / "wheels").glob("*.whl"))
    assert [wheel.name.partition("-")[0] for wheel in wheels] == ["quire_core", "quire_dtw", "quire_duo"]
    stranger.run(uv, "pip", "install", "--quiet", "--python", home / "environment", *wheels)
    return stranger


@pytest.mark.parametrize("path", sorted(PLUGIN.rglob("*.py")), ids=lambda path: path.name)
def test_it_imports_nothing_but_public_names(path: Path) -> None:
    used = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names if alias.name.partition(".")[0] == "quire"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "quire":
            used |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("quire_duo"):
            assert node.module == "quire_duo"
            assert {alias.name for alias in node.names} <= set(quire_duo.__all__)
    assert used <= PUBLIC, sorted(used - PUBLIC)


def test_it_uses_no_private_attribute_of_another_object() -> None:
    for path in sorted(PLUGIN.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                assert isinstance(node.value, ast.Name), path
                assert node.value.id in ("self", "cls"), path


@pytest.mark.slow
def test_nothing_comes_from_the_repository(stranger: Stranger) -> None:
    code = "import quire, quire_dtw; print(quire.__file__); print(quire_dtw.__file__)"
    places = stranger.run("python", "-c", code).split()
    assert [Path(place).is_relative_to(stranger.folder.parent / "environment") for place in places] == [True, True]


@pytest.mark.slow
def test_it_is_listed(stranger: Stranger) -> None:
    found = [entry for entry in stranger.json("list") if entry["distribution"] == "quire-dtw"]
    assert [(entry["kind"], entry["name"]) for entry in found] == [("model", "dtw"), ("dataset", "ucr-tsv")]
    assert found[0]["requires_core"] == "<0.2,>=0.1"
    shown = stranger.json("show", "dtw")
    assert set(shown["options"]["properties"]) == {"neighbours", "window"}
    assert shown["paper"] == "https://doi.org/10.1109/TASSP.1978.1163055"
    code = "from quire import registry; registry.names(); import sys; print(*sys.modules)"
    assert not {"torch", "quire_dtw", "dtaidistance"}.intersection(stranger.run("python", "-c", code).split())


@pytest.mark.slow
def test_from_its_sample_to_predictions(stranger: Stranger) -> None:
    assert stranger.json("sample", "dtw", "sample") == {
        "dataset": "ucr-tsv",
        "path": "sample",
        "splits": ["train", "test"],
    }
    run = stranger.json("train", "dtw", "--data", "sample", "neighbours=3")
    assert (run["state"], run["config"]) == ("done", {"neighbours": 3, "window": 0.1})
    report = stranger.json("evaluate", run["run"])["classification"]
    assert report["metrics"]["accuracy"]["value"] == 1
    found = stranger.json("predict", run["run"], "sample/Shifts_TEST.tsv")["predictions"]
    assert [prediction["prediction"] for prediction in found] == ["1", "2"] * 10
    assert all(prediction["p(1)"] + prediction["p(2)"] == pytest.approx(1) for prediction in found)


@pytest.mark.slow
@pytest.mark.parametrize(("window", "right"), [(0, 137), (1, 136)])
def test_the_figures_of_the_archive(stranger: Stranger, window: float, right: int) -> None:
    """Of GunPoint's 150 test series: the archive's own table has them, for Euclidean distance and for DTW."""
    if "QUIRE_DATA" not in os.environ:
        pytest.skip("QUIRE_DATA is not set")
    data = Path(os.environ["QUIRE_DATA"]) / "tsc/ucr_tsv/GunPoint"
    run = stranger.json("train", "dtw", f"window={window}", "--data", data)
    report = stranger.json("evaluate", run["run"])["classification"]
    assert report["n_used"] == 150
    assert report["metrics"]["accuracy"]["value"] == pytest.approx(right / 150)


@pytest.mark.slow
def test_it_keeps_every_rule(stranger: Stranger) -> None:
    outcomes = stranger.json("check", "dtw", "ucr-tsv")
    assert {outcome["plugin"] for outcome in outcomes} == {"dtw", "ucr-tsv"}
    assert {outcome["outcome"] for outcome in outcomes} == {"passed", "skipped"}
    passed = {outcome["check"] for outcome in outcomes if outcome["outcome"] == "passed"}
    assert {"saving", "seed", "batching", "invalid_samples", "workers", "device", "core_version"} <= passed


@pytest.mark.slow
def test_duo_tests_it_by_its_own_rule_and_those_of_series(stranger: Stranger) -> None:
    stranger.run("quire", "sample", "dtw", "fused")
    run = stranger.json("train", "dtw", "--data", "fused")["run"]
    options = ("toxic_labels=1", "rules=[DTW.*, S.noise, S.warp]", "per_rule=10", "i_have_rights=true")
    command = ["quire", "test", "duo", "--target", run, "--data", "fused", "--json"]
    done = subprocess.run(
        [*command, *(part for option in options for part in ("--option", option))],
        cwd=stranger.folder,
        env=stranger.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    jsonschema.validate(report, SCHEMAS["test"])
    rows = [json.loads(line) for line in (stranger.folder / run / "reports/duo/results.jsonl").read_text().splitlines()]
    answered = {row["rule"] for row in rows if row["status"] == "answered"}
    assert {"DTW.local_warp", "S.noise", "S.warp"} <= answered


@pytest.mark.slow
def test_a_bad_series_is_one_sentence(stranger: Stranger) -> None:
    bad = stranger.folder / "bad"
    bad.mkdir()
    for split in ("TRAIN", "TEST"):
        (bad / f"Bad_{split}.tsv").write_text("1\t0.5\t0.25\n2\t0.5\tx\n")
    done = subprocess.run(
        ["quire", "train", "dtw", "--data", "bad"],
        cwd=stranger.folder,
        env=stranger.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: bad/Bad_TRAIN.tsv, line 2: a value is not a number")
    assert done.stderr.count("\n") == 1


def test_the_workspace_does_not_know_it() -> None:
    assert "quire_dtw" not in (ROOT / "pyproject.toml").read_text()
    assert set(quire.__all__) <= {name.partition(".")[2] for name in PUBLIC}
