"""A program as a target: it reads one JSON object a line and answers each with one line."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import weakref
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from pydantic import Field, PositiveFloat

from quire.errors import ConfigError, TargetError
from quire.storage import content_hash
from quire.target.answers import Refusal, require_labels, shown
from quire.target.external import Declaration, External

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from quire.modality import Sample
    from quire.runtime import Runtime
    from quire.task import Task

LONGEST_LINE = 2**24  # bytes of an answer
TAIL = 300  # characters of what a program that ended wrote to stderr


class CommandDeclaration(Declaration):
    """How a program is started, and what is said of it."""

    command: str = Field("", description="the program and its arguments, parted as a shell does; no shell runs it")
    timeout: PositiveFloat = Field(30.0, description="seconds that an answer may take")


class CommandTarget(External):
    """Asks a program that runs as long as the target does.

    It is sent `{"id": "7", FIELD: VALUE, ...}`, fields as `Task.encode` writes them, and answers on one line
    `{"id": "7", "scores": {LABEL: PROBABILITY, ...}}`, or `{"id": "7", "probabilities": [...], "labels": [...]}` in the
    order of the labels (which may be left out), or `{"id": "7", "error": REASON}`. Every answer is flushed before the
    next line is read. A program that is late, ends, or writes anything else is ended and started again: the sample has
    no answer, and later answers can't be taken for it. One that ends before its first answer is a TargetError.
    """

    config: CommandDeclaration

    def __init__(self, config: CommandDeclaration, *, task: Task | None = None, runtime: Runtime | None = None) -> None:
        super().__init__(config, task=task, runtime=runtime)
        self.arguments = _arguments(config.command)
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._asked = 0
        self._answered = False

    @property
    def name(self) -> str:
        """The program's name."""
        return f"the command {os.path.basename(self.arguments[0])}"  # noqa: PTH119 - of a command, not of a file here

    def ask(self, samples: list[Sample]) -> Sequence[object]:
        """One answer after the other; a Refusal stands for one that did not come."""
        with self._lock:
            return [self._ask_one(sample) for sample in samples]

    def _ask_one(self, sample: Sample) -> object:
        self._asked += 1
        identifier = str(self._asked)
        line = json.dumps({**self.task.encode(sample), "id": identifier}, allow_nan=False)
        if self._process is None:
            self._process = _Process.start(self.arguments)
        try:
            answer = self._process.exchange(line.encode() + b"\n", self.config.timeout)
            return self._read(answer, identifier)
        except Refusal as refusal:
            ended = self._process.stop()
            self._process = None
            if ended is not None and not self._answered:
                raise TargetError(
                    f"{self.name} ended with exit code {ended[0]} before its first answer: {ended[1] or 'no message'}"
                ) from None
            return Refusal(f"{refusal.reason}{f' (exit code {ended[0]}: {ended[1]})' if ended else ''}")

    def _read(self, line: bytes, identifier: str) -> object:
        """The scores in a line. Raises Refusal for one that is no answer to this sample."""
        if not line:
            raise Refusal("the program ended")
        try:
            answer = json.loads(line)
        except ValueError:
            raise Refusal(f"the answer is no JSON: {shown(line.decode(errors='replace'))}") from None
        if not isinstance(answer, dict) or answer.get("id") != identifier:
            raise Refusal(f"the answer has not the id {identifier!r} of the question: {shown(answer)}")
        self._answered = True
        if "error" in answer:
            return Refusal(shown(answer["error"]))
        if answer.get("labels") is not None:
            require_labels(answer["labels"], self.labels, who=self.name)
        scores = answer.get("probabilities", answer.get("scores"))
        return Refusal(f"the answer has no scores: {shown(answer)}") if scores is None else scores

    def fingerprint(self) -> str:
        """A hash of the declaration and of the files among program and arguments."""
        from pathlib import Path

        files: list[str | Path] = []
        for argument in self.arguments:
            path = Path(shutil.which(argument) or argument)
            files.append(path if path.is_file() else argument)
        declared = self.config.model_dump(mode="json", exclude={"timeout"})
        return content_hash("command", declared, *files)

    def close(self) -> None:
        """End the program."""
        with self._lock:
            if self._process is not None:
                self._process.stop()
                self._process = None


@dataclass
class _Process:
    """A program that answers line by line, with what it writes to stderr kept apart."""

    popen: subprocess.Popen[bytes]
    errors: IO[bytes]
    talk: threading.Thread | None = None

    @classmethod
    def start(cls, arguments: list[str]) -> _Process:
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the program
        try:
            popen = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # so that what it starts itself ends with it
            )
        except OSError as error:
            errors.close()
            raise TargetError(f"the command {arguments[0]} can't be started: {error.strerror or error}") from error
        process = cls(popen, errors)
        weakref.finalize(process, _end, popen)
        return process

    def exchange(self, line: bytes, timeout: float) -> bytes:
        """The line that answers `line`; empty if the program ends. Refusal after `timeout` seconds."""
        answer: Future[bytes] = Future()
        self.talk = threading.Thread(target=self._talk, args=(line, answer), daemon=True)
        self.talk.start()
        try:
            return answer.result(timeout)
        except TimeoutError:
            raise Refusal(f"no answer within {timeout:g} seconds") from None

    def _talk(self, line: bytes, answer: Future[bytes]) -> None:
        """In a thread of its own, for both writing to a pipe and reading from it can wait forever."""
        if self.popen.stdin is None or self.popen.stdout is None:
            return
        reply = b""
        with suppress(OSError, ValueError):  # the program ended, or was ended
            self.popen.stdin.write(line)
            self.popen.stdin.flush()
            reply = self.popen.stdout.readline(LONGEST_LINE)
        answer.set_result(reply if reply.endswith(b"\n") else b"")

    def stop(self) -> tuple[int, str] | None:
        """End the program; its exit code and the end of its stderr if it had ended by itself."""
        with suppress(subprocess.TimeoutExpired):  # a closed pipe is seen a moment before its process is gone
            self.popen.wait(0.2)
        code = self.popen.poll()
        _end(self.popen)
        if self.talk is not None:
            self.talk.join(1.0)
        if self.talk is None or not self.talk.is_alive():  # a pipe that a thread still waits for can't be closed
            for pipe in (self.popen.stdin, self.popen.stdout):
                with suppress(OSError):
                    if pipe is not None:
                        pipe.close()
        self.errors.seek(0)
        tail = " ".join(self.errors.read().decode(errors="replace").split())[-TAIL:]
        self.errors.close()
        return None if code is None else (code, tail)


def _end(popen: subprocess.Popen[bytes]) -> None:
    if popen.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(popen.pid, signal.SIGKILL)
            else:
                popen.kill()
        popen.wait()


def _arguments(command: str) -> list[str]:
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"the command can't be parted into words ({error})", remedy="Close its quotes.") from None
    if not arguments:
        raise ConfigError("the command is empty", remedy="Write: cmd:PROGRAM ARGUMENT ...")
    return arguments
