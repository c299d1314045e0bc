"""Data sets made of others: some of the samples, or several sets as one."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import fields, replace
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from quire.dataset.base import Dataset, Indices, sort_labels
from quire.errors import ConfigError, TaskMismatch
from quire.storage import content_hash
from quire.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from quire.modality import Modality, Sample


class Subset(Dataset):
    """The samples of `dataset` at `indices`, in that order; an index may come more than once."""

    def __init__(self, dataset: Dataset, indices: Iterable[int], *, split: str | None = None) -> None:
        super().__init__(
            task=dataset.task,
            name=dataset.name,
            split=dataset.split if split is None else split,
            labels=dataset.labels,
            skipped=dataset.skipped,
        )
        self.dataset = dataset
        self.indices: Indices = np.array([dataset.position(index) for index in indices], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        return self.dataset[int(self.indices[self.position(index)])]

    def target(self, index: int) -> Any:
        """The target of one sample, as `dataset` gives it."""
        return self.dataset.target(int(self.indices[self.position(index)]))

    def fingerprint(self) -> str:
        """A hash of the whole data set's fingerprint and the indices."""
        return content_hash(self.dataset.fingerprint(), self.indices)


class Concatenation(Dataset):
    """Several data sets as one, also as a mixture whose fields differ in size; every sample gains "dataset".

    Samples of `datasets[k]` stand at `offsets[k]` .. `offsets[k + 1] - 1`, so that a sampler can draw per data set, and
    carry `names[k]` (default: each data set's own name). Ids are unique within one "dataset" only; labels are united.

    Raises ConfigError for no data set, TaskMismatch if fields or their modalities differ in kind.
    """

    def __init__(
        self, datasets: Sequence[Dataset], *, names: Sequence[str] | None = None, name: str | None = None
    ) -> None:
        if not datasets:
            raise ConfigError("a concatenation needs at least one data set")
        self.datasets = tuple(datasets)
        self.names = tuple(dataset.name for dataset in datasets) if names is None else tuple(names)
        if len(self.names) != len(self.datasets):
            raise ConfigError(f"{len(self.names)} names for {len(self.datasets)} data sets")
        self.offsets = tuple(accumulate((len(dataset) for dataset in datasets), initial=0))
        super().__init__(
            task=common_task([dataset.task for dataset in datasets]),
            name="+".join(dict.fromkeys(self.names)) if name is None else name,
            split="+".join(dict.fromkeys(dataset.split for dataset in datasets)),
            labels=sort_labels(chain.from_iterable(dataset.labels for dataset in datasets)),
            skipped=dict.fromkeys(chain.from_iterable(dataset.skipped for dataset in datasets)),
        )

    def __len__(self) -> int:
        return self.offsets[-1]

    def locate(self, index: int) -> tuple[int, int]:
        """(k, i) such that the sample at `index` is `datasets[k][i]`."""
        start = self.position(index)
        which = bisect_right(self.offsets, start) - 1
        return which, start - self.offsets[which]

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        which, local = self.locate(index)
        return {**self.datasets[which][local], "dataset": self.names[which]}

    def target(self, index: int) -> Any:
        """The target of one sample, as its data set gives it."""
        which, local = self.locate(index)
        return self.datasets[which].target(local)

    def fingerprint(self) -> str:
        """A hash of names and fingerprints in order."""
        return content_hash(list(self.names), [dataset.fingerprint() for dataset in self.datasets])


def common_task(tasks: Sequence[Task]) -> Task:
    """The narrowest task that samples of all `tasks` fit: sizes on which they differ are left open.

    Raises TaskMismatch naming both sides' fields if names or kinds of fields differ.
    """
    common = tasks[0]
    for other in tasks[1:]:
        if common.inputs.keys() != other.inputs.keys():
            raise TaskMismatch(f"data sets of ({common.signature}) and of ({other.signature}) can't be one")
        inputs = {field: _widest(common, other, field) for field in common.inputs}
        target = _widest(common, other, "target")
        common = Task(
            name=common.name if common.name == other.name else f"{common.name}+{other.name}",
            inputs={field: modality for field, modality in inputs.items() if modality is not None},
            target=target,
            optional=common.optional | other.optional,
            evaluators=tuple(name for name in common.evaluators if name in other.evaluators),
            summary=common.summary,
        )
    return common


def _widest(one: Task, other: Task, field: str) -> Modality[Any] | None:
    """The modality that takes what `field` of either task holds.

    A size on which they differ becomes None, by convention "any", where its annotation allows it, else its default.
    """
    a, b = (task.target if field == "target" else task.inputs[field] for task in (one, other))
    if a == b:
        return a
    if a is not None and b is not None and type(a) is type(b):
        differing = [part for part in fields(cast("Any", a)) if getattr(a, part.name) != getattr(b, part.name)]
        open_sizes = {part.name: None if "None" in str(part.type) else part.default for part in differing}
        wide: Modality[Any] = replace(cast("Any", a), **open_sizes)
        if wide.fits(a) and wide.fits(b):
            return wide
    raise TaskMismatch(f"data sets of ({one.signature}) and of ({other.signature}) differ in {field!r}")
