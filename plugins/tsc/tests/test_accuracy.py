"""Accuracy on the archives' own files, within a budget of seconds; benchmarks/tsc_accuracy.py measures all the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from quire.runtime import Runtime
from quire_tsc.config import TSCConfig
from quire_tsc.data import TimeSeriesDataset
from quire_tsc.model import TSC

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("data", "settings", "required"),
    [
        ("ItalyPowerDemand", {"architecture": "resnet", "n_epochs": 15}, 0.955),
        ("TwoLeadECG", {"architecture": "fcn", "n_epochs": 25}, 0.97),
        ("ItalyPowerDemand", {"architecture": "time_cnn"}, (95.5 - 3 * 0.4) / 100),  # published mean - 3 deviations
        ("ItalyPowerDemand", {"architecture": "twiesn", "recipe": "paper"}, (88.0 - 3 * 2.2) / 100),
        (
            "ItalyPowerDemand",
            {"architecture": "mcnn", "n_epochs": 20, "mcnn": {"pool_factors": (2,), "filter_sizes": (0.1,)}},
            0.7,
        ),
    ],
    ids=lambda value: value["architecture"] if isinstance(value, dict) else None,
)
def test_accuracy_on_the_test_split(data: str, settings: dict[str, Any], required: float, release: Path) -> None:
    train, test = (TimeSeriesDataset.open(release / "ucr_tsv" / data, split=split) for split in ("train", "test"))
    model = TSC(TSCConfig.parse(settings, owner="tsc"), runtime=Runtime(device="cpu", threads=1)).fit(train)
    correct = [label == test.target(index) for index, label in enumerate(model.predict(list(test)))]
    assert np.mean(correct) >= required


def test_recalibration_repairs_the_statistics_of_a_short_training(release: Path) -> None:
    train, test = (
        TimeSeriesDataset.open(release / "ucr_tsv" / "TwoLeadECG", split=split) for split in ("train", "test")
    )
    accuracies = {}
    for recalibrate in (False, True):
        config = TSCConfig(architecture="fcn", n_epochs=10, recalibrate_bn=recalibrate)
        predicted = TSC(config, runtime=Runtime(device="cpu", threads=1)).fit(train).predict(list(test))
        accuracies[recalibrate] = np.mean([label == test.target(index) for index, label in enumerate(predicted)])
    assert accuracies[True] > 0.95
    assert accuracies[False] < 0.7  # running averages of momentum 0.99 lag behind the weights
