"""A contender in a process of its own: does the tasks that come in as lines of JSON, and answers in such lines.

python worker.py LIBRARY STARTED        (STARTED: time.monotonic() at the start of the process)
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))


class Lines:
    """Standard input and output. What libraries print goes to standard error."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def send(self, message: dict[str, Any]) -> None:
        print(json.dumps(message), file=self._out, flush=True)

    def wait(self) -> None:
        if not sys.stdin.readline():
            raise SystemExit(1)


def main() -> None:
    lines = Lines()
    name, started = sys.argv[1], float(sys.argv[2])
    try:
        library = importlib.import_module(f"tsc_peers.with_{name}")
    except Exception as error:
        for _ in sys.stdin:
            lines.send({"error": f"can't be imported: {type(error).__name__}: {error}"})
        return
    for line in sys.stdin:
        try:
            lines.send(done(library, json.loads(line), lines, started))
        except Exception as error:
            lines.send({"error": f"{type(error).__name__}: {error}"})


def done(library: Any, wanted: dict[str, Any], lines: Lines, started: float) -> dict[str, Any]:
    """Train as `wanted` says; the last answer to a task."""
    import numpy as np

    from tsc_peers.task import Task
    from tsc_peers.watch import Enough, Race, Rounds

    facts = {"versions": {package: metadata.version(package) for package in library.VERSIONS}, "seeds": library.SEEDS}
    options = wanted["watch"]
    with np.load(wanted["data"]) as data:
        arrays = dict(data)
    watch: Rounds | Race
    if wanted["kind"] == "rounds":
        watch = Rounds(lines, **options, facts=facts)
        epochs = watch.total
    else:
        watch = Race(arrays["x_test"], arrays["y_test"], **options, started=started)
        epochs = options["max_epochs"]
    task = Task(x=arrays["x"], y=arrays["y"], epochs=epochs, **wanted["task"])
    with contextlib.suppress(Enough):
        library.fit(task, watch, facts)
    if isinstance(watch, Rounds):
        return {"done": True}
    return {
        **facts, "imported": watch.imported, "result": watch.result, "accuracies": watch.accuracies,
        "spent": time.process_time(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
