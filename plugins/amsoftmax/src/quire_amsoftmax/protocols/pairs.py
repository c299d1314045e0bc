"""Lists of pairs: LFW's pairs.txt, a CSV of one's own, the pairs of an insightface .bin, and tables of scores."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from quire.errors import DataError, InvalidSample, Where, nearest
from quire.table import table_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from quire.table import Row

Missing = Literal["error", "skip"]
_TRUE, _FALSE = {"1", "true", "yes", "same", "genuine"}, {"0", "-1", "false", "no", "different", "impostor"}


@dataclass(frozen=True)
class PairsProtocol:
    """Pairs of images by name. same: bool [n]. folds: int64 [n], or None where there are none. `notes` is for people."""

    name: str
    left: list[str]
    right: list[str]
    same: NDArray[np.bool_]
    folds: NDArray[np.int64] | None = None
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.left)

    @classmethod
    def read_lfw(cls, path: Path) -> PairsProtocol:
        """LFW's pairs.txt: a header `folds<TAB>n` (or the one count of pairsDev*.txt), then in every fold n lines
        `name i j` of one person and n lines `name1 i name2 j` of different ones.

        DataError with the line for one of another form, and where header and lines disagree.
        """
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        n_folds, size = _lfw_header(lines, path)
        left, right, same = [], [], []
        for number, line in enumerate(lines[1:], 2):
            if not line.strip():
                continue
            one, other, alike = _lfw_line(line, Where(file=path, line=number))
            left.append(one)
            right.append(other)
            same.append(alike)
        if len(left) != 2 * n_folds * size:
            raise DataError(
                f"the header promises {n_folds} x 2 x {size} = {2 * n_folds * size} pairs, there are {len(left)}",
                where=Where(file=path, line=1),
            )
        flags = np.array(same)
        folds = np.repeat(np.arange(n_folds), 2 * size)
        for fold in range(n_folds):
            found = int(flags[folds == fold].sum())
            if found != size:
                raise DataError(
                    f"fold {fold} has {found} pairs of one person, the header promises {size}", where=Where(file=path)
                )
        return cls("lfw", left, right, flags, folds if n_folds > 1 else None, _duplicates(left, right))

    @classmethod
    def read_csv(cls, path: Path) -> PairsProtocol:
        """A table with the columns path_a, path_b, same and, where folds are wanted, fold."""
        rows = _rows(path, ("path_a", "path_b", "same"))
        left, right = (
            [str(row.cells[side]).strip().replace("\\", "/") for row in rows] for side in ("path_a", "path_b")
        )
        folds = _folds(rows) if "fold" in rows[0].cells else None
        return cls(
            path.stem, left, right, np.array([_flag(row, "same") for row in rows]), folds, _duplicates(left, right)
        )

    @classmethod
    def read_bin(cls, path: Path) -> PairsProtocol:
        """The pairs of an insightface .bin, named as the reader of these files names its images; ten folds in order."""
        from quire_amsoftmax.data.packed import read_bin

        _, same = read_bin(path)
        n = len(same)
        folds = np.minimum(np.arange(n) * 10 // max(n, 1), 9) if n >= 20 else None
        return cls(
            path.stem, [f"{i:06}a" for i in range(n)], [f"{i:06}b" for i in range(n)], np.array(same, bool), folds
        )

    def resolve(self, ids: Sequence[str], *, missing: Missing = "error") -> ResolvedPairs:
        """The positions of the pairs' images among `ids`: by the whole name, without its ending, or by the file's name.

        DataError naming the first ten that are not there; with missing="skip" their pairs are left out and counted.
        """
        find = NameIndex(ids)
        left, right = (np.array([find(name) for name in side], np.int64) for side in (self.left, self.right))
        known = (left >= 0) & (right >= 0)
        absent = find.missing
        if absent and missing == "error":
            raise missing_images(absent, self.name)
        notes = list(self.notes)
        if absent:
            notes.append(f"{int((~known).sum())} of {len(self)} pairs were left out: {len(absent)} images are missing")
        folds = None if self.folds is None else self.folds[known]
        return ResolvedPairs(left[known], right[known], self.same[known], folds, int((~known).sum()), notes)


@dataclass(frozen=True)
class ResolvedPairs:
    """Pairs as positions in a list of images."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    same: NDArray[np.bool_]
    folds: NDArray[np.int64] | None
    n_skipped: int
    notes: list[str]


@dataclass(frozen=True)
class Scores:
    """Scores of pairs from anywhere; larger is more alike."""

    scores: NDArray[np.float64]
    same: NDArray[np.bool_]
    folds: NDArray[np.int64] | None = None


