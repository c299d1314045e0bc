"""IDX files, as MNIST and Fashion-MNIST are released: `*-images-idx3-ubyte[.gz]` and `*-labels-idx1-ubyte[.gz]`."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field

from quire.config import Config
from quire.dataset import new_release, sort_labels
from quire.errors import DataError, Where
from quire_amsoftmax.data.faces import Entry, Faces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from quire.dataset import OnError

IMAGES, LABELS = 2051, 2049
_KINDS = {IMAGES: "images", LABELS: "labels"}
_PREFIXES = {"train": "train", "test": "t10k"}


class IdxOptions(Config):
    """Options of IDX files."""

    allow_partial: bool = Field(False, description="use what can be read of a download that was cut off")
    train_size: int | None = Field(
        None,
        ge=1,
        description="where there is no t10k file: how many of the first images are the train split; default: 5 of 6",
    )
    size: tuple[int, int] | None = Field(None, description="height and width to which every image is resized")


class IdxDataset(Faces):
    """A folder with train-images-idx3-ubyte and train-labels-idx1-ubyte, and those of t10k for the test split, or .gz.

    Grey images become RGB, as every image of this task. Labels are "0", "1", ... Ids are split and position.
    """

    class Options(IdxOptions):
        """Options of IDX files."""

    @classmethod
    def read(cls, path: Path, *, split: str, on_error: OnError, options: Any) -> Self:
        """The images of one split in the order of the file. DataError for files that are cut off or do not match."""
        notes: list[str] = []
        parts = {name: _read_pair(path, prefix, options.allow_partial, notes) for name, prefix in _present(path)}
        labels = sort_labels(str(label) for _, targets in parts.values() for label in np.unique(targets).tolist())
        if split in parts:
            images, targets = parts[split]
            first = 0
        else:
            images, targets = parts["train"]
            first = cls._train_size(len(images), options)
        if split == "train" and "test" not in parts:
            last = cls._train_size(len(images), options)
            images, targets = images[:last], targets[:last]
        entries = [
            Entry(f"{split}-{number:06}", images[number], str(targets[number])) for number in range(first, len(images))
        ]
        return cls(entries, name=path.resolve().name, split=split, labels=labels, notes=notes, size=options.size)

    @staticmethod
    def _train_size(n: int, options: Any) -> int:
        return min(n, options.train_size) if options.train_size else n * 5 // 6

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """Train and test."""
        if not path.is_dir():
            raise DataError("this is a file, not a folder of IDX files", where=Where(file=path))
        return ("train", "test")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder with train-images-idx3-ubyte, or its .gz."""
        return path.is_dir() and _find(path, "train", "images-idx3") is not None

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0) -> Path:
        """Grey bars and dots of 28 x 28 pixels in three classes, gzipped."""
        rng = np.random.default_rng(seed)
        with new_release(folder) as root:
            for prefix, size in (("train", 60), ("t10k", 18)):
                labels = (np.arange(size) % 3).astype(np.uint8)
                images = np.stack([_shape(int(label), rng) for label in labels])
                write_idx(root / f"{prefix}-images-idx3-ubyte.gz", images)
                write_idx(root / f"{prefix}-labels-idx1-ubyte.gz", labels)
        return Path(folder)


def read_idx(path: Path, *, allow_partial: bool = False) -> NDArray[np.uint8]:
    """The array of an IDX file of bytes: images [n, height, width] (magic 2051) or labels [n] (magic 2049).

    DataError for another magic number and, unless `allow_partial`, for a file with less than its header says.
    """
    content, whole = _content(path)
    if len(content) < 8:
        raise DataError(f"{len(content)} bytes are no IDX file", where=Where(file=path))
    magic = struct.unpack(">I", content[:4])[0]
    if magic not in _KINDS:
        raise DataError(f"the magic number is {magic}, not 2051 (images) or 2049 (labels)", where=Where(file=path))
    n_axes = 3 if magic == IMAGES else 1
    start = 4 + 4 * n_axes
    if len(content) < start:
        raise DataError("the header is cut off", where=Where(file=path))
    shape = struct.unpack(f">{n_axes}I", content[4:start])
    each = int(np.prod(shape[1:], dtype=np.int64))
    readable = min(shape[0], (len(content) - start) // max(each, 1))
    if (readable < shape[0] or not whole) and not allow_partial:
        raise DataError(
            f"the header says {shape[0]:,} {_KINDS[magic]}, {readable:,} are readable",
            where=Where(file=path),
            remedy="Download it again, or pass allow_partial=true.",
        )
    return np.frombuffer(content, np.uint8, readable * each, start).reshape(readable, *shape[1:])


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write images [n, height, width] or labels [n] of bytes; gzipped, without a time, where the name ends in .gz."""
    magic = IMAGES if array.ndim == 3 else LABELS
    content = struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _content(path: Path) -> tuple[bytes, bool]:
    """What can be read of a file, unpacked, and whether that is all of it."""
    if path.suffix != ".gz":
        return path.read_bytes(), True
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    parts = []
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                parts.append(unpacker.decompress(chunk))
    except zlib.error as error:
        if not parts:
            raise DataError(f"this is no gzip file ({error})", where=Where(file=path)) from error
        return b"".join(parts), False
    return b"".join([*parts, unpacker.flush()]), unpacker.eof


def _read_pair(
    path: Path, prefix: str, allow_partial: bool, notes: list[str]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images and labels of one part, equally many."""
    image_file, label_file = (_find(path, prefix, kind) for kind in ("images-idx3", "labels-idx1"))
    if image_file is None or label_file is None:
        missing = "images-idx3" if image_file is None else "labels-idx1"
        raise DataError(f"there is no {prefix}-{missing}-ubyte or .gz", where=Where(file=path))
    images, labels = (read_idx(file, allow_partial=allow_partial) for file in (image_file, label_file))
    if len(images) != len(labels):
        if not allow_partial:
            raise DataError(
                f"{image_file.name} has {len(images):,} images and {label_file.name} {len(labels):,} labels",
                where=Where(file=path),
                remedy="Download both again, or pass allow_partial=true to use the first of both.",
            )
        n = min(len(images), len(labels))
        notes.append(f"{prefix}: {n:,} of {max(len(images), len(labels)):,} images with a label are readable")
        images, labels = images[:n], labels[:n]
    return images, labels


def _present(path: Path) -> list[tuple[str, str]]:
    found = [(name, prefix) for name, prefix in _PREFIXES.items() if _find(path, prefix, "images-idx3") is not None]
    if "train" not in dict(found):
        raise DataError("there is no train-images-idx3-ubyte or .gz here", where=Where(file=path))
    return found


def _find(path: Path, prefix: str, kind: str) -> Path | None:
    names = [f"{prefix}-{kind}{dash}ubyte{ending}" for dash in "-." for ending in ("", ".gz")]
    return next((path / name for name in names if (path / name).is_file()), None)


def _shape(label: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    image = rng.integers(0, 40, (28, 28), dtype=np.uint8)
    at = int(rng.integers(6, 20))
    if label == 0:
        image[at : at + 4] += 180
    elif label == 1:
        image[:, at : at + 4] += 180
    else:
        image[at - 3 : at + 5, at - 3 : at + 5] += 180
    return image
