"""`quire test`: a tester of this file's own, aimed at a run, a function and a server; what it prints, writes and refuses."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from quire import registry
from quire.conformance.command_line import Answer, run_command
from quire.readers import TableDataset
from quire.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MANIFEST = """
[project]
name = "quire-nudge"
version = "0.1.0"
description = "Moves points and looks whether their class stays"
dependencies = ["quire-core>=0.1,<0.2"]

[project.entry-points."quire.testers"]
nudge = "quire_nudge:Nudge"
nudge-points = "quire_nudge:NudgePoints"
"""
SOURCE = '''
"""Moves points and looks whether their class stays."""

import time
from pathlib import Path

import numpy as np
from pydantic import Field

from quire.report import Score
from quire.task import VECTOR_CLASSIFICATION
from quire.tester import Finding, FindingStore, Tester, TestReport


class Nudge(Tester):
    """Adds a step to every coordinate."""

    class Options(Tester.Options):
        step: float = Field(3.0, description="what is added")
        pause: float = Field(0.0, description="seconds after each seed")

    name = "nudge"

    def test(self, target, seeds, *, runtime=None, folder=None):
        self.prepare(target, seeds, runtime)
        report = TestReport("Nudge", task=seeds.task)
        store = FindingStore(Path(folder) / "findings", seeds.task)
        for seed in seeds:
            moved = {"vector": seed["vector"] + np.float32(self.options.step)}
            got = target.predict([moved])[0]
            report.n_used += 1
            if got != seed["target"]:
                finding = Finding(f"{seed['id']}-moved", moved, seed["target"], got, 1.0, "moved")
                report.findings.append(finding)
                store.add(finding)
            time.sleep(self.options.pause)
        report.metrics["moved"] = Score(len(report.findings) / report.n_used, higher_is_better=False)
        return self.sign(report, target, seeds)


class NudgePoints(Nudge):
    """The same, for points of the release's own layout."""

    name = "nudge-points"
    seeds = "toy-points"
