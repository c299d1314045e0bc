from __future__ import annotations

import signal
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quire.dataset import Dataset, InMemory, Subset, stratified_split
from quire.errors import ConfigError, DataError, InvalidSample, RunError
from quire.hooks import hookimpl
from quire.run import Run, RunInfo
from quire.runtime import Runtime
from quire.training import read_metrics
from quire_tsc.config import Architecture, TSCConfig
from quire_tsc.construction import Members
from quire_tsc.model import TSC

if TYPE_CHECKING:
    from pathlib import Path

Fit = Callable[..., TSC]
Ramps = Callable[..., InMemory]
Trained = Callable[[str], TSC]
ARCHITECTURES = get_args(Architecture)
POOLED = ("fcn", "resnet", "inception", "inception_time")
CPU = Runtime(device="cpu", threads=1)


def new_run(folder: Path) -> Run:
    folder.mkdir()
    return Run(folder, RunInfo(model="tsc", distribution="quire-tsc", created="", updated=""))


def weights(model: TSC) -> dict[str, torch.Tensor]:
    return model.network.state_dict()


def assert_equal_weights(one: TSC, other: TSC) -> None:
    assert weights(one).keys() == weights(other).keys()
    assert all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_learns_and_predicts(architecture: str, ramps: Ramps, trained: Trained) -> None:
    model, test = trained(architecture), list(ramps(20, seed=1))
    probabilities = model.predict_proba(test)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (20, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert model.predict(test) == [sample["target"] for sample in test]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_model_gives_the_same_probabilities(
    architecture: str, tmp_path: Path, ramps: Ramps, trained: Trained
) -> None:
    model, test = trained(architecture), list(ramps(5, seed=1))
    loaded = TSC.load(model.save(tmp_path / "model"), runtime=CPU)
    assert loaded.labels == model.labels
    assert loaded.config == model.config
    np.testing.assert_array_equal(loaded.predict_proba(test), model.predict_proba(test))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_answer_for_a_series_does_not_depend_on_the_others(
    architecture: str, ramps: Ramps, trained: Trained
) -> None:
    model, test = trained(architecture), list(ramps(6, seed=1))
    together = model.predict_proba(test)
    alone = np.concatenate([model.predict_proba([sample]) for sample in reversed(test)])[::-1]
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "order"), [(("10", "2", "-1"), ("-1", "2", "10")), (("b", "B", "a"), ("B", "a", "b"))]
)
def test_labels_are_text_and_integers_stand_in_numeric_order(
    labels: tuple[str, ...], order: tuple[str, ...], fit: Fit, ramps: Ramps
) -> None:
    train = ramps(12, labels=labels)
    model = fit(train, "mlp", n_epochs=30)
    assert model.labels == order
    assert model.predict(list(train)) == [sample["target"] for sample in train]


def test_mcnn_keeps_the_first_grid_point_of_the_lowest_validation_vote_error(
    monkeypatch: pytest.MonkeyPatch, fit: Fit, ramps: Ramps
) -> None:
    seen: dict[str, Any] = {}
    choose = TSC._choose

    def spy(model: TSC, validation: Dataset) -> None:
        members = list(model.network) if isinstance(model.network, Members) else []
        seen.update(members=[member.eval() for member in members], validation=validation, grid=model.construction.grid)
        choose(model, validation)

    monkeypatch.setattr(TSC, "_choose", spy)
    train = ramps(20, labels=("a", "b", "c"), seed=3)
    grid = {"pool_factors": (2, 3), "filter_sizes": (0.05, 0.2)}
    model = fit(train, "mcnn", n_epochs=2, mcnn=grid)

    held_out = stratified_split([sample["target"] for sample in train], 0.2, 0)[1].tolist()
    assert seen["validation"].indices.tolist() == held_out
    errors = []
    for network in seen["members"]:
        mistakes = []
        for index in held_out:
            series = model.collate([train[index]])["x"]
            size = int(0.9 * 24)
            slices = torch.cat([series[:, :, start : start + size] for start in range(24 - size + 1)])
            votes = np.bincount(network(slices).argmax(dim=1).numpy(), minlength=3)
            true = votes[model.labels.index(train[index]["target"])]
            mistakes.append(1.0 if true < votes.max() else 0.5 if (votes == votes.max()).sum() > 1 else 0.0)
        errors.append(np.mean(mistakes))
    winner = int(np.argmin(errors))
    points = [(2, 0.05), (2, 0.2), (3, 0.05), (3, 0.2)]
    assert seen["grid"] == [{"pool_factor": pool, "filter_size": size} for pool, size in points]
    assert model.facts["mcnn"] == seen["grid"][winner]
    assert model.network is seen["members"][winner]


