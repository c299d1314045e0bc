"""duo aimed at a real server from the command line: one that throttles and fails, one that lies, and a run that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from quire import registry
from quire.conformance.command_line import run_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("httpx2", reason="the extra [http] is not installed")
pytest.importorskip("tenacity", reason="the extra [http] is not installed")

LABELS = ["benign", "toxic"]
RULES = ("--option", "rules=T.noise,T.word_split,T.benign_context,TI.screenshot", "--option", "per_rule=8")


class Moderation:
    """A moderation server: keywords in a post's text are toxic, pictures are not looked at.

    trouble(number) is the status that the request of that number gets in the place of an answer; lies: it answers for one
    sample less than it was asked about once `honest` requests were answered.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.honest = 10**9
        self.trouble: dict[int, int] = {}
        self.delay = 0.0
        moderation = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._send(
                    200,
                    {
                        "protocol": "quire-1",
                        "fields": {"text": "text", "image": "image"},
                        "optional": ["text", "image"],
                        "labels": LABELS,
                        "toxic_labels": ["toxic"],
                        "deterministic": True,
                        "limits": {"batch": 4},
                    },
                )

            def do_POST(self) -> None:
                samples = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["samples"]
                moderation.asked += 1
                status = moderation.trouble.get(moderation.asked % 7)
                time.sleep(moderation.delay)
                if status is not None:
                    self._send(status, {"error": "come back later"})
                    return
                scores = [0.9 if "glorp" in sample.get("text", "").lower() else 0.1 for sample in samples]
                if moderation.asked > moderation.honest:
                    scores = scores[1:]
                self._send(200, {"labels": LABELS, "probabilities": [[1 - score, score] for score in scores]})

            def _send(self, status: int, content: Any) -> None:
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                if status in (429, 503):
                    self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def moderation() -> Iterator[Moderation]:
    server = Moderation()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    path: Path = registry.get("moderation-seeds", "dataset").sample(tmp_path / "seeds")
    return path


def command(url: str, seeds: Path, out: Path, *more: str) -> list[str]:
    return ["test", "duo", "--target", url, "--data", str(seeds), "--out", str(out), *RULES, *more]


def test_throttling_and_failing_change_no_result(moderation: Moderation, seeds: Path, tmp_path: Path) -> None:
    smooth = run_command(*command(moderation.url, seeds, tmp_path / "smooth", "--json"))
    assert smooth.code in (0, 1), smooth.err
    calm = moderation.asked
    moderation.trouble = {2: 429, 5: 500, 6: 503}
    rough = run_command(*command(moderation.url, seeds, tmp_path / "rough", "--json"))
    assert rough.code == smooth.code, rough.err
    assert moderation.asked > 2 * calm
    results = [(tmp_path / name / "results.jsonl").read_bytes() for name in ("smooth", "rough")]
    assert results[0] == results[1]
    assert b'"inconclusive"' not in results[0]


def test_a_server_that_lies_ends_the_run_with_its_answer(moderation: Moderation, seeds: Path, tmp_path: Path) -> None:
    moderation.honest = 3
    told = run_command(*command(moderation.url, seeds, tmp_path / "out")).error
    assert "answers for 4 samples" in told
    assert moderation.url in told


@pytest.mark.slow
def test_killed_at_random_and_resumed_the_results_are_the_same(
    moderation: Moderation, seeds: Path, tmp_path: Path
) -> None:
    assert run_command(*command(moderation.url, seeds, tmp_path / "whole")).code in (0, 1)
    moderation.delay, moderation.trouble = 0.05, {3: 503}
    rng = np.random.default_rng(0)
    whole, broken, kills = tmp_path / "whole/results.jsonl", tmp_path / "broken", 0
    lines = len(whole.read_bytes().splitlines())
    for _ in range(6):
        arguments = command(moderation.url, seeds, broken, *(["--resume"] if (broken / "test.json").exists() else []))
        process = subprocess.Popen(
            [sys.executable, "-c", "from quire.cli import main; main()", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        goal = _lines(broken) + int(rng.integers(1, max(2, lines // 4)))
        while process.poll() is None and _lines(broken) < goal:
            time.sleep(0.01)
        if process.poll() is not None:
            assert process.returncode in (0, 1), process.communicate()[1].decode()
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    else:
        assert run_command(*command(moderation.url, seeds, broken, "--resume")).code in (0, 1)
    assert kills >= 2
    assert (broken / "results.jsonl").read_bytes() == whole.read_bytes()


def _lines(folder: Path) -> int:
    path = folder / "results.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0
