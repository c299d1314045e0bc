"""A folder for each identity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field

from quire.dataset import SPLITS, canonical_split, new_release, sort_labels
from quire.errors import DataError, InvalidSample, Where
from quire_amsoftmax.data.drawing import draw_people
from quire_amsoftmax.data.faces import Entry, FaceOptions, Faces, require_few_bad, require_identities
from quire_amsoftmax.data.inspection import (
    Check,
    Header,
    conversions_note,
    duplicates,
    read_header,
    require_one_size,
)

if TYPE_CHECKING:
    from quire.dataset import OnError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".ppm", ".gif", ".webp", ".tif", ".tiff"))


class FolderOptions(FaceOptions):
    """Options of a folder of identities."""

    check: Check = Field(
        "headers",
        description="what is looked at when opening: names alone; headers (sizes, kinds, files that are no images); "
        "pixels (every file is decoded, and the same image under two identities found)",
    )
    max_bad: float = Field(0.01, ge=0, le=1, description="share of bad files from which they are an error, not skipped")


class FaceFolder(Faces):
    """root/identity/image or root/split/identity/image, with images at any depth below the identity.

    Images are known by their content where the ending does not tell. Hidden files and files that are no images are
    ignored and counted in `notes`. Ids are paths relative to the root. Without split folders, identities are divided by
    the fractions of `Options`: those of the test split are in no other one.
    """

    class Options(FolderOptions):
        """Options of a folder of identities."""

    @classmethod
    def read(cls, path: Path, *, split: str, on_error: OnError, options: Any) -> Self:
        """The images of one split, in the order of the paths."""
        folders = split_folders(path)
        notes: list[str] = []
        bad: list[InvalidSample] = []
        files = _files(folders.get(split, path), notes)
        entries, headers = _inspect(path, files, options.check, bad, notes)
        require_few_bad(bad, len(entries) + len(bad), options.max_bad, on_error, where=Where(file=path))
        require_one_size(headers, options.size)
        if options.check == "pixels":
            notes += duplicates((entry.source, entry.identity) for entry in entries)  # type: ignore[misc]
        entries = options.kept(entries, notes)
        if split == "train":
            require_identities(entries, path)
        roots = list(folders.values()) or [path]
        return cls(
            entries if folders else options.part(entries, split),
            name=path.resolve().name,
            split=split,
            labels=sort_labels(
                {folder.name for root in roots for folder in _subfolders(root) if folders}
                or {entry.identity for entry in entries if entry.identity}
            ),
            skipped=bad,
            notes=notes,
            size=options.size,
        )

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """The split folders' names, or train, validation and test."""
        return tuple(split_folders(path)) or SPLITS

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder of folders that hold images."""
        if not path.is_dir():
            return False
        folders = [inner for folder in _subfolders(path)[:50] for inner in (folder, *_subfolders(folder)[:5])]
        return any(file.suffix.lower() in SUFFIXES for folder in folders for file in folder.iterdir())

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0) -> Path:
        """Twenty drawn people of eight images, 48 x 56 pixels."""
        with new_release(folder) as root:
            for person, number, image in draw_people(20, 8, np.random.default_rng(seed)):
                (root / f"person-{person:02}").mkdir(exist_ok=True)
                image.save(root / f"person-{person:02}" / f"{number:03}.png")
        return Path(folder)


def split_folders(path: Path) -> dict[str, Path]:
    """Usual split name -> folder, where subfolders are named as splits and have identity folders; else nothing."""
    if not path.is_dir():
        raise DataError("this is a file, not a folder of identities", where=Where(file=path))
    found = {canonical_split(folder.name): folder for folder in _subfolders(path)}
    splits = {name: found[name] for name in SPLITS if name in found and _subfolders(found[name])}
    return splits if splits and len(splits) == len(found) else {}


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _files(root: Path, notes: list[str]) -> list[tuple[Path, str]]:
    """(file, identity) of all that may be images; `notes` gains empty identities and hidden files."""
    files: list[tuple[Path, str]] = []
    empty, hidden = [], 0
    for folder in _subfolders(root):
        inside = sorted(file for file in folder.rglob("*") if file.is_file())
        shown = [file for file in inside if not any(part.startswith(".") for part in file.relative_to(folder).parts)]
        hidden += len(inside) - len(shown)
        if not shown:
            empty.append(folder.name)
        files += [(file, folder.name) for file in shown]
    if empty:
        notes.append(f"{len(empty)} identity folders are empty: {', '.join(empty[:10])}")
    if hidden:
        notes.append(f"{hidden} hidden files were ignored")
    return files


def _inspect(
    root: Path, files: list[tuple[Path, str]], check: Check, bad: list[InvalidSample], notes: list[str]
) -> tuple[list[Entry], list[tuple[Path, Header]]]:
    """The entries of the files that are images, with their headers where these were read."""
    entries: list[Entry] = []
    headers: list[tuple[Path, Header]] = []
    others = 0
    for file, identity in files:
        named = file.suffix.lower() in SUFFIXES
        if named and check == "names":
            entries.append(Entry(file.relative_to(root).as_posix(), file, identity))
            continue
        try:
            header = read_header(file, pixels=check == "pixels")
            if header is None and named:
                raise InvalidSample("the content is not that of an image", where=Where(file=file))
        except InvalidSample as error:
            if named:
                bad.append(error)
            others += not named
            continue
        if header is None:
            others += 1
            continue
        entries.append(Entry(file.relative_to(root).as_posix(), file, identity))
        headers.append((file, header))
    if others:
        notes.append(f"{others} files that are no images were ignored")
    converted = conversions_note(header for _, header in headers)
    if converted:
        notes.append(converted)
    return entries, headers
