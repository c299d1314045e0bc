"""One problem of the UCR archive, as it is published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from quire import config
from quire.dataset import OnError, Rows, new_release, skipping, sort_labels
from quire.errors import InvalidSample, Where
from quire.modality import placed
from quire.task import SERIES_CLASSIFICATION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quire.modality import Sample

SPLITS = {"train": "TRAIN", "test": "TEST"}
LENGTH = 40


class UCRTable(Rows):
    """root/NAME_TRAIN.tsv and root/NAME_TEST.tsv: a series on every line, after its label."""

    task = SERIES_CLASSIFICATION

    class Options(config.Config):
        """How to read it: there is no choice."""

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """Those that have a file."""
        return tuple(split for split in SPLITS if _file(path, split) is not None)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder with both files of one problem."""
        return path.is_dir() and len(cls.splits(path)) == len(SPLITS)

    @classmethod
    def read(cls, path: Path, *, split: str, on_error: OnError, options: Options) -> Self:
        """All lines of the split's file; a bad one is an InvalidSample that names file and line."""
        skipped: list[InvalidSample] = []
        rows: list[Sample] = []
        for file, line, cells in _lines(path, split):
            with skipping(on_error, skipped):
                rows.append(_row(f"{file.stem}:{line}", cells, Where(file=file, line=line)))
        labels = sort_labels(cells[0] for each in cls.splits(path) for _, _, cells in _lines(path, each))
        return cls(rows, task=cls.task, name=path.resolve().name, split=split, labels=labels, skipped=skipped)

    @classmethod
    def read_inputs(cls, path: Path) -> Iterator[Sample] | None:
        """The series of a file of the archive, without their labels."""
        if not path.is_file() or not path.stem.endswith(tuple(f"_{name}" for name in SPLITS.values())):
            return None
        return (
            {
                key: value
                for key, value in _row(f"{path.stem}:{line}", cells, Where(line=line)).items()
                if key != "target"
            }
            for line, cells in _lines_of(path)
        )

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0) -> Path:
        """Waves and steps that begin at any time: 20 series to train on and 20 to test with."""
        rng = np.random.default_rng(seed)
        with new_release(folder) as root:
            for name in SPLITS.values():
                lines = [[str(1 + number % 2), *_values(number % 2 == 1, rng)] for number in range(20)]
                (root / f"Shifts_{name}.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
        return Path(folder)


def _values(step: bool, rng: np.random.Generator) -> list[str]:
    time = np.linspace(0, 1, LENGTH) - rng.uniform(0.1, 0.5)
    shape = (time > 0).astype(float) if step else np.sin(4 * np.pi * time) * (time > 0)
    return [f"{value:.4f}" for value in shape + rng.normal(0, 0.05, LENGTH)]


def _file(path: Path, split: str) -> Path | None:
    """The split's only file; None where there is none, or several."""
    found = sorted(path.glob(f"*_{SPLITS[split]}.tsv"))
    return found[0] if len(found) == 1 else None


def _lines(path: Path, split: str) -> Iterator[tuple[Path, int, list[str]]]:
    file = _file(path, split)
    if file is not None:
        yield from ((file, line, cells) for line, cells in _lines_of(file))


def _lines_of(file: Path) -> Iterator[tuple[int, list[str]]]:
    for line, text in enumerate(file.read_text().splitlines(), 1):
        if text.strip():
            yield line, text.split("\t")


def _row(name: str, cells: list[str], where: Where) -> Sample:
    """A checked sample. Raises InvalidSample for a value that is no number."""
    try:
        series = np.array([float(cell) for cell in cells[1:]], dtype=np.float32)
    except ValueError as error:
        raise InvalidSample(f"a value is not a number ({error})", where=where) from None
    with placed(where):
        return SERIES_CLASSIFICATION.check({"id": name, "series": series, "target": cells[0]})
