"""A user's own memes: a table with chosen columns, or folders of images with texts beside them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, model_validator

from quire.dataset import SPLITS, canonical_split, new_release, partition, sort_labels
from quire.errors import ConfigError, DataError, InvalidSample, Where, nearest
from quire.modality import Image
from quire.table import TABLE_SUFFIXES, Row, table_rows
from quire_memefier.data.confounders import confounder_memes
from quire_memefier.data.hateful_memes import HatefulMemes
from quire_memefier.data.rows import MemeOptions, MemeRows, Record, relative_image
from quire_memefier.heads import Head, derive_head

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE_FOLDERS = ("img", "images")


class TableOptions(MemeOptions):
    """Which columns hold what, and how splits are made where the table names none."""

    image: str = Field("image", description="column of the image's path; an empty cell is a meme without image")
    text: str = Field("text", description="column of the text; an empty cell is a meme without text")
    label: str = Field("label", description="column of the label, where there is one head")
    id: str = Field("id", description="column of the id; without it, the file and the line")
    image_dir: str = Field("", description="folder of the images, relative to the table")
    heads: tuple[Head, ...] = Field((), description="heads, each with its column's name; several labels stand as a|b")
    toxic: tuple[str, ...] = Field((), description="labels that count as toxic, where there is one head")
    validation_fraction: float = Field(0.15, ge=0, lt=1, description="share for validation, without a column split")
    test_fraction: float = Field(0.15, ge=0, lt=1, description="share for testing, without a column split")
    split_seed: int = Field(0, ge=0, description="which memes are held out")

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction must leave memes to train on")
        return self


class MemeTable(MemeRows):
    """A CSV, TSV, JSON Lines or Parquet file with a row for each meme, a folder with one (or one for each split), or a
    folder of a folder for each label with images and, of the same name, .txt files.

    Splits are files named train, validation and test, else the values of the column "split", else fractions.
    """

    class Options(TableOptions):
        """Options of a table of memes."""

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """The splits that files or the column "split" name, or train, validation and test."""
        path = Path(path)
        tables = _tables(path)
        if not tables or None not in tables:
            return tuple(sorted(filter(None, tables), key=_usual_order)) or SPLITS
        rows = [row for row in table_rows(tables[None]) if isinstance(row, Row) and row.cells.get("split")]
        return tuple(sorted({canonical_split(str(row.cells["split"])) for row in rows}, key=_usual_order)) or SPLITS

    @classmethod
    def questions(cls, path: Path, options: Any) -> tuple[Head, ...]:
        """The heads of the options, or one of all labels that the data has."""
        if options.heads:
            if options.heads[0].kind == "multilabel":
                raise ConfigError(
                    f"the first head, {options.heads[0].name!r}, can't be multilabel", where=Where(field="heads")
                )
            return tuple(options.heads)
        labels = sort_labels(record.target for record in _all(Path(path), options) if record.target is not None)
        strange = [label for label in options.toxic if label not in labels]
        if strange:
            message = f"no meme has the label {strange[0]!r}{nearest(strange[0], labels)}"
            raise ConfigError(message, where=Where(field="toxic"))
        if len(labels) < 2:
            raise DataError(
                f"the column {options.label!r} holds {len(labels)} labels, and a classifier needs two",
                where=Where(file=path),
                remedy="Name the column of the labels: --data-option label=NAME.",
            )
        return (derive_head(labels, options.toxic),)

    @classmethod
    def records(cls, path: Path, *, split: str, options: Any) -> Iterator[Record | InvalidSample]:
        """The rows of one split."""
        tables = _tables(path)
        if tables and None not in tables:
            yield from (record for _, record in _table_records(tables[split], options))
            return
        found = (
            list(_table_records(tables[None], options)) if tables else [(None, each) for each in _folder_records(path)]
        )
        if any(named for named, _ in found):
            yield from (each for named, each in found if named == split)
            return
        good = [each for _, each in found if isinstance(each, Record)]
        if split == "train":
            yield from (each for _, each in found if isinstance(each, InvalidSample))
        shares = {"validation": options.validation_fraction, "test": options.test_fraction}
        fractions = {"train": 1 - sum(shares.values())} | {name: share for name, share in shares.items() if share}
        parts = partition([each.target or "" for each in good], fractions, seed=options.split_seed)
        yield from (good[index] for index in parts.get(split, ()))

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """One table with images beside it or in img/ or images/, or label folders of images with texts."""
        path = Path(path)
        if HatefulMemes.recognises(path):
            return False
        if path.is_file():
            return path.suffix.lower() in TABLE_SUFFIXES and _has_images(path.parent)
        tables = [file for file in path.iterdir() if file.suffix.lower() in TABLE_SUFFIXES]
        if tables:
            splits = [canonical_split(table.stem) in SPLITS for table in tables]
            return (len(tables) == 1 or any(splits)) and _has_images(path)
        return any(file.with_suffix(".txt").is_file() for file in _label_files(path))

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0) -> Path:
        """Confounder memes in a CSV; a few rows lack their image or their text."""
        rng = np.random.default_rng(seed)
        with new_release(folder) as root, (root / "memes.csv").open("w", encoding="utf-8", newline="") as file:
            (root / "images").mkdir()
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["id", "split", "image", "text", "label"])
            for split, size in (("train", 48), ("validation", 16), ("test", 16)):
                for number, meme in enumerate(confounder_memes(size, rng)):
                    name = f"images/{split}-{number:02}.png"
                    meme.image.save(root / name)
                    label = "against" if meme.label else "for"
                    image, text = (name if number % 16 != 5 else ""), (meme.text if number % 16 != 9 else "")
                    writer.writerow([f"{split}-{number}", split, image, text, label])
        return Path(folder) / "memes.csv"


def _usual_order(name: str) -> tuple[int, str]:
    return (SPLITS.index(name) if name in SPLITS else len(SPLITS), name)


def _tables(path: Path) -> dict[str | None, Path]:
    """Split -> table; None stands for one table of all memes; empty for folders of labels."""
    if path.is_file():
        return {None: path}
    tables = sorted(file for file in path.iterdir() if file.suffix.lower() in TABLE_SUFFIXES)
    named: dict[str | None, Path] = {canonical_split(table.stem): table for table in tables}
    files: dict[str | None, Path] = {name: table for name, table in named.items() if name in SPLITS}
    if files or not tables:
        return files
    if len(tables) > 1:
        raise DataError(
            f"holds several tables: {', '.join(table.name for table in tables)}",
            where=Where(file=path),
            remedy="Name one of them.",
        )
    return {None: tables[0]}


def _all(path: Path, options: Any) -> Iterator[Record]:
    tables = _tables(path)
    found = (
        (record for table in tables.values() for _, record in _table_records(table, options))
        if tables
        else _folder_records(path)
    )
    yield from (record for record in found if isinstance(record, Record))


def _table_records(table: Path, options: TableOptions) -> Iterator[tuple[str | None, Record | InvalidSample]]:
    """The rows of a table, each with the split that it names."""
    for row in table_rows(table):
        if isinstance(row, InvalidSample):
            yield None, row
            continue
        split = row.cells.get("split")
        try:
            yield (canonical_split(str(split)) if split else None), _record(row, options)
        except InvalidSample as error:
            yield (canonical_split(str(split)) if split else None), error


def _record(row: Row, options: TableOptions) -> Record:
    if options.image not in row.cells and options.text not in row.cells:
        raise DataError(
            f"there is no column {options.image!r} and no column {options.text!r}",
            where=Where(file=row.file),
            remedy=f"Its columns are: {', '.join(row.cells)}; name them: --data-option image=NAME.",
        )
    where = Where(row.file, row.line, options.image)
    labels, target = _labels(row, options)
    name, text = _cell(row, options.image), _cell(row, options.text)
    if name is None and text is None:
        raise InvalidSample("has neither image nor text", where=Where(file=row.file, line=row.line))
    image = None if name is None else relative_image(row.file.parent / options.image_dir, name, where)
    return Record(_cell(row, options.id) or f"{row.file.name}:{row.line}", image, text, labels, target, where)


def _labels(row: Row, options: TableOptions) -> tuple[dict[str, str], str | None]:
    """Labels by head, and that of the first."""
    if not options.heads:
        target = _cell(row, options.label)
        return {} if target is None else {"target": target}, target
    labels = {}
    for head in options.heads:
        if head.name not in row.cells:
            raise DataError(
                f"there is no column {head.name!r}{nearest(head.name, row.cells)}", where=Where(file=row.file)
            )
        cell = _cell(row, head.name)
        if cell is not None:
            head.encode(cell, Where(row.file, row.line, head.name))
            labels[head.name] = cell
    return labels, labels.get(options.heads[0].name)


def _cell(row: Row, column: str) -> str | None:
    """The cell as text; None for an empty one and for a number that is none."""
    value = row.cells.get(column)
    if value is None or value != value or not str(value).strip():  # noqa: PLR0124 - NaN is not equal to itself
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _folder_records(path: Path) -> Iterator[Record | InvalidSample]:
    """Images in folders that are named as their label, with the texts beside them."""
    for file in _label_files(path):
        beside = file.with_suffix(".txt")
        text = beside.read_text(encoding="utf-8-sig") if beside.is_file() else None
        name = file.relative_to(path).as_posix()
        label = file.parent.name
        yield Record(name, file, text, {"target": label}, label, Where(file=file))


def _label_files(path: Path) -> list[Path]:
    folders = sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
    return [file for folder in folders for file in sorted(folder.iterdir()) if file.suffix.lower() in Image.suffixes]


def _has_images(folder: Path) -> bool:
    if any((folder / name).is_dir() for name in IMAGE_FOLDERS):
        return True
    return any(file.suffix.lower() in Image.suffixes for file in folder.iterdir())