class NameIndex:
    """Where images are in a list, asked for by names that may lack folder or ending. `missing`: what was not found."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._whole: dict[str, int] = {}
        self._stem: dict[str, int] = {}
        self._base: dict[str, int] = {}
        twice: set[str] = set()
        for position, name in enumerate(ids):
            path = PurePosixPath(name)
            self._whole.setdefault(name, position)
            self._stem.setdefault(path.with_suffix("").as_posix() if path.suffix else name, position)
            if path.stem in self._base:
                twice.add(path.stem)
            self._base[path.stem] = position
        for name in twice:  # a file's name that several folders have says nothing
            del self._base[name]
        self.missing: dict[str, None] = {}

    def __call__(self, name: str) -> int:
        """The position, or -1."""
        path = PurePosixPath(name)
        for table, key in (
            (self._whole, name),
            (self._stem, path.with_suffix("").as_posix() if path.suffix else name),
            (self._base, path.stem),
        ):
            if key in table:
                return table[key]
        self.missing[name] = None
        return -1


def missing_images(names: Iterable[str], protocol: str) -> DataError:
    """The error that names the first ten images of a protocol that are not there."""
    absent = list(names)
    more = f" and {len(absent) - 10} more" if len(absent) > 10 else ""
    return DataError(
        f"{len(absent)} images of {protocol} are not there: {', '.join(absent[:10])}{more}",
        remedy="Complete the images, or leave these out with missing=skip.",
    )


def read_scores(path: Path, *, column: str | None = None, same: str = "same", distance: bool = False) -> Scores:
    """A table with a column score (or distance, which is negated), one that says whether a pair is of one person, and fold.

    column: another column of scores; `distance` says that its values are distances. InvalidSample with line and column
    for a value that can't be read.
    """
    rows = _rows(path, (same,))
    known = rows[0].cells
    name = column or next((each for each in ("score", "distance") if each in known), None)
    if name is None or name not in known:
        raise DataError(
            f"there is no column {name or 'score'!r}{nearest(name or 'score', known)}",
            where=Where(file=path),
            remedy=f"Its columns are: {', '.join(known)}.",
        )
    sign = -1.0 if distance or (column is None and name == "distance") else 1.0
    values = np.array([sign * _number(row, name) for row in rows])
    flags = np.array([_flag(row, same) for row in rows])
    return Scores(values, flags, _folds(rows) if "fold" in known else None)


def _lfw_header(lines: list[str], path: Path) -> tuple[int, int]:
    words = lines[0].split() if lines else []
    if len(words) not in (1, 2) or not all(word.isdecimal() for word in words):
        raise DataError("the first line is not `folds<TAB>pairs` or a count", where=Where(file=path, line=1))
    return (1, int(words[0])) if len(words) == 1 else (int(words[0]), int(words[1]))


def _lfw_line(line: str, where: Where) -> tuple[str, str, bool]:
    parts = line.split("\t") if "\t" in line else line.split()
    parts = [part.strip() for part in parts]
    if len(parts) not in (3, 4):
        raise DataError(f"{len(parts)} fields; 3 (name, i, j) or 4 (name1, i, name2, j) are needed", where=where)
    numbers = parts[1:] if len(parts) == 3 else [parts[1], parts[3]]
    if not all(number.isdecimal() for number in numbers):
        raise DataError(f"{' and '.join(numbers)} are not two image numbers", where=where)
    first, second = parts[0], parts[0] if len(parts) == 3 else parts[2]
    one, other = (f"{name}/{name}_{int(i):04}.jpg" for name, i in zip((first, second), numbers, strict=True))
    return one, other, len(parts) == 3


def _duplicates(left: list[str], right: list[str]) -> list[str]:
    counts = Counter(frozenset(pair) for pair in zip(left, right, strict=True))
    extra = sum(count - 1 for count in counts.values())
    return [f"{extra} pairs are there more than once"] if extra else []


def _rows(path: Path, columns: Sequence[str]) -> list[Row]:
    rows = []
    for row in table_rows(path):
        if isinstance(row, InvalidSample):
            raise row
        rows.append(row)
    if not rows:
        raise DataError("the table has no rows", where=Where(file=path))
    known = rows[0].cells
    for name in columns:
        if name not in known:
            raise DataError(
                f"there is no column {name!r}{nearest(name, known)}",
                where=Where(file=path),
                remedy=f"Its columns are: {', '.join(known)}.",
            )
    return rows


def _flag(row: Row, column: str) -> bool:
    text = str(row.cells[column]).strip().lower().removesuffix(".0")
    if text not in _TRUE | _FALSE:
        raise InvalidSample(
            f"{row.cells[column]!r} does not say whether the pair is of one person (1 or 0)",
            where=Where(file=row.file, line=row.line, column=column),
        )
    return text in _TRUE


def _number(row: Row, column: str) -> float:
    cell: Any = row.cells[column]
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = float("nan")
    if not np.isfinite(value):
        raise InvalidSample(
            f"{cell!r} is not a finite number", where=Where(file=row.file, line=row.line, column=column)
        )
    return value


def _folds(rows: list[Row]) -> NDArray[np.int64]:
    names = [str(row.cells["fold"]).strip() for row in rows]
    empty = next((row for row, name in zip(rows, names, strict=True) if not name), None)
    if empty is not None:
        raise InvalidSample("the fold is missing", where=Where(file=empty.file, line=empty.line, column="fold"))
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
