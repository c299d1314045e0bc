from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import quire_tsc
from quire.errors import ConfigError, DataError, InvalidSample
from quire.runtime import Runtime
from quire_tsc import (
    TSC,
    EncoderClassifier,
    FCNClassifier,
    InceptionTimeClassifier,
    MCNNClassifier,
    MiniRocketClassifier,
    MLPClassifier,
    TSCConfig,
    TWIESNClassifier,
)
from quire_tsc.estimators import SeriesClassifier, read_series

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES: dict[str, type[SeriesClassifier]] = {
    name: getattr(quire_tsc, name) for name in quire_tsc.__all__ if name.endswith("Classifier")
}
QUICK: dict[str, dict[str, Any]] = {
    **{name: {"n_epochs": 6} for name in CLASSES},
    "EncoderClassifier": {"n_epochs": 4, "learning_rate": 1e-3},
    "MCNNClassifier": {"n_epochs": 6, "pool_factors": (2,), "filter_sizes": (0.1,)},
    "TimeCNNClassifier": {"n_epochs": 40, "learning_rate": 0.05},
    "InceptionClassifier": {"n_epochs": 6, "batch_size": 4, "filters": 4, "depth": 3},
    "InceptionTimeClassifier": {"n_epochs": 6, "batch_size": 4, "filters": 4, "depth": 3, "n_ensemble": 2},
    "MiniRocketClassifier": {"features": 168},
}


def quick(name: str) -> SeriesClassifier:
    return CLASSES[name](**QUICK[name])


def ramps(cases: int = 12, length: int = 24) -> tuple[NDArray[Any], NDArray[Any]]:
    """X float64 [cases, length] and y 0, 1, 0, ...: falling and rising lines with noise."""
    y = np.arange(cases) % 2
    noise = 0.2 * np.random.default_rng(cases).normal(size=(cases, length))
    return (2 * y[:, None] - 1) * np.linspace(-2, 2, length) + noise, y


def test_there_is_one_for_every_architecture() -> None:
    architectures = {kind.architecture for kind in CLASSES.values()}
    assert len(CLASSES) == 12
    assert architectures == set(TSCConfig.model_fields["architecture"].annotation.__args__)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", CLASSES)
def test_scikit_learn_s_rules_of_parameters(name: str) -> None:
    estimator = CLASSES[name]()
    assert is_classifier(estimator)
    parameters = estimator.get_params()
    assert parameters == clone(estimator).get_params()
    assert estimator.config() == TSCConfig(architecture=estimator.architecture)  # defaults are those of the options
    estimator.set_params(random_state=7, unequal="pad")
    assert clone(estimator).get_params() == {**parameters, "random_state": 7, "unequal": "pad"}
    assert repr(estimator).startswith(f"{name}(")
    with pytest.raises(ValueError, match="novelty"):
        estimator.set_params(novelty=1)


def test_parameters_reach_the_options() -> None:
    encoder = EncoderClassifier(norm="channel", n_epochs=7, select="val_loss", validation_size=0.3, missing="zero")
    assert encoder.config() == TSCConfig.parse(
        {
            "architecture": "encoder",
            "encoder": {"norm": "channel"},
            "n_epochs": 7,
            "select": "val_loss",
            "validation_size": 0.3,
            "missing": "zero",
        },
        owner="tsc",
    )
    assert InceptionTimeClassifier(n_ensemble=3, bottleneck=None).config().inception.n_ensemble == 3
    assert MCNNClassifier(pool_factors=[2]).config().mcnn.pool_factors == (2,)
    assert TWIESNClassifier(refit=False).config().twiesn.refit is False
    with pytest.raises(ConfigError, match="n_epochs"):
        FCNClassifier(n_epochs=-1).fit(*ramps())


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "TWIESNClassifier"])
def test_each_learns_and_survives_pickling(name: str) -> None:
    X, y = ramps()
    estimator = quick(name)
    assert estimator.fit(X, y) is estimator
    test, truth = ramps(20)
    assert estimator.score(test, truth) == 1.0
    probabilities = estimator.predict_proba(test)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(estimator)).predict_proba(test), probabilities)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([10, 2]),
        np.array([True, False]),
        np.array(["b", "a"]),
        np.array(["b", "a"], dtype=object),
        np.array([1.0, 2.0]),
    ],
)
def test_labels_come_back_as_they_came(labels: NDArray[Any]) -> None:
    X, y = ramps()
    estimator = MLPClassifier(n_epochs=10).fit(X, labels[y])
    assert estimator.classes_.dtype == labels.dtype
    np.testing.assert_array_equal(estimator.classes_, np.unique(labels))
    assert estimator.predict(X).dtype == labels.dtype
    np.testing.assert_array_equal(estimator.predict(X), labels[y])
    np.testing.assert_array_equal(estimator.classes_[estimator.predict_proba(X).argmax(axis=1)], labels[y])


def test_many_integer_classes_stand_in_numeric_order() -> None:
    X, _ = ramps(24)
    y = np.arange(24) % 12
    estimator = MiniRocketClassifier(features=84).fit(X, y)
    assert estimator.classes_.tolist() == list(range(12))
    assert estimator.model_.labels == tuple(map(str, range(12)))


def test_it_is_the_model_of_the_same_seed_and_options() -> None:
    X, y = ramps()
    estimator = MLPClassifier(n_epochs=3, random_state=5).fit(X, y)
    samples = [{"series": x[None].astype(np.float32), "target": str(label)} for x, label in zip(X, y, strict=True)]
    from quire.dataset import InMemory
    from quire.task import SERIES_CLASSIFICATION

    train = InMemory(samples, task=SERIES_CLASSIFICATION)
    model = TSC(TSCConfig(architecture="mlp", n_epochs=3), runtime=Runtime(seed=5)).fit(train)
    np.testing.assert_array_equal(estimator.predict_proba(X), model.predict_proba(samples))


