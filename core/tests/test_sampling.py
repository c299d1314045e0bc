"""Batch samplers: which samples are drawn, how often, and that any epoch can be drawn again."""

from __future__ import annotations

from collections import Counter
from itertools import chain, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.errors import ConfigError
from quire.training import Balanced, BatchSampler, ByCount, ByTotalSize, Mixture

SAMPLERS: list[BatchSampler] = [
    ByCount(23, 5, seed=3),
    ByTotalSize(tuple(range(1, 24)), 30, seed=3),
    Balanced(tuple("aabbbccccdd"), classes_per_batch=3, per_class=2, batches_per_epoch=6, seed=3),
    Mixture((10, 30, 5), batch_size=4, batches_per_epoch=6, seed=3),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_batches_depend_on_seed_and_epoch_alone(sampler: BatchSampler) -> None:
    epochs = [[list(batch) for batch in sampler.batches(epoch)] for epoch in range(4)]
    again = [[list(batch) for batch in sampler.batches(epoch)] for epoch in (3, 1, 2, 0)]
    assert again == [epochs[epoch] for epoch in (3, 1, 2, 0)]
    assert len({str(batches) for batches in epochs}) == 4
    other = type(sampler)(**{**vars(sampler), "seed": 4})
    assert [list(batch) for batch in other.batches(0)] != epochs[0]


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(1, 50), st.integers(0, 5), st.booleans())
def test_by_count_draws_every_sample_once(samples: int, size: int, epoch: int, shuffle: bool) -> None:
    batches = ByCount(samples, size, seed=1, shuffle=shuffle).batches(epoch)
    assert sorted(chain.from_iterable(batches)) == list(range(samples))
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(1 <= len(batch) <= size for batch in batches[-1:])


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(1, 50))
def test_by_count_drops_the_incomplete_batch_alone(samples: int, size: int) -> None:
    batches = ByCount(samples, size, drop_last=True).batches(0)
    assert batches == ByCount(samples, size).batches(0)[: samples // size]
    assert len(batches) == samples // size


def test_by_count_without_shuffling_keeps_the_order() -> None:
    assert ByCount(5, 2, shuffle=False).batches(7) == [[0, 1], [2, 3], [4]]


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch size is 0"):
        ByCount(5, 0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 60), st.integers(0, 3))
def test_total_size_keeps_to_the_budget(sizes: list[int], budget: int, epoch: int) -> None:
    batches = ByTotalSize(tuple(sizes), budget, seed=2).batches(epoch)
    assert sorted(chain.from_iterable(batches)) == list(range(len(sizes)))
    for batch in batches:
        large = [index for index in batch if sizes[index] > budget]
        if large:
            assert sum(sizes[index] for index in batch) == sizes[large[0]]
        else:
            assert sum(sizes[index] for index in batch) <= budget
    for batch, following in pairwise(batches):
        assert sum(sizes[index] for index in batch) + sizes[following[0]] > budget


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=40), st.integers(1, 5), st.integers(1, 6), st.data())
def test_balanced_batches_hold_classes_in_equal_numbers(
    targets: list[str], classes: int, per_class: int, data: st.DataObject
) -> None:
    classes = min(classes, len(set(targets)))
    sampler = Balanced(tuple(targets), classes, per_class, batches_per_epoch=3, seed=data.draw(st.integers(0, 9)))
    batches = sampler.batches(data.draw(st.integers(0, 9)))
    available = Counter(targets)
    assert len(batches) == 3
    for batch in batches:
        drawn = Counter(targets[index] for index in batch)
        assert len(drawn) == classes
        assert set(drawn.values()) == {per_class}
        for label in drawn:
            if available[label] >= per_class:
                assert len({index for index in batch if targets[index] == label}) == per_class


def test_balanced_batches_need_as_many_classes_as_they_ask_for() -> None:
    with pytest.raises(ConfigError, match="asks for 3 classes, but there are 2"):
        Balanced(("a", "b"), classes_per_batch=3, per_class=1, batches_per_epoch=1).batches(0)


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(1, 12), st.integers(0, 9))
def test_a_batch_of_a_mixture_comes_from_one_part(lengths: list[int], size: int, epoch: int) -> None:
    part_of = [number for number, length in enumerate(lengths) for _ in range(length)]
    batches = Mixture(tuple(lengths), size, batches_per_epoch=4, seed=5).batches(epoch)
    assert len(batches) == 4
    for batch in batches:
        assert len(batch) == size
        parts = {part_of[index] for index in batch}
        assert len(parts) == 1
        if lengths[parts.pop()] >= size:
            assert len(set(batch)) == size


def test_parts_of_a_mixture_are_drawn_by_their_weight() -> None:
    def shares(weights: tuple[float, ...] | None) -> list[float]:
        batches = Mixture((300, 100), 1, batches_per_epoch=4000, weights=weights, seed=0).batches(0)
        first = sum(batch[0] < 300 for batch in batches) / 4000
        return [first, 1 - first]

    assert shares(None) == pytest.approx([0.75, 0.25], abs=0.03)
    assert shares((1, 4)) == pytest.approx([0.2, 0.8], abs=0.03)
    assert shares((0, 1)) == [0, 1]
