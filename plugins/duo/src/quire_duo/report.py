"""The report of a run: rates beside their controls, what was dropped and why, and the failing cases, blurred."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from quire.report import Score, Table
from quire.storage import atomic_file, write_json
from quire.tester import TestReport
from quire_duo.media import MarkedStore
from quire_duo.statistics import FEW

if TYPE_CHECKING:
    from pathlib import Path

    from quire_duo.exhibits import Exhibit
    from quire_duo.journal import Outcome
    from quire_duo.statistics import Rate
    from quire_duo.summary import RuleFigures, Summary

RULES = "Rules"
_CSV = ("rule", "kind", "guarantee", "n", "errors", "efr", "efr_low", "efr_high", "controls", "flagged_controls")
_CSV_MORE = ("control_fpr", "control_fpr_low", "control_fpr_high", "partial_n", "partial_errors", "planned")
_DROPPED = ("invalid", "not applicable", "refused", "inconclusive")


@dataclass
class EfrReport(TestReport):
    """Error-finding rates (EFR): the share of valid cases, toxic by construction, that the target lets pass.

    `write` adds summary.json and summary.csv. Its page shows texts, pictures and sounds blurred until they are clicked.
    """

    template: ClassVar[str] = "quire_duo:report.html.jinja"

    summary: Summary | None = None
    costs: dict[str, float | int | None] = field(default_factory=dict)
    exhibits: list[Exhibit] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    """Every planned case's, as in results.jsonl."""
    seeds_used: list[str] = field(default_factory=list)
    """The toxic seeds of which cases were made: under seed_filter=detected those that the target flags in plain form."""

    def page_values(self) -> dict[str, Any]:
        """The rows of the rules, grey where few cases stand behind them, and the failing cases."""
        values = super().page_values()
        figures = [] if self.summary is None else [*self.summary.rules, *self.summary.by_kind]
        return {
            **values,
            "tables": [table for table in values["tables"] if table["title"] != RULES],
            "rules": [_row(one) for one in figures],
            "few": FEW,
            "exhibits": self.exhibits,
            "invalid": self.summary is not None and not self.summary.valid,
        }

    def to_json(self) -> dict[str, Any]:
        """The report, and under "duo" what summary.json holds."""
        return {**super().to_json(), "duo": self._summary_json()}

    def gate(self, **limits: Any) -> list[str]:
        """Why the run does not pass these limits; see `quire_duo.gate.violations`."""
        from quire_duo.gate import violations

        return violations(self._summary_json(), **limits)

    def write(self, folder: Path) -> Path:
        """Write report.json, report.html, summary.json, summary.csv and findings/; returns the path of the page."""
        if self.findings and self.task is not None:
            store = MarkedStore(folder / "findings", self.task)
            for finding in self.findings:
                store.add(finding)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "summary.json", self._summary_json())
        with atomic_file(folder / "summary.csv", "w") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*_CSV, *_CSV_MORE, *(name.replace(" ", "_") for name in _DROPPED)])
            writer.writerows(
                _csv_row(one) for one in (self.summary.rules + self.summary.by_kind if self.summary else [])
            )
        return super().write(folder)

    def _summary_json(self) -> dict[str, Any]:
        summary = {} if self.summary is None else self.summary.to_json()
        return {**summary, "costs": self.costs, "provenance": self.provenance}


def metrics_of(summary: Summary) -> dict[str, Score]:
    """The run in eight numbers."""
    mean = summary.mean_efr
    return {
        "efr": summary.efr.score(higher_is_better=False, reason="no valid case was answered"),
        "control_fpr": summary.control_fpr.score(higher_is_better=False, reason="there is no control"),
        "mean_efr_over_rules": Score(mean, None if mean is not None else "no rule has a case", higher_is_better=False),
        "seed_success": summary.seed_success.score(higher_is_better=False, reason="no valid case was answered"),
        "plain_detection": summary.plain_detection.score(higher_is_better=True, reason="no plain form was answered"),
        "plain_fpr": summary.plain_fpr.score(higher_is_better=False, reason="there is no control"),
        "inconclusive": summary.inconclusive.score(higher_is_better=False, reason="nothing was asked"),
        "flaky": summary.flaky.score(higher_is_better=False, reason="nothing was answered"),
    }


