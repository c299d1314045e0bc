from __future__ import annotations

import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from quire.errors import DataError
from quire_tsc.minirocket import (
    Head,
    MiniRocket,
    MiniRocketModel,
    fit_head,
    fit_minirocket,
    fit_minirocket_model,
    plan_dilations,
)


def noise(cases: int, channels: int, length: int) -> torch.Tensor:
    return torch.randn(cases, channels, length, generator=torch.Generator().manual_seed(cases))


def kernel_outputs(series: np.ndarray, places: tuple[int, ...], dilation: int) -> np.ndarray:
    padded = np.pad(series, 4 * dilation)
    weights = np.array([2.0 if place in places else -1.0 for place in range(9)])
    return np.array([weights @ padded[t : t + 8 * dilation + 1 : dilation] for t in range(len(series))])


def naive_transform(transform: MiniRocket, x: np.ndarray) -> np.ndarray:
    rows = []
    for case in x:
        row: list[float] = []
        for index, part in enumerate(transform.parts):
            for kernel, places in enumerate(combinations(range(9), 3)):
                summed = case[part.channels[kernel].numpy() > 0].sum(axis=0)
                outputs = kernel_outputs(summed, places, part.dilation)
                if (index + kernel) % 2:
                    outputs = outputs[4 * part.dilation : len(outputs) - 4 * part.dilation]
                row.extend(np.mean(outputs > bias) for bias in part.biases[kernel].tolist())
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize(("channels", "length"), [(1, 9), (1, 40), (5, 30)])
def test_features_against_written_out_loops(channels: int, length: int) -> None:
    x = noise(3, channels, length)
    transform = fit_minirocket(x, features=84 * 5)
    features = transform.transform(x).numpy()
    expected = naive_transform(transform, x.double().numpy())
    # single precision may put a value on the other side of a bias that is one of the outputs
    assert np.mean(np.abs(features - expected) > 1e-6) < 0.02
    np.testing.assert_allclose(features, expected, atol=1.01 / (length - 8 * transform.parts[-1].dilation))


@pytest.mark.parametrize("length", [9, 10, 24, 150, 2000])
def test_there_are_9996_features(length: int) -> None:
    transform = fit_minirocket(noise(2, 1, length))
    assert sum(part.biases.numel() for part in transform.parts) == 9996
    features = transform.transform(noise(2, 1, length))
    assert features.shape == (2, 9996)
    assert features.min() >= 0
    assert features.max() <= 1


def test_dilations_are_spaced_exponentially_up_to_the_length() -> None:
    dilations, counts = plan_dilations(150, 119)
    assert dilations[0] == 1
    assert dilations[-1] == 18  # 8 * 18 + 1 <= 150
    assert counts.sum() == 119
    spaced = np.floor(2 ** (np.arange(32) / 31 * np.log2(149 / 8)) + 1e-12).astype(int)
    assert dilations.tolist() == sorted(set(spaced.tolist()))
    assert plan_dilations(9, 119)[0].tolist() == [1]


@pytest.mark.parametrize("features", [1, 5, 40, 119])
def test_every_feature_has_a_dilation(features: int) -> None:
    assert plan_dilations(500, features)[1].sum() == features


def test_biases_are_quantiles_of_the_examples_outputs() -> None:
    x = noise(1, 1, 30)  # one series: every kernel's example is known
    transform = fit_minirocket(x, features=84 * 3)
    position = 0
    for part in transform.parts:
        for kernel, places in enumerate(combinations(range(9), 3)):
            outputs = kernel_outputs(x[0, 0].double().numpy(), places, part.dilation)
            for bias in part.biases[kernel].tolist():
                position += 1
                golden = position * (1 + 5**0.5) / 2 % 1
                assert bias == pytest.approx(np.quantile(outputs, golden), abs=1e-4)
    assert position == 252


def test_channel_combinations() -> None:
    transform = fit_minirocket(noise(2, 62, 20), features=84 * 4)
    for part in transform.parts:
        counts = part.channels.sum(dim=1)
        assert counts.min() >= 1
        assert counts.max() <= 9
        assert (counts == 1).sum() > (counts >= 8).sum()


