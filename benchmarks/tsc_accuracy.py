"""Test accuracy of every architecture of quire-tsc on public data sets, on one CPU thread, beside the published figures.

    QUIRE_DATA=/path/to/data python benchmarks/tsc_accuracy.py [--only fcn] [--seed 0]

QUIRE_DATA/tsc holds the archives' folders ucr_tsv/ and ts/. Prints a markdown table and writes it with the versions and
the machine to benchmarks/results/tsc_accuracy.json. What is required comes from prototype runs of the same budget or,
where the table says "3 std", from the published mean and standard deviation over ten runs. The exit status is 1 if a row
misses its requirement.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quire.runtime import Runtime
from quire.storage import write_json
from quire_tsc import TSC, TimeSeriesDataset, TSCConfig

RESULTS = Path(__file__).parent / "results" / "tsc_accuracy.json"
SMALL_GRID = {"pool_factors": (2,), "filter_sizes": (0.1,)}
MINIROCKET = "aeon 1.6: "


@dataclass(frozen=True)
class Row:
    """One training, or the mean of `seeds` trainings; `reference` is published: mean accuracy (deviation), in %."""

    data: str
    architecture: str
    budget: str
    required: float | None
    settings: dict[str, Any] = field(default_factory=dict)
    reference: str = ""
    seeds: int = 1

    def path(self, root: Path) -> Path:
        folder = {"BasicMotions": "ts", "JapaneseVowels": "ts", "ERing": "arff"}.get(self.data, "ucr_tsv")
        return root / "tsc" / folder / self.data


def within(mean: float, std: float) -> float:
    """Three standard deviations below the published mean, both in %."""
    return (mean - 3 * std) / 100


def full(data: str, architecture: str, mean: float, std: float) -> Row:
    settings = {"recipe": "paper"}
    return Row(data, architecture, "full recipe", within(mean, std), settings, f"{mean}({std}), 3 std")


def fast(data: str, architecture: str, mean: float, std: float) -> Row:
    """The default recipe."""
    return Row(data, architecture, "fast recipe", within(mean, std), {}, f"{mean}({std}), 3 std")


def epochs(
    data: str, architecture: str, number: int, required: float, reference: str = "", *, seeds: int = 1, **settings: Any
) -> Row:
    """The fast recipe, ended after a number of epochs."""
    budget = [f"{number} epochs"]
    if settings.get("recalibrate_bn") is False:
        budget.append("running statistics")
    if settings.get("aggregate"):
        budget.append("mean of probabilities")
    if seeds > 1:
        budget.append(f"mean of {seeds} seeds")
    return Row(
        data, architecture, ", ".join(budget), required, {"n_epochs": number, **settings}, reference, seeds=seeds
    )


ROWS = (
    epochs("TwoLeadECG", "fcn", 25, 0.97, "100(0)"),
    epochs("TwoLeadECG", "fcn", 100, 0.98, "100(0)", recalibrate_bn=False),
    epochs("ItalyPowerDemand", "fcn", 100, 0.95, "96.1(0.3)"),
    epochs("ItalyPowerDemand", "resnet", 15, 0.955, "96.3(0.4)"),
    epochs("CBF", "fcn", 25, 0.97, "99.4(0.1)"),
    epochs("GunPoint", "fcn", 50, 0.94, "100(0)"),
    epochs("GunPoint", "fcn", 100, 0.96, "100(0)"),
    epochs("GunPoint", "fcn", 100, 0.96, "100(0)", seeds=4, recalibrate_bn=False),
    epochs("Chinatown", "fcn", 200, 0.965, "98.0(0)"),
    epochs("SyntheticControl", "fcn", 30, 0.95, "98.5(0.3)"),
    epochs("Coffee", "fcn", 100, 0.96, "100(0)"),
    epochs("ECG200", "fcn", 100, within(88.9, 1.0), "88.9(1.0), 3 std"),
    epochs("ItalyPowerDemand", "encoder", 40, 0.95, "96.5(0.5)"),
    epochs("TwoLeadECG", "encoder", 80, 0.80, "86.3(2.6)"),
    epochs("ItalyPowerDemand", "tlenet", 40, 0.80, "invalid"),
    epochs("ItalyPowerDemand", "tlenet", 40, 0.80, "invalid", aggregate="mean_proba"),
    epochs("GunPoint", "tlenet", 20, 0.65, "invalid"),
    epochs("GunPoint", "tlenet", 20, 0.65, "invalid", aggregate="mean_proba"),
    fast("ItalyPowerDemand", "mlp", 95.4, 0.2),
    fast("ItalyPowerDemand", "mcdcnn", 95.5, 1.9),
    fast("ItalyPowerDemand", "time_cnn", 95.5, 0.4),
    full("ItalyPowerDemand", "time_cnn", 95.5, 0.4),
    full("ItalyPowerDemand", "twiesn", 88.0, 2.2),
    fast("ItalyPowerDemand", "inception", 96.4, 0.6),
    Row("ItalyPowerDemand", "mcnn", "fast recipe, grid of one", 0.7, {"mcnn": SMALL_GRID}, "near chance"),
    epochs("BasicMotions", "fcn", 50, 0.9),
    epochs("ERing", "fcn", 50, 0.8),
    epochs("JapaneseVowels", "fcn", 30, 0.95, "99.3(0.2)"),
    Row("GunPoint", "minirocket", "", 0.98, {}, MINIROCKET + "99.3"),
    Row("ItalyPowerDemand", "minirocket", "", 0.955, {}, MINIROCKET + "96.3"),
    Row("TwoLeadECG", "minirocket", "", 0.99, {}, MINIROCKET + "99.8"),
    Row("CBF", "minirocket", "", 0.99, {}, MINIROCKET + "99.9"),
    Row("Trace", "minirocket", "", 0.98, {}, MINIROCKET + "100"),
)


def measure(row: Row, root: Path, seed: int) -> dict[str, Any]:
    train, test = (TimeSeriesDataset.open(row.path(root), split=split) for split in ("train", "test"))
    runs = [train_once(row, train, test, number) for number in range(seed, seed + row.seeds)]
    accuracies, training, prediction = (list(column) for column in zip(*runs, strict=True))
    return {
        "data": row.data,
        "model": row.architecture,
        "budget": row.budget,
        "accuracy": float(np.mean(accuracies)),
        "accuracies": accuracies,
        "required": row.required,
        "reference": row.reference,
        "settings": row.settings,
        "train_cpu_seconds": float(np.mean(training)),
        "predict_cpu_seconds": float(np.mean(prediction)),
    }


def train_once(row: Row, train: TimeSeriesDataset, test: TimeSeriesDataset, seed: int) -> tuple[float, float, float]:
    """Test accuracy, CPU seconds of training, CPU seconds of prediction."""
    config = TSCConfig.parse({"architecture": row.architecture, **row.settings}, owner="tsc")
    started = time.process_time()
    model = TSC(config, runtime=Runtime(device="cpu", threads=1, seed=seed)).fit(train)
    trained = time.process_time()
    predicted = model.predict(list(test))
    ended = time.process_time()
    accuracy = float(np.mean([label == test.target(index) for index, label in enumerate(predicted)]))
    return accuracy, trained - started, ended - trained


def line(result: dict[str, Any]) -> str:
    required = result["required"]
    missed = " **missed**" if required is not None and result["accuracy"] < required else ""
    cells = [
        result["data"],
        result["model"],
        result["budget"],
        f"{100 * result['accuracy']:.1f}{missed}",
        f"{100 * required:.1f}" if required is not None else "",
        f"{result['train_cpu_seconds']:.1f}",
        result["reference"],
    ]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="one architecture; nothing is written then")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| data | model | budget | accuracy % | required % | CPU s | published mean % (std) |")
    print("|---|---|---|---|---|---|---|")
    results = []
    for row in ROWS:
        if options.only in (None, row.architecture):
            results.append(measure(row, Path(os.environ["QUIRE_DATA"]), options.seed))
            print(line(results[-1]), flush=True)
    if options.only is None:
        write_json(
            RESULTS,
            {
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "device": f"CPU ({torch.backends.cpu.get_cpu_capability()}), one thread",
                "seed": options.seed,
                "versions": {
                    "python": platform.python_version(),
                    **{name: metadata.version(name) for name in ("torch", "numpy", "scikit-learn", "scipy")},
                },
                "rows": results,
            },
        )
    missed = [r for r in results if r["required"] is not None and r["accuracy"] < r["required"]]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
