"""What a run keeps of its cases: folders to look at, and findings to retrain on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quire.errors import ConfigError
from quire.modality import Label, Text
from quire.tester import Finding
from quire_duo.media import MarkedStore, write_case
from quire_duo.plain import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from quire.modality import Modality
    from quire.model import Classifier
    from quire_duo.generate import Made, Maker, Plan
    from quire_duo.journal import Outcome
    from quire_duo.seed_set import SeedSet
    from quire_duo.verdict import Policy


class StoredSample(dict[str, Any]):
    """A sample whose media may stand in files, which are read whenever they are asked for: many take little memory."""

    def __init__(self, values: Mapping[str, Any], modalities: Mapping[str, Modality[Any]]) -> None:
        super().__init__(values)
        self._modalities = modalities

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        return self._modalities[name].read(value) if isinstance(value, Path) else value

    def __iter__(self) -> Iterator[str]:  # without it, {**sample} would take the paths
        return iter(list(self.keys()))

    def get(self, name: str, default: Any = None) -> Any:
        """As of any dict."""
        return self[name] if name in self else default  # noqa: SIM401 - it is what get is

    def items(self) -> Any:
        """As of any dict."""
        return [(name, self[name]) for name in self]

    def values(self) -> Any:
        """As of any dict."""
        return [self[name] for name in self]


class Keeper:
    """Writes cases and findings as they come; without a folder it keeps the findings."""

    def __init__(
        self,
        folder: Path | None,
        target: Classifier,
        policy: Policy,
        maker: Maker,
        *,
        keep_all: bool,
        seeds: SeedSet,
    ) -> None:
        self._cases = None if folder is None else folder / "cases"
        self._store = None if folder is None else MarkedStore(folder / "findings", target.task)
        self._labels, self._policy, self._maker, self._keep_all = target.labels, policy, maker, keep_all
        self._own = {info.id: info.label for info in seeds}
        self._found: dict[str, Finding] = {}

    def keep(self, made: Made, outcome: Outcome) -> None:
        """Called before the outcome is noted down, so that what is noted is kept."""
        if not outcome.answered or made.case is None or made.sample is None or outcome.rule == IDENTITY:
            return
        false_alarm = outcome.expected == "benign" and bool(outcome.flagged)
        wrong = bool(outcome.error) or false_alarm
        if self._cases is not None and (wrong or (self._keep_all and outcome.expected == "toxic")):
            write_case(made.case, self._cases, self._maker.placement.modalities, content=outcome.content)
        if not wrong:
            return
        finding = self._finding(made.plan, made.sample, outcome)
        if self._store is None:
            self._found[finding.id] = finding
        else:
            self._store.add(finding)

    def findings(self) -> list[Finding]:
        """All findings; of those in the folder, media are read when they are asked for."""
        if self._store is None:
            return list(self._found.values())
        folder, inputs = self._store.folder, self._maker.task.inputs
        found = []
        for row in stored_rows(folder):
            values = {
                name: row[name] if isinstance(modality, Text | Label) else folder / row[name]
                for name, modality in inputs.items()
                if name in row
            }
            sample = StoredSample({"id": row["id"], **values}, inputs)
            found.append(Finding(row["id"], sample, row["target"], row["got"], row["score"], row["reason"]))
        return found

    def _finding(self, plan: Plan, sample: dict[str, Any], outcome: Outcome) -> Finding:
        row = outcome.scores[0]
        toxic = plan.expected == "toxic"
        score = outcome.toxic_score or 0.0
        what = "lets pass" if toxic else "flags, as it does its toxic counterpart's form, the benign"
        return Finding(
            plan.id,
            StoredSample(sample, self._maker.task.inputs),
            expected=label_for(plan, self._labels, self._policy, self._own),
            got=self._labels[row.index(max(row))],
            score=1 - score if toxic else score,
            reason=f"the target {what} seed {plan.seed.id} after {plan.rule.id}",
        )


def label_for(plan: Plan, labels: Sequence[str], policy: Policy, own: dict[str, str]) -> str:
    """The target's label that a case should get: its seed's own where that is one, else the first of the right sort."""
    toxic = policy.toxic_of(plan.kind)
    fitting = [label for label in labels if (label in toxic) == (plan.expected == "toxic")]
    mine = own.get(plan.seed.id, "")
    if not fitting:
        raise ConfigError("all of the target's labels are toxic: a benign case has no label")
    return mine if mine in fitting else fitting[0]


def stored_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a folder of findings, in the order in which they were found."""
    table = folder / "train.jsonl"
    return [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()] if table.is_file() else []
