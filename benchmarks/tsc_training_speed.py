"""Training speed of FCN and ResNet beside sktime, tsai and aeon: samples per CPU second on one thread.

    QUIRE_DATA=/path/to/data python benchmarks/tsc_training_speed.py --environments DIR [--rounds 5]

Each library trains in a process and an environment of its own, which is made in DIR if it is not there (with uv, else
pip; set UV_FIND_LINKS for PyTorch's CPU wheel). All trainings go on at once and take turns: a round of epochs of ours, of
each peer, and again, in an order that shifts by one each round, so that a machine that gets slower slows all of them. The
first two epochs, which build graphs and buffers, don't count, nor does what lies between epochs in a peer's loop.

Data: the 50 training series of GunPoint, 150 values long; for batches of 16 and 64 repeated to 160 and 256 series, so that
every batch is full. Adam at a rate of 0.001, float32. "grouped" trains five seeds as one network, and its samples are those
of all five. Ratios are to the peer of the highest median, round by round.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tsc_peers.entrants import RESULTS, arguments, peers, series, write
from tsc_peers.processes import Contender, Failed

ARCHITECTURES = ("fcn", "resnet")
CASES = {5: 50, 16: 160, 64: 256}
EPOCHS = {5: 4, 16: 1, 64: 1}
"""A round of one network."""
OURS = {"quire": "ours", "quire_grouped": "grouped"}
SEEDS = 5


class Rates:
    """Samples per CPU second of every contender, round by round, in one cell of the table."""

    def __init__(self) -> None:
        self.rounds: dict[str, list[float]] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, str] = {}

    def median(self, name: str) -> float:
        return statistics.median(self.rounds[name])

    @property
    def best_peer(self) -> str | None:
        there = [name for name in self.rounds if name not in OURS]
        return max(there, key=self.median) if there else None

    def ratios(self, name: str) -> list[float]:
        """To the best peer, round by round."""
        if self.best_peer is None or name not in self.rounds:
            return []
        return [ours / theirs for ours, theirs in zip(self.rounds[name], self.rounds[self.best_peer], strict=True)]


def compare(contenders: dict[str, Contender], architecture: str, batch: int, rounds: int, data: Path) -> Rates:
    """One cell: every contender trains `rounds` rounds, in turns."""
    rates, at_start = Rates(), list(contenders)
    for name in at_start:
        epochs = 1 if name == "quire_grouped" else EPOCHS[batch]
        try:
            contenders[name].tell(
                {
                    "kind": "rounds",
                    "data": str(data),
                    "task": {"architecture": architecture, "batch": batch, "learning_rate": 1e-3, "seed": 0},
                    "watch": {"warm": 2, "epochs": epochs, "rounds": rounds},
                }
            )
            rates.facts[name] = contenders[name].answer()["ready"]
            rates.rounds[name] = []
        except Failed as failure:
            rates.failed[name] = str(failure)
    running = list(rates.rounds)
    for number in range(rounds):
        for name in (*running[number % len(running) :], *running[: number % len(running)]):
            if name in rates.failed:
                continue
            try:
                contenders[name].tell({})
                taken = contenders[name].answer()
            except Failed as failure:
                rates.failed[name] = str(failure)
                del rates.rounds[name]
                continue
            rates.rounds[name].append(taken["samples"] / taken["cpu"])
    for name in rates.rounds:
        contenders[name].answer()  # done
    return rates


def row(rates: Rates, architecture: str, batch: int) -> dict[str, Any]:
    return {
        "architecture": architecture,
        "batch": batch,
        "series": CASES[batch],
        "best_peer": rates.best_peer,
        "samples_per_cpu_second": {name: rates.median(name) for name in rates.rounds},
        "rounds": rates.rounds,
        "ratio_to_best_peer": {
            name: {"median": statistics.median(found), "lowest": min(found), "highest": max(found)}
            for name in OURS
            if (found := rates.ratios(name))
        },
        "facts": rates.facts,
        "failed": rates.failed,
    }


def line(measured: dict[str, Any], columns: list[str]) -> str:
    cells = [measured["architecture"], str(measured["batch"])]
    for name in columns:
        rate = measured["samples_per_cpu_second"].get(name)
        cells.append(f"{rate:.0f}" if rate is not None else "-")
    for name in (name for name in columns if name in OURS):
        ratio = measured["ratio_to_best_peer"].get(name)
        cells.append(f"{ratio['median']:.2f} ({ratio['lowest']:.2f}-{ratio['highest']:.2f})" if ratio else "-")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=ARCHITECTURES, help="one network")
    parser.add_argument("--batches", default="5,16,64", help="default: %(default)s")
    options = parser.parse_args()
    batches = [int(text) for text in options.batches.split(",")]
    pythons, missing = peers(options)
    everyone = {**dict.fromkeys(OURS, Path(sys.executable)), **pythons}
    columns = list(everyone)
    titles = [OURS.get(name, name) for name in columns] + [
        f"{OURS[name]} / best peer" for name in columns if name in OURS
    ]
    print(f"| network | batch | {' | '.join(titles)} |")
    print("|---" * (len(titles) + 2) + "|")
    x, y = series("GunPoint", "train")
    rows = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        contenders = {name: stack.enter_context(Contender(name, python)) for name, python in everyone.items()}
        for architecture in ARCHITECTURES:
            for batch in batches:
                if options.only not in (None, architecture):
                    continue
                chosen = np.arange(CASES[batch]) % len(x)
                data = folder / f"{batch}.npz"
                np.savez(data, x=x[chosen], y=y[chosen])
                rates = compare(contenders, architecture, batch, options.rounds, data)
                rows.append(row(rates, architecture, batch))
                print(line(rows[-1], columns), flush=True)
                for name, reason in rates.failed.items():
                    print(f"{OURS.get(name, name)}: {reason}", file=sys.stderr)
    write(options.out or RESULTS / "tsc_training_speed.json", rows, missing, rounds=options.rounds, seeds_grouped=SEEDS)


if __name__ == "__main__":
    main()
