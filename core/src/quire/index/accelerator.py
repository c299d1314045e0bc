"""The structures that make a search faster, by what they promise; each can be built again from the index's files."""

from __future__ import annotations

import secrets
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

from quire.errors import ConfigError, DataError, Where
from quire.storage import read_json, write_json
from quire.storage.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FORMAT = 1
NAME = "accelerator.json"


@dataclass(frozen=True)
class Flat:
    """Exact: every vector is compared, by faiss."""

    kind: ClassVar[str] = "flat"
    exact: ClassVar[bool] = True


@dataclass(frozen=True)
class HNSW:
    """Approximate: a graph of neighbours; fast and of high recall, slow to build, most memory.

    links: neighbours of a node. build_breadth, breadth: how many nodes are kept in view while building and searching.
    """

    kind: ClassVar[str] = "hnsw"
    exact: ClassVar[bool] = False
    links: int = 32
    build_breadth: int = 100
    breadth: int = 64


@dataclass(frozen=True)
class IVF:
    """Approximate: vectors in lists around centroids, of which the nearest `probes` are searched.

    lists: None is four times the square root of the number of vectors.
    """

    kind: ClassVar[str] = "ivf"
    exact: ClassVar[bool] = False
    lists: int | None = None
    probes: int = 16


@dataclass(frozen=True)
class MultiHash:
    """Approximate, for codes: `tables` hash tables of `bits` bits each, looked up with up to `flips` bits flipped."""

    kind: ClassVar[str] = "multihash"
    exact: ClassVar[bool] = False
    tables: int = 4
    bits: int = 16
    flips: int = 1


Accelerator: TypeAlias = Flat | HNSW | IVF | MultiHash
KINDS: dict[str, type[Accelerator]] = {each.kind: each for each in (Flat, HNSW, IVF, MultiHash)}


def check_options(options: Accelerator) -> None:
    """ConfigError naming an option that is no positive number."""
    for name, value in asdict(options).items():
        lowest = 0 if name == "flips" else 1
        if value is not None and (type(value) is not int or value < lowest):
            raise ConfigError(f"{options.kind}'s {name} is a whole number from {lowest}, not {value!r}")


@dataclass(frozen=True)
class Built:
    """What accelerator.json says: the first `rows` rows of layout `layout` are in `file`."""

    options: Accelerator
    layout: int
    rows: int
    file: str
    bytes: int
    crc32: int
    faiss: str

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What was built last, or None. DataError if that can't be read."""
        path = folder / NAME
        if not path.is_file():
            return None
        value = read_json(path)
        try:
            if value.pop("format") != FORMAT:
                raise DataError(
                    "is of another format", where=Where(file=path), remedy="Build it again with accelerate()."
                )
            options = KINDS[value.pop("kind")](**value.pop("options"))
            return cls(options, **value)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"is damaged ({error!r})", where=Where(file=path), remedy="Build it again with accelerate()."
            ) from None

    def write(self, folder: Path) -> None:
        """Name this as what was built last, and remove what was built before."""
        value = {name: value for name, value in vars(self).items() if name != "options"}
        write_json(
            folder / NAME, {"format": FORMAT, "kind": self.options.kind, "options": asdict(self.options), **value}
        )
        remove_leftovers(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove structures that accelerator.json does not name, and what a crash left half written. For the writer alone."""
    try:
        built = Built.read(folder)
    except DataError:
        built = None
    for path in [*folder.glob("accelerator-*.faiss"), *folder.glob(".quire-*.tmp")]:
        if built is None or path.name != built.file:
            with suppress(OSError):  # Windows keeps files that are in use
                path.unlink()


def save(
    folder: Path, options: Accelerator, *, layout: int, rows: int, faiss: str, write: Callable[[Path], Any]
) -> Built:
    """Keep what `write` writes; the file is whole and on the disk before accelerator.json names it."""
    file = f"accelerator-{secrets.token_hex(4)}.faiss"
    with replacing(folder / file) as temporary:
        write(temporary)
        size, crc = temporary.stat().st_size, file_crc(temporary)
    built = Built(options, layout, rows, file, size, crc, faiss)
    built.write(folder)
    return built


def file_crc(path: Path, size: int | None = None) -> int:
    """CRC-32 of the file's first `size` bytes, or of all of it."""
    crc = 0
    with path.open("rb") as stream:
        while chunk := stream.read(min(1 << 22, size) if size is not None else 1 << 22):
            crc = zlib.crc32(chunk, crc)
            if size is not None:
                size -= len(chunk)
    return crc
