"""Perceived attributes of faces: FairFace's output, joined by the exact image name, as token ids (sec. 3.6)."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from quire.errors import DataError, InvalidSample, Where, nearest
from quire.table import Row, table_columns, table_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

RACES = ("White", "Indian", "Southeast Asian", "Middle Eastern", "Latino_Hispanic", "Black", "East Asian")
GENDERS = ("Male", "Female")
AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+")
FIELDS = ("race", "gender", "age")
IDS = {value: number for number, value in enumerate((*RACES, *GENDERS, *AGES), start=1)}
TOKENS = len(IDS) + 1  # with the pad, 0
_VALUES = {"race": RACES, "gender": GENDERS, "age": AGES}
_FACE = re.compile(r"(?P<stem>.+)_face\d+$")

Face = dict[str, str]


def read_attributes(path: Path) -> dict[str, list[Face]]:
    """Image stem -> faces in the file's order, of a CSV with the columns face_name_align, race, gender, age.

    A face's name is the image's stem and "_face<number>". Raises DataError for a lacking column and InvalidSample with
    the line for an unknown value: an image's faces are joined by its exact name, never by a part of it.
    """
    lacking = [name for name in ("face_name_align", *FIELDS) if name not in table_columns(path)]
    if lacking:
        raise DataError(
            f"there is no column {lacking[0]!r}",
            where=Where(file=path),
            remedy="Give FairFace's output: face_name_align, race, gender, age.",
        )
    faces: dict[str, list[Face]] = {}
    for row in table_rows(path):
        if isinstance(row, InvalidSample):
            raise row
        name = PurePosixPath(str(row.cells["face_name_align"])).stem
        found = _FACE.fullmatch(name)
        if found is None:
            message = f"{name!r} is no face's name, such as 21780_face0.png"
            raise InvalidSample(message, where=Where(file=path, line=row.line, column="face_name_align"))
        faces.setdefault(found["stem"], []).append(_face(row))
    return faces


def _face(row: Row) -> Face:
    face = {name: str(row.cells[name]) for name in FIELDS}
    check_face(face, Where(file=row.file, line=row.line))
    return face


def check_face(face: Mapping[str, Any], where: Where) -> None:
    """InvalidSample for a value of race, gender or age that FairFace does not give."""
    for name in FIELDS:
        value = face.get(name)
        if value not in _VALUES[name]:
            raise InvalidSample(
                f"unknown {name} {value!r}{nearest(str(value), _VALUES[name])}",
                where=Where(where.file, where.line, name, where.sample, where.field),
                remedy=f"Known are: {', '.join(_VALUES[name])}.",
            )


def encode_faces(faces: Sequence[Mapping[str, str]], max_faces: int) -> list[int]:
    """Three ids a face, in the order race, gender, age, for the first `max_faces` faces; padded with 0."""
    ids = [IDS[face[name]] for face in faces[:max_faces] for name in FIELDS]
    return ids + [0] * (3 * max_faces - len(ids))


def face_key(name: str, faces: Mapping[str, Any]) -> str:
    """The key of an image's faces: its name without ending or, as FairFace cuts names, up to the first dot."""
    stem = PurePosixPath(name).stem
    return stem if stem in faces else name.partition(".")[0]


def groups_of(faces: Sequence[Mapping[str, str]]) -> set[str]:
    """The groups that a meme counts for in slice metrics: every attribute of every face, or "no face"."""
    return {f"{name}: {face[name]}" for face in faces for name in FIELDS} or {"no face"}


def count_crowded(faces: Mapping[str, Sequence[Face]], max_faces: int) -> Counter[str]:
    """Images with more faces than are used, and how many they have."""
    return Counter({stem: len(each) for stem, each in faces.items() if len(each) > max_faces})
