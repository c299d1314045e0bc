from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from quire_tsc import twiesn
from quire_tsc.twiesn import (
    TWIESN,
    Candidate,
    Reservoir,
    draw_reservoir,
    fit_ridge,
    fit_twiesn,
    paper_candidates,
)

SMALL = Candidate(size=20, density=0.5, input_scale=1.0, ridge=0.05, spectral_radius=0.9)


def waves(cases: int, length: int = 30, channels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Rectified sines, of one frequency per class."""
    rng = np.random.default_rng(cases)
    y = np.arange(cases) % 3
    time = np.arange(length) / length
    clean = (1 + y[:, None, None]) * np.abs(np.sin(2 * np.pi * (1 + y[:, None, None]) * time))
    return (clean + rng.normal(0, 0.1, (cases, channels, length))).astype(np.float32), y


def test_paper_candidates() -> None:
    few, many = paper_candidates(1000), paper_candidates(1001)
    assert len(few) == 16
    assert few[4] == Candidate(250, 0.5, 2.0, 0.05, 0.55)
    assert few[-1] == Candidate(800, 0.1, 2.0, 0.05, 5.0)
    assert len(many) == 12
    assert {candidate.size for candidate in many} == {100}


@pytest.mark.parametrize("radius", [0.55, 5.0])
def test_reservoir_has_its_spectral_radius_density_and_ranges(radius: float) -> None:
    candidate = Candidate(120, 0.3, 2.0, 0.0, radius)
    reservoir = draw_reservoir(candidate, 3, np.random.default_rng(0))
    assert np.abs(np.linalg.eigvals(reservoir.recurrent)).max() == pytest.approx(radius, abs=1e-6)
    assert np.mean(reservoir.recurrent != 0) == pytest.approx(0.3, abs=0.02)
    assert reservoir.inputs.shape == (120, 3)
    assert 0.24 < np.abs(reservoir.inputs).max() <= 1 / (2 * 2.0)


def test_a_reservoir_without_a_cycle_is_drawn_again() -> None:
    sparse = Candidate(3, 0.2, 1.0, 0.0, 0.9)
    for seed in range(20):
        recurrent = draw_reservoir(sparse, 1, np.random.default_rng(seed)).recurrent
        assert np.abs(np.linalg.eigvals(recurrent)).max() == pytest.approx(0.9)


def test_state_update_by_hand() -> None:
    reservoir = draw_reservoir(SMALL, 2, np.random.default_rng(0))
    x, _ = waves(4)
    states = np.stack(list(reservoir.states(x)), axis=1)
    for case, series in enumerate(x):
        state = np.zeros(20)
        for t in range(x.shape[2]):
            state = 0.9 * state + 0.1 * np.tanh(reservoir.inputs @ series[:, t] + reservoir.recurrent @ state)
            np.testing.assert_allclose(states[case, t], state, atol=1e-12)


@pytest.mark.parametrize("ridge", [0.0, 0.05, 30.0])
@pytest.mark.parametrize("parts", [1, 7])
def test_ridge_in_parts_is_ridge(ridge: float, parts: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(1e3, 1.0, (200, 12)), rng.normal(5.0, 1.0, (200, 3))
    pieces = zip(np.array_split(x, parts), np.array_split(y, parts), strict=True)
    weights, intercept = fit_ridge(pieces, ridge)
    expected = Ridge(alpha=ridge).fit(x, y)
    np.testing.assert_allclose(weights, expected.coef_.T, atol=1e-8)
    np.testing.assert_allclose(intercept, expected.intercept_, rtol=1e-7)


def test_singular_ridge_takes_the_smallest_weights() -> None:
    column = np.linspace(0, 1, 10)
    weights, intercept = fit_ridge([(np.column_stack([column, column]), column[:, None])], 0.0)
    np.testing.assert_allclose(weights, [[0.5], [0.5]], atol=1e-10)
    np.testing.assert_allclose(intercept, [0.0], atol=1e-10)


def test_score_is_the_mean_over_time_of_the_readout() -> None:
    x, y = waves(30)
    model = fit_twiesn(x, y, 3, candidates=[SMALL])
    steps = np.stack(list(model.reservoir.states(x)), axis=1)
    features = np.concatenate([x.transpose(0, 2, 1), steps], axis=2)
    expected = (features @ model.weights + model.intercept).mean(axis=1)
    np.testing.assert_allclose(model.scores(x), expected, atol=1e-8)


def test_memory_limit_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = waves(30)
    whole = fit_twiesn(x, y, 3, candidates=[SMALL])
    whole_scores = whole.scores(x)
    monkeypatch.setattr(twiesn, "CHUNK_BYTES", 8 * 30 * 22 * 4)  # four series at a time
    chunked = fit_twiesn(x, y, 3, candidates=[SMALL])
    np.testing.assert_allclose(chunked.weights, whole.weights, atol=1e-8)
    monkeypatch.setattr(twiesn, "CHUNK_BYTES", 1)
    np.testing.assert_allclose(chunked.scores(x), whole_scores, atol=1e-8)


def test_refit_uses_all_series_with_the_kept_reservoir() -> None:
    x, y = waves(30)
    kept = fit_twiesn(x, y, 3, candidates=[SMALL], refit=False)
    refitted = fit_twiesn(x, y, 3, candidates=[SMALL])
    np.testing.assert_array_equal(kept.reservoir.recurrent, refitted.reservoir.recurrent)
    features = np.concatenate([x.transpose(0, 2, 1), np.stack(list(kept.reservoir.states(x)), axis=1)], axis=2).reshape(
        -1, 22
    )
    expected = Ridge(alpha=0.05).fit(features, np.repeat(np.eye(3)[y], 30, axis=0))
    np.testing.assert_allclose(refitted.weights, expected.coef_.T, atol=1e-6)
    assert np.abs(kept.weights - refitted.weights).max() > 1e-4


def test_selection_keeps_the_first_candidate_that_validates_best() -> None:
    x, y = waves(60)
    majority = (y == 0) | (np.arange(60) % 2 == 0)  # half of the other classes gone
    deaf = Candidate(10, 0.5, 1.0, 1e12, 0.9)  # a penalty under which every score is the class's share
    model = fit_twiesn(x[majority], y[majority], 3, candidates=[deaf, SMALL])
    assert len(model.reservoir.inputs) == 20
    test_x, test_y = waves(45)
    assert np.mean(model.scores(test_x).argmax(axis=1) == test_y) > 0.9
    alone, twice = fit_twiesn(x, y, 3, candidates=[SMALL]), fit_twiesn(x, y, 3, candidates=[SMALL, SMALL])
    np.testing.assert_array_equal(twice.reservoir.inputs, alone.reservoir.inputs)


def test_the_seed_decides() -> None:
    x, y = waves(60)
    first, second = (fit_twiesn(x, y, 3, candidates=[SMALL], seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)
    assert np.abs(fit_twiesn(x, y, 3, candidates=[SMALL], seed=4).weights - first.weights).max() > 0


@pytest.mark.parametrize("cases", [2, 4])
def test_few_series(cases: int) -> None:
    x, y = waves(cases)
    probabilities = fit_twiesn(x, y, 3, candidates=[SMALL]).predict_proba(x)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)


def test_probabilities_are_clipped_scores() -> None:
    silent = Reservoir(np.zeros((1, 1)), np.zeros((1, 1)))
    x = np.zeros((1, 1, 4), dtype=np.float32)

    def probabilities(*intercept: float) -> np.ndarray:
        return TWIESN(silent, np.zeros((2, 3)), np.array(intercept)).predict_proba(x)

    np.testing.assert_allclose(probabilities(3.0, -1.0, 1.0), [[0.75, 0.0, 0.25]])
    np.testing.assert_allclose(probabilities(-3.0, -1.0, 0.0), [[1 / 3] * 3], rtol=1e-6)
    assert probabilities(1.0, 0.0, 0.0).dtype == np.float32


def test_arrays_round_trip() -> None:
    x, y = waves(12)
    model = fit_twiesn(x, y, 3, candidates=[SMALL])
    again = TWIESN.from_arrays(model.to_arrays())
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))


@pytest.mark.slow
@pytest.mark.skipif("QUIRE_DATA" not in os.environ, reason="QUIRE_DATA is not set: no real data")
def test_italy_power_demand_reaches_the_published_accuracy() -> None:
    folder = Path(os.environ["QUIRE_DATA"]) / "tsc" / "ucr_tsv" / "ItalyPowerDemand"
    train, test = (np.loadtxt(folder / f"ItalyPowerDemand_{part}.tsv", dtype=np.float32) for part in ("TRAIN", "TEST"))
    model = fit_twiesn(train[:, None, 1:], train[:, 0].astype(int) - 1, 2, refit=False)
    accuracy = np.mean(model.scores(test[:, None, 1:]).argmax(axis=1) == test[:, 0] - 1)
    assert abs(accuracy - 0.880) < 3 * 0.022  # mean and deviation of the paper's ten runs
