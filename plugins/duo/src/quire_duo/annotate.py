"""V7, people: a pack of cases to be judged without a network, and what the judgements say."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from dataclasses import dataclass
from importlib.resources import files
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from quire.dataset import new_release
from quire.errors import DataError, InvalidSample, Where
from quire.storage import write_json
from quire.table import table_rows
from quire_duo.export import stored_cases
from quire_duo.journal import read_results
from quire_duo.statistics import Rate, fleiss_kappa

if TYPE_CHECKING:
    from pathlib import Path

    from quire_duo.journal import Outcome

COLUMNS = ("case", "annotator", "toxic", "realism")
LEAST_LABELS = 3
_YES, _NO = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})


def write_pack(folder: Path, output: Path, *, most: int = 200, seed: int = 0) -> int:
    """Write index.html and labels.csv with cases of the run in `folder` to the new folder `output`; returns how many.

    Cases are drawn evenly from all rules out of all answered toxic ones, passed and flagged, in an order that tells
    neither: people judge without knowing what the target said. They fill in a row per case: toxic (1 or 0: is the whole
    post toxic?) and realism (1 to 5), under a name of their own; labels.csv has the rows ready for one person.
    """
    stored = [(outcome, case, place) for outcome, case, place in stored_cases(folder) if outcome.expected == "toxic"]
    if not stored:
        raise DataError("the run has kept no case", where=Where(file=folder), remedy="Run it with keep=all.")
    chosen = _evenly(stored, most, seed)
    with new_release(output) as building:
        (building / ".gitignore").write_text("*\n", encoding="utf-8")
        page = _page([_shown(case, place) for _, case, place in chosen])
        (building / "index.html").write_text(page, encoding="utf-8")
        with (building / "labels.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows([hidden(outcome.case), "", "", ""] for outcome, _, _ in chosen)
    return len(chosen)


def hidden(case: str) -> str:
    """A case's name without its rule, for people who judge it: the hash alone."""
    return case.rpartition("-")[2]


@dataclass(frozen=True)
class HumanFigures:
    """What people said of a run's cases.

    toxic: of the cases with enough labels, those that the majority holds to be toxic. efr and efr_human: of the judged
    cases, all of them and those that people hold to be toxic. kappa: Fleiss', None where it has no value.
    """

    judged: int
    too_few: int
    toxic: Rate
    realism: float | None
    kappa: float | None
    efr: Rate
    efr_human: Rate

    def to_json(self) -> dict[str, Any]:
        """All figures."""
        return {
            "judged": self.judged,
            "too_few_labels": self.too_few,
            "toxic": self.toxic.to_json(),
            "realism": self.realism,
            "fleiss_kappa": self.kappa,
            "efr": self.efr.to_json(),
            "efr_human": self.efr_human.to_json(),
        }


def import_labels(folder: Path, labels: Path) -> HumanFigures:
    """The figures of a table of labels (case, annotator, toxic, realism), written to human.json in the run's folder.

    Cases need at least three labels, each of another person; an even vote is not toxic. Kappa is of the first labels of
    each case, as many as every case has. Raises DataError naming line and field of a bad row.
    """
    outcomes = {hidden(outcome.case): outcome for outcome in read_results(folder) if outcome.answered}
    votes, realism = _read_labels(labels, outcomes)
    enough = {case: list(by.values()) for case, by in votes.items() if len(by) >= LEAST_LABELS}
    if not enough:
        raise DataError(f"no case has {LEAST_LABELS} labels of different people", where=Where(file=labels))
    toxic = {case: 2 * sum(values) > len(values) for case, values in enough.items()}
    fewest = min(map(len, enough.values()))
    counts = np.array([[fewest - sum(values[:fewest]), sum(values[:fewest])] for values in enough.values()])
    figures = HumanFigures(
        judged=len(enough),
        too_few=len(votes) - len(enough),
        toxic=Rate.of(toxic.values()),
        realism=fmean(realism) if realism else None,
        kappa=fleiss_kappa(counts),
        efr=Rate.of(bool(outcomes[case].error) for case in enough),
        efr_human=Rate.of(bool(outcomes[case].error) for case, is_toxic in toxic.items() if is_toxic),
    )
    write_json(folder / "human.json", figures.to_json())
    return figures


def _read_labels(path: Path, outcomes: dict[str, Outcome]) -> tuple[dict[str, dict[str, bool]], list[float]]:
    """Case -> annotator -> toxic, and all realism scores; rows without a judgement are passed over."""
    votes: dict[str, dict[str, bool]] = defaultdict(dict)
    realism: list[float] = []
    for row in table_rows(path):
        if isinstance(row, InvalidSample):
            raise row
        cells = {name: str(row.cells.get(name) or "").strip() for name in COLUMNS}
        cells["case"] = hidden(cells["case"])
        if not cells["toxic"]:
            continue
        if cells["case"] not in outcomes:
            raise _fault(path, row.line, "case", f"the run has no case {cells['case']!r}")
        if not cells["annotator"]:
            raise _fault(path, row.line, "annotator", "the field is empty")
        if cells["toxic"].casefold() not in _YES | _NO:
            raise _fault(path, row.line, "toxic", f"expected 1 or 0, not {cells['toxic']!r}")
        if cells["annotator"] in votes[cells["case"]]:
            raise _fault(path, row.line, "annotator", f"{cells['annotator']} has judged {cells['case']} already")
        votes[cells["case"]][cells["annotator"]] = cells["toxic"].casefold() in _YES
        if cells["realism"]:
            if cells["realism"] not in ("1", "2", "3", "4", "5"):
                raise _fault(path, row.line, "realism", f"expected 1 to 5, not {cells['realism']!r}")
            realism.append(float(cells["realism"]))
    return votes, realism


def _fault(path: Path, line: int, field: str, message: str) -> InvalidSample:
    return InvalidSample(message, where=Where(file=path, line=line, field=field))


def _evenly(stored: list[Any], most: int, seed: int) -> list[Any]:
    """Up to `most`, in turn of each rule, then shuffled."""
    rng = np.random.default_rng(seed)
    shuffled = [stored[index] for index in rng.permutation(len(stored)).tolist()]
    taken: Counter[str] = Counter()
    ranked: list[tuple[int, int, Any]] = []
    for entry in shuffled:
        ranked.append((taken[entry[0].rule], len(ranked), entry))
        taken[entry[0].rule] += 1
    chosen = [entry for _, _, entry in sorted(ranked, key=lambda each: each[:2])[:most]]
    return [chosen[index] for index in rng.permutation(len(chosen)).tolist()]


def _shown(case: dict[str, Any], place: Path) -> dict[str, Any]:
    """The case as the page shows it: its contents and nothing that tells rule or verdict."""
    from quire_duo.media import as_data

    media = []
    for kind, name in case["files"].items():
        path = place / name
        shown_as, value = as_data(path)
        media.append({"kind": kind, "shown_as": shown_as, "value": value})
    return {"case": hidden(case["id"]), "media": media}


def _page(cases: list[dict[str, Any]]) -> str:
    from jinja2 import Environment, StrictUndefined

    template = files("quire_duo").joinpath("annotate.html.jinja").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(cases=cases)
