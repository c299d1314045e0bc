"""The contenders' processes, seen from the one that compares them."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

WORKER = Path(__file__).with_name("worker.py")
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "CUDA_VISIBLE_DEVICES": "",
}


class Failed(Exception):
    """A contender could not do what it was asked for; the text says why."""


class Contender:
    """A process that trains with one library, on one thread."""

    def __init__(self, library: str, python: Path) -> None:
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed with the process
        left_out = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")  # an installed library is compiled once
        environment = {name: value for name, value in os.environ.items() if name not in left_out} | ONE_THREAD
        self._process = subprocess.Popen(
            [str(python), str(WORKER), library, repr(time.monotonic())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def tell(self, message: dict[str, Any]) -> None:
        """Send a line. Raises Failed when the process has ended."""
        assert self._process.stdin is not None
        try:
            print(json.dumps(message), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise Failed(self._end()) from None

    def answer(self) -> dict[str, Any]:
        """The next line. Raises Failed for an error, or when the process has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Failed(self._end())
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise Failed(message["error"])
        return message

    def finish(self) -> None:
        """Let it import its library and end, if it has no task left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _end(self) -> str:
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return f"ended with status {self._process.wait()}: {lines[-1] if lines else 'no message'}"
