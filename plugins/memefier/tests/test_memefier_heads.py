"""Heads: losses and probabilities against written-out ones, labels that are not known, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from torch.nn import functional as F

from quire.errors import ConfigError, InvalidSample
from quire_memefier.calibrate import best_threshold, fit_temperature, fit_thresholds, negative_log_likelihood
from quire_memefier.heads import MISSING, Head, check_heads, derive_head, split_logits, split_targets
from quire_memefier.training import head_metrics, mean_metrics

BINARY = Head(name="b", labels=("no", "yes"))
GRADES = Head(name="g", kind="ordinal", labels=("none", "some", "much", "most"))
CLASSES = Head(name="c", kind="multiclass", labels=("x", "y", "z"))
MANY = Head(name="m", kind="multilabel", labels=("p", "q"))


def logits(head: Head, n: int = 6) -> torch.Tensor:
    return torch.randn(n, head.logits, generator=torch.Generator().manual_seed(0))


def test_losses_are_the_written_out_ones() -> None:
    truth = torch.tensor([[0], [1], [1], [0], [1], [0]])
    assert torch.allclose(
        BINARY.loss(logits(BINARY), truth),
        F.binary_cross_entropy_with_logits(logits(BINARY)[:, 0], truth[:, 0].float()),
    )
    grades = torch.tensor([[0], [1], [2], [2], [1], [0]])
    assert torch.allclose(CLASSES.loss(logits(CLASSES), grades), F.cross_entropy(logits(CLASSES), grades[:, 0]))
    both = torch.tensor([[0, 1], [1, 1], [1, 0], [0, 0], [1, 1], [0, 1]])
    assert torch.allclose(MANY.loss(logits(MANY), both), F.binary_cross_entropy_with_logits(logits(MANY), both.float()))


@pytest.mark.parametrize("head", [BINARY, GRADES, CLASSES])
def test_the_loss_is_the_negative_log_of_the_targets_probability(head: Head) -> None:
    truth = torch.arange(6).remainder(len(head.labels)).unsqueeze(1)
    probabilities = head.probabilities(logits(head).double().numpy())
    expected = -np.log(probabilities[np.arange(6), truth[:, 0]]).mean()
    assert float(head.loss(logits(head), truth)) == pytest.approx(expected, rel=1e-5)


@given(st.lists(st.lists(st.floats(-30, 30), min_size=3, max_size=3), min_size=1, max_size=5), st.floats(0.1, 10))
def test_probabilities_sum_to_one(values: list[list[float]], temperature: float) -> None:
    array = np.array(values)
    for head, columns in ((GRADES, array), (CLASSES, array), (BINARY, array[:, :1])):
        found = head.probabilities(columns, temperature)
        assert found.shape == (len(array), len(head.labels))
        assert (found >= 0).all()
        assert np.allclose(found.sum(axis=1), 1)


def test_ordinal_grades_are_reached_one_after_the_other() -> None:
    found = GRADES.probabilities(np.array([[100.0, 100.0, -100.0], [-100.0, 100.0, 100.0]]))
    assert np.allclose(found, [[0, 0, 1, 0], [1, 0, 0, 0]])


@pytest.mark.parametrize("head", [BINARY, GRADES, CLASSES, MANY])
def test_memes_without_a_target_do_not_count(head: Head) -> None:
    truth = torch.zeros(6, head.targets, dtype=torch.int64)
    unknown = truth.clone()
    unknown[3:] = MISSING
    assert torch.allclose(head.loss(logits(head), unknown), head.loss(logits(head)[:3], truth[:3]))
    assert float(head.loss(logits(head), torch.full_like(truth, MISSING))) is not None
    assert torch.isfinite(head.loss(logits(head), torch.full_like(truth, MISSING)))


def test_class_weights_are_those_of_torch() -> None:
    truth, weights = torch.tensor([[0], [1], [1], [2], [1], [0]]), torch.tensor([1.0, 0.5, 3.0])
    expected = F.cross_entropy(logits(CLASSES), truth[:, 0], weight=weights)
    assert torch.allclose(CLASSES.loss(logits(CLASSES), truth, weights), expected)
    binary = torch.tensor([[0], [1], [1], [1], [1], [0]])
    as_two = torch.cat([torch.zeros(6, 1), logits(BINARY)], dim=1)
    assert torch.allclose(
        BINARY.loss(logits(BINARY), binary, weights[:2]), F.cross_entropy(as_two, binary[:, 0], weight=weights[:2])
    )


def test_targets_as_numbers() -> None:
    assert BINARY.encode("yes") == [1]
    assert GRADES.encode("much") == [2]
    assert MANY.encode("q") == [0, 1]
    assert MANY.encode("q| p") == [1, 1]
    assert MANY.encode("") == [0, 0]
    assert MANY.encode(["p"]) == [1, 0]
    assert MANY.encode(None) == [MISSING, MISSING]
    with pytest.raises(InvalidSample, match=r"unknown label 'mutch' of head 'g' \(did you mean 'much'\?\)"):
        GRADES.encode("mutch")


def test_columns_belong_to_their_heads() -> None:
    heads = (GRADES, BINARY, MANY)
    assert [columns.shape[1] for columns in split_logits(heads, np.zeros((2, 6)))] == [3, 1, 2]
    assert [columns.shape[1] for columns in split_targets(heads, np.zeros((2, 4)))] == [1, 1, 2]


def test_the_toxic_label_is_the_positive_one() -> None:
    assert derive_head(("hateful", "not-hateful"), ("hateful",)).labels == ("not-hateful", "hateful")
    assert derive_head(("0", "1"), ()).labels == ("0", "1")
    assert derive_head(("a", "b", "c"), ("c",)).kind == "multiclass"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"labels": ("a", "a")}, "names a label twice"),
        ({"labels": ("a", "b", "c")}, "binary and needs two labels"),
        ({"kind": "ordinal", "labels": ("a",)}, "at least two labels"),
        ({"toxic": ("bad",)}, "no label 'bad'"),
    ],
)
def test_heads_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Head.parse(values, owner="memefier")


def test_the_first_head_gives_a_distribution() -> None:
    with pytest.raises(ConfigError, match="can't be multilabel"):
        check_heads([MANY, BINARY])
    with pytest.raises(ConfigError, match="share a name"):
        check_heads([BINARY, BINARY])


# -------------------------------------------------------------------------------------------------------------- metrics


def test_figures_of_an_epoch() -> None:
    from sklearn.metrics import roc_auc_score

    values, truth = np.array([[2.0], [-1.0], [0.5], [-2.0]]), np.array([[1], [1], [0], [0]])
    found = head_metrics(BINARY, values, truth)
    assert found["accuracy"] == 0.5
    assert found["f1"] == f1_score(truth, values > 0, average="macro")
    assert found["auc"] == roc_auc_score(truth, values)
    assert "auc" not in head_metrics(BINARY, values, np.ones((4, 1), int))
    assert head_metrics(BINARY, values, np.full((4, 1), MISSING)) == {}


def test_several_heads_are_averaged() -> None:
    values = np.array([[2.0, 9.0, 0.0, 0.0], [-1.0, 0.0, 9.0, 0.0]])
    truth = np.array([[1, 0], [1, 2]])
    found = mean_metrics((BINARY, CLASSES), values, truth)
    assert found["accuracy"] == (0.5 + 0.5) / 2


# ---------------------------------------------------------------------------------------------------------- calibration


@pytest.mark.parametrize("head", [BINARY, CLASSES, GRADES, MANY])
def test_no_temperature_is_more_likely(head: Head) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, head.logits)) * 4
    drawn = rng.random((400, 1)) < np.cumsum(head.probabilities(values, 3.0), axis=1)
    truth = drawn.argmax(axis=1)[:, None]
    if head.kind == "multilabel":
        truth = (rng.random((400, head.targets)) < head.probabilities(values, 3.0)).astype(int)
    best = fit_temperature(head, values, truth)
    assert best == pytest.approx(3, rel=0.35)
    least = negative_log_likelihood(head, values, truth, best)
    for factor in (0.8, 0.95, 1.05, 1.25):
        assert least <= negative_log_likelihood(head, values, truth, best * factor) + 1e-9


def test_overconfident_logits_get_a_temperature_that_undoes_it() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(4000, 1)) * 2
    truth = (rng.random((4000, 1)) < 1 / (1 + np.exp(-honest))).astype(int)
    assert fit_temperature(BINARY, 5 * honest, truth) == pytest.approx(5, rel=0.15)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), st.integers(0, 1)), min_size=2, max_size=12))
def test_no_threshold_has_a_higher_macro_f1(pairs: list[tuple[float, int]]) -> None:
    probabilities, truth = np.array([p for p, _ in pairs]), np.array([t for _, t in pairs])
    chosen = best_threshold(probabilities, truth)
    if truth.min() == truth.max():
        assert chosen == 0.5
        return

    def score(threshold: float) -> float:
        return float(f1_score(truth, probabilities > threshold, average="macro", labels=[0, 1], zero_division=0))

    assert score(chosen) >= max(score(threshold) for threshold in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)) - 1e-9


def test_thresholds_are_by_label() -> None:
    values, truth = np.array([[3.0], [2.0], [1.0], [-1.0]]), np.array([[1], [1], [0], [0]])
    found = fit_thresholds(BINARY, values, truth, 1.0)
    assert list(found) == ["yes"]
    assert 1 / (1 + np.exp(-1)) < found["yes"] < 1 / (1 + np.exp(-2))
    assert fit_thresholds(CLASSES, np.zeros((4, 3)), truth, 1.0) == {}