def test_random_state() -> None:
    X, y = ramps()
    seeded = [MLPClassifier(n_epochs=1, random_state=np.random.RandomState(3)).fit(X, y) for _ in range(2)]
    np.testing.assert_array_equal(seeded[0].predict_proba(X), seeded[1].predict_proba(X))
    free = [MLPClassifier(n_epochs=1, random_state=None).fit(X, y) for _ in range(2)]
    assert not np.array_equal(free[0].predict_proba(X), free[1].predict_proba(X))


def test_pipelines_and_cross_validation() -> None:
    X, y = ramps(18)
    pipeline = make_pipeline(StandardScaler(), MiniRocketClassifier(features=84))
    assert pipeline.fit(X, y).score(X, y) == 1.0
    assert cross_val_score(MLPClassifier(n_epochs=10), X, y, cv=3).tolist() == [1.0] * 3
    assert cross_val_score(MiniRocketClassifier(features=84), list(X), y, cv=3).tolist() == [1.0] * 3
    search = GridSearchCV(MLPClassifier(n_epochs=10), {"learning_rate": [1e-30, 1e-3]}, cv=3).fit(X, y)
    assert search.best_params_ == {"learning_rate": 1e-3}


def test_every_form_of_the_same_series() -> None:
    X, y = ramps()
    expected = MiniRocketClassifier(features=84).fit(X, y).predict_proba(X)
    for form in (X[:, None], X.tolist(), list(X), [x[None] for x in X], X.astype(np.float32), np.asfortranarray(X)):
        np.testing.assert_allclose(
            MiniRocketClassifier(features=84).fit(form, y).predict_proba(form), expected, atol=1e-4
        )
    last = MiniRocketClassifier(features=84, layout="NTC").fit(X[:, :, None], y)
    np.testing.assert_allclose(last.predict_proba([x[:, None] for x in X]), expected, atol=1e-6)


def test_layouts() -> None:
    X = np.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(np.stack(read_series(X)), X)
    np.testing.assert_array_equal(np.stack(read_series(X, "NTC")), X.swapaxes(1, 2))
    np.testing.assert_array_equal(np.stack(read_series(list(X), "NTC")), X.swapaxes(1, 2))
    with pytest.raises(ConfigError, match="no layout 'TCN'"):
        read_series(X, "TCN")  # type: ignore[arg-type]


def test_unequal_lengths_and_missing_values() -> None:
    X, y = ramps()
    uneven = [x[: 24 - number % 3] for number, x in enumerate(X)]
    estimator = FCNClassifier(n_epochs=6, unequal="pad").fit(uneven, y)
    assert estimator.model_.preprocessing.equal_length is False
    assert [one.shape[1] for one in estimator.class_activation_maps(uneven)] == [len(x) for x in uneven]
    assert estimator.embed(uneven).shape == (12, 128)
    padded = X.copy()
    for number, row in enumerate(padded):
        row[24 - number % 3 :] = np.nan  # padding at the end, as in the archives' files
        row[3] = np.nan  # a missing value
        uneven[number][3] = np.nan
    again = FCNClassifier(n_epochs=6, unequal="pad").fit(padded, y)
    from_list = FCNClassifier(n_epochs=6, unequal="pad").fit(uneven, y)
    np.testing.assert_array_equal(again.predict_proba(padded), from_list.predict_proba(uneven))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(5), r"got the shape \[5\]"),
        (np.zeros((2, 2, 2, 2)), r"got the shape \[2, 2, 2, 2\]"),
        (np.zeros((2, 5), dtype=complex), "type complex128"),
        (np.array([[1.0, "a"]], dtype=object), "type object"),
        (np.array([["1", "2"]]), "type <U1"),
        ([np.zeros(3), np.zeros((2, 3), dtype=complex)], "type complex128"),
        ([np.zeros((1, 1, 3))], r"got the shape \[1, 1, 3\]"),
        ([[[1.0, 2.0], [1.0]]], "the channels differ in length"),
        ([], "there is no series"),
        (np.array([[1.0, np.inf], [1.0, 2.0]]), "inf"),
    ],
)
def test_series_that_are_none(X: Any, message: str) -> None:
    estimator = MiniRocketClassifier()
    with pytest.raises(DataError, match=message):
        estimator.fit(X, np.arange(max(1, len(X))))


def test_a_fault_names_its_entry() -> None:
    with pytest.raises(InvalidSample) as error:
        read_series([np.zeros(3), np.zeros(3), np.array(["x"])])
    assert error.value.where is not None
    assert error.value.where.sample == 2


def test_labels_that_are_none() -> None:
    X, y = ramps()
    for labels, message in [
        (None, "requires y"),
        (y + 0.5, "Unknown label type"),
        (np.where(y == 0, np.nan, 1.0), "NaN"),
        (np.zeros((12, 2)), "1d array"),
    ]:
        with pytest.raises(ValueError, match=message):
            MLPClassifier().fit(X, labels)
    with pytest.raises(DataError, match="12 series and 11 labels"):
        MLPClassifier().fit(X, y[1:])
    with pytest.raises(DataError, match=r"all labels are \[1\.0\], which is one class"):
        MLPClassifier().fit(X, np.ones(12))


def test_before_fit() -> None:
    with pytest.raises(NotFittedError):
        FCNClassifier().predict(ramps()[0])
