"""How many threads a search takes, and keeping the matrix library from taking more."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEFAULT = 4


def thread_count(threads: int | None) -> int:
    """`threads`, else OMP_NUM_THREADS, else four or as many cores as there are."""
    if threads is not None:
        return max(1, threads)
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdigit() and int(chosen):
        return int(chosen)
    import psutil

    return max(1, min(_DEFAULT, psutil.cpu_count(logical=False) or 1))


class _OneBlasThread:
    """Keeps matrix products on one thread while anyone needs it.

    The limit belongs to the process: the first to come sets it and the last to go takes it back, as two searches that
    each restored what they found could leave it behind.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._controller: Any = None
        self._limit: Any = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

        with self._lock:
            if self._controller is None:
                self._controller = ThreadpoolController()
            if not self._users:
                self._limit = self._controller.limit(limits=1, user_api="blas")
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._limit.restore_original_limits()


one_blas_thread = _OneBlasThread()
