"""Memotion7k (SemEval-2020 task 8): sentiment, and four kinds of emotion with their grades."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from quire.dataset import new_release
from quire.errors import ConfigError, DataError, InvalidSample, Where, nearest
from quire.storage import content_hash
from quire.table import Row, table_rows
from quire_memefier.data.confounders import confounder_memes
from quire_memefier.data.rows import MemeOptions, MemeRows, Record, relative_image
from quire_memefier.heads import Head

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TRAIN, TEST, TRUTH = "labels.csv", "2000_testdata.csv", "Meme_groundTruth .csv"
IMAGES, TEST_IMAGES = "images", "2000_data"
SENTIMENTS = ("neutral", "positive", "negative")
GRADES: dict[str, tuple[str, ...]] = {
    "humour": ("not_funny", "funny", "very_funny", "hilarious"),
    "sarcasm": ("not_sarcastic", "general", "twisted_meaning", "very_twisted"),
    "offensive": ("not_offensive", "slight", "very_offensive", "hateful_offensive"),
    "motivational": ("not_motivational", "motivational"),
}
PRESENT = {"humour": "funny", "sarcasm": "sarcastic", "offensive": "offensive", "motivational": "motivational"}
_TRUTH = re.compile(r"(?P<sentiment>-?1|0)_(?P<grades>[0-3]{3}[01])")
SubTask = Literal["a", "b", "c"]


class MemotionOptions(MemeOptions):
    """Options of Memotion7k."""

    subtask: SubTask = Field("a", description="a: sentiment; b: which of four emotions; c: their grades")
    head: str | None = Field(
        None, description="the head that is the target; none: overall_sentiment for a, offensive for b and c"
    )
    holdout: Literal["by-name", "reference"] = Field(
        "by-name",
        description="the tenth of labels.csv that is the split validation: by a hash of the image's name, or the "
        "reference's draw by the position of the row",
    )


class Memotion7k(MemeRows):
    """Memotion7k: labels.csv with images/; 2000_testdata.csv and "Meme_groundTruth .csv" with 2000_data/.

    The text is text_corrected, else text_ocr. Test rows get their labels by the image's name.
    """

    class Options(MemotionOptions):
        """Options of Memotion7k."""

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """train and validation of labels.csv, test if its tables are there."""
        path = Path(path)
        return tuple(
            split
            for name, found in ((TRAIN, ("train", "validation")), (TEST, ("test",)))
            if _find(path, name) is not None
            for split in found
        )

    @classmethod
    def questions(cls, path: Path, options: Any) -> tuple[Head, ...]:
        """One head for the sentiment, four for the emotions; the target's head leads."""
        heads = heads_of(options.subtask)
        wanted = options.head or ("overall_sentiment" if options.subtask == "a" else "offensive")
        names = [head.name for head in heads]
        if wanted not in names:
            message = f"sub-task {options.subtask} has no head {wanted!r}{nearest(wanted, names)}"
            raise ConfigError(message, where=Where(field="head"), remedy=f"Its heads are: {', '.join(names)}.")
        return tuple(sorted(heads, key=lambda head: head.name != wanted))

    @classmethod
    def records(cls, path: Path, *, split: str, options: Any) -> Iterator[Record | InvalidSample]:
        """The rows of a split."""
        first = cls.questions(path, options)[0].name
        rows = _test_rows(path) if split == "test" else _train_rows(path, split, options.holdout)
        for row, grades in rows:
            try:
                yield row if isinstance(row, InvalidSample) else _record(row, grades, split, options.subtask, first)
            except InvalidSample as error:
                yield error

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder with labels.csv and images/, in it or one level below."""
        found = _find(Path(path), TRAIN) if Path(path).is_dir() else None
        return found is not None and (found.parent / IMAGES).is_dir()

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0) -> Path:
        """Confounder memes in Memotion's layout: offensive ones are negative, and sarcastic where the text is kind."""
        rng = np.random.default_rng(seed)
        with new_release(folder) as root:
            _write_train(root, 80, rng)
            _write_test(root, 16, rng)
        return Path(folder)


def heads_of(task: SubTask) -> tuple[Head, ...]:
    """The heads of a sub-task (sec. 3.7), in the release's order."""
    if task == "a":
        return (Head(name="overall_sentiment", kind="multiclass", labels=SENTIMENTS),)
    if task == "b":
        return tuple(
            Head(name=name, labels=(f"not_{label}", label), toxic=(label,) if name == "offensive" else ())
            for name, label in PRESENT.items()
        )
    return tuple(
        Head(
            name=name,
            kind="binary" if len(grades) == 2 else "multiclass",
            labels=grades,
            toxic=grades[1:] if name == "offensive" else (),
        )
        for name, grades in GRADES.items()
    )


def reference_holdout(size: int) -> list[bool]:
    """Which rows of labels.csv the reference trains on: those whose uniform number of numpy's seed 42 is below .9."""
    drawn: list[bool] = (np.random.RandomState(42).uniform(size=size) < 0.9).tolist()
    return drawn


def _find(path: Path, name: str) -> Path | None:
    """The file `name` in a folder or one level below."""
    folders = [path, *sorted(child for child in path.iterdir() if child.is_dir())] if path.is_dir() else []
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _needed(path: Path, name: str) -> Path:
    found = _find(path, name)
    if found is None:
        raise DataError(f"there is no {name!r} here", where=Where(file=path), remedy="Give the release's folder.")
    return found


