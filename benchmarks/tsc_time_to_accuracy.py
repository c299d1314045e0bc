"""Time from the start of a process until an FCN is right on 97 % of the test set, beside sktime, tsai and aeon.

    QUIRE_DATA=/path/to/data python benchmarks/tsc_time_to_accuracy.py --environments DIR [--seeds 3]

One thread, TwoLeadECG and CBF. Reached is the first epoch after which accuracy is at least 97 % and still is after the next
one. Every library predicts after each epoch as it would if training had ended there: ours by the weights of the lowest
training loss with recalibrated batch norm, aeon by the weights of the lowest training loss, sktime and tsai by the last
ones. Predicting stops the clock for all; what ours would spend on recalibration is added to its time.

"CPU s" and "wall s" run from the start of the process and hold the imports (from compiled files), the first step's graphs
and buffers and, for aeon, its checkpoints; "training CPU s" is the number of epochs times the median epoch, and ours'
recalibration: what is left when a process trains many networks. Peers take part twice, with the review's batch (a tenth of
the set) and rate of 0.001 as ours, and with their own defaults. The best peer is the one with the lowest median; the
libraries take turns, seed by seed.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tsc_peers.entrants import RESULTS, arguments, peers, series, write
from tsc_peers.processes import Contender, Failed

DATA = ("TwoLeadECG", "CBF")
TARGET = 0.97
MEASURES = {"cpu": "CPU s", "wall": "wall s", "training_cpu": "training CPU s", "epochs": "epochs"}


def entered(pythons: dict[str, Path]) -> dict[str, tuple[str, Path, bool]]:
    """Title -> library, its Python, and whether it trains with its own defaults."""
    found = {"ours": ("quire", Path(sys.executable), False)}
    for name, python in pythons.items():
        found[name] = (name, python, False)
        found[f"{name}, its defaults"] = (name, python, True)
    return found


def run(library: str, python: Path, data: Path, *, task: dict[str, Any], max_epochs: int) -> dict[str, Any]:
    """What a fresh process answers."""
    with Contender(library, python) as contender:
        watch = {"target": TARGET, "max_epochs": max_epochs}
        contender.tell({"kind": "race", "data": str(data), "task": task, "watch": watch})
        return contender.answer()


def summary(runs: list[dict[str, Any]]) -> dict[str, float] | None:
    """Medians over the seeds; None unless all of them reached the target."""
    results = [one["result"] for one in runs]
    if not results or any(result is None for result in results):
        return None
    return {measure: statistics.median(result[measure] for result in results) for measure in MEASURES}


def lines(title: str, row: dict[str, Any], ours: dict[str, float] | None) -> str:
    cells = [row["data"], title]
    found = row["median"]
    for measure in MEASURES:
        if found is None:
            cells.append("not reached" if not row["failed"] else "failed")
            continue
        values = [one["result"][measure] for one in row["runs"]]
        spread = f" ({min(values):.3g}-{max(values):.3g})" if len(values) > 1 else ""
        cells.append(f"{found[measure]:.3g}{spread}")
    for measure in ("cpu", "training_cpu"):
        cells.append(f"{ours[measure] / found[measure]:.2f}" if ours and found else "-")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-epochs", type=int, default=200)
    options = parser.parse_args()
    pythons, missing = peers(options)
    contenders = entered(pythons)
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {(data, title): [] for data in DATA for title in contenders}
    failed: dict[tuple[str, str], str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in DATA:
            (x, y), (x_test, y_test) = series(name, "train"), series(name, "test")
            data = Path(folder) / f"{name}.npz"
            np.savez(data, x=x, y=y, x_test=x_test, y_test=y_test)
            review = max(1, min(len(x) // 10, 16))
            for seed in range(options.seeds):
                for title, (library, python, own) in contenders.items():
                    task = {
                        "architecture": "fcn", "seed": seed,
                        "batch": None if own else review, "learning_rate": None if own else 1e-3,
                    }  # fmt: skip
                    try:
                        answer = run(library, python, data, task=task, max_epochs=options.max_epochs)
                    except Failed as failure:
                        failed[name, title] = str(failure)
                        print(f"{title}, {name}: {failure}", file=sys.stderr)
                        continue
                    runs[name, title].append(answer)
                    print(f"{name} seed {seed} {title}: {answer['result']}", file=sys.stderr, flush=True)
    rows = [
        {"data": name, "contender": title, "median": summary(found), "failed": failed.get((name, title)), "runs": found}
        for (name, title), found in runs.items()
    ]
    report(rows)
    write(
        options.out or RESULTS / "tsc_time_to_accuracy.json", rows, missing,
        target=TARGET, seeds=options.seeds, max_epochs=options.max_epochs,
    )  # fmt: skip


def report(rows: list[dict[str, Any]]) -> None:
    """The table, and how ours stands to the best peer."""
    print(f"| data | library | {' | '.join(MEASURES.values())} | ours / its CPU | ours / its training |")
    print("|---" * (len(MEASURES) + 4) + "|")
    for name in DATA:
        here = {row["contender"]: row for row in rows if row["data"] == name}
        ours = here["ours"]["median"]
        for title, row in here.items():
            print(lines(title, row, ours))
        theirs = [row["median"] for title, row in here.items() if title != "ours" and row["median"]]
        if ours and theirs:
            ratios = {measure: ours[measure] / min(one[measure] for one in theirs) for measure in MEASURES}
            text = ", ".join(f"{MEASURES[measure]} {ratio:.2f}" for measure, ratio in ratios.items())
            print(f"{name}: ours / best peer: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
