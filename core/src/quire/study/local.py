"""The local engine: worker processes of one thread each; on a GPU several share it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Self

from quire.errors import RunError, Where
from quire.study.cells import Outcome
from quire.study.driver import ONE_THREAD
from quire.study.together import failure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from quire.study.together import Bundle

STILLBORN = 3  # workers in a row that die before they are ready: then none will live
GRACE_SECONDS = 2.0


class LocalEngine:
    """Runs bundles of cells in processes of this machine.

    A worker that dies makes its cell a failed one and is replaced; several cells of a bundle are then to be run one by
    one. timeout: seconds after which a worker is killed, for each cell of its bundle. devices: one per worker in turn.
    What workers print goes to workers.log in `folder`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int,
        devices: Sequence[str] = ("auto",),
        evaluators: Sequence[str] = (),
        timeout: float | None = None,
    ) -> None:
        self.slots = workers
        self._log = folder / "workers.log"
        self._devices = tuple(devices)
        self._evaluators = tuple(evaluators)
        self._timeout = timeout
        self._workers: list[_Worker] = []
        self._messages: SimpleQueue[tuple[_Worker, dict[str, Any] | None]] = SimpleQueue()
        self._stillborn = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.close()

    def submit(self, bundle: Bundle) -> None:
        """Give the bundle to an idle worker, or to a new one."""
        for worker in self._workers:
            if not worker.bundle and not worker.late and self._begin(worker, bundle):
                return
        used = {worker.number for worker in self._workers}
        number = next(number for number in range(len(used) + 1) if number not in used)
        worker = _Worker(number, self._devices[number % len(self._devices)], self._log, self._messages)
        self._workers.append(worker)
        if not self._begin(worker, bundle):
            worker.bundle = bundle  # the message that it is dead is on its way

    def wait(self, timeout: float | None) -> list[tuple[Bundle, Sequence[Outcome]]]:
        """The next finished bundle; RunError if workers can't even start."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            limits = [worker.limit for worker in self._workers if worker.limit is not None]
            limits += [end] if end is not None else []
            try:
                worker, message = self._messages.get(
                    timeout=max(0.0, min(limits) - time.monotonic()) if limits else None
                )
            except Empty:
                self._kill_late()
                if end is not None and time.monotonic() >= end:
                    return []
                continue
            finished = self._heard(worker, message)
            if finished is not None:
                return [finished]

    def _begin(self, worker: _Worker, bundle: Bundle) -> bool:
        """Send a bundle; False if the worker is dead."""
        cells = [cell.to_json() for cell in bundle]
        if not worker.send({"cells": cells, "evaluators": self._evaluators, "device": worker.device}):
            return False
        worker.bundle = bundle
        if worker.ready:
            self._start_clock(worker)
        return True

    def _start_clock(self, worker: _Worker) -> None:
        """The bundle begins now; the time in which a worker starts is not its."""
        if self._timeout is not None and worker.bundle:
            worker.limit = time.monotonic() + self._timeout * len(worker.bundle)

    def _heard(self, worker: _Worker, message: dict[str, Any] | None) -> tuple[Bundle, Sequence[Outcome]] | None:
        """What a worker's message means; None is its end."""
        bundle = worker.bundle
        if message is None:
            self._workers.remove(worker)
            worker.close()
            cause = worker.cause_of_death()
            if not bundle:
                return None
            if worker.ready or worker.late:
                return bundle, failure(bundle, cause)
            self._stillborn += 1
            if self._stillborn == STILLBORN:
                raise RunError(f"no worker can start: {cause}", where=Where(file=self._log))
            self.submit(bundle)
            return None
        if "ready" in message:
            self._stillborn = 0
            worker.ready = True
            self._start_clock(worker)
            return None
        worker.bundle, worker.limit = (), None
        return bundle, [Outcome(**outcome) for outcome in message["outcomes"]]

    def _kill_late(self) -> None:
        for worker in self._workers:
            if worker.limit is not None and time.monotonic() >= worker.limit:
                worker.late = f"it was stopped after {self._timeout:g} seconds (--timeout)"
                worker.limit = None
                worker.kill()


class _Worker:
    """A worker's process, and the threads that tell what it writes and when it ends (None)."""

    def __init__(
        self, number: int, device: str, log: Path, messages: SimpleQueue[tuple[_Worker, dict[str, Any] | None]]
    ) -> None:
        self.number = number
        self.device = device
        self.bundle: Bundle = ()
        self.limit: float | None = None
        self.late = ""
        self.ready = False
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "quire.study.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,  # a signal to the driver's group must not look like the failure of a cell
            )
        self._messages = messages
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        self._listener.start()
        self._waiter.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):  # else it died while it wrote
                self._messages.put((self, json.loads(line)))

    def _wait(self) -> None:
        self.process.wait()
        self._listener.join(GRACE_SECONDS)  # a process that the cell has left behind may hold the pipe open
        self._messages.put((self, None))

    def send(self, job: dict[str, Any]) -> bool:
        """Write a line to the process; False if it is dead."""
        assert self.process.stdin is not None
        try:
            os.write(self.process.stdin.fileno(), json.dumps(job).encode() + b"\n")
        except BrokenPipeError:
            return False
        return True

    def kill(self) -> None:
        """End the process, and those that it has started, at once."""
        if not hasattr(os, "killpg"):
            self.process.kill()
        elif self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of the pipes of a process that has ended, or is about to."""
        self._waiter.join()
        assert self.process.stdin is not None
        self.process.stdin.close()
        if self.process.stdout is not None and not self._listener.is_alive():
            self.process.stdout.close()

    def cause_of_death(self) -> str:
        """How the process ended, in words."""
        if self.late:
            return self.late
        status = self.process.wait()
        if status < 0:
            name = signal.Signals(-status).name
            hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
            return f"its worker was ended by {name}{hint}"
        return f"its worker ended with exit code {status}"
