"""What every data set is, and samples held as rows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import chain
from operator import index as as_index
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from quire import registry
from quire.config import Config, parse_options
from quire.errors import DataError, InvalidSample, Where, nearest
from quire.modality import Label, Modality, Sample, placed
from quire.storage import atomic_folder, content_hash

if TYPE_CHECKING:
    from quire.task import Task

OnError = Literal["raise", "skip"]
Indices = NDArray[np.int64]

SPLITS = ("train", "validation", "test")
"""The usual splits, in their usual order."""
_SPLIT_ALIASES = {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "testing": "test",
}


class Dataset(Sequence[Sample], ABC):
    """A read-only sequence of samples: dicts of the task's input fields, "target" and "id" (unique, str).

    A reader of a release implements `splits`, `read` and `sample` (and `recognises`, if a folder's layout tells);
    `open` calls `read` once path, options and split are known to be right.

    Attributes:
        task: the fields and their modalities; a reader of one task has it as a class attribute too, and is found by it.
        name: of the data, not of the reader.
        split: the part that was opened.
        labels: the classes of a Label target, in the order of `sort_labels`; () for other targets.
        skipped: what `on_error="skip"` left out, in reading order.
    """

    task: Task

    class Options(Config):
        """The keyword options of `open`: none."""

    def __init__(
        self, *, task: Task, name: str, split: str, labels: Sequence[str] = (), skipped: Iterable[InvalidSample] = ()
    ) -> None:
        self.task = task
        self.name = name
        self.split = split
        self.labels = tuple(labels)
        self.skipped = list(skipped)

    @classmethod
    def open(cls, path: Path, *, split: str = "train", on_error: OnError = "raise", **options: Any) -> Self:
        """Open one split of the release at `path`.

        `on_error="skip"` collects bad samples in `skipped` instead of raising the first.
        Raises ConfigError for an option that `Options` does not take, DataError for a path, a split or a layout that
        can't be read, InvalidSample for a bad sample.
        """
        path = Path(path)
        if not path.exists():
            raise DataError("there is no such file or folder", where=Where(file=path))
        chosen = parse_options(cls.Options, options, owner=_registered_name(cls))
        known = cls.splits(path)
        split = split if split in known else canonical_split(split)
        if split not in known:
            raise DataError(
                f"there is no split {split!r}{nearest(split, known)}",
                where=Where(file=path),
                remedy=f"Its splits are: {', '.join(known)}." if known else None,
            )
        dataset = cls.read(path, split=split, on_error=on_error, options=chosen)
        if not len(dataset):
            skipped = dataset.skipped
            left_out = f"; {len(skipped)} were left out, the first: {skipped[0]}" if skipped else ""
            raise DataError(f"the split {split!r} has no sample{left_out}", where=Where(file=path))
        return dataset

    @classmethod
    def read(cls, path: Path, *, split: str, on_error: OnError, options: Any) -> Self:
        """What a reader does for `open`: `path` exists, `split` is one of `splits`, `options` is an `Options`."""
        raise NotImplementedError(f"{cls.__name__} is not opened from a path")

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """The splits of the release at `path`; the usual names are "train", "validation" and "test"."""
        raise NotImplementedError(f"{cls.__name__} is not opened from a path")

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0) -> Path:
        """Write a small synthetic release in the real layout to the new or empty `folder`; returns the path to open.

        The same seed writes the same bytes. Raises DataError if `folder` holds anything.
        """
        raise NotImplementedError(f"{cls.__name__} is not opened from a path")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the file names at `path` are this reader's layout; opens no file."""
        return False

    @classmethod
    def read_inputs(cls, path: Path) -> Iterator[Sample] | None:
        """Samples without targets from a user's file, or None where `Task.read_samples` does."""
        return None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        """The sample at `index`, the same in any order of access and in any process; for slices there is `Subset`."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the content: equal for equal samples in equal order, wherever they are stored."""

    def target(self, index: int) -> Any:
        """The target of one sample; readers override it so that no input is read."""
        return self[index]["target"]

    def position(self, index: int) -> int:
        """`index` counted from the start; raises IndexError outside -len..len-1 (which ends an iteration)."""
        start = as_index(index)
        if not -len(self) <= start < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return start % len(self)

    def __repr__(self) -> str:
        classes = f", {len(self.labels)} labels" if self.labels else ""
        return f"<{type(self).__name__} {self.name!r}, {self.split}: {len(self)} samples{classes}>"


class Rows(Dataset):
    """Samples held as rows, each with an "id".

    A `Path` in a field is a file, `bytes` are a file's content: the field's modality reads them on access. Other values
    are taken as checked.
    """

    def __init__(
        self,
        rows: Iterable[Sample],
        *,
        task: Task,
        name: str,
        split: str,
        labels: Sequence[str] = (),
        skipped: Iterable[InvalidSample] = (),
    ) -> None:
        super().__init__(task=task, name=name, split=split, labels=labels, skipped=skipped)
        self._rows = list(rows)
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        row = self._rows[self.position(index)]
        return {field: self._value(row, field) for field in row}

    def target(self, index: int) -> Any:
        """The target; no input is read. Raises InvalidSample if the sample has none."""
        row = self._rows[self.position(index)]
        if "target" not in row:
            raise InvalidSample("has no target", where=Where(sample=row["id"]))
        return self._value(row, "target")

    def fingerprint(self) -> str:
        """A hash of ids, labels, values and file contents; where files stand does not count."""
        if self._fingerprint is None:
            rows = [content_hash(*chain.from_iterable(self._contents(row))) for row in self._rows]
            self._fingerprint = content_hash(self.task.name, list(self.labels), rows)
        return self._fingerprint

    def verify(self, on_error: OnError) -> None:
        """Read every file once; unreadable samples raise, or go from the rows to `skipped`."""
        readable = []
        for index, row in enumerate(self._rows):
            with skipping(on_error, self.skipped):
                self[index]
                readable.append(row)
        self._rows = readable

    def _modality(self, field: str) -> Modality[Any] | None:
        return self.task.target if field == "target" else self.task.inputs.get(field)

    def _value(self, row: Sample, field: str) -> Any:
        value, modality = row[field], self._modality(field)
        if modality is None or not isinstance(value, Path | bytes):
            return deepcopy(value)  # a caller who changes an array in place must not change the data set
        with placed(Where(sample=row["id"], field=field)):
            return modality.read(value)

    def _contents(self, row: Sample) -> Iterator[tuple[str, Any]]:
        yield "id", row["id"]
        for field in sorted(row):
            modality = self._modality(field)
            if modality is not None:
                value = row[field]
                yield field, value if isinstance(value, Path | bytes | np.ndarray) else modality.encode(value)


class InMemory(Rows):
    """Samples that a program made: dicts of the task's fields, with or without "target" and "id".

    A missing id is the position. Labels are those of the task's Label or, where it names none, of the targets.
    Raises InvalidSample for a value that does not fit its field, and for an id that is used twice.
    """

    def __init__(self, samples: Iterable[Sample], *, task: Task, name: str = "memory", split: str = "train") -> None:
        rows: list[Sample] = []
        used: dict[str, int] = {}
        for index, sample in enumerate(samples):
            row = task.check(sample, index=index)
            row["id"] = str(row.get("id", index))
            first = used.setdefault(row["id"], index)
            if first != index:
                message = f"the samples at positions {first} and {index} share one id"
                raise InvalidSample(message, where=Where(sample=row["id"]))
            rows.append(row)
        super().__init__(rows, task=task, name=name, split=split, labels=_labels_of(task, rows))


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """The distinct labels: in numeric order when all are finite numbers, else lexicographic."""
    distinct = sorted(set(labels))
    try:
        values = {label: float(label) for label in distinct}
    except ValueError:
        return tuple(distinct)
    return (
        tuple(sorted(distinct, key=values.__getitem__)) if all(map(math.isfinite, values.values())) else tuple(distinct)
    )


def require_known_labels(train: Dataset, validation: Dataset) -> None:
    """DataError naming the labels of the validation split that training does not have."""
    if unseen := sorted(set(validation.labels) - set(train.labels)):
        raise DataError(f"the validation split has classes that training does not: {', '.join(unseen)}")


def canonical_split(name: str) -> str:
    """The usual name of a split: "val", "Valid" and "dev" are "validation", "Train" is "train"; others are kept."""
    lower = name.strip().lower()
    usual = _SPLIT_ALIASES.get(lower, lower)
    return usual if usual in SPLITS else name.strip()


@contextmanager
def skipping(on_error: OnError, skipped: list[InvalidSample]) -> Iterator[None]:
    """With on_error="skip", an InvalidSample ends the block and is collected in `skipped`; else it goes on."""
    try:
        yield
    except InvalidSample as error:
        if on_error == "raise":
            raise
        skipped.append(error)


@contextmanager
def new_release(folder: Path) -> Iterator[Path]:
    """A folder to write a synthetic release into, which appears as `folder` once it is complete.

    Raises DataError if `folder` holds anything: a user's files are never overwritten.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError("is not an empty folder", where=Where(file=folder), remedy="Name a folder that does not exist.")
    with atomic_folder(folder) as building:
        yield building


def _registered_name(cls: type[Dataset]) -> str:
    target = f"{cls.__module__}:{cls.__qualname__}"
    names = [found.name for found in registry.descriptions("dataset") if found.target == target]
    return names[0] if names else cls.__name__


def _labels_of(task: Task, rows: Sequence[Sample]) -> tuple[str, ...]:
    if not isinstance(task.target, Label):
        return ()
    return sort_labels(task.target.labels or (row["target"] for row in rows if "target" in row))
