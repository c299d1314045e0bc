"""A worker process: reads bundles of cells from its input, one JSON line each, and writes a line of outcomes for each."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from dataclasses import asdict
from queue import SimpleQueue
from typing import Any


def main() -> None:
    """Serve until the input ends, which it also does when the driver dies: then stop at once, whatever is running."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the driver to end the workers
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a plugin prints must not get between the answers
    logging.basicConfig(level=logging.WARNING)
    jobs: SimpleQueue[dict[str, Any]] = SimpleQueue()
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()

    from quire.study.cells import Cell
    from quire.study.execute import run_cells

    _answer(answers, {"ready": os.getpid()})
    while True:
        job = jobs.get()
        cells = [Cell.from_json(cell) for cell in job["cells"]]
        outcomes = run_cells(cells, evaluators=job["evaluators"], device=job["device"])
        _answer(answers, {"outcomes": [asdict(outcome) for outcome in outcomes]})


def _read(jobs: SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)


def _answer(answers: Any, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
