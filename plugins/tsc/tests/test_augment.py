from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quire.errors import DataError
from quire_tsc.augment import (
    Aggregate,
    Slicing,
    aggregate,
    branch_inputs,
    branch_lengths,
    lead,
    mcnn_slicing,
    moving_average,
    tlenet_slicing,
    vote_error,
    window_warp,
)


def series(cases: int, channels: int, length: int) -> torch.Tensor:
    return torch.randn(cases, channels, length, generator=torch.Generator().manual_seed(length))


def test_tlenet_slices_of_gunpoint() -> None:
    slicing = tlenet_slicing(150, cases=50)
    slices = slicing.slices(series(3, 1, 150))
    assert slicing.size == 15
    assert slices.per_series == 286 + 136 + 61 == 483
    assert len(slices) == 3 * 483


def test_slices_are_every_window_of_every_warp_in_order() -> None:
    x = series(3, 2, 11)
    slices = Slicing(4, (0.5, 1.0, 2.0)).slices(x)
    expected = [
        copy[:, start : start + 4]
        for case in x
        for copy in (window_warp(case, warp) for warp in (0.5, 1.0, 2.0))
        for start in range(copy.shape[1] - 3)
    ]
    assert len(slices) == len(expected)
    assert torch.equal(slices.take(torch.arange(len(slices))), torch.stack(expected))
    owners = slices.series(torch.arange(len(slices)))
    assert torch.equal(owners, torch.arange(3).repeat_interleave(slices.per_series))
    picked = torch.tensor([40, 3, 3, 71])
    assert torch.equal(slices.take(picked), torch.stack([expected[i] for i in picked.tolist()]))


def test_slices_of_one_scale_copy_nothing() -> None:
    x = series(2, 1, 20)
    assert mcnn_slicing(20).slices(x).values.data_ptr() == x.data_ptr()


@pytest.mark.parametrize(
    ("length", "cases", "size", "warps"),
    [
        (60, 50, 8, (0.5, 1.0, 2.0)),  # 10 % would be 6
        (500, 2000, 50, (0.5, 1.0, 2.0)),
        (501, 10, 450, (1.0,)),
        (100, 2001, 90, (1.0,)),
        (8, 10, 8, (0.5, 1.0, 2.0)),
    ],
)
def test_tlenet_slicing_rules(length: int, cases: int, size: int, warps: tuple[float, ...]) -> None:
    assert tlenet_slicing(length, cases) == Slicing(size, warps)


def test_warps_shorter_than_a_slice_give_none() -> None:
    slices = tlenet_slicing(8, cases=10).slices(series(1, 1, 8))
    assert slices.per_series == (16 - 8 + 1) + 1  # twice as long, as it is, and not half as long


def test_tlenet_refuses_short_series() -> None:
    with pytest.raises(DataError, match="at least 8 time steps, and gets 7"):
        tlenet_slicing(7, cases=10)


@pytest.mark.parametrize(("length", "size"), [(150, 135), (500, 450), (501, 490), (16, 14), (15, 10), (1, 1)])
def test_mcnn_slicing_ratios(length: int, size: int) -> None:
    assert mcnn_slicing(length) == Slicing(size)


@given(length=st.integers(1, 60), factor=st.sampled_from([0.5, 1.0, 2.0, 0.3, 3.5]))
def test_warping_is_linear_interpolation(length: int, factor: float) -> None:
    x = series(2, 2, length).double()
    warped = window_warp(x, factor)
    positions = np.arange(0, length, factor)
    assert warped.shape[2] == int(np.ceil(length / factor))
    for case, warped_case in zip(x.numpy(), warped.numpy(), strict=True):
        for channel, warped_channel in zip(case, warped_case, strict=True):
            np.testing.assert_allclose(warped_channel, np.interp(positions, np.arange(length), channel), atol=1e-12)


def test_mcnn_branches_of_gunpoint() -> None:
    assert branch_lengths(mcnn_slicing(150).size, 2) == [135, 68, 45, 131]


@given(length=st.integers(5, 300), pool_factor=st.sampled_from([2, 3, 5]))
def test_branches_are_the_slice_its_down_sampled_copies_and_its_average(length: int, pool_factor: int) -> None:
    x = series(1, 2, length)
    branches = branch_inputs(x, pool_factor)
    assert [branch.shape[2] for branch in branches] == branch_lengths(length, pool_factor)
    assert all(branch.shape[2] >= pool_factor for branch in branches)
    assert torch.equal(branches[0], x)
    averaged = length - 4 >= pool_factor
    for step, branch in enumerate(branches[1 : len(branches) - averaged], start=2):
        assert torch.equal(branch, x[..., ::step])
    if averaged:
        expected = np.stack([np.convolve(channel, np.full(5, 0.2), "valid") for channel in x[0].numpy()])
        np.testing.assert_allclose(branches[-1][0].numpy(), expected, atol=1e-5)


def test_moving_average() -> None:
    assert moving_average(torch.tensor([[[1.0, 2.0, 6.0, 4.0]]]), 3).tolist() == [[[3.0, 4.0]]]


@given(
    st.integers(1, 5).flatmap(
        lambda classes: st.lists(
            st.lists(st.integers(0, classes - 1), min_size=7, max_size=7), min_size=1, max_size=4
        ).map(lambda rows: (classes, rows))
    )
)
def test_majority_vote_with_ties_to_the_lowest_class(drawn: tuple[int, list[list[int]]]) -> None:
    classes, rows = drawn
    votes = torch.eye(classes)[torch.tensor(rows)] + 0.1  # [series, slices, classes]
    winners = lead(aggregate(votes, "vote")).tolist()
    for row, winner in zip(rows, winners, strict=True):
        counts = Counter(row)
        assert winner == min(label for label, count in counts.items() if count == max(counts.values()))


def test_lead_of_tied_scores_is_the_lowest() -> None:
    assert lead(torch.tensor([[0.2, 0.4, 0.4], [0.5, 0.5, 0.5], [0.1, 0.2, 0.7]])).tolist() == [1, 0, 2]


def test_aggregation_rules_can_disagree() -> None:
    probabilities = torch.tensor([[[0.45, 0.55], [0.45, 0.55], [0.9, 0.1]]])
    torch.testing.assert_close(aggregate(probabilities, "vote"), torch.tensor([[1 / 3, 2 / 3]]))
    torch.testing.assert_close(aggregate(probabilities, "mean_proba"), torch.tensor([[0.6, 0.4]]))


@pytest.mark.parametrize("rule", ["vote", "mean_proba"])
def test_series_are_judged_alone(rule: Aggregate) -> None:
    probabilities = torch.rand(6, 9, 3, generator=torch.Generator().manual_seed(0)).softmax(dim=2)
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    assert torch.equal(aggregate(probabilities[order], rule), aggregate(probabilities, rule)[order])


def test_vote_error_counts_a_tie_half() -> None:
    shares = torch.tensor([[0.6, 0.2, 0.2], [0.4, 0.4, 0.2], [0.4, 0.4, 0.2]])
    assert vote_error(shares, torch.tensor([0, 1, 2])) == pytest.approx((0.0 + 0.5 + 1.0) / 3)
