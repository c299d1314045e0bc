"""V2: whether what is drawn can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire_duo.case import Case, Check
from quire_duo.witness import ImageRegion, Unit, VideoInterval

if TYPE_CHECKING:
    from quire_duo.content import Content

GLYPH_HEIGHT = 12.0
"""The least height of a capital letter, in pixels."""
CONTRAST = 3.0
"""The least contrast against the local background."""
COVERED = 0.3
"""The largest share of a region that may be drawn over."""
_TOLERANCE = 0.5
"""How far, in pixels, a corner may lie outside: the rounding of anti-aliased edges."""


def check(case: Case) -> Check | None:
    """Regions of pictures and films lie inside, are high and contrasted enough, hardly covered, and no glyph is missing.

    None where nothing of the toxic seed is drawn.
    """
    regions = [(unit, region) for unit in case.witness.units if (region := region_of(unit)) is not None]
    if not regions:
        return None
    faults = [
        f"{unit.surface[:30]!r}: {fault}" if unit.surface else fault
        for unit, region in regions
        for fault in faults_of(region, _size(case.content, unit.kind))
    ]
    return Check("V2", not faults, "; ".join(faults[:3]), _measured([region for _, region in regions]))


def region_of(unit: Unit) -> ImageRegion | None:
    """Where a unit is drawn, in a picture or in the frames of a film."""
    place = unit.place
    if isinstance(place, VideoInterval):
        return place.region
    return place if isinstance(place, ImageRegion) else None


def faults_of(region: ImageRegion, size: tuple[int, int]) -> list[str]:
    """What keeps people from reading it in a picture of `size` (width, height)."""
    faults = []
    if not all(
        -_TOLERANCE <= x <= size[0] + _TOLERANCE and -_TOLERANCE <= y <= size[1] + _TOLERANCE for x, y in region.quad
    ):
        faults.append(f"it reaches outside the {size[0]} x {size[1]} pixels")
    if region.glyph_height is not None and region.glyph_height < GLYPH_HEIGHT:
        faults.append(f"letters are {region.glyph_height:.1f} pixels high, at least {GLYPH_HEIGHT:g} are needed")
    if region.contrast is not None and region.contrast < CONTRAST:
        faults.append(f"the contrast is {region.contrast:.2f}:1, at least {CONTRAST:g}:1 is needed")
    if region.covered > COVERED:
        faults.append(f"{region.covered:.0%} is covered, at most {COVERED:.0%} may be")
    if region.missing:
        faults.append(f"the font lacks {', '.join(region.missing)}")
    return faults


def _size(content: Content, kind: str) -> tuple[int, int]:
    """Width and height of what is shown."""
    if kind == "video":
        _, height, width, _ = content["video"].frames.shape
        return int(width), int(height)
    width, height = content["image"].size
    return int(width), int(height)


def _measured(regions: list[ImageRegion]) -> dict[str, float]:
    """The worst of every measure."""
    heights = [region.glyph_height for region in regions if region.glyph_height is not None]
    contrasts = [region.contrast for region in regions if region.contrast is not None]
    measured = {"regions": float(len(regions)), "covered": max(region.covered for region in regions)}
    if heights:
        measured["glyph_height"] = min(heights)
    if contrasts:
        measured["contrast"] = min(contrasts)
    return measured
