from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from quire.classification import ClassificationEvaluator
from quire.dataset import InMemory, Subset
from quire.errors import ConfigError, DataError, InvalidSample, QuireError, RunError
from quire.runtime import Runtime
from quire.task import SERIES_CLASSIFICATION
from quire_tsc import twiesn
from quire_tsc.config import TSCConfig
from quire_tsc.model import TSC
from quire_tsc.networks import TLeNet

if TYPE_CHECKING:
    from pathlib import Path

    import torch

Fit = Callable[..., TSC]
Ramps = Callable[..., InMemory]
Trained = Callable[[str], TSC]
CPU = Runtime(device="cpu", threads=1)
ANY_LENGTH = ["fcn", "resnet", "inception", "inception_time", "mlp", "twiesn"]
MINIMUM = {"time_cnn": 9, "mcdcnn": 4, "encoder": 4, "tlenet": 8, "minirocket": 9}


def words(error: pytest.ExceptionInfo[QuireError]) -> str:
    return str(error.value)


@pytest.mark.parametrize("architecture", ["fcn", "twiesn", "minirocket"])
def test_one_class_only(architecture: str, fit: Fit, ramps: Ramps) -> None:
    with pytest.raises(DataError, match="all samples of ramps are of the class 'up'"):
        fit(ramps(6, labels=("up",)), architecture)


def test_no_series(fit: Fit, ramps: Ramps) -> None:
    for architecture in ("fcn", "twiesn"):
        with pytest.raises(DataError, match="ramps has no samples to train on"):
            fit(Subset(ramps(4), []), architecture)


def test_a_class_with_one_case_and_selection_by_validation(fit: Fit, ramps: Ramps) -> None:
    train = Subset(ramps(12), [0, 1, 2, 4, 6])
    with pytest.raises(DataError, match="class 'up' has one case") as error:
        fit(train, "mlp", select="val_loss")
    assert "select=train_loss" in words(error)
    assert "--validation" in words(error)


@pytest.mark.parametrize(("architecture", "recipe"), [("mcdcnn", "paper"), ("mcnn", "fast")])
def test_a_recipe_that_selects_by_validation_falls_back_where_a_class_has_one_case(
    architecture: str, recipe: str, fit: Fit, ramps: Ramps
) -> None:
    train = Subset(ramps(12), [0, 1, 2, 4, 6])
    assert fit(train, architecture, recipe=recipe, n_epochs=1).labels == ("down", "up")


def test_early_stopping_without_a_loss_to_wait_for(fit: Fit, ramps: Ramps) -> None:
    with pytest.raises(ConfigError, match="early_stopping_patience waits for a better loss"):
        fit(ramps(), "mlp", select="last", early_stopping_patience=2)


@pytest.mark.parametrize("architecture", ["fcn", "resnet", "mlp", "inception", "twiesn", "minirocket"])
@pytest.mark.parametrize("cases", [2, 3, 9])
def test_fewer_than_ten_cases(architecture: str, cases: int, fit: Fit, ramps: Ramps) -> None:
    train = ramps(cases)
    assert fit(train, architecture).predict_proba(list(train)).shape == (cases, 2)


@pytest.mark.parametrize("architecture", ["mcnn", "tlenet", "mcdcnn", "time_cnn", "encoder"])
def test_three_cases(architecture: str, fit: Fit, ramps: Ramps) -> None:
    assert fit(ramps(3), architecture, n_epochs=1).predict_proba(list(ramps(3))).shape == (3, 2)


@pytest.mark.parametrize("architecture", ["fcn", "mlp", "tlenet", "twiesn", "minirocket"])
def test_constant_series(architecture: str, fit: Fit, ramps: Ramps) -> None:
    samples = list(ramps(6)) + [{"series": np.full((1, 24), 7.3, np.float32), "target": "flat"} for _ in range(4)]
    for number, sample in enumerate(samples):
        sample["id"] = str(number)
    train = InMemory(samples, task=SERIES_CLASSIFICATION)
    probabilities = fit(train, architecture, n_epochs=2).predict_proba(samples)
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities[6:], probabilities[6:7].repeat(4, axis=0), atol=1e-6)


@pytest.mark.parametrize("architecture", [*MINIMUM, "mcnn"])
def test_series_that_are_too_short(architecture: str, fit: Fit, ramps: Ramps) -> None:
    shortest = MINIMUM.get(architecture, 3)  # mcnn: the slice of 70 % has at least the two values that are pooled
    grid = {"mcnn": {"pool_factors": (2,), "filter_sizes": (0.1,)}} if architecture == "mcnn" else {}
    fit(ramps(4, length=shortest), architecture, **grid)
    with pytest.raises(DataError, match="needs at least") as error:
        fit(ramps(4, length=shortest - 1), architecture, **grid)
    assert "fcn" in words(error)
    assert architecture == "mcnn" or f"at least {shortest} time steps, and gets {shortest - 1}" in words(error)