def test_inception_time_is_the_mean_of_its_members(ramps: Ramps, trained: Trained) -> None:
    model, test = trained("inception_time"), list(ramps(5, seed=1))
    assert isinstance(model.network, Members)
    x = model.collate(test)["x"]
    answers = [member.eval()(x).softmax(dim=1) for member in model.network]
    assert len(answers) == 2
    assert not torch.allclose(answers[0], answers[1])
    np.testing.assert_allclose(model.predict_proba(test), torch.stack(answers).mean(dim=0).detach().numpy(), atol=1e-5)


def test_early_stopping_waits_for_its_patience(tmp_path: Path, fit: Fit, ramps: Ramps) -> None:
    run = new_run(tmp_path / "run")
    fit(ramps(), "mlp", run=run, n_epochs=300, early_stopping_patience=3, learning_rate=0.01)
    losses = [line["loss"] for line in read_metrics(run.metrics_path)]
    assert len(losses) < 300
    assert int(np.argmin(losses)) == len(losses) - 1 - 3


def test_max_seconds_ends_training_in_good_order(fit: Fit, ramps: Ramps) -> None:
    model = fit(ramps(), "mlp", n_epochs=10**7, max_seconds=0.05)
    assert model.predict_proba(list(ramps())).shape == (12, 2)


def test_balanced_class_weights_are_inverse_frequencies(fit: Fit, ramps: Ramps) -> None:
    train = Subset(ramps(12), [0, 1, 2, 4, 6, 8])  # five of "down", one of "up"
    model = fit(train, "mcdcnn", n_epochs=1, class_weight="balanced")
    batch = model.collate(list(train))
    losses = F.cross_entropy(model.network(batch["x"]), batch["y"], reduction="none")
    factors = torch.tensor([6 / (2 * 5), 6 / (2 * 1)])[batch["y"]]
    torch.testing.assert_close(model.step(batch)["loss"], (losses * factors).sum() / factors.sum())


def test_selection_by_validation_keeps_the_weights_of_the_best_held_out_loss(
    tmp_path: Path, fit: Fit, ramps: Ramps
) -> None:
    run, train = new_run(tmp_path / "run"), ramps(30, labels=("a", "b", "c"))
    model = fit(
        train, "mlp", run=run, recipe="paper", n_epochs=25, select="val_loss", validation_size=0.3, learning_rate=0.3
    )
    held_out = stratified_split([sample["target"] for sample in train], 0.3, 0)[1]
    samples = [train[int(index)] for index in held_out]
    truth = [model.labels.index(sample["target"]) for sample in samples]
    loss = -np.log(model.predict_proba(samples)[range(len(samples)), truth]).mean()
    losses = [line["val_loss"] for line in read_metrics(run.metrics_path)]
    assert len(losses) == 25
    assert loss == pytest.approx(min(losses), rel=1e-4, abs=1e-7)


def test_the_last_weights_are_kept_on_request(fit: Fit, ramps: Ramps) -> None:
    best, last = (fit(ramps(), "mlp", n_epochs=8, learning_rate=0.05, select=which) for which in ("train_loss", "last"))
    assert any(not torch.equal(tensor, weights(last)[name]) for name, tensor in weights(best).items())


@pytest.mark.parametrize("architecture", ["fcn", "mlp"])
@pytest.mark.parametrize("unequal", ["resample", "pad", "truncate"])
def test_unequal_lengths_and_missing_values(architecture: str, unequal: str, fit: Fit, ramps: Ramps) -> None:
    train = ramps(12, lengths=(24, 17, 20))
    samples = list(train)
    for sample in samples:
        sample["series"][0, [0, 5, 6]] = np.nan
    model = fit(train, architecture, unequal=unequal)
    together = model.predict_proba(samples)
    alone = np.concatenate([model.predict_proba([sample]) for sample in samples])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert model.predict(samples) == [sample["target"] for sample in samples]


