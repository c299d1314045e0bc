"""How a signal ends a training: after the step, with a checkpoint."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class Interrupt:
    """Whether Ctrl-C or SIGTERM came; a second one ends the process at once."""

    def __init__(self) -> None:
        self.came = False

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Catch the signals inside; does nothing outside the main thread, where Python delivers none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def interrupt(signum: int, frame: FrameType | None) -> None:
            if self.came:
                raise KeyboardInterrupt
            self.came = True

        previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