def tables_of(summary: Summary, costs: dict[str, float | int | None]) -> list[Table]:
    """The rules' rates, what each rule yielded, minimal strengths, what could not be applied, and costs."""
    figures = [*summary.rules, *summary.by_kind]
    rates = Table(
        RULES,
        ["rule", "kind", "guarantee", "n", "EFR", "low", "high", "controls", "control FPR", "low ", "high "],
        [
            [
                one.rule,
                one.kind,
                one.guarantee,
                one.efr.n,
                *_cells(one.efr),
                one.control_fpr.n,
                *_cells(one.control_fpr),
            ]
            for one in figures
        ],
        "EFR: errors among valid answered cases. A target that flags everything has EFR 0: look at the control FPR.",
    )
    yields = Table(
        "Yields",
        ["rule", "planned", "answered", *_DROPPED, "checks that failed", "partial n", "partial errors"],
        [
            [
                one.rule,
                one.planned,
                one.efr.n + one.partial.n,
                *(one.dropped[name] for name in _DROPPED),
                ", ".join(f"{name} {count}" for name, count in one.checks_failed.items()),
                one.partial.n,
                one.partial.hits,
            ]
            for one in summary.rules
        ],
        "Of toxic cases. Partial: split or composed cases of which one part is judged toxic by itself; not in the EFR.",
    )
    tables = [rates, yields]
    walked = [one for one in summary.rules if one.minimal is not None]
    if walked:
        tables.append(_minimal_table(walked))
    if summary.not_applicable:
        rows: list[list[Any]] = [[name, reason] for name, reason in summary.not_applicable.items()]
        tables.append(Table("Rules that were not applied", ["rule", "why"], rows))
    if summary.reasons:
        rows = [[rule, count, why] for rule, counts in summary.reasons.items() for why, count in counts.items()]
        tables.append(Table("Why cases came to nothing", ["rule", "cases", "why"], rows))
    tables.append(
        Table("Costs", ["what", "amount"], [[name.replace("_", " "), value] for name, value in costs.items()])
    )
    return tables


def _minimal_table(walked: list[RuleFigures]) -> Table:
    columns = ["rule", "seeds that passed", "seeds walked", "median level", "lowest level", "parameters there"]
    rows: list[list[Any]] = []
    for one in walked:
        minimal = one.minimal or {}
        shown = ", ".join(f"{name}={value}" for name, value in minimal["parameters"].items())
        rows.append(
            [one.rule, minimal["seeds"], minimal["walked"], minimal["median_level"], minimal["lowest_level"], shown]
        )
    return Table("Minimal failing strengths", columns, rows, "Level 0 is the mildest point of a rule's grid.")


def _cells(rate: Rate) -> list[float | None]:
    low, high = rate.interval if rate.n else (None, None)
    return [rate.value, low, high]


def _row(figures: RuleFigures) -> dict[str, Any]:
    return {
        "rule": figures.rule,
        "kind": figures.kind,
        "guarantee": figures.guarantee,
        "efr": _shown(figures.efr),
        "control": _shown(figures.control_fpr),
        "grey": figures.efr.n < FEW,
        "grey_control": figures.control_fpr.n < FEW,
        "percent": 0 if figures.efr.value is None else round(100 * figures.efr.value, 1),
        "percent_control": 0 if figures.control_fpr.value is None else round(100 * figures.control_fpr.value, 1),
    }


def _shown(rate: Rate) -> dict[str, str]:
    if rate.value is None:
        return {"rate": "n/a", "interval": "", "n": "0"}
    low, high = rate.interval
    return {"rate": f"{rate.value:.3f}", "interval": f"{low:.3f} to {high:.3f}", "n": str(rate.n)}


def _csv_row(one: RuleFigures) -> list[Any]:
    efr, control = _cells(one.efr), _cells(one.control_fpr)
    return [
        *(one.rule, one.kind, one.guarantee, one.efr.n, one.efr.hits, *efr, one.control_fpr.n, one.control_fpr.hits),
        *(*control, one.partial.n, one.partial.hits, one.planned, *(one.dropped[name] for name in _DROPPED)),
    ]
