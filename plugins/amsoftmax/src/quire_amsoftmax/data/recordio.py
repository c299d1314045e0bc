"""RecordIO, insightface's packed training sets: train.rec with train.idx and property, read without mxnet.

A record is the magic number 0xced7230a, uint32 with a flag in its upper 3 bits and the payload's length in the others,
and the payload, padded to 4 bytes. A payload begins with flag (uint32), label (float32), id and id2 (uint64), then `flag`
float32 labels where flag > 0, then the encoded image.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
from pydantic import Field

from quire.dataset import SPLITS, new_release, sort_labels
from quire.errors import DataError, InvalidSample, Where
from quire_amsoftmax.data.drawing import draw_people
from quire_amsoftmax.data.faces import Entry, FaceOptions, Faces, FileSpan, require_few_bad, require_identities

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from quire.dataset import OnError

MAGIC = 0xCED7230A
_PREFIX = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
_LENGTH = (1 << 29) - 1


@dataclass(frozen=True)
class Record:
    """A record's labels and where its image lies in the file."""

    labels: tuple[float, ...]
    image: FileSpan


class RecordOptions(FaceOptions):
    """Options of packed records."""

    max_bad: float = Field(0.01, ge=0, le=1, description="share of bad records from which they are an error")


class RecordIODataset(Faces):
    """A folder with train.rec and train.idx (or one .rec with its .idx beside it). Ids are the records' keys.

    Record 0, where it has no image, says by its first label which keys are images: those from 1 up to it.
    """

    class Options(RecordOptions):
        """Options of packed records."""

    @classmethod
    def read(cls, path: Path, *, split: str, on_error: OnError, options: Any) -> Self:
        """The images of one split, in the order of the keys."""
        record_file, index_file = _files(path)
        bad: list[InvalidSample] = []
        entries: list[Entry] = []
        offsets = read_index(index_file)
        with record_file.open("rb") as opened:
            for key in _image_keys(opened, record_file, offsets):
                try:
                    record = read_record(opened, record_file, offsets[key])
                except InvalidSample as error:
                    bad.append(InvalidSample(error.message, where=Where(file=record_file, sample=key)))
                    continue
                label = record.labels[0]
                entries.append(Entry(str(key), record.image, str(int(label)) if label.is_integer() else str(label)))
        notes: list[str] = []
        where = Where(file=record_file)
        require_few_bad(bad, len(entries) + len(bad), options.max_bad, on_error, where=where)
        entries = options.kept(entries, notes)
        if split == "train":
            require_identities(entries, record_file)
        return cls(
            options.part(entries, split),
            name=path.resolve().name if path.is_dir() else path.stem,
            split=split,
            labels=sort_labels(entry.identity for entry in entries if entry.identity),
            skipped=bad,
            notes=notes,
            size=options.size,
        )

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """Train, validation and test, of different identities."""
        _files(path)
        return SPLITS

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A .rec file, or a folder with train.rec."""
        return path.suffix == ".rec" if path.is_file() else (path / "train.rec").is_file()

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0) -> Path:
        """train.rec, train.idx and property of twenty drawn people of six images."""
        with new_release(folder) as root:
            people = draw_people(20, 6, np.random.default_rng(seed))
            write_records(root / "train.rec", ((person, _png(image)) for person, _, image in people))
            (root / "property").write_text("20,56,48\n", encoding="ascii")
        return Path(folder)


def read_index(path: Path) -> dict[int, int]:
    """Key -> offset, of the lines `key<TAB>offset`. DataError with the line that is not so."""
    offsets: dict[int, int] = {}
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), 1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 2 or not all(part.isdecimal() for part in parts):
            raise DataError(f"{line!r} is not a key and an offset", where=Where(file=path, line=number))
        offsets[int(parts[0])] = int(parts[1])
    if not offsets:
        raise DataError("the index is empty", where=Where(file=path))
    return offsets


def read_record(opened: BinaryIO, file: Path, offset: int) -> Record:
    """The record at `offset`. InvalidSample naming the offset for one that is cut off, split up or no record."""
    opened.seek(offset)
    prefix = opened.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size:
        raise _corrupt(file, offset, "the file ends")
    magic, word = _PREFIX.unpack(prefix)
    if magic != MAGIC:
        raise _corrupt(file, offset, f"the magic number is {magic:#x}, not {MAGIC:#x}")
    length = word & _LENGTH
    if word >> 29:
        raise _corrupt(file, offset, "the record is one of several parts, which images are not")
    payload = opened.read(min(length, _HEADER.size))
    if length < _HEADER.size or len(payload) < _HEADER.size:
        raise _corrupt(file, offset, "the header is cut off")
    flag, label, _, _ = _HEADER.unpack(payload)
    n_extra = 4 * flag
    start = _HEADER.size + n_extra
    if start > length:
        raise _corrupt(file, offset, f"{flag} labels do not fit in {length} bytes")
    extra = opened.read(n_extra)
    position = offset + _PREFIX.size + start
    opened.seek(0, io.SEEK_END)
    if opened.tell() < position + length - start:
        raise _corrupt(file, offset, "the payload is cut off")
    labels = struct.unpack(f"<{flag}f", extra) if flag else (label,)
    return Record(labels, FileSpan(file, position, length - start))


def write_records(path: Path, samples: Iterable[tuple[int, bytes]]) -> None:
    """Write `path` (.rec) and its .idx: record 0 with the range of keys, then one record for each (label, image)."""
    index: list[str] = []
    with path.open("wb") as file:
        size = _write(file, _HEADER.pack(2, 0.0, 0, 0) + struct.pack("<2f", 0, 0), index, 0)
        key = 0
        for key, (label, image) in enumerate(samples, 1):
            _write(file, _HEADER.pack(0, float(label), key, 0) + image, index, key)
        file.seek(0)
        _write(file, _HEADER.pack(2, 0.0, 0, 0) + struct.pack("<2f", key + 1, key + 1), [], 0)
        if file.tell() != size:
            raise AssertionError("the first record has changed its size")
    path.with_suffix(".idx").write_text("".join(index), encoding="ascii")


def _write(file: Any, payload: bytes, index: list[str], key: int) -> int:
    index.append(f"{key}\t{file.tell()}\n")
    file.write(_PREFIX.pack(MAGIC, len(payload)) + payload + b"\0" * (-len(payload) % 4))
    return int(file.tell())


def _image_keys(opened: BinaryIO, file: Path, offsets: dict[int, int]) -> Iterator[int]:
    """The keys of images: those that record 0 names, or all where it is an image itself."""
    first = read_record(opened, file, offsets[0]) if 0 in offsets else None
    if first is None or first.image.length > 0:
        yield from sorted(offsets)
        return
    end = int(first.labels[0])
    keys = [key for key in sorted(offsets) if 1 <= key < end]
    if len(keys) != end - 1:
        raise DataError(
            f"record 0 says that there are {end - 1:,} images, the index has {len(keys):,} of them",
            where=Where(file=file),
            remedy="Download both files again.",
        )
    yield from keys


def _files(path: Path) -> tuple[Path, Path]:
    record = path / "train.rec" if path.is_dir() else path
    if not record.is_file():
        raise DataError("there is no train.rec here", where=Where(file=path))
    index = record.with_suffix(".idx")
    if not index.is_file():
        raise DataError(f"there is no {index.name} beside {record.name}", where=Where(file=path))
    return record, index


def _corrupt(file: Path, offset: int, why: str) -> InvalidSample:
    return InvalidSample(f"the record at offset {offset} is corrupt: {why}", where=Where(file=file))


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
