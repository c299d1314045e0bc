"""V1 for series: whether the pattern is still there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire_duo.case import Check
from quire_duo.patterns import pattern_of, piece_of, residual_of, strength_of
from quire_duo.witness import SeriesInterval

if TYPE_CHECKING:
    from quire_duo.case import Case

NAME = "V1"
LARGEST_RESIDUAL = 1.0
"""What stands beside the pattern is at most as strong as the pattern itself (0 dB)."""
LEAST_STRENGTH = 0.5
"""At least this share of the pattern's amplitude is found where it should stand: what was added may also cancel it."""


def check(case: Case) -> Check | None:
    """V1 of a case; None if no unit of it stands in a series.

    Residual and strength are measured again, in the case's series against the seed; `kept` is the share of the seed's
    steps that stands there.
    """
    places = [unit.place for unit in case.witness.units if isinstance(unit.place, SeriesInterval)]
    if not places:
        return None
    pattern = pattern_of(case.seeds[0])
    series = case.content["series"]
    residual = max(residual_of(pattern, series, place) for place in places)
    strength = min(strength_of(pattern, series, place) for place in places)
    kept = min(piece_of(pattern, place).shape[1] / (place.stretched or pattern.shape[1]) for place in places)
    faults = []
    # A pattern that is as strong as what was added has a residual of 1, up to the rounding of 32-bit floats.
    if residual > LARGEST_RESIDUAL * (1 + 1e-3):
        faults.append(f"what stands beside the pattern is {residual:.2f} times as strong as the pattern")
    if strength < LEAST_STRENGTH:
        faults.append(f"{strength:.0%} of the pattern's amplitude is left")
    return Check(
        NAME, not faults, "; ".join(faults), {"residual": min(residual, 1e9), "strength": strength, "kept": kept}
    )
