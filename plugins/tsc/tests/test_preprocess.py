"""Preprocessing: closed forms, no look at the test series, and what happens to other lengths and channels."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quire.errors import DataError, InvalidSample, RunError
from quire_tsc.preprocess import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray


def series(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


def fitted(*train: np.ndarray, **options: Any) -> Preprocessing:
    return Preprocessing.fit(list(train), **options)


def test_per_series_is_population_z_score() -> None:
    batch, mask = fitted(series([1, 2, 3, 4])).apply([series([10, 20, 30, 60])])
    expected = (np.array([10, 20, 30, 60]) - 30) / np.sqrt((400 + 100 + 0 + 900) / 4)
    np.testing.assert_allclose(batch[0, 0], expected, rtol=1e-6)
    assert mask is None
    assert batch.dtype == np.float32


@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.integers(1, 50),
)
def test_a_constant_series_becomes_exactly_zero(value: float, length: int) -> None:
    constant = np.full((1, length), value, dtype=np.float32)
    batch, _ = fitted(constant).apply([constant])
    assert not batch.any()


@given(arrays(np.float32, (3, 7), elements=st.floats(-1e6, 1e6, width=32)))
def test_per_series_matches_a_written_out_loop(values: np.ndarray) -> None:
    batch, _ = fitted(values, normalize="per_series").apply([values])
    for channel, ours in zip(values.astype(np.float64), batch[0], strict=True):
        mean = sum(channel) / len(channel)
        std = (sum((x - mean) ** 2 for x in channel) / len(channel)) ** 0.5
        if len(set(channel)) > 1:
            np.testing.assert_allclose(ours, [(x - mean) / std for x in channel], rtol=1e-4, atol=1e-4)


def test_auto_normalises_one_channel_and_leaves_several() -> None:
    assert fitted(series([1, 2])).normalize == "per_series"
    several = series([1, 2], [3, 4])
    batch, _ = fitted(several).apply([several])
    np.testing.assert_array_equal(batch[0], several)


def test_per_channel_train_uses_the_training_figures_alone() -> None:
    train = [series([0, 2], [5, 5]), series([4, 6], [5, 5])]
    rule = fitted(*train, normalize="per_channel_train")
    assert rule.mean == (3.0, 5.0)
    assert rule.std == pytest.approx((5**0.5, 1.0))
    batch, _ = rule.apply([series([3, 3], [7, 9])])
    np.testing.assert_allclose(batch[0], [[0, 0], [2, 4]], rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"normalize": "per_channel_train"}, {"unequal": "pad"}, {"normalize": None}])
def test_a_series_does_not_depend_on_those_beside_it(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    train = [rng.normal(size=(2, length)).astype(np.float32) for length in (5, 9, 7)]
    test = [rng.normal(size=(2, length)).astype(np.float32) * 100 for length in (9, 6, 4)]
    rule = fitted(*train, **options)
    together, _ = rule.apply(test)
    for index, values in enumerate(test):
        np.testing.assert_array_equal(together[index], rule.apply([values])[0][0])


def test_linear_resampling_keeps_the_ends_and_lines() -> None:
    rule = fitted(series([0, 1]), series([0, 1, 2, 3, 4]), normalize=None)
    assert (rule.length, rule.equal_length) == (5, False)
    batch, mask = rule.apply([series([0, 8]), series([1, 0, 1]), series([3])])
    expected = series([0, 2, 4, 6, 8], [1, 0.5, 0, 0.5, 1], [3, 3, 3, 3, 3])
    np.testing.assert_allclose(batch[:, 0], expected)
    assert mask is None


def test_cubic_resampling_follows_a_cubic() -> None:
    long = np.linspace(-1, 2, 31)
    short = np.linspace(-1, 2, 8)
    rule = fitted(np.zeros((1, 31), np.float32), normalize=None, interpolation="cubic")
    with pytest.warns(UserWarning, match="resampled to 31"):
        batch, _ = rule.apply([(short**3 - short)[None].astype(np.float32)])
    np.testing.assert_allclose(batch[0, 0], long**3 - long, atol=1e-5)


def test_pad_masks_what_is_not_there() -> None:
    rule = fitted(series([1, 2, 3, 4]), series([1, 3]), unequal="pad")
    batch, mask = rule.apply([series([1, 3]), series([1, 2, 3, 4])])
    assert mask is not None
    np.testing.assert_array_equal(mask, [[True, True, False, False], [True] * 4])
    np.testing.assert_array_equal(batch[0, 0], [-1, 1, 0, 0])  # normalised over the two real values


def test_truncate_cuts_to_the_shortest_training_series() -> None:
    rule = fitted(series([1, 2, 3, 4]), series([1, 3, 5]), unequal="truncate", normalize=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch, mask = rule.apply([series([7, 8, 9, 10, 11])])
    np.testing.assert_array_equal(batch[0, 0], [7, 8, 9])
    assert mask is None


def test_missing_values() -> None:
    nan = float("nan")
    gaps = series([nan, 1, nan, nan, 4, nan])
    whole = series([0, 0, 0, 0, 0, 0])
    interpolated, _ = fitted(whole, normalize=None).apply([gaps])
    np.testing.assert_allclose(interpolated[0, 0], [1, 1, 2, 3, 4, 4])
    zeroed, _ = fitted(whole, normalize=None, missing="zero").apply([gaps])
    np.testing.assert_array_equal(zeroed[0, 0], [0, 1, 0, 0, 4, 0])
    with pytest.raises(
        InvalidSample, match="sample p7, field series: the value at time step 1 of channel 1 is missing"
    ):
        fitted(whole, missing="error").apply([gaps], ids=["p7"])
    with pytest.raises(InvalidSample, match="channel 1 has no value but NaN"):
        fitted(whole).apply([series([nan] * 6)])


def test_missing_values_of_a_real_release(release: Any) -> None:
    from quire_tsc.formats import load_ucr_tsv

    train = load_ucr_tsv(release / "ucr_tsv/DodgerLoopGame/DodgerLoopGame_TRAIN.tsv").series
    batch, mask = Preprocessing.fit(train, normalize=None).apply(train)
    assert np.isfinite(batch).all()
    assert mask is None
    for values, filled in zip(train, batch, strict=True):
        known = ~np.isnan(values)
        np.testing.assert_array_equal(filled[known], values[known])


def test_other_lengths_at_predict_time() -> None:
    rule = fitted(series([1, 2, 3, 4]), normalize=None)
    with pytest.warns(UserWarning, match=r"1 of 2 series have 2 time steps .* trained with 4: they are resampled to 4"):
        batch, mask = rule.apply([series([1, 4]), series([1, 2, 3, 4])])
    np.testing.assert_allclose(batch[0, 0], [1, 2, 3, 4])
    assert mask is None
    with pytest.warns(UserWarning, match=r"2 to 6 time steps .* they keep their length"):
        batch, mask = rule.apply([series([1, 4]), series([1, 2, 3, 4, 5, 6])], any_length=True)
    assert batch.shape == (2, 1, 6)
    assert mask is not None
    np.testing.assert_array_equal(mask.sum(axis=1), [2, 6])


def test_lengths_within_the_training_range_raise_no_warning() -> None:
    rule = fitted(series([1, 2, 3, 4]), series([1, 2]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch, _ = rule.apply([series([1, 2, 3])], any_length=True)
    assert batch.shape == (1, 1, 4)
    with pytest.warns(UserWarning, match="resampled to 4"):
        assert rule.apply([series([1, 2, 3, 4, 5])], any_length=True)[0].shape == (1, 1, 4)


def test_other_channels_and_nothing_to_fit_are_errors() -> None:
    rule = fitted(series([1, 2], [3, 4]))
    with pytest.raises(
        InvalidSample, match=r"sample 1, field series: the series has 1 channel, .* first training series 2"
    ):
        rule.apply([series([1, 2], [3, 4]), series([1, 2])])
    with pytest.raises(InvalidSample, match="has 3 channels"):
        Preprocessing.fit([series([1]), series([1], [2], [3])], normalize="per_channel_train")
    with pytest.raises(DataError, match="no series to train on"):
        Preprocessing.fit([])
    assert rule.apply([])[0].shape == (0, 2, 2)


@pytest.mark.parametrize("normalize", ["auto", "per_channel_train", None])
def test_json_round_trip(normalize: Any) -> None:
    rng = np.random.default_rng(1)
    train = [rng.normal(size=(2, length)).astype(np.float32) for length in (5, 8)]
    rule = Preprocessing.fit(train, normalize=normalize, unequal="pad")
    again = Preprocessing.from_json(json.loads(json.dumps(rule.to_json())))
    assert again == rule
    np.testing.assert_array_equal(again.apply(train)[0], rule.apply(train)[0])
    with pytest.raises(RunError, match=r"does not match this version in colour"):
        Preprocessing.from_json({**rule.to_json(), "colour": 1})
