"""The Ray engine: the same cells as tasks on a cluster; the driver alone keeps their outcomes."""

from __future__ import annotations

import signal
import socket
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from quire.errors import RunError, require
from quire.study.cells import Cell, Outcome
from quire.study.driver import ONE_THREAD
from quire.study.together import failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quire.study.together import Bundle

RETRIES = 3  # times that a cell is begun again after its worker or its node was lost
CONNECT_SECONDS = 10


class RayEngine:
    """Runs cells as Ray tasks of one CPU each and, where the cluster has GPUs and `device` is not "cpu", 1 / per_gpu GPU.

    address: of an existing cluster ("auto": the one of this machine); None starts one here. workers: cells at once; None
    is as many as the cluster has room for, which may grow while the study runs. Its nodes see the same plugins and, under
    the same paths, the same data. timeout: seconds after which a cell is given up, for each cell of a bundle.
    """

    def __init__(
        self,
        *,
        address: str | None = None,
        workers: int | None = None,
        device: str = "auto",
        per_gpu: int = 4,
        evaluators: Sequence[str] = (),
        timeout: float | None = None,
    ) -> None:
        self._ray: Any = require("ray", extra="ray", purpose="--engine ray")
        self._address = address
        self._workers = workers
        self._device = device
        self._per_gpu = per_gpu
        self._evaluators = tuple(evaluators)
        self._timeout = timeout
        self._running: dict[Any, Bundle] = {}

    def __enter__(self) -> Self:
        self._owned = not self._ray.is_initialized()
        if self._owned:
            try:
                _probe(self._address)
                self._ray.init(
                    address=self._address, log_to_driver=False, logging_level="ERROR", include_dashboard=False
                )
            except (OSError, ValueError) as error:
                raise RunError(
                    f"there is no Ray cluster at {self._address} ({error})",
                    remedy="Start one with: ray start --head, or leave out --address.",
                ) from None
        if self._device == "auto" and not self._ray.cluster_resources().get("GPU"):
            self._device = "cpu"
        share = 0.0 if self._device == "cpu" else 1 / self._per_gpu
        self._task = self._ray.remote(
            num_cpus=1, num_gpus=share, max_retries=RETRIES, runtime_env={"env_vars": ONE_THREAD}
        )(_run)
        return self

    def __exit__(self, *error: object) -> None:
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        if self._owned:
            self._ray.shutdown()

    @property
    def slots(self) -> int:
        """Twice what runs at once, so that no node waits for the driver and new nodes find work."""
        if self._workers is not None:
            return self._workers
        return max(1, 2 * int(self._ray.cluster_resources().get("CPU", 1)))

    def submit(self, bundle: Bundle) -> None:
        """Queue a task."""
        cells = [cell.to_json() for cell in bundle]
        self._running[self._task.remote(cells, self._evaluators, self._device, self._timeout)] = bundle

    def wait(self, timeout: float | None) -> list[tuple[Bundle, Sequence[Outcome]]]:
        """The tasks that are finished; Ray begins those again whose worker or node was lost."""
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout)
        return [(bundle := self._running.pop(each), self._outcomes(each, bundle)) for each in ready]

    def _outcomes(self, reference: Any, bundle: Bundle) -> Sequence[Outcome]:
        try:
            return [Outcome(**outcome) for outcome in self._ray.get(reference)]
        except self._ray.exceptions.RayError as error:
            return failure(bundle, f"Ray lost it {RETRIES + 1} times: {_first_line(error)}")


def _run(
    cells: list[dict[str, Any]], evaluators: Sequence[str], device: str, timeout: float | None
) -> list[dict[str, Any]]:
    """A bundle, in a Ray worker."""
    from quire.study.execute import run_cells

    bundle = tuple(Cell.from_json(cell) for cell in cells)
    try:
        with _alarm(timeout * len(bundle) if timeout is not None else None):
            outcomes = run_cells(bundle, evaluators=evaluators, device=device)
    except _Late:
        outcomes = failure(bundle, f"it was stopped after {timeout:g} seconds (--timeout)")
    return [asdict(outcome) for outcome in outcomes]


class _Late(BaseException):
    """The time of a cell is over; no error of the cell's own, so `run_cell` lets it pass."""


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    """Raise _Late in the block after `seconds`."""

    def ring(number: int, frame: object) -> None:
        raise _Late

    if seconds is None:
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _probe(address: str | None) -> None:
    """OSError where nothing listens at "host:port", which Ray itself would try for many minutes."""
    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdigit() and "://" not in host:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
