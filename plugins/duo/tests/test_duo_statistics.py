"""Rates, paired tests and verdicts, against closed forms and the statistics libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_kappa
from statsmodels.stats.proportion import proportion_confint

from quire.errors import ConfigError
from quire_duo.options import DuoOptions
from quire_duo.statistics import Rate, fleiss_kappa, mcnemar, paired_difference
from quire_duo.verdict import Policy, TargetFault, check_answers

MTTM = {  # errors among 1,306 detected seeds, counted in the artefact of Wang et al. (ICSE 2023)
    "abbreviation": (1096, 0.839),
    "homophone": (958, 0.734),
    "noise": (950, 0.727),
    "word split": (891, 0.682),
    "swap": (840, 0.643),
    "translation": (754, 0.577),
    "non-letter look-alike": (743, 0.569),
    "mask": (664, 0.508),
    "benign context": (544, 0.417),
    "letter look-alike": (253, 0.194),
    "visual split": (143, 0.109),
}


@pytest.mark.parametrize(("errors", "published"), MTTM.values(), ids=MTTM.keys())
def test_recorded_counts_give_the_published_rates(errors: int, published: float) -> None:
    rate = Rate.of([True] * errors + [False] * (1306 - errors))
    assert rate.value == pytest.approx(published, abs=5e-4)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_statsmodels(counts: tuple[int, int]) -> None:
    hits, n = counts
    assert Rate(hits, n).interval == pytest.approx(proportion_confint(hits, n, method="wilson"), abs=1e-9)


def test_wilson_in_closed_form() -> None:
    low, high = Rate(0, 10).interval
    z = 1.959963984540054
    assert (low, high) == pytest.approx((0.0, z * z / (10 + z * z)))


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    expected = binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)


def test_paired_difference_and_its_interval() -> None:
    rng = np.random.default_rng(1)
    first = rng.random(400) < 0.5
    second = first ^ (rng.random(400) < 0.2)
    found = paired_difference(first.tolist(), second.tolist())
    gains = second.astype(float) - first.astype(float)
    half = 1.96 * gains.std() / math.sqrt(400)
    assert found.value == pytest.approx(gains.mean())
    assert (found.low, found.high) == pytest.approx((gains.mean() - half, gains.mean() + half), abs=0.01)
    assert found.p == pytest.approx(mcnemar(found.only_first, found.only_second))
    assert found.only_second - found.only_first == round(400 * found.value)


def test_cases_of_one_seed_are_drawn_together() -> None:
    first = [False] * 40
    second = [group < 2 for group in range(4) for _ in range(10)]
    alone = paired_difference(first, second)
    together = paired_difference(first, second, groups=[str(group) for group in range(4) for _ in range(10)])
    assert together.value == alone.value == 0.5
    assert together.high - together.low > 2 * (alone.high - alone.low)
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference([], [])


@given(
    st.integers(2, 6).flatmap(
        lambda raters: st.lists(st.lists(st.integers(0, 2), min_size=raters, max_size=raters), min_size=2, max_size=12)
    )
)
def test_fleiss_kappa_is_statsmodels(ratings: list[list[int]]) -> None:
    counts = np.array([[row.count(category) for category in range(3)] for row in ratings])
    found = fleiss_kappa(counts)
    if (counts.sum(axis=0) == counts.sum()).any():
        assert found is None
    else:
        assert found == pytest.approx(float(statsmodels_kappa(counts)), abs=1e-9)


def test_fleiss_kappa_of_the_original_example() -> None:
    table = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]]
    table += [[7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]
    assert fleiss_kappa(np.array(table)) == pytest.approx(0.210, abs=5e-4)


def policy(**options: object) -> Policy:
    values = {"labels": ("ok", "hate", "spam"), "toxic": {"": frozenset({"hate", "spam"})}}
    return Policy(**{**values, **options})  # type: ignore[arg-type]


def row(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_the_toxic_score_is_a_sum_or_a_maximum() -> None:
    answer = row(0.4, 0.3, 0.3)
    assert policy().score(answer, "ads") == pytest.approx(0.6)
    assert policy().flags(answer, "ads")
    assert policy(label_kind="multilabel").score(answer, "ads") == pytest.approx(0.3)
    assert not policy(label_kind="multilabel").flags(answer, "ads")
    assert not policy(decision="argmax").flags(answer, "ads")
    assert policy(threshold=0.7).flags(answer, "ads") is False


def test_labels_by_kind_and_thresholds_of_labels() -> None:
    by_kind = policy(toxic={"hate": frozenset({"hate"}), "": frozenset({"spam"})})
    assert by_kind.score(row(0.1, 0.7, 0.2), "hate") == pytest.approx(0.7)
    assert by_kind.score(row(0.1, 0.7, 0.2), "ads") == pytest.approx(0.2)
    with pytest.raises(ConfigError, match="no label for the kind 'porn'"):
        policy(toxic={"hate": frozenset({"hate"})}).flags(row(0, 1, 0), "porn")
    own = policy(label_kind="multilabel", thresholds={"spam": 0.2})
    assert own.flags(row(0, 0.4, 0.2), "ads")
    assert not own.flags(row(0, 0.4, 0.1), "ads")
    assert own.flags(row(0, 0.5, 0.1), "ads")


def test_the_majority_of_repeats_decides() -> None:
    flagged, passed = row(0.1, 0.9, 0), row(0.9, 0.1, 0)
    verdict = policy().judge([flagged, passed, passed], "ads")
    assert (verdict.flagged, verdict.flaky) == (False, True)
    assert verdict.score == pytest.approx((0.9 + 0.1 + 0.1) / 3)
    assert policy().judge([flagged, passed], "ads").flagged
    assert not policy().judge([flagged, flagged], "ads").flaky


def test_answers_that_no_classifier_may_give(duo_kit: object) -> None:
    target = duo_kit.Told(lambda sample: 0.0, labels=("ok", "hate", "spam"))  # type: ignore[attr-defined]
    for answer, told in (
        (row(np.nan, 0.5, 0.5), "is not finite: [nan, 0.5, 0.5]"),
        (row(1.5, -0.5, 0.0), "lies outside 0..1: [1.5, -0.5, 0.0]"),
        (row(0.5, 0.1, 0.1), "does not sum to one"),
        (row(0.5, 0.5), "has the shape [2] where one probability for each of 3 labels is due: [0.5, 0.5]"),
    ):
        with pytest.raises(TargetFault) as caught:
            check_answers([answer], 1, target, policy())
        assert told in str(caught.value)
    with pytest.raises(TargetFault, match="gave 1 answers to 2 cases"):
        check_answers([row(1, 0, 0)], 2, target, policy())
    with pytest.raises(TargetFault, match="labels were"):
        check_answers([row(1, 0, 0)], 1, target, policy(labels=("hate", "ok", "spam")))
    check_answers([row(0.3, 0.9, 0.9)], 1, target, policy(label_kind="multilabel"))


def test_toxic_labels_must_be_known(duo_kit: object) -> None:
    target = duo_kit.Told(lambda sample: 0.0, toxic=frozenset())  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="does not say which of its labels are toxic"):
        Policy.of(target, DuoOptions())
    with pytest.raises(ConfigError, match=r"'spma', which is no label of the target \(did you mean 'spam'"):
        Policy.of(target, DuoOptions(toxic_labels=("spma",)))
    assert Policy.of(target, DuoOptions(toxic_labels={"ads": ("spam",)})).toxic_of("ads") == {"spam"}
