"""The composition table: pairs of a text and a picture that are harmless alone and toxic together, vouched for by people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quire.errors import DataError, InvalidSample, Where
from quire.table import table_columns, table_rows
from quire_duo.options import refuse_minors
from quire_duo.seed_set import PAIR
from quire_duo.seeds import Seed

if TYPE_CHECKING:
    from pathlib import Path

    from quire.table import Row
    from quire_duo.seed_set import SeedInfo, SeedSet

LEAST_AGREEMENT = 2 / 3
BENIGN = "benign"
"""The kind of a row that vouches for a pair's harmlessness: such pairs are the controls of composed cases."""
_COLUMNS = ("text_template", "kind", "annotators", "agreement")


def read_pairs(path: Path, seeds: SeedSet, *, trust: bool = False) -> list[Seed]:
    """The pairs of a CSV with the columns text_template, image_id or image_concept, kind, annotators and agreement.

    A pair is a seed of the modality "pair" with the value {"text": ..., "image": ...}: one for the row's `image_id`, or
    one for every benign picture whose concept is `image_concept`; {concept} in the template becomes the picture's
    concept. annotators is how many people judged, agreement the share of them that agreed. Raises DataError naming line
    and field; a row on which fewer than two thirds agreed is refused unless `trust`.
    """
    columns = table_columns(path)
    lacking = [name for name in _COLUMNS if name not in columns]
    if not {"image_id", "image_concept"} & columns:
        lacking.append("image_id (or image_concept)")
    if lacking:
        raise DataError(f"the composition table lacks {', '.join(lacking)}", where=Where(file=path))
    pictures = seeds.select(toxic=False, modality="image")
    pairs: list[Seed] = []
    for row in table_rows(path):
        if isinstance(row, InvalidSample):
            raise row
        kind = _checked_kind(row)
        _require_agreement(row, trust)
        for picture in _pictures(row, pictures):
            template = str(row.cells.get("text_template") or "")
            if not template.strip():
                raise _fault(row, "text_template", "the text is empty")
            text = template.replace("{concept}", picture.concept or "")
            content: dict[str, Any] = {"text": text, "image": seeds.load(picture).value}
            name = f"pair-{row.line}-{picture.id}"
            pairs.append(Seed(name, kind, kind != BENIGN, PAIR, content, concept=picture.concept))
    return pairs


def _checked_kind(row: Row) -> str:
    kind = str(row.cells.get("kind") or "").strip()
    if not kind:
        raise _fault(row, "kind", "the field is missing")
    try:
        return refuse_minors(kind)
    except ValueError as error:
        raise _fault(row, "kind", str(error)) from None


def _require_agreement(row: Row, trust: bool) -> None:
    try:
        agreement = float(row.cells.get("agreement") or "nan")
        annotators = int(row.cells.get("annotators") or 0)
    except (TypeError, ValueError):
        raise _fault(row, "agreement", "annotators is a whole number and agreement a share in 0..1") from None
    if not 0 <= agreement <= 1 or annotators < 1:
        raise _fault(row, "agreement", "a pair needs at least one annotator, and an agreement in 0..1")
    if agreement < LEAST_AGREEMENT - 1e-9 and not trust:
        raise _fault(
            row, "agreement", f"{agreement:g} of the annotators agreed, less than two thirds", "Pass trust to take it."
        )


def _pictures(row: Row, pictures: list[SeedInfo]) -> list[SeedInfo]:
    identifier, concept = row.cells.get("image_id"), row.cells.get("image_concept")
    if identifier not in (None, ""):
        found = [picture for picture in pictures if picture.id == str(identifier)]
        if not found:
            raise _fault(row, "image_id", f"there is no benign picture with the id {identifier!r} among the seeds")
        return found
    found = [picture for picture in pictures if picture.concept == concept]
    if not found or concept in (None, ""):
        raise _fault(row, "image_concept", f"there is no benign picture of the concept {concept!r} among the seeds")
    return found


def _fault(row: Row, field: str, message: str, remedy: str | None = None) -> InvalidSample:
    return InvalidSample(message, where=Where(file=row.file, line=row.line, field=field), remedy=remedy)
