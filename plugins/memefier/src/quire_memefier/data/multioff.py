"""MultiOFF: offensive memes of the 2016 US election (Suryawanshi et al., 2020)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quire.dataset import new_release
from quire.errors import DataError, InvalidSample, Where, nearest
from quire.table import Row, table_rows
from quire_memefier.data.confounders import confounder_memes
from quire_memefier.data.rows import MemeOptions, MemeRows, Record, relative_image
from quire_memefier.heads import Head

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDERS = ("Split Dataset", "Labelled Images")
NAMES = {"train": "Training", "validation": "Validation", "test": "Testing"}
LABELS = {"Non-offensiv": "non-offensive", "offensive": "offensive"}  # as the files spell them


class MultiOFF(MemeRows):
    """MultiOFF: "Split Dataset/{Training,Validation,Testing}_meme_dataset.csv" and "Labelled Images/".

    Columns image_name, sentence, label; the labels are spelled "Non-offensiv" (sic) and "offensive" in the files.
    """

    class Options(MemeOptions):
        """Options of MultiOFF."""

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """The splits that there are files for."""
        return tuple(split for split in NAMES if _table(Path(path), split).is_file())

    @classmethod
    def questions(cls, path: Path, options: Any) -> tuple[Head, ...]:
        """Offensive or not."""
        return (Head(name="offensive", labels=tuple(LABELS.values()), toxic=("offensive",)),)

    @classmethod
    def records(cls, path: Path, *, split: str, options: Any) -> Iterator[Record | InvalidSample]:
        """The rows of a split's table."""
        for row in table_rows(_table(path, split)):
            try:
                yield row if isinstance(row, InvalidSample) else _record(row, _base(path) / FOLDERS[1])
            except InvalidSample as error:
                yield error

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder with the tables' folder, or the tables themselves."""
        return Path(path).is_dir() and _table(Path(path), "train").is_file()

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0) -> Path:
        """Confounder memes in MultiOFF's layout."""
        rng = np.random.default_rng(seed)
        raw, number = list(LABELS), 0
        with new_release(folder) as root:
            tables, images = (root / name for name in FOLDERS)
            tables.mkdir()
            images.mkdir()
            for split, size in (("train", 48), ("validation", 16), ("test", 16)):
                with (tables / f"{NAMES[split]}_meme_dataset.csv").open("w", encoding="utf-8", newline="") as file:
                    writer = csv.writer(file, lineterminator="\n")
                    writer.writerow(["image_name", "sentence", "label"])
                    for meme in confounder_memes(size, rng):
                        number += 1
                        meme.image.save(images / f"meme_{number}.png")
                        writer.writerow([f"meme_{number}.png", meme.text.upper(), raw[meme.label]])
        return Path(folder)


def _base(path: Path) -> Path:
    return path.parent if path.name == FOLDERS[0] else path


def _table(path: Path, split: str) -> Path:
    return _base(path) / FOLDERS[0] / f"{NAMES[split]}_meme_dataset.csv"


def _record(row: Row, images: Path) -> Record:
    lacking = [name for name in ("image_name", "sentence", "label") if name not in row.cells]
    if lacking:
        raise DataError(
            f"there is no column {lacking[0]!r}{nearest(lacking[0], row.cells)}", where=Where(file=row.file)
        )
    name, label = str(row.cells["image_name"]).strip(), str(row.cells["label"]).strip()
    if label not in LABELS:
        raise InvalidSample(
            f"unknown label {label!r}{nearest(label, LABELS)}",
            where=Where(row.file, row.line, "label"),
            remedy=f"Known are: {', '.join(LABELS)}.",
        )
    where = Where(row.file, row.line, "image_name")
    return Record(
        name,
        relative_image(images, name, where),
        str(row.cells["sentence"]),
        {"offensive": LABELS[label]},
        LABELS[label],
        where,
    )
