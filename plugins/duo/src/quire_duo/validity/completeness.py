"""V1: whether the whole toxic seed is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from unicodedata import normalize

from quire_duo.case import Check
from quire_duo.witness import ImageRegion, SeriesInterval, TextSpan, tokens_of

if TYPE_CHECKING:
    from quire_duo.case import Case
    from quire_duo.seeds import Seed
    from quire_duo.witness import Unit


def check(case: Case) -> Check | None:
    """The units' tokens joined are the seed's, in Unicode's normal form C, and what a unit says stands where it says.

    Of a seed that is no text, a unit is enough. None where all units stand in series, whose patterns are compared by
    value elsewhere.
    """
    units = case.witness.units
    if units and all(isinstance(unit.place, SeriesInterval) for unit in units):
        return None
    expected, found = _normal(expected_tokens(case.seeds[0])), _normal(case.witness.tokens)
    faults = [] if units else ["the witness names no place of the seed"]
    if expected != found:
        at = next(
            (i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), min(len(expected), len(found))
        )
        faults.append(
            f"token {at + 1} of {len(expected)} is {_shown(expected, at)} in the seed, {_shown(found, at)} in the case"
        )
    faults += [fault for unit in units if (fault := _misplaced(unit, case))]
    return Check("V1", not faults, "; ".join(faults[:3]), {"tokens": float(len(found)), "units": float(len(units))})


def expected_tokens(seed: Seed) -> tuple[str, ...]:
    """The tokens that a case must hold: a text's, and of a pair those of its text."""
    if isinstance(seed.value, Mapping):
        return tokens_of(str(seed.value.get("text", "")))
    return seed.tokens


def _misplaced(unit: Unit, case: Case) -> str | None:
    place = unit.place
    if unit.kind not in case.content:
        return f"there is no {unit.kind} in which {unit.surface[:30]!r} could stand"
    if isinstance(place, TextSpan) and case.content["text"][place.start : place.end] != unit.surface:
        return f"characters {place.start} to {place.end} of the text are not {unit.surface[:30]!r}"
    if isinstance(place, TextSpan | ImageRegion) and unit.tokens and not unit.surface:
        return f"nothing is shown of {' '.join(unit.tokens)[:30]!r}"
    return None


def _normal(tokens: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(normalize("NFC", token) for token in tokens)


def _shown(tokens: tuple[str, ...], at: int) -> str:
    return repr(tokens[at]) if at < len(tokens) else "missing"
