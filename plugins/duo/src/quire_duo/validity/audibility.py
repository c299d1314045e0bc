"""V3: whether a person can hear and follow what a case says."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from quire_duo.case import Check
from quire_duo.witness import AudioInterval

if TYPE_CHECKING:
    from quire_duo.case import Case
    from quire_duo.witness import Unit

NAME = "V3"
LOWEST_RATIO = 3.0
"""dB, of speech to what plays under it."""
LOWEST_LEVEL = -60.0
"""dB relative to full scale."""
FASTEST = 260.0
"""Words a minute."""
HIGHEST_PEAK = 0.99
LONGEST_GAP = 2.0
"""Seconds between two pieces of a split message."""
STANDARD_WORD = 6
"""Letters of the word, the space after it counted, by which a rate of speech is stated."""


def check(case: Case) -> Check | None:
    """V3 of a case; None if nothing of it is heard.

    Rates are counted in words, or in standard words of six characters where these are fewer: twenty words of one
    syllable are no faster to follow than ten of two.
    """
    units = [unit for unit in case.witness.units if isinstance(unit.place, AudioInterval)]
    if not units:
        return None
    measured = {
        "level": min(_interval(unit).level for unit in units),
        "peak": float(np.abs(case.content["audio"].samples).max(initial=0.0)),
        "words_per_minute": max(map(_pace, units)),
    }
    beds = [_interval(unit).level - bed for unit in units if (bed := _interval(unit).bed) is not None]
    if beds:
        measured["ratio"] = min(beds)
    if case.guarantee == "split":
        measured["gap"] = max(
            (_interval(after).start - _interval(before).end for before, after in itertools.pairwise(units)), default=0.0
        )
    faults = _faults(measured)
    return Check(NAME, not faults, "; ".join(faults), measured)


def _faults(measured: dict[str, float]) -> list[str]:
    faults = []
    if measured["level"] < LOWEST_LEVEL:
        faults.append(f"a part is heard at {measured['level']:.0f} dB, below {LOWEST_LEVEL:.0f} dB")
    if measured["peak"] > HIGHEST_PEAK + 1e-6:
        faults.append(f"the peak {measured['peak']:.3f} is above {HIGHEST_PEAK}")
    if measured["words_per_minute"] > FASTEST:
        faults.append(f"{measured['words_per_minute']:.0f} words a minute are more than {FASTEST:.0f}")
    # A ratio that was asked for at the limit is realised within a rounding error of it.
    if measured.get("ratio", LOWEST_RATIO) < LOWEST_RATIO - 1e-3:
        faults.append(f"speech is {measured['ratio']:.1f} dB above the bed, less than {LOWEST_RATIO:.0f} dB")
    if measured.get("gap", 0.0) > LONGEST_GAP + 1e-6:
        faults.append(f"{measured['gap']:.2f} s between two pieces are more than {LONGEST_GAP:.0f} s")
    return faults


def _interval(unit: Unit) -> AudioInterval:
    assert isinstance(unit.place, AudioInterval)
    return unit.place


def _pace(unit: Unit) -> float:
    place = _interval(unit)
    minutes = (place.end - place.start) / 60
    letters = sum(len(token) + 1 for token in unit.tokens) / STANDARD_WORD
    words = min(float(place.words), letters)
    return words / minutes if minutes > 0 else 0.0
