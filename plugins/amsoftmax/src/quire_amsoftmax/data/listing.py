"""List files: `path label` a line, with a blank or a tab between, or a CSV with the columns path and identity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field

from quire.dataset import SPLITS, canonical_split, new_release, sort_labels
from quire.errors import DataError, InvalidSample, Where
from quire.modality import path_inside
from quire.table import TABLE_SUFFIXES, table_columns, table_rows
from quire_amsoftmax.data.drawing import draw_people
from quire_amsoftmax.data.faces import Entry, Faces, require_few_bad, require_identities
from quire_amsoftmax.data.folder import FolderOptions
from quire_amsoftmax.data.inspection import Header, conversions_note, read_header, require_one_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quire.dataset import OnError


class ListOptions(FolderOptions):
    """Options of a list of images."""

    images: Path | None = Field(None, description="the folder that paths are relative to; default: the list's own")
    num_classes: int | None = Field(None, ge=2, description="labels of a text list must be below this")


class FaceList(Faces):
    """A text file of `path label` lines (whole-number labels; paths may have blanks), or a CSV `path,identity[,split]`.

    Backslashes in paths are slashes. Lines that can't be used are bad images: they are listed, and an error where there
    are more than max_bad. Ids are the paths as they are written.
    """

    class Options(ListOptions):
        """Options of a list of images."""

    @classmethod
    def read(cls, path: Path, *, split: str, on_error: OnError, options: Any) -> Self:
        """The images of one split, in the order of the list."""
        root = options.images or path.parent
        bad: list[InvalidSample] = []
        notes: list[str] = []
        headers: list[tuple[Path, Header]] = []
        entries: list[Entry] = []
        splits: dict[str, str] = {}
        if path.suffix.lower() in TABLE_SUFFIXES:
            lines = _table_lines(path)
        else:
            lines = text_lines(path.read_text(encoding="utf-8-sig"), path, notes)
        for line in lines:
            try:
                if isinstance(line, InvalidSample):
                    raise line
                entry = _entry(line, root, options, headers)
            except InvalidSample as error:
                bad.append(error)
                continue
            entries.append(entry)
            if line[3]:
                splits[entry.id] = canonical_split(line[3])
        require_few_bad(bad, len(entries) + len(bad), options.max_bad, on_error, where=Where(file=path))
        require_one_size(headers, options.size)
        if (note := conversions_note(header for _, header in headers)) is not None:
            notes.append(note)
        if (note := gaps_note(entry.identity for entry in entries)) is not None and not splits:
            notes.append(note)
        entries = options.kept(_unique(entries, path), notes)
        labels = sort_labels(entry.identity for entry in entries if entry.identity)
        if splits:
            entries = [entry for entry in entries if splits.get(entry.id) == split]
        if split == "train":
            require_identities(entries, path)
        return cls(
            entries if splits else options.part(entries, split),
            name=path.stem,
            split=split,
            labels=labels,
            skipped=bad,
            notes=notes,
            size=options.size,
        )

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """The values of a CSV's column split, or train, validation and test."""
        if path.suffix.lower() in TABLE_SUFFIXES and "split" in table_columns(path):
            rows = [row for row in table_rows(path) if not isinstance(row, InvalidSample)]
            named = {canonical_split(str(row.cells["split"])) for row in rows}
            return tuple(name for name in SPLITS if name in named) + tuple(sorted(named - set(SPLITS)))
        return SPLITS

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A file named *.list, *.lst or *list*.txt."""
        return path.is_file() and (
            path.suffix.lower() in (".list", ".lst") or (path.suffix.lower() == ".txt" and "list" in path.stem.lower())
        )

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0) -> Path:
        """faces.list beside images of twenty drawn people."""
        with new_release(folder) as root:
            lines = []
            for person, number, image in draw_people(20, 6, np.random.default_rng(seed)):
                name = f"images/{person:02}/{number:03}.png"
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                image.save(root / name)
                lines.append(f"{name} {person}\n")
            (root / "faces.list").write_text("".join(lines), encoding="utf-8")
        return Path(folder) / "faces.list"


Line = tuple[str, str, Where, str]  # path, label, place, split


def text_lines(text: str, path: Path, notes: list[str]) -> Iterator[Line | InvalidSample]:
    """The lines of a text list from the file `path`; one without a whole-number label after its path is InvalidSample."""
    separators = set()
    for number, content in enumerate(text.splitlines(), 1):
        line, where = content.strip(), Where(file=path, line=number)
        if not line:
            continue
        separator = "\t" if "\t" in line else None
        parts = line.rsplit(separator, 1)
        if len(parts) != 2:
            yield InvalidSample(f"{line!r} has a path or a label, not both", where=where)
            continue
        separators.add(separator)
        name, label = parts[0].strip(), parts[1].strip()
        if not label.isdecimal():
            yield InvalidSample(f"the label {label!r} is not a whole number from 0", where=where)
            continue
        yield name, str(int(label)), where, ""
    if len(separators) > 1:
        notes.append("some lines have a tab between path and label, others a blank")


def _table_lines(path: Path) -> Iterator[Line | InvalidSample]:
    """The rows of a table with the columns path and identity."""
    columns = table_columns(path)
    missing = {"path", "identity"} - columns
    if missing:
        raise DataError(
            f"there is no column {sorted(missing)[0]!r}",
            where=Where(file=path),
            remedy=f"Its columns are: {', '.join(sorted(columns))}; path and identity are needed.",
        )
    for row in table_rows(path):
        if isinstance(row, InvalidSample):
            yield row
            continue
        where = Where(file=path, line=row.line)
        name, identity = str(row.cells["path"] or "").strip(), str(row.cells["identity"] or "").strip()
        if not name or not identity:
            yield InvalidSample(f"the {'path' if not name else 'identity'} is missing", where=where)
            continue
        yield name, identity, where, str(row.cells.get("split") or "")


def _entry(line: Line, root: Path, options: Any, headers: list[tuple[Path, Header]]) -> Entry:
    """The entry of a line, whose file is there (and an image, where that is looked at)."""
    name, label, where, _ = line
    if options.num_classes is not None and int(label) >= options.num_classes:
        raise InvalidSample(f"the label {label} is not below num_classes={options.num_classes}", where=where)
    written = name.replace("\\", "/")
    try:
        file = path_inside(root, written)
    except InvalidSample as error:
        raise InvalidSample(error.message, where=where, remedy=error.remedy) from error
    if not file.is_file():
        raise InvalidSample(f"there is no file {written!r} in {root}", where=where)
    if options.check != "names":
        try:
            header = read_header(file, pixels=options.check == "pixels")
        except InvalidSample as error:
            raise InvalidSample(f"{written}: {error.message}", where=where) from error
        if header is None:
            raise InvalidSample(f"{written} is no image", where=where)
        headers.append((file, header))
    return Entry(written, file, label)


def _unique(entries: list[Entry], path: Path) -> list[Entry]:
    """The entries, each path once; DataError where one path has two labels."""
    first: dict[str, Entry] = {}
    for entry in entries:
        known = first.setdefault(entry.id, entry)
        if known.identity != entry.identity:
            raise DataError(
                f"{entry.id!r} has the labels {known.identity} and {entry.identity}", where=Where(file=path)
            )
    return list(first.values())


def gaps_note(labels: Any) -> str | None:
    """What is missing in whole-number labels between 0 and the largest; None where nothing is, or they are names."""
    names = {label for label in labels if label is not None}
    if not names or not all(name.isdecimal() for name in names):
        return None
    numbers = {int(name) for name in names}
    missing = sorted(set(range(max(numbers) + 1)) - numbers) if max(numbers) < 10**8 else []
    if not missing:
        return None
    shown = ", ".join(map(str, missing[:10]))
    return f"{len(missing)} labels below {max(numbers)} have no image (the first: {shown}); classes are numbered without gaps"
