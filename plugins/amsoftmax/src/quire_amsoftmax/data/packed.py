"""insightface's verification sets (.bin) and tar archives of images with a label.txt."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field

from quire.config import Config
from quire.dataset import SPLITS, new_release, sort_labels
from quire.errors import DataError, InvalidSample, Where
from quire.storage import read_pickle
from quire_amsoftmax.data.drawing import draw_people
from quire_amsoftmax.data.faces import Entry, FaceOptions, Faces, FileSpan, require_few_bad, require_identities
from quire_amsoftmax.data.folder import SUFFIXES
from quire_amsoftmax.data.listing import text_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quire.dataset import OnError


class BinOptions(Config):
    """Options of a verification set."""

    size: tuple[int, int] | None = Field(None, description="height and width to which every image is resized")


class VerificationBin(Faces):
    """A .bin file: a pickle of encoded images, two for each pair, and of whether the pairs are of one person.

    Images stand as they are encoded until they are asked for. Ids are "000000a" and "000000b", ...; there are no
    identities, so the target is the pair's number for pairs of one person and the id for others.
    """

    class Options(BinOptions):
        """Options of a verification set."""

    @classmethod
    def read(cls, path: Path, *, split: str, on_error: OnError, options: Any) -> Self:
        """The images of all pairs, in order."""
        images, same = read_bin(path)
        entries = []
        for number, alike in enumerate(same):
            for side, letter in enumerate("ab"):
                name = f"{number:06}{letter}"
                entries.append(Entry(name, images[2 * number + side], f"{number:06}" if alike else name))
        labels = sort_labels(entry.identity for entry in entries if entry.identity)
        return cls(entries, name=path.stem, split=split, labels=labels, size=options.size)

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """Test: such files are for verification alone."""
        return ("test",)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A file that ends in .bin."""
        return path.is_file() and path.suffix == ".bin"

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0) -> Path:
        """Twelve pairs of drawn people."""
        with new_release(folder) as root:
            drawn = [image for _, _, image in draw_people(12, 2, np.random.default_rng(seed))]
            pairs = [(drawn[2 * person], drawn[2 * person + 1], True) for person in range(6)]
            pairs += [(drawn[2 * person], drawn[2 * person + 3], False) for person in range(6, 11)]
            images = [encoded(image) for one, other, _ in pairs for image in (one, other)]
            write_bin(root / "sample.bin", images, [alike for _, _, alike in pairs])
        return Path(folder) / "sample.bin"


def read_bin(path: Path) -> tuple[list[bytes], list[bool]]:
    """The encoded images and, for each two of them, whether they are of one person.

    Images may be bytes or uint8 arrays [n, 1]. Anything but plain values and arrays in the file is refused: DataError.
    """
    content = read_pickle(path, encoding="bytes")
    if not isinstance(content, tuple | list) or len(content) != 2:
        raise DataError("holds no pair of images and flags, as a verification set does", where=Where(file=path))
    bins, same = content
    images = []
    for number, each in enumerate(bins):
        if isinstance(each, np.ndarray) and each.dtype == np.uint8:
            images.append(each.tobytes())
        elif isinstance(each, bytes | bytearray):
            images.append(bytes(each))
        else:
            raise DataError(f"image {number} is a {type(each).__name__}, not encoded bytes", where=Where(file=path))
    flags = [bool(flag) for flag in np.asarray(same).ravel().tolist()]
    if len(images) != 2 * len(flags):
        raise DataError(f"there are {len(images)} images for {len(flags)} pairs", where=Where(file=path))
    return images, flags


def write_bin(path: Path, images: Iterable[bytes], same: Iterable[bool]) -> None:
    """Write a verification set in insightface's format."""
    path.write_bytes(pickle.dumps((list(images), [bool(flag) for flag in same]), protocol=4))


def encoded(image: Any) -> bytes:
    """A picture as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


class TarOptions(FaceOptions):
    """Options of a tar archive."""

    max_bad: float = Field(0.01, ge=0, le=1, description="share of bad lines from which they are an error")


class FaceTar(Faces):
    """An uncompressed .tar with a label.txt of `path<TAB>label` lines relative to it; nothing is unpacked to the disk."""

    class Options(TarOptions):
        """Options of a tar archive."""

    @classmethod
    def read(cls, path: Path, *, split: str, on_error: OnError, options: Any) -> Self:
        """The images of one split, in the order of label.txt."""
        members = _members(path)
        lists = [name for name in members if Path(name).name == "label.txt"]
        if len(lists) != 1:
            raise DataError(f"the archive has {len(lists)} files label.txt; one is needed", where=Where(file=path))
        notes: list[str] = []
        bad: list[InvalidSample] = []
        entries: list[Entry] = []
        text = members[lists[0]].read().decode("utf-8-sig")
        for line in text_lines(text, path / lists[0], notes):
            if isinstance(line, InvalidSample):
                bad.append(line)
                continue
            member = members.get((Path(lists[0]).parent / line[0]).as_posix())
            if member is None:
                bad.append(InvalidSample(f"{line[0]!r} is not in the archive", where=line[2]))
                continue
            entries.append(Entry(line[0], member, line[1]))
        images = {name for name in members if Path(name).suffix.lower() in SUFFIXES}
        others = len(members) - len(images) - 1
        if others:
            notes.append(f"{others} files of the archive that are no images were ignored")
        require_few_bad(bad, len(entries) + len(bad), options.max_bad, on_error, where=Where(file=path))
        entries = options.kept(entries, notes)
        if split == "train":
            require_identities(entries, path)
        return cls(
            options.part(entries, split),
            name=path.stem,
            split=split,
            labels=sort_labels(entry.identity for entry in entries if entry.identity),
            skipped=bad,
            notes=notes,
            size=options.size,
        )

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        """Train, validation and test, of different identities."""
        return SPLITS

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A file that ends in .tar."""
        return path.is_file() and path.suffix == ".tar"

    @classmethod
    def sample(cls, folder: Path, *, seed: int = 0) -> Path:
        """faces.tar of twenty drawn people of four images."""
        with new_release(folder) as root, tarfile.open(root / "faces.tar", "w") as archive:
            lines = []
            for person, number, image in draw_people(20, 4, np.random.default_rng(seed)):
                name = f"images/{person:02}-{number:02}.png"
                _add(archive, f"faces/{name}", encoded(image))
                lines.append(f"{name}\t{person}")
            _add(archive, "faces/label.txt", "\n".join(lines).encode())
        return Path(folder) / "faces.tar"


def _members(path: Path) -> dict[str, FileSpan]:
    """The archive's files by name, and where their bytes lie."""
    try:
        with tarfile.open(path, "r:") as archive:
            return {
                member.name.removeprefix("./"): FileSpan(path, member.offset_data, member.size)
                for member in archive
                if member.isfile()
            }
    except tarfile.TarError as error:
        raise DataError(
            f"this is no whole, uncompressed tar archive ({error})", where=Where(file=path), remedy="Unpack it first."
        ) from error


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
