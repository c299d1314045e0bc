"""The one file that says what is in an index: whatever it does not name was never committed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from quire.errors import DataError, Where
from quire.index.fields import Fixed
from quire.index.spec import Spec
from quire.storage import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMAT = 1
NAME = "manifest.json"
REMOVED = Fixed("removed", "<i8")
"""The log of removals: row numbers, in the order in which they went."""


@dataclass(frozen=True)
class FileState:
    """The committed part of a file: its first `bytes` bytes, and their CRC-32."""

    bytes: int = 0
    crc32: int = 0


@dataclass(frozen=True)
class Segment:
    """Some rows, one after another, in the files `<name>.<file>` of the folder "segments"."""

    name: str
    rows: int = 0
    files: Mapping[str, FileState] = field(default_factory=dict)

    def path(self, folder: Path, file: str) -> Path:
        """Where a file of the segment lies in the index at `folder`."""
        return folder / "segments" / f"{self.name}.{file}"


@dataclass(frozen=True)
class Manifest:
    """One committed state.

    generation: grows with every commit. layout: grows when rows get other numbers (compaction). next_name: of the next
    segment; a name is never used for two segments that were committed.
    """

    spec: Spec
    generation: int = 0
    layout: int = 0
    next_name: int = 0
    segments: tuple[Segment, ...] = ()
    removals: Segment | None = None

    @property
    def rows(self) -> int:
        """All rows, with the removed ones."""
        return sum(segment.rows for segment in self.segments)

    @property
    def all_segments(self) -> tuple[Segment, ...]:
        """The segments of rows, and the log of removals as if it were one."""
        return self.segments if self.removals is None else (*self.segments, self.removals)

    def named(self) -> tuple[Segment, Manifest]:
        """A new empty segment, and the manifest that knows that its name is taken."""
        return Segment(f"{self.next_name:06d}"), replace(self, next_name=self.next_name + 1)

    def write(self, folder: Path) -> None:
        """Make this the committed state: the moment in which it takes the place of the former one is the commit."""
        described = {**asdict(self), "spec": self.spec.to_json()}
        write_json(folder / NAME, {"format": FORMAT, **described})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The committed state. DataError if there is none, or one of a format that this version does not know."""
        path = folder / NAME
        if not path.is_file():
            raise DataError("there is no index here", where=Where(file=folder))
        value = read_json(path)
        if not isinstance(value, dict) or "format" not in value:
            raise DataError("this is not an index's manifest", where=Where(file=path))
        if value.pop("format") != FORMAT:
            raise DataError(
                f"the index is of another format than {FORMAT}, the one that this version reads",
                where=Where(file=path),
                remedy="Install the version of quire-core that wrote it.",
            )
        try:
            spec = Spec.from_json(value.pop("spec"), path)
            segments = tuple(map(_segment, value.pop("segments")))
            removals = value.pop("removals")
            return cls(spec, segments=segments, removals=None if removals is None else _segment(removals), **value)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"this is not an index's manifest ({error!r})", where=Where(file=path)) from None


def _segment(value: dict[str, Any]) -> Segment:
    files = {name: FileState(**state) for name, state in value["files"].items()}
    return Segment(value["name"], int(value["rows"]), files)
