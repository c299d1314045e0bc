"""The gate for continuous integration: limits that a run must keep, and no step back from a run before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quire.errors import DataError, Where
from quire.storage import read_json
from quire_duo.journal import read_results
from quire_duo.plain import IDENTITY
from quire_duo.statistics import FEW, Difference, paired_difference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from quire_duo.journal import Outcome

SURE = 0.05
"""The p of McNemar's test below which a step back counts."""


def gate(
    folder: Path,
    *,
    max_efr: float | None = None,
    max_control_fpr: float | None = None,
    baseline: Path | None = None,
    least: int = FEW,
) -> list[str]:
    """Why the run in `folder` does not pass, a sentence each; none if it does.

    max_efr and max_control_fpr hold for the whole run and for every rule with at least `least` cases. `baseline` is the
    folder of a run before: on the cases that both answered, the EFR and the control FPR must not be higher with
    p < 0.05. Raises DataError where a folder has no finished run.
    """
    found = violations(read_summary(folder), max_efr=max_efr, max_control_fpr=max_control_fpr, least=least)
    if baseline is not None:
        for what, difference in compare(baseline, folder).items():
            if difference.value > 0 and difference.p < SURE:
                found.append(
                    f"the {what} rose by {difference.value:.3f} (95 % CI {difference.low:.3f} to {difference.high:.3f}, "
                    f"p = {difference.p:.2g}) on {difference.n} cases that {baseline.name} answered too"
                )
    return found


def violations(
    summary: Mapping[str, Any],
    *,
    max_efr: float | None = None,
    max_control_fpr: float | None = None,
    least: int = FEW,
) -> list[str]:
    """The limits that the content of a summary.json does not keep."""
    if not summary.get("valid", False):
        return ["the run is invalid: more than 10 % of its cases got no verdict"]
    found = []
    for limit, key, name in ((max_efr, "efr", "EFR"), (max_control_fpr, "control_fpr", "control FPR")):
        if limit is None:
            continue
        if summary[key]["rate"] is None:
            found.append(f"the {name} is not known: there is no case")
        for where, rate, enough in _rates(summary, key, least):
            if enough and rate["rate"] is not None and rate["rate"] > limit:
                found.append(
                    f"the {name} of {where} is {rate['rate']:.3f} ({rate['hits']} of {rate['n']}), above {limit:g}"
                )
    return found


def _rates(summary: Mapping[str, Any], key: str, least: int) -> list[tuple[str, Mapping[str, Any], bool]]:
    rules = [(figures["rule"], figures[key], figures[key]["n"] >= least) for figures in summary["rules"]]
    return [("the run", summary[key], True), *rules]


def read_summary(folder: Path) -> dict[str, Any]:
    """The content of summary.json. DataError if the run is not finished."""
    if not (folder / "summary.json").is_file():
        where = Where(file=folder)
        raise DataError(
            "there is no finished run here", where=where, remedy="Finish it: call it again with its folder."
        )
    summary: dict[str, Any] = read_json(folder / "summary.json")
    if "rules" not in summary:
        raise DataError("this is no summary of a run", where=Where(file=folder / "summary.json"))
    return summary


def compare(first: Path, second: Path) -> dict[str, Difference]:
    """How the second run's EFR and control FPR differ from the first's, on the cases that both answered.

    Intervals are from a bootstrap over seeds. Raises DataError where no case is common to both.
    """
    before, after = ({one.case: one for one in read_results(folder) if _counts(one)} for folder in (first, second))
    common = [name for name in before if name in after]
    if not common:
        raise DataError(
            f"no case of {second} was answered in {first} too",
            remedy="Make both runs with the same seeds, rules, options and seed=; use seed_filter=all for two targets.",
        )
    differences = {}
    for what, expected in (("EFR", "toxic"), ("control FPR", "benign")):
        names = [name for name in common if before[name].expected == expected]
        if names:
            differences[what] = paired_difference(
                [_wrong(before[name]) for name in names],
                [_wrong(after[name]) for name in names],
                groups=[before[name].seed for name in names],
            )
    return differences


def _counts(outcome: Outcome) -> bool:
    return outcome.answered and not outcome.partial and outcome.phase == "search" and outcome.rule != IDENTITY


def _wrong(outcome: Outcome) -> bool:
    return bool(outcome.error) if outcome.expected == "toxic" else bool(outcome.flagged)
