"""The tester's own format of seeds: one object a line, every fault with its file, line and field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

from quire.errors import InvalidSample, Where, nearest
from quire.modality import decoding, path_inside, placed
from quire.table import table_rows
from quire_duo.options import refuse_minors
from quire_duo.task import CONTENT_MODERATION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from quire.modality import Sample
    from quire.table import Row

KINDS = ("hate", "ads", "porn")
MODALITIES = tuple(CONTENT_MODERATION.inputs)
_NOTES = ("language", "concept", "source", "licence")
_FIELDS = ("id", "kind", "toxic", "modality", "text", "path", *_NOTES)
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def seed_rows(path: Path, options: Any) -> Iterator[Sample | InvalidSample]:
    """The seeds of a JSONL or CSV file as samples of content-moderation; in the place of a bad one, its fault."""
    kinds = (*KINDS, *options.kinds)
    used: dict[str, int] = {}
    for row in table_rows(path):
        if isinstance(row, InvalidSample):
            yield row
            continue
        try:
            sample = _sample(row, kinds, options.kind)
            first = used.setdefault(sample["id"], row.line)
            if first != row.line:
                raise InvalidSample(f"the id {sample['id']!r} stands in line {first} too", where=Where(field="id"))
        except InvalidSample as error:
            yield _at(error, row)
        else:
            yield sample


def _at(error: InvalidSample, row: Row) -> InvalidSample:
    """The fault with its file and line."""
    try:
        with placed(Where(file=row.file, line=row.line)):
            raise error
    except InvalidSample as there:
        return there


def _sample(row: Row, kinds: tuple[str, ...], usual_kind: str | None) -> Sample:
    cells = {name: cell for name, cell in row.cells.items() if cell not in (None, "") or name == "text"}
    for name in cells:
        if name not in _FIELDS:
            raise _fault(name, f"there is no field {name!r}{nearest(name, _FIELDS)}")
    modality = _one_of("modality", _required(cells, "modality"), MODALITIES)
    return {
        "id": _text("id", _required(cells, "id")),
        modality: _value(cells, modality, row.file.parent),
        "target": "toxic" if _truth(_required(cells, "toxic")) else "benign",
        "kind": _kind(cells.get("kind", usual_kind), kinds),
        **{name: _text(name, cells[name]) for name in _NOTES if name in cells},
    }


def _value(cells: Mapping[str, Any], modality: str, folder: Path) -> Any:
    """The text itself, or the path of a file that is there."""
    text, path = cells.get("text"), cells.get("path")
    if path is None and modality == "text" and "text" in cells:
        if not _text("text", text).strip():
            raise _fault("text", "the text is empty")
        return CONTENT_MODERATION.inputs["text"].check(text, field="text")
    if (path is None) == (text in (None, "")):
        fault = "has neither text nor path" if path is None else "has both text and path"
        raise _fault("text", fault)
    if path is None:
        raise _fault("text", f"a seed of {modality} has a path, not a text")
    with placed(Where(field="path")):
        file = path_inside(folder, _text("path", path))
        if folder.resolve() not in file.resolve().parents:
            raise InvalidSample(f"{path!r} leads out of the folder of the seeds", remedy="Put the files beside them.")
        if not file.is_file():
            raise InvalidSample(f"there is no file {path!r}")
        suffixes = CONTENT_MODERATION.inputs[modality].suffixes
        if file.suffix.lower() not in suffixes:
            raise InvalidSample(f"{path!r} is no file of {modality}", remedy=f"It reads {', '.join(suffixes)}.")
        if modality == "image" and _is_animation(file):
            raise InvalidSample(f"{path!r} is an animation, not a picture", remedy="Name the modality video.")
    return file


def _is_animation(file: Path) -> bool:
    with decoding("image"), Image.open(file) as opened:
        return getattr(opened, "n_frames", 1) > 1


def _required(cells: Mapping[str, Any], name: str) -> Any:
    if cells.get(name) is None:
        raise _fault(name, "the field is missing")
    return cells[name]


def _kind(value: Any, kinds: tuple[str, ...]) -> str:
    if value is None:
        raise _fault("kind", "the field is missing")
    kind = _text("kind", value)
    try:
        refuse_minors(kind)
    except ValueError as error:
        raise _fault("kind", str(error)) from None
    if kind not in kinds:
        remedy = f"Name kinds of your own by the option kinds; known are {', '.join(kinds)}."
        raise _fault("kind", f"unknown kind {kind!r}{nearest(kind, kinds)}", remedy)
    return kind


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise _fault(name, f"unknown {name} {value!r}{nearest(str(value), known)}", f"Known are {', '.join(known)}.")
    return str(value)


def _truth(value: Any) -> bool:
    truth = value if isinstance(value, bool) else _TRUTH.get(value.strip().lower()) if isinstance(value, str) else None
    if truth is None:
        raise _fault("toxic", f"{value!r} is neither true nor false")
    return truth


def _text(name: str, value: Any) -> str:
    if name == "id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _fault(name, f"expected text, got {type(value).__name__}")
    return value


def _fault(name: str, message: str, remedy: str | None = None) -> InvalidSample:
    return InvalidSample(message, where=Where(field=name), remedy=remedy)