@pytest.mark.parametrize("architecture", ANY_LENGTH)
@pytest.mark.parametrize("length", [1, 2])
def test_the_shortest_series(architecture: str, length: int, fit: Fit, ramps: Ramps) -> None:
    train = ramps(4, length=length)
    assert np.isfinite(fit(train, architecture, normalize=None).predict_proba(list(train))).all()


def test_a_class_that_training_did_not_see(ramps: Ramps, trained: Trained) -> None:
    model, test = trained("fcn"), ramps(9, labels=("down", "flat", "up"), seed=1)
    with pytest.raises(DataError, match="classes that the model was not trained on: flat") as error:
        ClassificationEvaluator().evaluate(model, test)
    assert "allow_unseen" in words(error)
    report = ClassificationEvaluator(allow_unseen=True).evaluate(model, test)
    assert report["accuracy"] == pytest.approx(6 / 9)


def test_a_validation_split_with_another_class(ramps: Ramps) -> None:
    model = TSC(TSCConfig(n_epochs=1), runtime=CPU)
    with pytest.raises(DataError, match="the validation split has classes that training does not: flat"):
        model.fit(ramps(), ramps(6, labels=("down", "flat")))


def test_channels_that_differ_within_the_training_set(fit: Fit, ramps: Ramps) -> None:
    samples = [*ramps(4), *ramps(2, channels=3)]
    train = InMemory([{**sample, "id": str(i)} for i, sample in enumerate(samples)], task=SERIES_CLASSIFICATION)
    with pytest.raises(InvalidSample, match="the series has 3 channels, but the first training series 1") as error:
        fit(train, "fcn")
    assert error.value.where is not None
    assert error.value.where.sample == "4"


def test_missing_values_that_may_not_be(fit: Fit, ramps: Ramps, trained: Trained) -> None:
    samples = list(ramps(4))
    samples[2]["series"][0, 3] = np.nan
    with pytest.raises(InvalidSample, match="time step 4 of channel 1 is missing"):
        fit(InMemory(samples, task=SERIES_CLASSIFICATION), "fcn", missing="error")
    samples[2]["series"][0] = np.nan
    with pytest.raises(InvalidSample, match="channel 1 has no value but NaN") as error:
        trained("fcn").predict(samples)
    assert error.value.where is not None
    assert error.value.where.sample == "2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class": "quire_other.model:Other"}, "the saved model is a quire_other.model:Other"),
        ({"format": 99}, "format 99"),
        ({"config": {"architecture": "fcn", "novelty": 1}}, "novelty"),
    ],
)
def test_a_folder_of_another_model_or_version(
    change: dict[str, object], message: str, tmp_path: Path, trained: Trained
) -> None:
    folder = trained("fcn").save(tmp_path / "model")
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(described | change))
    with pytest.raises(QuireError, match=message):
        TSC.load(folder)


def test_preprocessing_of_another_version(tmp_path: Path, fit: Fit, ramps: Ramps) -> None:
    model = fit(ramps(), "mlp", n_epochs=1)
    model.facts["preprocessing"]["novelty"] = 1
    with pytest.raises(RunError, match="novelty"):
        TSC.load(model.save(tmp_path / "model"))


def test_slices_are_cut_when_they_are_needed(
    monkeypatch: pytest.MonkeyPatch, fit: Fit, ramps: Ramps, trained: Trained
) -> None:
    whole = trained("tlenet").predict_proba(list(ramps(20, seed=1)))
    sizes: list[int] = []
    embed = TLeNet.embed

    def spy(network: TLeNet, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        sizes.append(x.shape[0] * x.shape[2])
        return embed(network, x, mask)

    monkeypatch.setattr(TLeNet, "embed", spy)
    monkeypatch.setattr("quire_tsc.answers.TIME_STEPS_AT_ONCE", 8 * 30)
    np.testing.assert_allclose(trained("tlenet").predict_proba(list(ramps(20, seed=1))), whole, atol=1e-6)
    assert sum(sizes) == 20 * 8 * (48 - 7 + 24 - 7 + 12 - 7)  # every slice of 8 of the three warped copies
    assert max(sizes) == 8 * 30
    sizes.clear()
    fit(ramps(6), "tlenet", n_epochs=1, batch_size=32)
    assert max(sizes) == 8 * 32


@pytest.mark.parametrize("cases", [1, 3])
def test_reservoir_states_are_held_in_parts(cases: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    reservoir = twiesn.draw_reservoir(twiesn.Candidate(10, 0.5, 1.0, 0.0, 0.9), 2, rng)
    x, targets = rng.normal(size=(cases, 2, 1000)), np.eye(cases)
    bytes_of_a_step = 8 * (10 + 2)
    monkeypatch.setattr(twiesn, "CHUNK_BYTES", 50 * bytes_of_a_step)
    parts = list(twiesn._feature_parts(reservoir, x, targets))
    assert max(features.nbytes for features, _ in parts) <= 50 * bytes_of_a_step
    features = np.concatenate([part for part, _ in parts])
    expected = [
        np.hstack(pair) for case in x for pair in zip(case.T[:, None], reservoir.states(case[None]), strict=True)
    ]
    np.testing.assert_allclose(features, np.concatenate(expected), atol=1e-12)
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), targets.repeat(1000, axis=0))
