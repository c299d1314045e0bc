"""Facebook Hateful Memes: train.jsonl, dev*.jsonl, test*.jsonl and img/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quire.dataset import canonical_split, new_release
from quire.errors import DataError, InvalidSample, Where, nearest
from quire.table import Row, table_rows
from quire_memefier.data.confounders import confounder_memes
from quire_memefier.data.rows import MemeOptions, MemeRows, Record, relative_image
from quire_memefier.heads import Head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quire.modality import Sample

LABELS = ("not-hateful", "hateful")  # 0 and 1 in the files
FILES = ("train", "dev", "test", "dev_seen", "dev_unseen", "test_seen", "test_unseen")


class HatefulMemes(MemeRows):
    """The Hateful Memes challenge, phase 1 (train, dev, test) or phase 2 (dev_seen, dev_unseen, test_seen, test_unseen).

    "validation" is dev, else dev_seen; "test" is test, else test_seen. A row is {"id", "img", "label", "text"}; test
    files without labels can be predicted, not evaluated. Label 1 is "hateful".
    """

    class Options(MemeOptions):
        """Options of Hateful Memes."""

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """The splits that there are files for, under the usual names and under their own."""
        return tuple(_split_files(Path(path)))

    @classmethod
    def questions(cls, path: Path, options: Any) -> tuple[Head, ...]:
        """Hateful or not."""
        return (Head(name="hateful", labels=LABELS, toxic=("hateful",)),)

    @classmethod
    def records(cls, path: Path, *, split: str, options: Any) -> Iterator[Record | InvalidSample]:
        """The lines of a split's file."""
        yield from _records(_split_files(path)[split])

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder with train.jsonl, dev.jsonl, ... and img/, or one of these files."""
        path = Path(path)
        if path.is_file():
            return path.suffix == ".jsonl" and path.stem in FILES and (path.parent / "img").is_dir()
        return (path / "img").is_dir() and any((path / f"{name}.jsonl").is_file() for name in FILES)

    @classmethod
    def read_inputs(cls, path: Path) -> Iterator[Sample] | None:
        """The memes of a .jsonl file with the key "img"; None for any other file."""
        path = Path(path)
        if path.suffix != ".jsonl":
            return None
        first = next(iter(table_rows(path)), None)
        return _inputs(path, cls.task) if isinstance(first, Row) and "img" in first.cells else None

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0, train: int = 400, validation: int = 100, test: int = 100) -> Path:
        """Confounder memes, where each modality alone is at chance; captions.json tells what the pictures show."""
        rng = np.random.default_rng(seed)
        captions: dict[str, str] = {}
        with new_release(folder) as root:
            (root / "img").mkdir()
            for name, size in (("train", train), ("dev", validation), ("test", test)):
                lines = []
                for meme in confounder_memes(size, rng):
                    number = f"{len(captions):05}"
                    meme.image.save(root / "img" / f"{number}.png")
                    captions[f"{number}.png"] = meme.caption
                    row = {"id": int(number), "img": f"img/{number}.png", "label": meme.label, "text": meme.text}
                    lines.append(json.dumps(row) + "\n")
                (root / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
            (root / "captions.json").write_text(json.dumps(captions, indent=0), encoding="utf-8")
        return Path(folder)


def _split_files(path: Path) -> dict[str, Path]:
    folder = path.parent if path.is_file() else path
    there = {name: folder / f"{name}.jsonl" for name in FILES if (folder / f"{name}.jsonl").is_file()}
    if not there:
        raise DataError(
            "there is no train.jsonl, dev.jsonl or test.jsonl here",
            where=Where(file=path),
            remedy="Give the folder of the Hateful Memes download.",
        )
    files = {canonical_split(name): file for name, file in there.items()}
    for usual, own in (("validation", "dev_seen"), ("test", "test_seen")):
        if own in there:
            files.setdefault(usual, there[own])
    return files


def _records(file: Path) -> Iterator[Record | InvalidSample]:
    for row in table_rows(file):
        try:
            yield row if isinstance(row, InvalidSample) else _record(row)
        except InvalidSample as error:
            yield error


def _record(row: Row) -> Record:
    where = Where(file=row.file, line=row.line)
    cells = row.cells
    if "id" not in cells or "img" not in cells:
        lacking = "id" if "id" not in cells else "img"
        raise InvalidSample(f"the row has no {lacking!r}{nearest(lacking, cells)}", where=where)
    image = relative_image(row.file.parent, str(cells["img"]), Where(row.file, row.line, "img"))
    label = cells.get("label")
    if label is not None and label not in (0, 1):
        raise InvalidSample(
            f"unknown label {label!r}", where=Where(row.file, row.line, "label"), remedy="Known are: 0, 1."
        )
    target = None if label is None else LABELS[int(label)]
    labels = {} if target is None else {"hateful": target}
    text = cells.get("text")
    return Record(
        str(cells["id"]),
        image,
        text if isinstance(text, str) else None,
        labels,
        target,
        Where(row.file, row.line, "img"),
    )


def _inputs(path: Path, task: Any) -> Iterator[Sample]:
    for record in _records(path):
        if isinstance(record, InvalidSample):
            raise record
        sample: Sample = {"id": record.id, "image": task.inputs["image"].read(record.image)}
        yield sample if record.text is None else {**sample, "text": record.text}
