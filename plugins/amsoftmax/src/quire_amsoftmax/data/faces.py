"""Labelled face images held as entries: what all readers of this package return, and the options they share."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as PillowImage
from pydantic import Field

from quire.config import Config
from quire.dataset import SPLITS, Dataset, partition, sort_labels
from quire.errors import DataError, InvalidSample, Where
from quire.modality import placed
from quire.storage import atomic_file, content_hash
from quire.task import IMAGE_CLASSIFICATION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from quire.dataset import OnError
    from quire.modality import Sample

TASK = IMAGE_CLASSIFICATION
IMAGE = TASK.inputs["image"]


@dataclass(frozen=True)
class FileSpan:
    """An encoded image that lies inside a larger file: `length` bytes from `offset`."""

    file: Path
    offset: int
    length: int

    def read(self) -> bytes:
        """The bytes. InvalidSample where the file has become shorter."""
        with self.file.open("rb") as opened:
            opened.seek(self.offset)
            content = opened.read(self.length)
        if len(content) != self.length:
            raise InvalidSample(
                f"{len(content)} of {self.length} bytes are there at offset {self.offset}", where=Where(file=self.file)
            )
        return content


Source = Path | FileSpan | bytes | np.ndarray


@dataclass(frozen=True)
class Entry:
    """One image: its id, where it is (an array is uint8 [h, w] or [h, w, 3]) and whose it is (None: not known)."""

    id: str
    source: Source
    identity: str | None


class FaceOptions(Config):
    """What every reader of labelled faces takes."""

    size: tuple[int, int] | None = Field(None, description="height and width to which every image is resized")
    min_images_per_id: int = Field(1, ge=1, description="identities with fewer images are left out")
    exclude_ids: list[str] = Field([], description="identities that are left out, such as those of the test set")
    exclude_lists: list[Path] = Field([], description="text files with such identities, one a line")
    validation_fraction: float = Field(0.15, ge=0, lt=1, description="share of the identities held out for validation")
    test_fraction: float = Field(0.15, ge=0, lt=1, description="share of the identities held out for testing")
    split_seed: int = Field(0, ge=0, description="which identities are held out")

    def excluded(self) -> set[str]:
        """All identities to leave out."""
        names = set(self.exclude_ids)
        for file in self.exclude_lists:
            if not file.is_file():
                raise DataError("there is no such list of identities", where=Where(file=file))
            lines = file.read_text(encoding="utf-8-sig").splitlines()
            names |= {words[0].rstrip(",") for words in (line.split() for line in lines) if words}
        return names

    def kept(self, entries: Sequence[Entry], notes: list[str]) -> list[Entry]:
        """The entries without excluded and rare identities; `notes` gains how many identities and images went."""
        counts: dict[str, int] = {}
        for entry in entries:
            if entry.identity is not None:
                counts[entry.identity] = counts.get(entry.identity, 0) + 1
        excluded = self.excluded() & counts.keys()
        rare = {name for name, count in counts.items() if count < self.min_images_per_id} - excluded
        for names, why in ((excluded, "excluded"), (rare, f"of fewer than {self.min_images_per_id} images")):
            if names:
                dropped = sum(counts[name] for name in names)
                notes.append(f"{len(names)} identities {why} were left out with {dropped} images")
        single = sum(count == 1 for name, count in counts.items() if name not in excluded | rare)
        if single:
            notes.append(f"{single} identities have one image only; min_images_per_id=2 leaves them out")
        return [entry for entry in entries if entry.identity not in excluded | rare]

    def part(self, entries: Sequence[Entry], split: str) -> list[Entry]:
        """The entries of one split: its identities are in no other one, as people at test time are unknown ones.

        DataError where fewer than two identities would be left to train on.
        """
        names = list(sort_labels(entry.identity for entry in entries if entry.identity is not None))
        held_out = {"validation": self.validation_fraction, "test": self.test_fraction}
        if sum(held_out.values()) >= 1:
            raise DataError("validation_fraction and test_fraction must leave identities to train on")
        fractions = {"train": 1 - sum(held_out.values())} | {name: share for name, share in held_out.items() if share}
        parts = partition([""] * len(names), fractions, seed=self.split_seed)
        mine = {names[index] for index in parts.get(split, ())}
        return [entry for entry in entries if entry.identity in mine]


class Faces(Dataset):
    """Face images with identities; ids are unique. `notes` says what the reader changed or left out, for people."""

    task = TASK

    def __init__(
        self,
        entries: Iterable[Entry],
        *,
        name: str,
        split: str,
        labels: Sequence[str],
        skipped: Iterable[InvalidSample] = (),
        notes: Iterable[str] = (),
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(task=TASK, name=name, split=split, labels=labels, skipped=skipped)
        self.entries = list(entries)
        self.notes = list(notes)
        self.size = size
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        entry = self.entries[self.position(index)]
        sample: dict[str, Any] = {"id": entry.id, "image": self.image(entry)}
        if entry.identity is not None:
            sample["target"] = entry.identity
        return sample

    def image(self, entry: Entry) -> PillowImage.Image:
        """The picture of an entry, RGB, resized where the options say so."""
        with placed(Where(sample=entry.id, field="image")):
            source = entry.source.read() if isinstance(entry.source, FileSpan) else entry.source
            image: PillowImage.Image = IMAGE.validate(source) if isinstance(source, np.ndarray) else IMAGE.read(source)
        if self.size is None or image.size == self.size[::-1]:
            return image
        return image.resize(self.size[::-1], PillowImage.Resampling.BILINEAR, reducing_gap=None)

    def target(self, index: int) -> str:
        """The identity; no image is read. InvalidSample if it is not known."""
        entry = self.entries[self.position(index)]
        if entry.identity is None:
            raise InvalidSample("has no identity", where=Where(sample=entry.id))
        return entry.identity

    @property
    def identities(self) -> tuple[str, ...]:
        """Those of `labels` that have images in this split, in the same order."""
        present = {entry.identity for entry in self.entries}
        return tuple(label for label in self.labels if label in present)

    def fingerprint(self) -> str:
        """A hash of ids, identities, image contents and the size they are brought to."""
        if self._fingerprint is None:
            rows = [content_hash(entry.id, entry.identity, _content(entry.source)) for entry in self.entries]
            self._fingerprint = content_hash(self.task.name, list(self.labels), list(self.size or ()), rows)
        return self._fingerprint


def _content(source: Source) -> bytes | Path | NDArray[Any]:
    return source.read() if isinstance(source, FileSpan) else source


def require_identities(entries: Sequence[Entry], path: Path) -> None:
    """DataError where there are not two identities to tell apart."""
    names = {entry.identity for entry in entries if entry.identity is not None}
    if len(names) < 2:
        found = f"there is one identity only, {next(iter(names))!r}" if names else "there is no identity"
        raise DataError(found, where=Where(file=path), remedy="Give a folder of identities, at least two.")


def require_few_bad(
    bad: Sequence[InvalidSample], n_all: int, max_bad: float, on_error: OnError, *, where: Where
) -> None:
    """DataError where more than `max_bad` of all images can't be used, unless errors are to be skipped."""
    if on_error == "raise" and len(bad) > max_bad * n_all:
        raise DataError(
            f"{len(bad)} of {n_all} images can't be used, more than max_bad={max_bad:g} allows; the first: {bad[0]}",
            where=where,
            remedy="Repair or remove them, raise max_bad, or leave them out with on_error=skip.",
        )


def write_skipped(skipped: Iterable[InvalidSample], path: Path) -> Path:
    """A CSV `file,sample,reason` of what a reader left out."""
    import csv

    with atomic_file(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "sample", "reason"])
        for error in skipped:
            where = error.where or Where()
            writer.writerow([where.file or "", where.sample or "", error.message])
    return path


def open_image(content: bytes) -> PillowImage.Image:
    """The picture in an encoded file's bytes, as an image field has it."""
    image: PillowImage.Image = IMAGE.validate(PillowImage.open(io.BytesIO(content)))
    return image


__all__ = [
    "SPLITS",
    "TASK",
    "Entry",
    "FaceOptions",
    "Faces",
    "FileSpan",
    "open_image",
    "require_few_bad",
    "require_identities",
    "write_skipped",
]
