"""What the tests of quire-tsc share: the real releases, found through QUIRE_DATA, and tiny synthetic sets."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from quire.dataset import InMemory
from quire.runtime import Runtime
from quire.task import SERIES_CLASSIFICATION
from quire_tsc.config import TSCConfig
from quire_tsc.model import TSC
from quire_tsc.twiesn import Candidate

if TYPE_CHECKING:
    from collections.abc import Callable

    from quire.dataset import Dataset
    from quire.run import Run

QUICK: dict[str, dict[str, Any]] = {
    "mlp": {"n_epochs": 10},
    "fcn": {"n_epochs": 6},
    "resnet": {"n_epochs": 4},
    "encoder": {"n_epochs": 4, "learning_rate": 1e-3},
    "mcnn": {"n_epochs": 6, "mcnn": {"pool_factors": (2, 3), "filter_sizes": (0.1,)}},
    "tlenet": {"n_epochs": 4},
    "mcdcnn": {"n_epochs": 10},
    "time_cnn": {"n_epochs": 40, "learning_rate": 0.05},
    "twiesn": {},
    "inception": {"n_epochs": 4, "batch_size": 4, "inception": {"filters": 4, "depth": 3}},
    "inception_time": {"n_epochs": 4, "batch_size": 4, "inception": {"filters": 4, "depth": 3, "n_ensemble": 2}},
    "minirocket": {"minirocket": {"features": 168}},
}
"""Settings with which each architecture learns `ramps` in a second or two."""


@pytest.fixture(scope="session")
def release() -> Path:
    """The folder of the archives' real files: ucr_tsv/, ts/, arff/."""
    root = os.environ.get("QUIRE_DATA")
    if not root:
        pytest.skip("QUIRE_DATA is not set: the archives' real files are not at hand")
    return Path(root) / "tsc"


def make_ramps(
    cases: int = 12,
    *,
    channels: int = 1,
    length: int = 24,
    labels: tuple[str, ...] = ("down", "up"),
    lengths: tuple[int, ...] = (),
    seed: int = 0,
) -> InMemory:
    """Noisy ramps; the class, in turn, is the slope, from falling to rising. lengths: in turn, instead of `length`."""
    rng = np.random.default_rng(seed)
    slopes = np.linspace(-1, 1, len(labels))
    samples = []
    for case in range(cases):
        steps = lengths[case % len(lengths)] if lengths else length
        series = slopes[case % len(labels)] * np.linspace(-2, 2, steps) + 0.2 * rng.normal(size=(channels, steps))
        samples.append({"series": series.astype(np.float32), "target": labels[case % len(labels)]})
    return InMemory(samples, task=SERIES_CLASSIFICATION, name="ramps")


@pytest.fixture(scope="session")
def ramps() -> Callable[..., InMemory]:
    """Makes tiny data sets."""
    return make_ramps


@pytest.fixture(scope="session")
def fit() -> Callable[..., TSC]:
    """Trains an architecture with its quick settings and those given."""

    def train(data: Dataset, architecture: str, *, run: Run | None = None, seed: int = 0, **settings: Any) -> TSC:
        config = TSCConfig.parse({**QUICK[architecture], "architecture": architecture, **settings}, owner="tsc")
        small = (Candidate(20, 0.5, 1.0, 0.0, 0.9), Candidate(20, 0.5, 1.0, 0.05, 0.55))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("quire_tsc.twiesn.paper_candidates", lambda cases: small)
            return TSC(config, runtime=Runtime(device="cpu", threads=1, seed=seed)).fit(data, run=run)

    return train


@pytest.fixture(scope="session")
def trained(fit: Callable[..., TSC]) -> Callable[[str], TSC]:
    """Gives a model of `ramps()` by its architecture; not to be changed."""
    return functools.cache(lambda architecture: fit(make_ramps(), architecture))
