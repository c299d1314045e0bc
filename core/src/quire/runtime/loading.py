"""From batches of indices to batches of tensors, prefetched and replayable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Loader = Callable[[Sequence[int], np.random.Generator], Any]


class Job(NamedTuple):
    """One batch to load; `key` names it within the run, so that its random numbers can be replayed."""

    indices: Sequence[int]
    key: tuple[int, ...]


def job_generator(seed: int, job: Job) -> np.random.Generator:
    """The generator for loading `job`: a function of the seed and the job's key alone."""
    return np.random.default_rng([seed, *job.key])


class _Jobs(TorchDataset[Any]):
    """Jobs as items, so that worker processes load whole batches."""

    def __init__(self, load: Loader, jobs: Sequence[Job], seed: int) -> None:
        self.load, self.jobs, self.seed = load, jobs, seed

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, item: int) -> Any:
        job = self.jobs[item]
        return self.load(job.indices, job_generator(self.seed, job))


def load_jobs(
    load: Loader, jobs: Sequence[Job], *, seed: int, workers: int = 0, pin_memory: bool = False
) -> Iterator[Any]:
    """`load(indices, generator)` for every job, in order.

    With `workers` > 0, that many processes load ahead. torch's global generator is not touched.
    """
    if workers == 0:
        for job in jobs:
            yield load(job.indices, job_generator(seed, job))
        return
    yield from DataLoader(
        _Jobs(load, jobs, seed),
        batch_size=None,
        num_workers=workers,
        pin_memory=pin_memory,
        prefetch_factor=4,
        generator=torch.Generator(),
    )