'''
FUNCTION = """
import numpy as np

def steady(samples):
    return [{"low": 0.2, "middle": 0.7, "high": 0.1} for _ in samples]

def shaky(samples):
    high = [float(np.mean(sample["vector"]) > 1) for sample in samples]
    return [{"high": value, "middle": 0.0, "low": 1 - value} for value in high]
"""


@pytest.fixture(scope="module")
def points(toy_plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = registry.get("toy-points", "dataset").sample(tmp_path_factory.mktemp("data") / "points")
    return path


@pytest.fixture(scope="module")
def trained(points: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    answer = run_command("train", "toy", "--data", points, "--runs", root, "--name", "base", "n_epochs=2")
    assert answer.code == 0, answer.err
    return root / "base"


@pytest.fixture
def here(
    installed: Callable[[Path], Path], points: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with points/, run/ and moderation.py, where the testers are installed."""
    project = tmp_path / "nudge"
    (project / "src").mkdir(parents=True)
    (project / "pyproject.toml").write_text(MANIFEST)
    (project / "src" / "quire_nudge.py").write_text(SOURCE)
    installed(project)
    folder = tmp_path / "here"
    folder.mkdir()
    shutil.copytree(points, folder / "points")
    shutil.copytree(trained, folder / "run")
    (folder / "moderation.py").write_text(FUNCTION)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.modules.pop("moderation", None)
    return folder


def quire_test(*arguments: object, tester: str = "nudge") -> Answer:
    return run_command("test", tester, *arguments)


SHAKY = ("--target", "moderation:shaky", "--task", "vector-classification", "--labels", "low,middle,high")


def test_a_run_is_tested_on_its_own_test_split(here: Path) -> None:
    answer = quire_test("--target", "run", "--option", "step=3")
    assert answer.code == 1
    assert answer.err == ""
    lines = answer.out.splitlines()
    assert lines[1].startswith("moved")
    assert lines[2].startswith("12 samples used, 0 left out, ")
    assert lines[3] == "run/reports/nudge/report.html"
    found = TableDataset.open(here / "run/reports/nudge/findings", task="vector-classification")
    assert lines[2].endswith(f", {len(found)} failures found")
    report = json.loads((here / "run/reports/nudge/report.json").read_text())
    assert report["provenance"]["target"] == "run"
    assert report["metrics"]["moved"]["value"] == len(found) / 12
    model = Run.open(here / "run").load_model()
    assert model.predict(list(found)) == [row["got"] for row in rows(here / "run/reports/nudge")]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "findings/train.jsonl").read_text().splitlines()]


def test_nothing_found_is_exit_code_0(here: Path) -> None:
    steady = ("--target", "moderation:steady", "--task", "vector-classification", "--labels", "low,middle,high")
    Path("middle.csv").write_text('id,split,vector,target\na,test,"[0, 0, 0]",middle\n')
    answer = quire_test(*steady, "--data", "middle.csv", "--out", "none")
    assert (answer.code, answer.err) == (0, "")
    assert "1 samples used, 0 left out, 0 failures found" in answer.out
    assert not (here / "none" / "findings" / "train.jsonl").exists()


def test_a_function_is_tested_from_the_current_folder(here: Path) -> None:
    answer = quire_test(*SHAKY, "--data", "points", "--toxic-labels", "high", "--json")
    assert answer.code == 1
    result = answer.json("test")
    assert result["folder"] == "reports/nudge"
    assert result["failures"] == len(result["report"]["tables"][0]["rows"])
    assert result["report"]["n_used"] == 12
    assert result["report"]["provenance"]["configuration"]["function"] == "moderation:shaky"
    assert (here / result["page"]).is_file()


def test_the_testers_own_reader_comes_before_the_layout(here: Path) -> None:
    answer = quire_test(*SHAKY, "--data", "points", "--data-option", "dimensions=2", "--json", tester="nudge-points")
    assert answer.json("test")["report"]["provenance"]["data set"] == "points"
    table = quire_test(*SHAKY, "--data", "points", "--dataset", "table", "--out", "o", tester="nudge-points")
    assert "points_t" in table.error or "column" in table.error


def test_findings_are_seeds_of_the_next_test(here: Path) -> None:
    assert quire_test(*SHAKY, "--data", "points", "--out", "one").code == 1
    again = quire_test(*SHAKY, "--data", "one/findings", "--out", "two", "--option", "step=0.0", "--json")
    result = again.json("test")
    assert result["failures"] == result["report"]["n_used"] == len(rows(here / "one"))


def test_a_folder_that_is_not_empty_is_refused_or_gone_on_in(here: Path) -> None:
    first = quire_test(*SHAKY, "--data", "points", "--out", "out")
    before = (here / "out/findings/train.jsonl").read_bytes()
    assert quire_test(*SHAKY, "--data", "points", "--out", "out").error == (
        "error: out: there is something here already. Name another folder with --out, or continue with --resume."
    )
    again = quire_test(*SHAKY, "--data", "points", "--out", "out", "--resume")
    assert (again.code, again.out) == (first.code, first.out)
    assert (here / "out/findings/train.jsonl").read_bytes() == before
    other = quire_test(*SHAKY, "--data", "points", "--out", "out", "--resume", "--option", "step=1.0")
    assert "the test that was begun here has another options" in other.error
    (here / "moderation.py").write_text(FUNCTION.replace("> 1", "> 2"))
    sys.modules.pop("moderation")
    assert "has another target" in quire_test(*SHAKY, "--data", "points", "--out", "out", "--resume").error
    assert "no test was begun here" in quire_test(*SHAKY, "--data", "points", "--out", "points", "--resume").error


@pytest.mark.slow
def test_a_test_that_is_killed_goes_on_to_the_same_end(here: Path) -> None:
    line = [*SHAKY, "--data", "points", "--option", "pause=0.15"]
    assert quire_test(*line, "--out", "whole").code == 1
    process = subprocess.Popen(
        [sys.executable, "-m", "quire.cli", "test", "nudge", *line, "--out", "cut"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    table = here / "cut/findings/train.jsonl"
    deadline = time.monotonic() + 60
    while not (table.is_file() and table.read_bytes().count(b"\n") >= 2):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 2 <= len(rows(here / "cut")) < len(rows(here / "whole"))
    assert quire_test(*line, "--out", "cut", "--resume").code == 1
    assert rows(here / "cut") == rows(here / "whole")


MISTAKES = [
    ("", "missing option '--target'"),
    ("--target run --option stp=1", "nudge has no option 'stp' (did you mean 'step'?)"),
    ("--target run --option step=far", "step: input should be a valid number"),
    ("--target nowhere", "there is no target 'nowhere'. A target is a run's folder"),
    ("--target points", "there is no run here"),
    ("--target run --data nowhere", "nowhere: there is no such file or folder"),
    ("--target run --split tset", "there is no split 'tset' (did you mean 'test'?)"),
    ("--target run --labels a,b", "has the task vector-classification and the labels"),
    ("--target run --toxic-labels lo", "'lo' is none of the target's labels (did you mean 'low'?)"),
    ("--target run --toxic-labels low,,", "--toxic-labels is 'low,,'"),
    ("--target run --target-option rps=1", "'rps' is no option of a target that is a model"),
    ("--target moderation:shaky", "the target does not say what it takes. Name its task with --task"),
    ("--target moderation:shaky --task vector-classification", "does not say its labels"),
    ("--target moderation:shaky --task vector-clasification", "(did you mean 'vector-classification'?)"),
    (f"{' '.join(SHAKY)}", "the search begins with seeds. Name their folder or file with --data"),
    ("--target https://moderation.example --data points", "is on another machine. Allow it with --allow-network"),
    ("--target http://127.0.0.1:1 --data points", "can't be reached"),
]


@pytest.mark.parametrize(("line", "message"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_one_line_and_nothing_is_written(here: Path, line: str, message: str) -> None:
    before = sorted(here.rglob("*"))
    answer = quire_test(*line.split())
    assert message in answer.error
    assert len(answer.err.splitlines()) == 1
    assert [path for path in sorted(here.rglob("*")) if "__pycache__" not in path.parts] == before


def test_a_tester_that_there_is_not(here: Path) -> None:
    answer = quire_test("--target", "run", tester="nudg")
    assert "there is no tester named 'nudg' (did you mean 'nudge'?)" in answer.error


def test_data_of_another_task_do_not_fit(here: Path) -> None:
    Path("texts.csv").write_text("id,split,text,target\na,test,hello,low\n")
    answer = quire_test(
        *("--target", "run", "--data", "texts.csv", "--dataset", "table", "--data-option", "task=text-classification")
    )
    assert "toy" in answer.error.lower()
    assert "needs vector: Vector" in answer.error


@pytest.fixture
def server() -> Iterator[str]:
    """Speaks quire's protocol."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(
                {
                    "protocol": "quire-1",
                    "task": "vector-classification",
                    "labels": ["low", "middle", "high"],
                    "version": "1",
                }
            )

        def do_POST(self) -> None:
            samples = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["samples"]
            rows = [[1.0, 0.0, 0.0] if sum(sample["vector"]) < 9 else [0.0, 0.0, 1.0] for sample in samples]
            self.answer({"labels": ["low", "middle", "high"], "probabilities": rows})

        def answer(self, value: Any) -> None:
            data = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def test_a_server_is_tested_by_its_address(here: Path, server: str) -> None:
    pytest.importorskip("httpx2", reason="the extra [http] is not installed")
    answer = quire_test("--target", server, "--data", "points", "--json")
    assert answer.code == 1, answer.err
    result = answer.json("test")
    assert result["report"]["provenance"]["configuration"]["url"] == server
    assert result["report"]["title"].startswith("Nudge: HttpTarget on points (test)")
    assert {row["got"] for row in rows(here / "reports/nudge")} <= {"low", "high"}
    assert result["failures"] == len(rows(here / "reports/nudge")) > 0


def test_completion_and_help_name_the_testers(here: Path) -> None:
    listing = run_command("list", "tester")
    assert "nudge-points" in listing.out
    text = run_command("test", "--help").out
    assert "--target" in text
    shown = run_command("show", "nudge-points", "--json").json("show")
    assert {"step", "pause"} <= set(shown["options"]["properties"])
