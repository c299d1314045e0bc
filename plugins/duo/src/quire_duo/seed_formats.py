"""The layouts of public sets that seeds can be taken from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quire.errors import DataError, InvalidSample, Where
from quire.modality import path_inside, placed, utf8_text
from quire.table import TABLE_SUFFIXES, Row, table_columns, table_rows
from quire_duo.task import CONTENT_MODERATION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from quire.modality import Sample


@dataclass(frozen=True)
class GuessedFormat:
    """A layout: the columns that tell it, the file names that it usually has, and the usual kind of its seeds."""

    columns: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()

    def file_of(self, path: Path) -> Path:
        """The file with the rows, for a path that may be the folder around it."""
        if not path.is_dir() or not self.names:
            return path
        found = [path / name for name in self.names if (path / name).is_file()]
        if not found:
            raise DataError(f"there is none of {', '.join(self.names)} here", where=Where(file=path))
        return found[0]

    @staticmethod
    def by_name(path: Path) -> str | None:
        """The layout that the names of files tell."""
        for name, layout in FORMATS.items():
            if path.name in layout.names or (path.is_dir() and any((path / file).is_file() for file in layout.names)):
                return name
        return "folder" if path.is_dir() and (path / "toxic").is_dir() else None


FORMATS = {
    "seeds": GuessedFormat(frozenset({"id", "toxic", "modality"}), ("seeds.jsonl", "seeds.csv")),
    "sms-spam": GuessedFormat(names=("SMSSpamCollection",)),
    "davidson": GuessedFormat(frozenset({"hate_speech", "offensive_language", "class", "tweet"})),
    "hatecheck": GuessedFormat(frozenset({"functionality", "test_case", "label_gold"})),
    "hateful-memes": GuessedFormat(frozenset({"id", "img", "label", "text"})),
    "folder": GuessedFormat(),
}


def guess_format(path: Path) -> str:
    """The layout at `path`, by names and then by columns. DataError if it is none of those that are read."""
    named = GuessedFormat.by_name(path)
    if named is not None:
        return named
    if path.is_file() and path.suffix.lower() in TABLE_SUFFIXES:
        columns = table_columns(path)
        fitting = [name for name, layout in FORMATS.items() if layout.columns and layout.columns <= columns]
        return fitting[0] if fitting else "seeds"  # whose faults then say what is missing
    raise DataError("this is no layout of seeds", where=Where(file=path), remedy=f"Name it: {', '.join(FORMATS)}.")


def sms_spam(path: Path, options: Any) -> Iterator[Sample | InvalidSample]:
    """The SMS Spam Collection: lines `spam<TAB>text` and `ham<TAB>text`, ids by line; the kind is ads."""
    with placed(Where(file=path)):
        lines = utf8_text(path).split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        label, tab, text = line.rstrip("\r").partition("\t")
        if label not in ("spam", "ham") or not tab or not text.strip():
            yield InvalidSample("expected spam or ham, a tab, and a text", where=Where(file=path, line=number))
        else:
            yield _text_seed(
                f"sms-{number}", text, label == "spam", options.kind or "ads", source="SMS Spam Collection"
            )


def davidson(path: Path, options: Any) -> Iterator[Sample | InvalidSample]:
    """The tweets of Davidson et al. (2017): class 0 is hate speech, 1 offensive language, 2 neither."""
    for row in table_rows(path):
        if isinstance(row, InvalidSample):
            yield row
            continue
        label = str(row.cells.get("class", "")).strip()
        if label not in ("0", "1", "2"):
            yield _fault(row, "class", f"expected 0, 1 or 2, not {label!r}")
        elif label != "1" or options.offensive != "skip":
            toxic = label == "0" or (label == "1" and options.offensive == "toxic")
            yield from _row_seed(row, f"tweet-{row.line}", "tweet", toxic, options.kind or "hate", "Davidson et al.")


def hatecheck(path: Path, options: Any) -> Iterator[Sample | InvalidSample]:
    """HateCheck: test_case and label_gold (hateful, non-hateful); the functionality is kept as the concept."""
    for row in table_rows(path):
        if isinstance(row, InvalidSample):
            yield row
            continue
        label = str(row.cells.get("label_gold", "")).strip()
        if label not in ("hateful", "non-hateful"):
            yield _fault(row, "label_gold", f"expected hateful or non-hateful, not {label!r}")
            continue
        identifier = f"hatecheck-{row.cells.get('case_id') or row.line}"
        concept = str(row.cells["functionality"])
        toxic, kind = label == "hateful", options.kind or "hate"
        yield from _row_seed(row, identifier, "test_case", toxic, kind, "HateCheck", concept=concept)


def hateful_memes(path: Path, options: Any) -> Iterator[Sample | InvalidSample]:
    """Hateful Memes: id, img (relative to the file), text and label (1 is hateful): pictures together with texts."""
    for row in table_rows(path):
        if isinstance(row, InvalidSample):
            yield row
            continue
        label = str(row.cells.get("label"))
        if label not in ("0", "1"):
            yield _fault(row, "label", f"expected 0 or 1, not {row.cells.get('label')!r}")
            continue
        try:
            with placed(Where(file=row.file, line=row.line, field="img")):
                picture = path_inside(path.parent, str(row.cells.get("img") or ""))
                if not picture.is_file():
                    raise InvalidSample(f"there is no file {row.cells['img']!r}")
        except InvalidSample as error:
            yield error
            continue
        toxic, kind = label == "1", options.kind or "hate"
        for seed in _row_seed(row, f"meme-{row.cells['id']}", "text", toxic, kind, "Hateful Memes"):
            yield seed if isinstance(seed, InvalidSample) else {**seed, "image": picture}


def folder_of_media(path: Path, options: Any) -> Iterator[Sample | InvalidSample]:
    """Files below toxic/ and benign/, each of the kind of content that its ending tells; ids are relative paths."""
    if not path.is_dir():
        raise DataError("this is not a folder", where=Where(file=path))
    suffixes = {
        suffix: name
        for name in ("video", "image", "audio", "text")
        for suffix in CONTENT_MODERATION.inputs[name].suffixes
    } | dict.fromkeys(CONTENT_MODERATION.inputs["image"].suffixes, "image")
    for label in ("toxic", "benign"):
        for file in sorted(path.glob(f"{label}/**/*")):
            if not file.is_file() or file.name.startswith("."):
                continue
            modality = suffixes.get(file.suffix.lower())
            if modality is None:
                yield InvalidSample("this is no file of text, image, audio or video", where=Where(file=file))
                continue
            name = file.relative_to(path).as_posix()
            yield {"id": name, modality: file, "target": label, "kind": options.kind or "general"}


def _row_seed(
    row: Row, identifier: str, column: str, toxic: bool, kind: str, source: str, **notes: str
) -> Iterator[Sample | InvalidSample]:
    text = row.cells.get(column)
    if not isinstance(text, str) or not text.strip():
        yield _fault(row, column, "the text is empty")
    else:
        yield _text_seed(identifier, text, toxic, kind, source=source, **notes)


def _text_seed(identifier: str, text: str, toxic: bool, kind: str, **notes: str) -> Sample:
    return {"id": identifier, "text": text, "target": "toxic" if toxic else "benign", "kind": kind, **notes}


def _fault(row: Row, field: str, message: str) -> InvalidSample:
    return InvalidSample(message, where=Where(file=row.file, line=row.line, field=field))