def test_the_transform_is_seeded_and_does_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    x = noise(7, 2, 25)
    transform = fit_minirocket(x, seed=3)
    features = transform.transform(x)
    assert torch.equal(fit_minirocket(x, seed=3).transform(x), features)
    assert not torch.equal(fit_minirocket(x, seed=4).transform(x), features)
    monkeypatch.setattr("quire_tsc.minirocket.CHUNK_VALUES", 1)
    assert (transform.transform(x) - features).abs().max() < 0.1  # no rounding moves more than a time step or two


def test_lengths() -> None:
    with pytest.raises(DataError, match="at least 9 time steps, and gets 8"):
        fit_minirocket(noise(2, 1, 8))
    transform = fit_minirocket(noise(2, 1, 20), features=84)
    with pytest.raises(DataError, match="fitted on series of 20 time steps, and gets 21"):
        transform.transform(noise(2, 1, 21))


@pytest.mark.parametrize("classes", [2, 3])
def test_ridge_head_is_scikit_learns(classes: int) -> None:
    features = np.random.default_rng(0).random((30, 50)).astype(np.float32)
    features[:, 7] = 0.5  # a constant feature
    y = np.arange(30) % classes
    features[:, 0] += y
    head = fit_head(features, y, classes, "ridge")
    expected = make_pipeline(StandardScaler(with_mean=False), RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)))
    np.testing.assert_array_equal(head.scores(features).argmax(axis=1), expected.fit(features, y).predict(features))


@pytest.mark.parametrize("classes", [2, 3])
def test_softmax_of_the_logistic_heads_scores_is_its_probability(classes: int) -> None:
    features = np.random.default_rng(0).random((30, 10)).astype(np.float32)
    y = np.arange(30) % classes
    scores = fit_head(features, y, classes, "logistic").scores(features)
    probabilities = torch.from_numpy(scores).softmax(dim=1).numpy()
    scaled = features / features.std(axis=0)
    expected = LogisticRegression(max_iter=1000).fit(scaled, y).predict_proba(scaled)
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)


def test_a_class_without_series_is_never_predicted() -> None:
    features = np.random.default_rng(0).random((20, 6)).astype(np.float32)
    head = fit_head(features, np.arange(20) % 2 * 2, 3, "ridge")  # classes 0 and 2 of three
    probabilities = torch.from_numpy(head.scores(features)).softmax(dim=1)
    assert not probabilities[:, 1].any()
    assert torch.isfinite(probabilities).all()


@pytest.mark.parametrize("head", ["ridge", "logistic"])
def test_classifier_learns_and_survives_saving(head: Head) -> None:
    time = torch.arange(40) / 40
    y = np.arange(24) % 3
    x = torch.sin(6.3 * (1 + 2 * torch.from_numpy(y)[:, None, None]) * time) + 0.3 * noise(24, 1, 40)
    model = fit_minirocket_model(x[:15], y[:15], 3, head=head, features=84 * 6)
    assert (model.scores(x[15:]).argmax(axis=1) == y[15:]).all()
    again = MiniRocketModel.from_arrays(model.to_arrays())
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    np.testing.assert_allclose(model.predict_proba(x).sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.skipif("QUIRE_DATA" not in os.environ, reason="QUIRE_DATA is not set: no real data")
@pytest.mark.parametrize(("name", "published"), [("GunPoint", 0.993), ("ItalyPowerDemand", 0.963), ("Coffee", 1.0)])
def test_accuracy_of_the_published_method(name: str, published: float) -> None:
    folder = Path(os.environ["QUIRE_DATA"]) / "tsc" / "ucr_tsv" / name
    train, test = (np.loadtxt(folder / f"{name}_{part}.tsv", dtype=np.float32) for part in ("TRAIN", "TEST"))
    labels, y = np.unique(train[:, 0], return_inverse=True)
    model = fit_minirocket_model(torch.from_numpy(train[:, None, 1:]), y, len(labels))
    predicted = labels[model.scores(torch.from_numpy(test[:, None, 1:])).argmax(axis=1)]
    assert np.mean(predicted == test[:, 0]) >= published - 0.015
