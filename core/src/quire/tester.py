"""Testers: search for inputs that a classifier gets wrong, and keep them on disk, ready to retrain on."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from quire.errors import DataError, RunError, Where
from quire.evaluator import Judge
from quire.modality import Label, Text
from quire.report import Report, Table
from quire.storage import atomic_file, lock, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from quire.dataset import Dataset
    from quire.modality import Sample
    from quire.model import Classifier
    from quire.runtime import Runtime
    from quire.storage import JSON
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
    """A tester's report; `write` also keeps the findings as a data set of `task` in the folder findings/.

    failures: how many inputs the target failed on, where `findings` are not all of them.
    """

    __test__: ClassVar[bool] = False  # or pytest takes it for a test case

    findings: list[Finding] = field(default_factory=list)
    task: Task | None = None
    failures: int | None = None

    @property
    def n_failures(self) -> int:
        """How many inputs the target failed on: whether the test, as a whole, found anything."""
        return len(self.findings) if self.failures is None else self.failures

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
    """Finds inputs that a classifier gets wrong, starting from seeds whose labels are known.

    `seeds` names the data set class that reads them, for a tester whose seeds are of a kind of their own; None for one
    that starts from any data of the target's task. `quick` are options with which a search takes seconds; the
    conformance suite searches with them.
    """

    __test__: ClassVar[bool] = False  # or pytest takes it for a test case
    seeds: ClassVar[str | None] = None
    quick: ClassVar[Mapping[str, Any]] = {}

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

        With `folder`, every finding is kept in a FindingStore at folder/findings as soon as it is found. A search that
        was ended goes on when it is called again with its folder: what it left there is kept, what it would do twice
        may be left out, and the end is that of a search that nothing interrupted.
        Raises TaskMismatch before any work if target and seeds don't fit together.
        """


@contextmanager
def testing_in(folder: Path, identity: Mapping[str, JSON], *, resume: bool) -> Iterator[None]:
    """Hold `folder` for the test that `identity` (tester, options, target, seeds) describes; test.json keeps it there.

    Raises RunError where the folder holds anything and `resume` is not asked for, where it holds another test, and
    where another process works in it.
    """
    record = folder / "test.json"
    if folder.exists() and any(folder.iterdir()):
        if not resume:
            raise RunError(
                "there is something here already",
                where=Where(file=folder),
                remedy="Name another folder with --out, or continue with --resume.",
            )
        before = read_json(record) if record.is_file() else None
        if not isinstance(before, dict):
            raise RunError("no test was begun here", where=Where(file=folder), remedy="Leave out --resume.")
        other = [name for name in {**before, **identity} if before.get(name) != identity.get(name)]
        if other:
            raise RunError(
                f"the test that was begun here has another {' and '.join(other)}",
                where=Where(file=record),
                remedy="Call it as it was called before, or name another folder with --out.",
            )
    with lock(folder / "test.lock", purpose=f"the test in {folder.name}"):
        write_json(record, dict(identity))
        yield
