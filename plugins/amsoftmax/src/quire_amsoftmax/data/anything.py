"""Images of whatever a user points at, with identities where the layout tells them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quire.errors import DataError, InvalidSample, Where
from quire_amsoftmax.data.faces import Entry, Faces
from quire_amsoftmax.data.folder import SUFFIXES, split_folders
from quire_amsoftmax.data.listing import FaceList
from quire_amsoftmax.data.packed import FaceTar, VerificationBin
from quire_amsoftmax.data.recordio import RecordIODataset

if TYPE_CHECKING:
    from pathlib import Path


def open_images(path: Path) -> Faces:
    """All images at `path`, of no split: an image, a folder of them or of identities (or splits of these), a list, a .rec,
    .bin or .tar.

    In folders the identity is the name of the folder below `path` (below the split), none for images in `path` itself.
    DataError where there is no image.
    """
    if not path.exists():
        raise DataError("there is no such file or folder", where=Where(file=path))
    whole: dict[str, Any] = {"validation_fraction": 0.0, "test_fraction": 0.0}
    if path.is_file():
        for reader in (FaceList, RecordIODataset, FaceTar):
            if reader.recognises(path) or (reader is FaceList and path.suffix.lower() in (".csv", ".tsv")):
                return reader.open(path, split=reader.splits(path)[0], **whole)
        if VerificationBin.recognises(path):
            return VerificationBin.open(path, split="test")
        return _faces([Entry(path.name, path, None)], path)
    if RecordIODataset.recognises(path):
        return RecordIODataset.open(path, **whole)
    depth = 1 if split_folders(path) else 0
    entries = []
    for file in sorted(path.rglob("*")):
        parts = file.relative_to(path).parts
        if file.is_file() and file.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in parts):
            identity = parts[depth] if len(parts) > depth + 1 else None
            entries.append(Entry(file.relative_to(path).as_posix(), file, identity))
    return _faces(entries, path)


def _faces(entries: list[Entry], path: Path) -> Faces:
    if not entries:
        raise DataError("there is no image here", where=Where(file=path))
    labels = sorted({entry.identity for entry in entries if entry.identity})
    return Faces(entries, name=path.resolve().name, split="all", labels=labels)


def open_image(path: Path) -> Faces:
    """One image. InvalidSample where it can't be read."""
    if not path.is_file():
        raise InvalidSample("there is no such image", where=Where(file=path))
    faces = _faces([Entry(path.name, path, None)], path)
    faces[0]
    return faces
