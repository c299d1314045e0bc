"""Whether a case is still what it is expected to be to a person (V1 to V5), from its witness alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire.errors import ConfigError, nearest
from quire_duo.validity.innocence import ClassifierJudge, Judge, LexiconJudge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quire_duo.case import Case, Check
    from quire_duo.seeds import Lexicon

CHECKS = ("V1", "V2", "V3", "V4", "V5")
"""Completeness, legibility, audibility, exposure, innocence."""

__all__ = ["CHECKS", "ClassifierJudge", "Judge", "LexiconJudge", "run_checks"]


def run_checks(
    case: Case, checks: Sequence[str], *, lexicon: Lexicon, judge: Judge | None = None
) -> tuple[tuple[Check, ...], bool]:
    """The outcomes of those of `checks` ("V1" to "V5") that have something to check, and whether the case is partial.

    partial: a part of a split or composed case is toxic by itself according to `judge`, without one according to the
    lexicon. Raises ConfigError for a check that does not exist.
    """
    outcomes: list[Check] = []
    partial = False
    for name in checks:
        if name not in CHECKS:
            raise ConfigError(f"there is no check {name!r}{nearest(name, CHECKS)}", remedy="There are V1 to V5.")
        if name == "V5":
            from quire_duo.validity import innocence

            outcome, partial = innocence.check(case, judge or LexiconJudge(lexicon))
            outcomes += [outcome] if outcome else []
            continue
        outcomes += [outcome for check in _functions(name) if (outcome := check(case))]
    return tuple(outcomes), partial


def _functions(name: str) -> tuple[Callable[[Case], Check | None], ...]:
    """What makes up a check; imported when it is used, since the modules of media are heavy."""
    from quire_duo.validity import audibility, completeness, exposure, legibility, series

    return {
        "V1": (completeness.check, series.check),
        "V2": (legibility.check,),
        "V3": (audibility.check,),
        "V4": (exposure.check,),
    }[name]
