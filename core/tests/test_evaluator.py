"""Evaluators: predictions of all samples, intervals, and every metric against scikit-learn or its formula."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from quire.classification import ClassificationEvaluator
from quire.config import Config
from quire.dataset import InMemory
from quire.errors import ConfigError, DataError, InvalidSample, PluginError, TaskMismatch, TrainingError, Where
from quire.evaluator import (
    OutputEvaluator,
    Predictions,
    Report,
    Score,
    mean_interval,
    predict_all,
    wilson,
)
from quire.modality import Sample
from quire.model import Classifier, Embedder, Model
from quire.task import TEXT_CLASSIFICATION, VECTOR_CLASSIFICATION, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

LABELS = ("a", "b", "c")


class Echo(Classifier, Embedder):
    """Answers with the sample's own vector as probabilities, and remembers the sizes of its batches."""

    task = VECTOR_CLASSIFICATION

    def __init__(self, labels: tuple[str, ...] = LABELS) -> None:
        super().__init__(Config())
        self._labels = labels
        self.batches: list[int] = []

    @property
    def labels(self) -> tuple[str, ...]:
        return self._labels

    def predict_proba(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        self.batches.append(len(samples))
        for sample in samples:
            if sample["vector"][0] == -1:
                raise InvalidSample("the model refuses this one")
        return np.stack([sample["vector"] for sample in samples])

    def embed(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        return np.stack([2 * sample["vector"] for sample in samples])

    def fit(self, *_: Any, **__: Any) -> Self:
        return self

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


class Shout(Model):
    """Answers with the text in capitals."""

    task = Task("shouting", inputs=TEXT_CLASSIFICATION.inputs)

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        return [sample["text"].upper() for sample in samples]

    def fit(self, *_: Any, **__: Any) -> Self:
        return self

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


class Untrusted(Sequence[Sample]):
    """A data set of which some samples can't be read."""

    def __init__(self, samples: list[Sample | InvalidSample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        sample = self.samples[index]
        if isinstance(sample, InvalidSample):
            raise sample
        return sample


def vector(*values: float, target: str | None = None, **others: Any) -> Sample:
    sample: Sample = {"vector": np.array(values, dtype=np.float32), **others}
    return sample if target is None else {**sample, "target": target}


def random_predictions(seed: int, n: int = 60, classes: int = 3) -> Predictions:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(classes), n).astype(np.float32)
    labels = tuple("abcdefghij"[:classes])
    return Predictions(
        ids=[str(index) for index in range(n)],
        outputs=[labels[index] for index in probabilities.argmax(axis=1)],
        targets=[labels[index] for index in rng.integers(0, classes, n)],
        probabilities=probabilities,
        labels=labels,
    )


def evaluator(**options: Any) -> ClassificationEvaluator:
    return ClassificationEvaluator(**options)


# Intervals


@pytest.mark.parametrize(
    ("successes", "n", "expected"),
    [
        (8, 10, (0.4901625, 0.9433178)),
        (5, 10, (0.2365931, 0.7634069)),
        (0, 20, (0.0, 0.1611252)),
        (20, 20, (0.8388748, 1.0)),
        (0, 0, (0.0, 1.0)),
    ],
)
def test_wilson_gives_the_published_values(successes: int, n: int, expected: tuple[float, float]) -> None:
    assert wilson(successes, n) == pytest.approx(expected, abs=1e-6)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_bounds_are_the_rates_that_the_score_test_just_accepts(
    trials: tuple[int, int], confidence: float
) -> None:
    successes, n = trials
    z = stats.norm.ppf((1 + confidence) / 2)
    low, high = wilson(successes, n, confidence)
    assert 0 <= low <= successes / n <= high <= 1
    for bound in {low, high} - {0.0, 1.0}:
        assert (successes / n - bound) ** 2 == pytest.approx(z**2 * bound * (1 - bound) / n, rel=1e-6, abs=1e-12)


def test_wilson_refuses_impossible_counts() -> None:
    with pytest.raises(ValueError, match="3 successes in 2 trials"):
        wilson(3, 2)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_mean_interval_is_student_t(values: list[float]) -> None:
    mean, low, high = mean_interval(values)
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    assert mean == pytest.approx(np.mean(values))
    assert (high - low) / 2 == pytest.approx(half, abs=1e-9)
    assert (high + low) / 2 == pytest.approx(mean, abs=1e-9)


def test_too_few_values_have_no_interval() -> None:
    mean, low, high = mean_interval([2.0])
    assert mean == 2.0
    assert math.isnan(low)
    assert math.isnan(high)
    assert Score(mean_interval([])[0]).value is None


# Predictions of all samples


def test_samples_are_read_one_batch_at_a_time() -> None:
    model = Echo()
    read: list[int] = []

    def samples() -> Iterator[Sample]:
        for index in range(7):
            read.append(index)
            yield vector(0.2, 0.3, 0.5, id=f"s{index}")
            assert len(read) - sum(model.batches) <= 3

    predictions = predict_all(model, samples(), batch_size=3)
    assert model.batches == [3, 3, 1]
    assert predictions.ids == [f"s{index}" for index in range(7)]
    assert predictions.outputs == ["c"] * 7
    assert predictions.targets is None
    assert predictions.labels == LABELS
    assert predictions.probabilities is not None
    assert predictions.probabilities.shape == (7, 3)


def test_an_unusable_sample_is_left_out_and_named() -> None:
    samples = Untrusted([
        vector(0.7, 0.2, 0.1, target="a"),
        InvalidSample("the file is empty", where=Where(file=Path("x.npy"))),
        vector(0.1, 0.8, 0.1, target="b", id="fine"),
        {"vector": "text", "id": "odd", "target": "a"},
        vector(0.1, 0.8, 0.1, id="bare"),
        vector(-1, 0, 0, target="c", id="refused"),
        vector(0.1, 0.2, 0.7, target="c"),
    ])  # fmt: skip
    predictions = predict_all(Echo(), samples, on_error="skip", need_target=True)
    assert predictions.ids == ["0", "fine", "6"]
    assert predictions.outputs == predictions.targets == ["a", "b", "c"]
    left_out = [error.where.sample for error in predictions.left_out if error.where]
    assert left_out == [1, "odd", "bare", "refused"]
    assert "x.npy" in str(predictions.left_out[0])
    assert "the model refuses" in str(predictions.left_out[3])


@pytest.mark.parametrize("bad", [InvalidSample("empty"), {"vector": "text"}, "no dict", vector(-1, 0, 0)])
def test_an_unusable_sample_is_an_error_by_default(bad: Any) -> None:
    with pytest.raises(InvalidSample):
        predict_all(Echo(), Untrusted([vector(1, 0, 0), bad]))


def test_a_generator_that_fails_is_an_error_since_its_other_samples_are_lost() -> None:
    def samples() -> Iterator[Sample]:
        yield vector(1, 0, 0)
        raise InvalidSample("broken")

    with pytest.raises(InvalidSample, match="broken"):
        predict_all(Echo(), samples(), on_error="skip")


def test_no_samples_give_empty_predictions() -> None:
    predictions = predict_all(Echo(), [], embed=True)
    assert len(predictions) == 0
    assert predictions.probabilities is not None
    assert predictions.probabilities.shape == (0, 3)
    assert predictions.targets == []


def test_embeddings_come_where_they_are_asked_for() -> None:
    samples = [vector(1, 0, 0), vector(0, 1, 0)]
    predictions = predict_all(Echo(), samples, embed=True, batch_size=1)
    np.testing.assert_array_equal(predictions.embeddings, [[2, 0, 0], [0, 2, 0]])
    assert predict_all(Echo(), samples).embeddings is None
    with pytest.raises(TaskMismatch, match="Shout gives no embeddings"):
        predict_all(Shout(), [{"text": "x"}], embed=True)


def test_a_model_without_probabilities_gives_its_outputs() -> None:
    predictions = predict_all(Shout(), [{"text": "x"}, {"text": "y"}])
    assert predictions.outputs == ["X", "Y"]
    assert predictions.probabilities is None
    assert predictions.labels == ()


def test_probabilities_of_another_shape_are_the_plugins_fault() -> None:
    with pytest.raises(PluginError, match=r"Echo.predict_proba gives an array \(1, 3\) where \(1, 2\)"):
        predict_all(Echo(("a", "b")), [vector(1, 0, 0)])


def test_probabilities_that_are_not_finite_name_the_sample() -> None:
    class Diverged(Echo):
        def predict_proba(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
            return np.array([[1, 0, 0], [math.nan, 0, 1]], dtype=np.float32)

    with pytest.raises(TrainingError, match="sample second"):
        predict_all(Diverged(), [vector(1, 0, 0), vector(1, 0, 0, id="second")], on_error="skip")


def test_predictions_must_belong_together() -> None:
    with pytest.raises(ValueError, match="1 outputs for 2 samples"):
        Predictions(ids=["1", "2"], outputs=["a"])
    with pytest.raises(ValueError, match="1 labels"):
        Predictions(ids=["1"], outputs=["a"], probabilities=np.ones((1, 2), dtype=np.float32), labels=("a",))


def test_predictions_survive_a_file(tmp_path: Path) -> None:
    predictions = random_predictions(0)
    predictions.embeddings = np.ones((60, 2), dtype=np.float32)
    predictions.left_out = [InvalidSample("is empty", where=Where(sample="x", field="text"), remedy="Fill it.")]
    predictions.save(tmp_path / "predictions.safetensors")
    again = Predictions.load(tmp_path / "predictions.safetensors")
    assert again.ids == predictions.ids
    assert again.outputs == predictions.outputs
    assert again.targets == predictions.targets
    assert again.labels == predictions.labels
    np.testing.assert_array_equal(again.probabilities, predictions.probabilities)
    np.testing.assert_array_equal(again.embeddings, predictions.embeddings)
    assert [str(error) for error in again.left_out] == [str(error) for error in predictions.left_out]
    assert evaluator().score(again).to_json() == evaluator().score(predictions).to_json()


def test_outputs_that_no_file_can_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be kept in one file"):
        Predictions(ids=["1"], outputs=[object()]).save(tmp_path / "predictions.safetensors")
    assert not list(tmp_path.iterdir())


# Classification


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("seed", "n", "classes"), [(0, 60, 3), (1, 200, 5), (2, 9, 4), (3, 50, 2)])
def test_metrics_are_those_of_scikit_learn(seed: int, n: int, classes: int) -> None:
    predictions = random_predictions(seed, n, classes)
    truth, guess, probabilities = predictions.targets, predictions.outputs, predictions.probabilities
    assert truth is not None
    assert probabilities is not None
    report = evaluator().score(predictions)
    options: dict[str, Any] = {"average": "macro", "zero_division": 0}
    one_hot = np.array(truth)[:, None] == np.array(predictions.labels)
    present = [index for index in range(classes) if 0 < one_hot[:, index].sum() < n]
    expected = {
        "accuracy": metrics.accuracy_score(truth, guess),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, guess),
        "precision_macro": metrics.precision_score(truth, guess, **options),
        "recall_macro": metrics.recall_score(truth, guess, **options),
        "f1_macro": metrics.f1_score(truth, guess, **options),
        "nll": metrics.log_loss(truth, probabilities, labels=predictions.labels),
        "brier": ((probabilities - one_hot) ** 2).sum(axis=1).mean(),
        "auroc": np.mean([metrics.roc_auc_score(one_hot[:, index], probabilities[:, index]) for index in present]),
    }
    for name, value in expected.items():
        assert report[name] == pytest.approx(value, abs=1e-6), name
    hits = sum(a == b for a, b in zip(truth, guess, strict=True))
    accuracy = report.metrics["accuracy"]
    assert (accuracy.low, accuracy.high) == pytest.approx(wilson(hits, n))
    assert report.n_used == n


def test_binary_auroc_is_that_of_the_second_class() -> None:
    predictions = random_predictions(5, 80, 2)
    assert predictions.targets is not None
    assert predictions.probabilities is not None
    positive = [target == "b" for target in predictions.targets]
    expected = metrics.roc_auc_score(positive, predictions.probabilities[:, 1])
    assert evaluator().score(predictions)["auroc"] == pytest.approx(expected)


def test_calibration_error_by_hand() -> None:
    # Bin (0.5, 0.75]: confidences 0.6 and 0.7, one right: |1/2 - 0.65| = 0.15. Bin (0.75, 1]: 0.9, 0.9 and 0.8, all
    # right: |1 - 0.8667| = 0.1333. ECE = 2/5 * 0.15 + 3/5 * 0.1333 = 0.14.
    confident = np.array([0.6, 0.7, 0.9, 0.9, 0.8], dtype=np.float32)
    predictions = Predictions(
        ids=list("12345"),
        outputs=["a"] * 5,
        targets=["a", "b", "a", "a", "a"],
        probabilities=np.stack([confident, 1 - confident], axis=1),
        labels=("a", "b"),
    )
    assert evaluator(bins=4).score(predictions)["ece"] == pytest.approx(0.14, abs=1e-6)


def test_calibration_error_of_a_certain_and_always_right_model_is_zero() -> None:
    predictions = Predictions(
        ids=["1", "2"],
        outputs=["a", "b"],
        targets=["a", "b"],
        probabilities=np.eye(2, dtype=np.float32),
        labels=("a", "b"),
    )
    report = evaluator().score(predictions)
    assert {name: report[name] for name in ("ece", "brier", "accuracy", "auroc")} == {
        "ece": 0.0,
        "brier": 0.0,
        "accuracy": 1.0,
        "auroc": 1.0,
    }
    assert report["nll"] == pytest.approx(0, abs=1e-6)
    assert report.tables[1].rows == []


def test_a_certain_and_wrong_model_has_a_finite_likelihood() -> None:
    predictions = Predictions(
        ids=["1"],
        outputs=["a"],
        targets=["b"],
        probabilities=np.array([[1, 0]], dtype=np.float32),
        labels=("a", "b"),
    )
    report = evaluator().score(predictions)
    assert report["nll"] == pytest.approx(-math.log(np.finfo(np.float32).eps))
    assert report["brier"] == 2.0
    assert report["ece"] == 1.0


def test_a_single_class_has_no_auroc_and_says_why() -> None:
    predictions = random_predictions(0)
    predictions.targets = ["a"] * 60
    report = evaluator().score(predictions)
    assert report.metrics["auroc"].value is None
    assert report.metrics["auroc"].texts()[0] == "n/a, because all targets are 'a', and ranking needs two classes"
    assert report["balanced_accuracy"] == report["accuracy"]
    assert "class" in report.to_html()


def test_no_samples_leave_every_metric_without_a_value() -> None:
    report = evaluator().score(predict_all(Echo(), []))
    assert {score.reason for score in report.metrics.values()} == {"no sample was used"}
    assert not report.tables
    assert "0 used" in report.to_html()


def test_without_probabilities_their_metrics_have_no_value() -> None:
    report = evaluator().score(Predictions(ids=["1", "2"], outputs=["10", "9"], targets=["10", "2"]))
    assert report["accuracy"] == 0.5
    assert report.metrics["nll"].reason == "the model gives no probabilities"
    assert report.metrics["auroc"].reason == "the model gives no probabilities"
    assert [row[0] for row in report.tables[0].rows] == ["2", "9", "10"]
    assert len(report.figures) == 1


def test_a_class_without_targets_or_predictions_has_no_ratios() -> None:
    predictions = Predictions(
        ids=["1", "2"],
        outputs=["a", "b"],
        targets=["a", "a"],
        probabilities=np.array([[0.9, 0.1, 0], [0.2, 0.8, 0]], dtype=np.float32),
        labels=LABELS,
    )
    report = evaluator().score(predictions)
    assert report.tables[0].rows == [
        ["a", 2, 1, 1.0, 0.5, pytest.approx(2 / 3), None],
        ["b", 0, 1, 0.0, None, 0.0, None],
        ["c", 0, 0, None, None, None, None],
    ]
    assert report["precision_macro"] == 0.5  # of the two classes that occur
    assert report["balanced_accuracy"] == 0.5


def test_auroc_over_some_of_the_classes_is_said_to_be_so() -> None:
    predictions = random_predictions(0, n=30, classes=3)
    predictions.targets = ["a", "b"] * 15
    report = evaluator().score(predictions)
    assert report.metrics["auroc"].value is not None
    assert any("2 of 3 classes" in note for note in report.notes)


def test_mistakes_are_listed_by_confidence() -> None:
    predictions = random_predictions(4)
    table = evaluator(mistakes=5).score(predictions).tables[1]
    assert len(table.rows) == 5
    confidences = [row[3] for row in table.rows]
    assert confidences == sorted(confidences, reverse=True)  # type: ignore[type-var]
    wrong = [
        float(row.max())
        for row, target, output in zip(predictions.probabilities, predictions.targets, predictions.outputs, strict=True)  # type: ignore[arg-type]
        if target != output
    ]
    assert confidences[0] == max(wrong)
    assert table.note == f"5 of {len(wrong)} mistakes."


def test_an_unknown_target_is_refused_by_name() -> None:
    predictions = random_predictions(0)
    assert predictions.targets is not None
    predictions.targets[3] = "zebra"
    with pytest.raises(DataError, match=r"'zebra' are not among the model's labels 'a', 'b', 'c'.*allow_unseen"):
        evaluator().score(predictions)


def test_unknown_targets_count_as_errors_where_that_is_wanted() -> None:
    predictions = random_predictions(0, n=10)
    predictions.targets = [*predictions.outputs[:8], "yak", "zebra"]
    assert predictions.probabilities is not None
    report = evaluator(allow_unseen=True).score(predictions)
    assert report["accuracy"] == 0.8
    assert report.metrics["nll"].reason == "2 samples are of classes to which the model gives no probability"
    # One-hot vectors over all five classes, of which the model's probabilities for the last two are zero.
    one_hot = np.array(predictions.targets)[:, None] == np.array([*LABELS, "yak", "zebra"])
    padded = np.pad(predictions.probabilities, ((0, 0), (0, 2)))
    assert report["brier"] == pytest.approx(((padded - one_hot) ** 2).sum(axis=1).mean(), abs=1e-6)
    assert [row[0] for row in report.tables[0].rows] == ["a", "b", "c", "yak", "zebra"]
    assert any("'yak', 'zebra'" in note for note in report.notes)
    assert "zebra" in report.to_html()


def test_predictions_outside_the_labels_are_refused() -> None:
    predictions = random_predictions(0)
    predictions.outputs[0] = "d"
    with pytest.raises(DataError, match="predictions 'd' are not among the labels"):
        evaluator(allow_unseen=True).score(predictions)


def test_predictions_without_targets_are_refused() -> None:
    with pytest.raises(DataError, match="no targets"):
        evaluator().score(Predictions(ids=["1"], outputs=["a"]))


def test_many_classes_can_be_shown() -> None:
    labels = tuple(f"c{index}" for index in range(120))
    predictions = Predictions(ids=list(labels), outputs=list(labels), targets=list(labels))
    assert evaluator().score(predictions).to_html().count("data:image/") == 1


def test_evaluate_says_what_was_judged_on_what() -> None:
    dataset = InMemory(
        [vector(0.7, 0.2, 0.1, target="a"), vector(0.6, 0.3, 0.1, target="b")], task=VECTOR_CLASSIFICATION, name="two"
    )
    dataset.skipped = [InvalidSample("is empty", where=Where(file=Path("table.csv"), line=3))]
    report = evaluator(bins=5).evaluate(Echo(), dataset)
    assert report["accuracy"] == 0.5
    assert (report.n_used, report.n_left_out) == (2, 1)
    assert report.left_out == ["table.csv, line 3: is empty"]
    assert report.title == "Classification: Echo on two (train)"
    assert report.provenance["fingerprint"] == dataset.fingerprint()
    assert report.provenance["options"]["bins"] == 5
    assert report.provenance["configuration"] == {}


def test_evaluate_refuses_what_does_not_fit_before_any_work() -> None:
    model = Echo(("a", "b"))
    texts = InMemory([{"text": "x", "target": "a"}], task=TEXT_CLASSIFICATION)
    with pytest.raises(TaskMismatch, match="vector"):
        evaluator().evaluate(model, texts)
    unknown = InMemory([vector(1, 0, target="c")], task=VECTOR_CLASSIFICATION)
    with pytest.raises(DataError, match="c"):
        evaluator().evaluate(model, unknown)
    assert not model.batches
    assert evaluator(allow_unseen=True).evaluate(model, unknown)["accuracy"] == 0


def test_evaluate_refuses_targets_that_are_no_labels() -> None:
    dataset = InMemory([{"text": "x"}], task=Shout.task)
    with pytest.raises(TaskMismatch, match="needs labels"):
        evaluator().evaluate(Shout(), dataset)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'bins'"):
        evaluator(binz=3)


def test_options_are_given_by_name_or_as_a_whole() -> None:
    whole = ClassificationEvaluator.Options(bins=5, mistakes=1)
    assert ClassificationEvaluator(whole).options == whole
    assert ClassificationEvaluator(whole, mistakes=2).options == ClassificationEvaluator.Options(bins=5, mistakes=2)


def test_evaluate_skips_what_can_not_be_used_where_that_is_wanted() -> None:
    samples = [vector(0.7, 0.2, 0.1, target="a"), vector(-1, 0, 0, target="b", id="bad")]
    dataset = InMemory(samples, task=VECTOR_CLASSIFICATION)
    report = evaluator(on_error="skip").evaluate(Echo(), dataset)
    assert report.n_used == 1
    assert report.left_out == ["sample bad: the model refuses this one"]
    with pytest.raises(InvalidSample, match="the model refuses"):
        evaluator().evaluate(Echo(), dataset)


# Outputs without targets


class Length(OutputEvaluator):
    """Share of outputs that are as long as their source."""

    def score_pairs(self, pairs: Any) -> Report:
        same = [len(sample["text"]) == len(output) for sample, output in pairs]
        return Report("Length", metrics={"same": Score(float(np.mean(same)))}, n_used=len(same))


def test_outputs_are_judged_by_their_sources() -> None:
    dataset = InMemory([{"text": "straße"}, {"text": "weg"}], task=Shout.task, name="streets")
    dataset.skipped = [InvalidSample("is empty")]
    report = Length().evaluate(Shout(), dataset)
    assert report["same"] == 0.5  # "ß" has two capitals
    assert (report.n_used, report.n_left_out, report.left_out) == (2, 1, ["is empty"])
    assert report.title == "Length: Shout on streets (train)"
