"""Points around three centres."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field

from quire.config import Config
from quire.dataset import SPLITS, OnError, Rows, new_release, skipping, sort_labels
from quire.errors import DataError, InvalidSample, Where
from quire.task import VECTOR_CLASSIFICATION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quire.modality import Sample

CENTRES = {"low": (-1.0, -1.0, 0.0), "middle": (1.0, 0.0, 1.0), "high": (0.0, 1.0, -1.0)}


class ToyPoints(Rows):
    """points_train.csv and points_test.csv with the columns id, x, y, z and class."""

    task = VECTOR_CLASSIFICATION

    class Options(Config):
        """What `open` takes."""

        dimensions: int = Field(3, ge=1, le=3, description="how many of the coordinates are read")

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """Those that have a file."""
        return tuple(split for split in SPLITS if _file(path, split).is_file())

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder that holds points_train.csv."""
        return _file(path, "train").is_file()

    @classmethod
    def read(cls, path: Path, *, split: str, on_error: OnError, options: Options) -> Self:
        """All rows of the split's file; the labels are those of all files."""
        skipped: list[InvalidSample] = []
        rows: list[Sample] = []
        for line, cells in _lines(_file(path, split)):
            with skipping(on_error, skipped):
                where = Where(file=_file(path, split), line=line)
                rows.append({**_inputs(cells, where, options.dimensions), "target": _class(cells, where)})
        labels = sort_labels(
            cells["class"] for known in cls.splits(path) for _, cells in _lines(_file(path, known)) if cells["class"]
        )
        return cls(rows, task=cls.task, name=path.resolve().name, split=split, labels=labels, skipped=skipped)

    @classmethod
    def read_inputs(cls, path: Path) -> Iterator[Sample] | None:
        """The rows of a file in the layout of the release, their classes left out."""
        if path.suffix != ".csv" or not path.is_file():
            return None
        return (_inputs(cells, Where(file=path, line=line), 3) for line, cells in _lines(path))

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0) -> Path:
        """24 points to train on and 12 to test with, in equal shares of three classes."""
        rng = np.random.default_rng(seed)
        with new_release(folder) as root:
            for split, size in (("train", 8), ("test", 4)):
                with _file(root, split).open("w", newline="") as file:
                    writer = csv.writer(file, lineterminator="\n")
                    writer.writerow(["id", "x", "y", "z", "class"])
                    for number, (label, centre) in enumerate(list(CENTRES.items()) * size):
                        point = rng.normal(centre, 0.4).round(3).tolist()
                        writer.writerow([f"{split}-{number}", *point, label])
        return Path(folder)


def _file(path: Path, split: str) -> Path:
    return path / f"points_{split}.csv"


def _lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open(newline="") as text:
        reader = csv.DictReader(text, restval="")
        columns = {"id", "x", "y", "z", "class"}
        if not columns.issubset(reader.fieldnames or ()):
            raise DataError("the columns are not id, x, y, z and class", where=Where(file=file, line=1))
        for cells in reader:
            yield reader.line_num, cells


def _inputs(cells: dict[str, Any], where: Where, dimensions: int) -> Sample:
    try:
        numbers = np.array([float(cells[column]) for column in "xyz"[:dimensions]], dtype=np.float32)
    except ValueError as error:
        raise InvalidSample(f"a coordinate is not a number ({error})", where=where) from None
    return VECTOR_CLASSIFICATION.check({"id": cells["id"], "vector": numbers})


def _class(cells: dict[str, Any], where: Where) -> str:
    label: str = cells["class"]
    if not label:
        raise InvalidSample("the class is missing", where=where)
    return label
