"""V4: whether what a film shows stands long enough to be read or seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire_duo.case import Check
from quire_duo.witness import VideoInterval

if TYPE_CHECKING:
    from quire_duo.case import Case

NAME = "V4"
SECONDS_A_WORD = 0.4
"""The least for each word; also for a picture."""
SECONDS_A_PHRASE = 1.0
"""The least for two words and more that are shown together."""


def needed_seconds(words: int) -> float:
    """How long `words` that are shown together must stand; 0 words are a picture."""
    return SECONDS_A_WORD if words < 2 else max(SECONDS_A_PHRASE, SECONDS_A_WORD * words)


def check(case: Case) -> Check | None:
    """V4 of a case; None if no unit of it is shown in a film."""
    shown = [unit.place for unit in case.witness.units if isinstance(unit.place, VideoInterval)]
    if not shown:
        return None
    worst = min(shown, key=lambda place: (place.end - place.start) / needed_seconds(place.words))
    seconds, needed = worst.end - worst.start, needed_seconds(worst.words)
    passed = seconds >= needed - 1e-6
    what = f"{worst.words} words stand" if worst.words > 1 else ("a word stands" if worst.words else "a picture stands")
    detail = "" if passed else f"{what} for {seconds:.2f} s, less than {needed:.2f} s"
    return Check(NAME, passed, detail, {"seconds": seconds, "needed": needed})