def _train_rows(path: Path, split: str, holdout: str) -> Iterator[tuple[Row | InvalidSample, Mapping[str, str]]]:
    """The rows of labels.csv that are in `split`, with what they say of each head."""
    rows = list(table_rows(_needed(path, TRAIN)))
    drawn = reference_holdout(len(rows))
    for position, row in enumerate(rows):
        if isinstance(row, InvalidSample):
            yield row, {}
            continue
        name = str(row.cells.get("image_name", ""))
        training = drawn[position] if holdout == "reference" else int(content_hash(name)[:8], 16) % 10 != 0
        if training == (split == "train"):
            yield row, {head: str(row.cells.get(head, "")) for head in (*GRADES, "overall_sentiment")}


def _test_rows(path: Path) -> Iterator[tuple[Row | InvalidSample, Mapping[str, str]]]:
    """The rows of the test table, joined with the ground truth by the image's name; none without a truth."""
    truth_file = _find(path, TRUTH)
    truth = {} if truth_file is None else dict(_truths(truth_file))
    for row in table_rows(_needed(path, TEST)):
        if isinstance(row, InvalidSample):
            yield row, {}
            continue
        name = str(row.cells.get("Image_name", ""))
        if truth_file is not None and name not in truth:
            where = Where(row.file, row.line, "Image_name")
            yield InvalidSample(f"{truth_file.name!r} has no row for {name!r}", where=where), {}
            continue
        yield row, truth.get(name, {})


def _truths(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    for row in table_rows(file):
        if isinstance(row, InvalidSample):
            raise row
        found = _TRUTH.fullmatch(str(row.cells.get("Labels", "")).strip())
        if found is None:
            raise InvalidSample(
                f"{row.cells.get('Labels')!r} is no label such as -1_1130",
                where=Where(row.file, row.line, "Labels"),
            )
        grades = {name: GRADES[name][int(digit)] for name, digit in zip(GRADES, found["grades"], strict=True)}
        sentiment = {"0": "neutral", "1": "positive", "-1": "negative"}[found["sentiment"]]
        yield str(row.cells["Image_name"]), {**grades, "overall_sentiment": sentiment}


def _record(row: Row, raw: Mapping[str, str], split: str, task: SubTask, first: str) -> Record:
    test = split == "test"
    column = "Image_name" if test else "image_name"
    if column not in row.cells:
        raise DataError(f"there is no column {column!r}{nearest(column, row.cells)}", where=Where(file=row.file))
    where = Where(row.file, row.line, column)
    name = str(row.cells[column]).strip()
    labels = _labels(raw, task, row) if raw else {}
    texts = ("corrected_text", "OCR_extracted_text") if test else ("text_corrected", "text_ocr")
    text = next(
        (cell for cell in (row.cells.get(key) for key in texts) if isinstance(cell, str) and _is_text(cell)), None
    )
    image = relative_image(row.file.parent / (TEST_IMAGES if test else IMAGES), name, where)
    return Record(name, image, text, labels, labels.get(first), where)


def _is_text(cell: str) -> bool:
    return bool(cell.strip()) and cell.strip().lower() != "nan"


def _labels(raw: Mapping[str, str], task: SubTask, row: Row) -> dict[str, str]:
    """The labels of a sub-task's heads from the release's words."""
    if task == "a":
        word = raw["overall_sentiment"].strip().removeprefix("very_")
        return {"overall_sentiment": _known(word, SENTIMENTS, "overall_sentiment", row)}
    grades = {name: _known(raw[name].strip(), known, name, row) for name, known in GRADES.items()}
    if task == "c":
        return grades
    return {
        name: f"not_{PRESENT[name]}" if grade == GRADES[name][0] else PRESENT[name] for name, grade in grades.items()
    }


def _known(word: str, known: tuple[str, ...], column: str, row: Row) -> str:
    if word not in known:
        raise InvalidSample(
            f"unknown label {word!r}{nearest(word, known)}",
            where=Where(row.file, row.line, column),
            remedy=f"Known are: {', '.join(known)}.",
        )
    return word


def _invented(shape: int, mood: int, label: int, rng: np.random.Generator) -> dict[str, str]:
    """Labels that follow from the factors, with grades drawn at random."""
    grade = {name: int(rng.integers(1, len(grades))) for name, grades in GRADES.items()}
    present = {"humour": shape, "sarcasm": mood, "offensive": label, "motivational": 1 - label}
    words = {name: grades[grade[name] * present[name]] for name, grades in GRADES.items()}
    return {**words, "overall_sentiment": "negative" if label else ("positive" if mood else "neutral")}


def _write_train(root: Path, size: int, rng: np.random.Generator) -> None:
    (root / IMAGES).mkdir()
    with (root / TRAIN).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["", "image_name", "text_ocr", "text_corrected", *GRADES, "overall_sentiment"])
        for number, meme in enumerate(confounder_memes(size, rng)):
            name = f"image_{number + 1}.png"
            meme.image.save(root / IMAGES / name)
            words = _invented(meme.shape, meme.mood, meme.label, rng)
            writer.writerow([number, name, meme.text.upper(), meme.text, *words.values()])


def _write_test(root: Path, size: int, rng: np.random.Generator) -> None:
    (root / TEST_IMAGES).mkdir()
    tables = {
        TEST: [["Image_name", "Image_URL", "OCR_extracted_text", "corrected_text"]],
        TRUTH: [["Image_name", "Labels"]],
    }
    for number, meme in enumerate(confounder_memes(size, rng)):
        name = f"test_{number + 1}.png"
        meme.image.save(root / TEST_IMAGES / name)
        words = _invented(meme.shape, meme.mood, meme.label, rng)
        digits = "".join(str(GRADES[key].index(words[key])) for key in GRADES)
        sentiment = {"neutral": 0, "positive": 1, "negative": -1}[words["overall_sentiment"]]
        tables[TEST].append([name, "", meme.text.upper(), meme.text])
        tables[TRUTH].insert(1, [name, f"{sentiment}_{digits}"])  # in another order than the test table
    for file_name, rows in tables.items():
        with (root / file_name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
