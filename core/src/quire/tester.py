"""Testers: search for inputs that a classifier gets wrong, and keep them on disk, ready to retrain on."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from quire.errors import DataError, Where
from quire.evaluator import Judge
from quire.modality import Label, Text
from quire.report import Report, Table
from quire.storage import atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from quire.dataset import Dataset
    from quire.modality import Sample
    from quire.model import Classifier
    from quire.runtime import Runtime
    from quire.task import Task

MOST_SHOWN = 100  # findings on the page of a report; all of them stand in its folder


@dataclass(frozen=True)
class Finding:
    """One failing input: `sample` (the task's input fields) should be `expected`, and the target says `got`.

    id: unique within the tester's folder. score: how bad it is in the tester's own measure, larger is worse.
    reason: what was done to which seed, in a sentence.
    """

    id: str
    sample: Sample
    expected: str
    got: str
    score: float | None = None
    reason: str = ""


class FindingStore:
    """Failing inputs in a folder that the reader `table` opens as a data set: train.jsonl, and a file for each medium.

    A finding is on disk when `add` returns: whatever ends the search, nothing found before is lost, and a search that
    goes on in the same folder keeps what is there. `ids` are those of the findings that are kept.
    """

    def __init__(self, folder: Path, task: Task) -> None:
        self.folder = folder
        self.task = task
        self._table = folder / "train.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self.ids = set(self._recovered_ids())

    def add(self, finding: Finding) -> None:
        """Keep `finding`, unless one of its id is kept already. Raises InvalidSample if the task does not admit it."""
        if finding.id in self.ids:
            return
        sample = self.task.check({**finding.sample, "id": finding.id})
        row = {
            "id": finding.id,
            **{name: self._cell(name, sample[name]) for name in self.task.inputs if name in sample},
            "target": finding.expected,
            "got": finding.got,
            "score": finding.score,
            "reason": finding.reason,
        }
        with self._table.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.ids.add(finding.id)

    def _cell(self, name: str, value: Any) -> str:
        """Text itself; of anything else the path of a new file, which is complete before the row that names it."""
        modality = self.task.inputs[name]
        if isinstance(modality, Text | Label):
            return modality.validate(value)
        path = modality.write(value, self.folder / name / f"{len(self.ids):06}{modality.writes[0]}")
        return path.relative_to(self.folder).as_posix()

    def _recovered_ids(self) -> Iterator[str]:
        """The ids that are kept; half a row at the end, which a crash leaves, is taken away."""
        if not self._table.exists():
            return
        rows = self._table.read_bytes()
        complete = rows[: rows.rfind(b"\n") + 1]
        if complete != rows:
            with atomic_file(self._table) as file:
                file.write(complete)
        for number, line in enumerate(complete.splitlines(), start=1):
            try:
                yield json.loads(line)["id"]
            except (ValueError, TypeError, KeyError):
                where = Where(file=self._table, line=number)
                raise DataError(
                    "this is not a row of findings", where=where, remedy="Choose an empty folder."
                ) from None


@dataclass
class TestReport(Report):
    """A tester's report; `write` also keeps the findings as a data set of `task` in the folder findings/."""

    __test__: ClassVar[bool] = False  # or pytest takes it for a test case

    findings: list[Finding] = field(default_factory=list)
    task: Task | None = None

    def shown_tables(self) -> list[Table]:
        """The tables, and the findings without their inputs, worst first."""
        if not self.findings:
            return self.tables
        worst = sorted(self.findings, key=lambda finding: -(finding.score or 0))
        table = Table(
            "Findings",
            ["id", "expected", "got", "score", "reason"],
            [
                [finding.id, finding.expected, finding.got, finding.score, finding.reason]
                for finding in worst[:MOST_SHOWN]
            ],
            f"{min(len(worst), MOST_SHOWN):,} of {len(worst):,}, worst first; all inputs are in findings/.",
        )
        return [*self.tables, table]

    def write(self, folder: Path) -> Path:
        """Write report.json, report.html and findings/, and return the page's path."""
        if self.findings:
            if self.task is None:
                raise ValueError("findings can't be written without their task")
            store = FindingStore(folder / "findings", self.task)
            for finding in self.findings:
                store.add(finding)
        return super().write(folder)


class Tester(Judge, ABC):
    """Finds inputs that a classifier gets wrong, starting from seeds whose labels are known."""

    __test__: ClassVar[bool] = False  # or pytest takes it for a test case

    @abstractmethod
    def test(
        self,
        target: Classifier,
        seeds: Dataset,
        *,
        runtime: Runtime | None = None,
        folder: Path | None = None,
    ) -> TestReport:
        """Search from `seeds`; the same options and seeds find the same.

        With `folder`, every finding is kept in a FindingStore at folder/findings as soon as it is found.
        Raises TaskMismatch before any work if target and seeds don't fit together.
        """