def test_pooled_networks_keep_another_length_and_say_so(ramps: Ramps, trained: Trained) -> None:
    model, longer = trained("fcn"), list(ramps(3, length=40))
    with pytest.warns(UserWarning, match="3 of 3 series have 40 time steps.*trained with 24: they keep their length"):
        probabilities = model.predict_proba(longer)
    x = np.stack([sample["series"] for sample in longer])
    x = (x - x.mean(axis=2, keepdims=True)) / x.std(axis=2, keepdims=True)
    expected = model.network.eval()(torch.from_numpy(x)).softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)


@pytest.mark.parametrize("architecture", ["mlp", "tlenet", "minirocket"])
def test_other_models_resample_another_length_and_say_so(architecture: str, ramps: Ramps, trained: Trained) -> None:
    model = trained(architecture)
    with pytest.warns(UserWarning, match="they are resampled to 24"):
        assert model.predict(list(ramps(4, length=40))) == ["down", "up", "down", "up"]


def test_another_number_of_channels_is_an_error(ramps: Ramps, trained: Trained) -> None:
    with pytest.raises(InvalidSample, match="the series has 2 channels, but the first training series 1") as error:
        trained("fcn").predict(list(ramps(3, channels=2)))
    assert error.value.where is not None
    assert error.value.where.field == "series"


@pytest.mark.parametrize("architecture", ["fcn", "mcnn", "inception_time"])
def test_the_seed_decides_the_weights(architecture: str, fit: Fit, ramps: Ramps) -> None:
    first, again, other = (fit(ramps(), architecture, n_epochs=2, seed=seed) for seed in (1, 1, 2))
    assert_equal_weights(first, again)
    assert any(not torch.equal(tensor, weights(other)[name]) for name, tensor in weights(first).items())


class Interrupt:
    """Ctrl-C after a step of a phase, once."""

    def __init__(self, phase: str, step: int) -> None:
        self.phase, self.step = phase, step

    @hookimpl
    def quire_step_finished(self, phase: str, step: int) -> None:
        if (phase, step) == (self.phase, self.step):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("architecture", "phase", "step", "settings"),
    [
        ("fcn", "train", 5, {"batch_size": 4}),
        ("tlenet", "train", 7, {"batch_size": 40}),
        ("mcdcnn", "train", 4, {"recipe": "paper", "n_epochs": 5, "batch_size": 4}),
        ("inception_time", "network 2", 4, {"group_seeds": False}),
        ("inception_time", "train", 4, {}),
        ("mcnn", "network 2", 12, {}),
    ],
)
def test_a_run_that_was_interrupted_ends_like_one_that_was_not(
    architecture: str, phase: str, step: int, settings: dict[str, Any], tmp_path: Path, fit: Fit, ramps: Ramps
) -> None:
    train = ramps()
    unbroken = new_run(tmp_path / "unbroken")
    whole = fit(train, architecture, run=unbroken, **settings)
    broken = new_run(tmp_path / "broken")
    broken.hooks.add("interrupt", Interrupt(phase, step))
    with pytest.raises(KeyboardInterrupt):
        fit(train, architecture, run=broken, **settings)
    done = read_metrics(broken.metrics_path)
    assert done == read_metrics(unbroken.metrics_path)[: len(done)]
    assert len(done) < len(read_metrics(unbroken.metrics_path))
    resumed = fit(train, architecture, run=Run(broken.path, broken.info), **settings)
    assert_equal_weights(resumed, whole)
    assert resumed.facts == whole.facts
    assert read_metrics(broken.metrics_path) == read_metrics(unbroken.metrics_path)


@pytest.mark.parametrize("architecture", POOLED)
def test_the_mean_of_a_class_activation_map_and_the_bias_are_the_logit(
    architecture: str, ramps: Ramps, trained: Trained
) -> None:
    model, test = trained(architecture), list(ramps(4, seed=1))
    networks = list(model.network) if isinstance(model.network, Members) else [model.network]
    x = model.collate(test)["x"]
    logits = torch.stack([network.eval()(x) for network in networks]).mean(dim=0).detach().numpy()
    biases = torch.stack([network.head.bias for network in networks]).mean(dim=0).detach().numpy()
    maps = model.class_activation_maps(test)
    assert [one.shape for one in maps] == [(2, 24)] * 4
    np.testing.assert_allclose(np.stack(maps).mean(axis=2) + biases, logits, rtol=1e-4, atol=1e-4)


