"""Which samples form which batch: pure functions of (seed, epoch), so that any step can be replayed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quire.errors import ConfigError

Batches = Sequence[Sequence[int]]


class BatchSampler(ABC):
    """The batches of every epoch, as indices into the training set; all processes compute the same ones."""

    @abstractmethod
    def batches(self, epoch: int) -> Batches:
        """The batches of epoch number `epoch` (from 0); the same for every call."""


@dataclass(frozen=True)
class ByCount(BatchSampler):
    """`batch_size` samples a batch; every sample once an epoch; the last batch may be smaller unless `drop_last`."""

    samples: int
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    drop_last: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch size is {self.batch_size}, but must be at least 1")

    def batches(self, epoch: int) -> Batches:
        """Consecutive slices of this epoch's order."""
        order = _order(self.samples, self.seed, epoch, shuffle=self.shuffle)
        stop = self.samples - self.samples % self.batch_size if self.drop_last else self.samples
        return [order[start : start + self.batch_size] for start in range(0, stop, self.batch_size)]


@dataclass(frozen=True)
class ByTotalSize(BatchSampler):
    """Batches whose sizes (frames, nodes, tokens) sum to at most `budget`; a sample larger than that stands alone."""

    sizes: tuple[int, ...]
    budget: int
    seed: int = 0
    shuffle: bool = True

    def batches(self, epoch: int) -> Batches:
        """This epoch's order, cut whenever the next sample would pass the budget."""
        batches: list[list[int]] = []
        total = 0
        for index in _order(len(self.sizes), self.seed, epoch, shuffle=self.shuffle):
            if not batches or total + self.sizes[index] > self.budget:
                batches.append([])
                total = 0
            batches[-1].append(index)
            total += self.sizes[index]
        return batches


@dataclass(frozen=True)
class Balanced(BatchSampler):
    """`classes_per_batch` classes with `per_class` samples each; a class with fewer is drawn from with replacement."""

    targets: tuple[str, ...]
    classes_per_batch: int
    per_class: int
    batches_per_epoch: int
    seed: int = 0

    def batches(self, epoch: int) -> Batches:
        """Classes without replacement within a batch, samples of each class likewise where there are enough."""
        generator = np.random.default_rng([self.seed, epoch])
        names, inverse = np.unique(np.asarray(self.targets), return_inverse=True)
        members = [np.flatnonzero(inverse == number) for number in range(len(names))]
        if self.classes_per_batch > len(names):
            raise ConfigError(f"a batch asks for {self.classes_per_batch} classes, but there are {len(names)}")
        return [
            [
                int(index)
                for number in generator.choice(len(names), self.classes_per_batch, replace=False)
                for index in generator.choice(
                    members[number], self.per_class, replace=len(members[number]) < self.per_class
                )
            ]
            for _ in range(self.batches_per_epoch)
        ]


@dataclass(frozen=True)
class Mixture(BatchSampler):
    """Several data sets in one training: every batch comes from one of them, drawn by weight.

    `lengths` are those of the parts of a quire.dataset.Concatenation, in order. Without `weights`, a part's is its length.
    """

    lengths: tuple[int, ...]
    batch_size: int
    batches_per_epoch: int
    weights: tuple[float, ...] | None = None
    seed: int = 0

    def batches(self, epoch: int) -> Batches:
        """Samples of a batch are drawn without replacement where its part is large enough."""
        generator = np.random.default_rng([self.seed, epoch])
        weights = np.asarray(self.weights if self.weights is not None else self.lengths, dtype=float)
        offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        parts = generator.choice(len(self.lengths), self.batches_per_epoch, p=weights / weights.sum())
        return [
            (
                offsets[part]
                + generator.choice(self.lengths[part], self.batch_size, replace=self.lengths[part] < self.batch_size)
            ).tolist()
            for part in parts
        ]


def _order(samples: int, seed: int, epoch: int, *, shuffle: bool) -> list[int]:
    if not shuffle:
        return list(range(samples))
    order: list[int] = np.random.default_rng([seed, epoch]).permutation(samples).tolist()
    return order