def test_explanations_show_the_predicted_class(ramps: Ramps, trained: Trained) -> None:
    model, test = trained("fcn"), list(ramps(2, seed=1))
    assert model.can_explain
    explanations = list(model.explain(test))
    maps = model.class_activation_maps(test)
    for explanation, sample, one in zip(explanations, test, maps, strict=True):
        assert explanation.sample == sample["id"]
        np.testing.assert_array_equal(explanation.arrays["cam"], one)
        title = explanation.figure.axes[0].get_title()
        assert title == f"{sample['id']}: predicted {model.predict([sample])[0]}"


def test_maps_of_padded_series_end_where_the_series_do(fit: Fit, ramps: Ramps) -> None:
    train = ramps(12, lengths=(24, 17))
    model = fit(train, "fcn", unequal="pad", n_epochs=1)
    assert [one.shape[1] for one in model.class_activation_maps([train[0], train[1]])] == [24, 17]


def test_a_model_without_maps_says_which_have_them(ramps: Ramps, trained: Trained) -> None:
    model = trained("mlp")
    assert not model.can_explain
    with pytest.raises(ConfigError, match=r"mlp has no class activation map.*architecture=fcn"):
        model.class_activation_maps(list(ramps(1)))


@pytest.mark.parametrize(
    ("architecture", "dim"),
    [
        ("mlp", 500),
        ("fcn", 128),
        ("resnet", 128),
        ("encoder", 256 * 6),
        ("mcnn", 256),
        ("tlenet", 500),
        ("mcdcnn", 732),
        ("time_cnn", 12 * 2),
        ("inception", 16),
        ("inception_time", 2 * 16),
    ],
)
def test_embeddings_are_the_vectors_before_the_last_layer(
    architecture: str, dim: int, ramps: Ramps, trained: Trained
) -> None:
    model, test = trained(architecture), list(ramps(5, seed=1))
    vectors = model.embed(test)
    assert vectors.dtype == np.float32
    assert vectors.shape == (5, dim)
    if architecture in ("mlp", "fcn", "resnet", "encoder", "mcdcnn", "inception"):
        logits = model.network.head(torch.from_numpy(vectors))
        np.testing.assert_allclose(logits.softmax(dim=1).detach().numpy(), model.predict_proba(test), atol=1e-4)


@pytest.mark.parametrize("architecture", ["twiesn", "minirocket"])
def test_closed_forms_have_no_embedding(architecture: str, ramps: Ramps, trained: Trained) -> None:
    with pytest.raises(ConfigError, match=f"{architecture} has no embedding"):
        trained(architecture).embed(list(ramps(1)))


@pytest.mark.parametrize("architecture", ["fcn", "twiesn"])
def test_an_untrained_model_says_so(architecture: str, tmp_path: Path, ramps: Ramps) -> None:
    model = TSC(TSCConfig(architecture=architecture), runtime=CPU)
    for use in (lambda: model.labels, lambda: model.predict(list(ramps(1))), lambda: model.save(tmp_path / "m")):
        with pytest.raises(RunError, match="has not been trained yet"):
            use()


@pytest.mark.parametrize("architecture", ["fcn", "minirocket"])
def test_no_sample_is_an_error(architecture: str, trained: Trained) -> None:
    with pytest.raises(DataError, match="no samples to predict"):
        trained(architecture).predict([])


def test_even_kernels_do_not_warn(fit: Fit, ramps: Ramps) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for architecture in ("fcn", "resnet", "inception", "encoder"):
            fit(ramps(), architecture, n_epochs=1).predict(list(ramps(2)))


def test_a_runtime_that_changes_moves_the_model(fit: Fit, ramps: Ramps) -> None:
    model, test = fit(ramps(), "fcn", n_epochs=1), list(ramps(3))
    before = model.predict_proba(test)
    model.runtime = Runtime(device="cpu", precision="fp32")
    np.testing.assert_array_equal(model.predict_proba(test), before)
