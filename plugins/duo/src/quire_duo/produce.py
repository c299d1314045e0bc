"""Cases without a verdict: to look at, or to train on."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from quire.dataset import new_release
from quire.errors import ConfigError, DataError
from quire.model import Classifier
from quire_duo.content import Placement
from quire_duo.journal import Outcome, without_content
from quire_duo.media import write_case
from quire_duo.plain import IDENTITY
from quire_duo.search import Search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from quire.dataset import Dataset
    from quire.modality import Sample
    from quire.task import Task
    from quire_duo.generate import Made, Maker, Plan
    from quire_duo.rule import FusionRule
    from quire_duo.seed_set import SeedSet
    from quire_duo.tester import Duo


@dataclass
class _Producer:
    """Takes a runner's place in a search: makes every plan's case and asks nobody."""

    maker: Maker
    receive: Callable[[Made], None]
    plans: dict[str, Plan] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def execute(self, plans: Iterable[Plan]) -> list[Outcome]:
        """Outcomes that flag everything, so that plain forms count as known and nothing as a failure."""
        done = []
        for plan in plans:
            if plan.id not in self.outcomes:
                self.outcomes[plan.id] = self._produce(plan)
            done.append(self.outcomes[plan.id])
        return done

    def _produce(self, plan: Plan) -> Outcome:
        about: dict[str, Any] = {
            "case": plan.id,
            "rule": plan.rule.id,
            "parameters": plan.parameters,
            "seeds": plan.seed_ids,
            "kind": plan.kind,
            "expected": plan.expected,
            "guarantee": plan.rule.guarantee,
            "phase": plan.phase,
            "replicate": plan.replicate,
            "level": plan.level,
        }
        if plan.phase == "plain":
            return Outcome(**about, status="answered", flagged=True, error=False)
        made = self.maker.make(plan)
        self.receive(made)
        if made.dropped is not None:
            return Outcome(**about, status=made.dropped, reason=made.reason)
        return Outcome(**about, status="answered", flagged=True, error=False)


def produce(
    tester: Duo,
    shape: Classifier,
    seeds: SeedSet,
    receive: Callable[[Made], None],
    *,
    rules: Sequence[FusionRule] | None = None,
) -> dict[str, str]:
    """Make the cases that `tester` would show to a target like `shape`, which is not asked, and hand each to `receive`.

    Dropped ones come too, with their reason. Returns the rules that can't be applied, with why. Raises DataError if no
    case could be made.
    """
    if tester.options.strategy == "escalate":
        raise ConfigError("strategy=escalate needs a target that answers", remedy="Use strategy=sample or grid.")
    workshop = tester.workshop()
    if rules is None:
        applicable, refused = tester.rules_for(shape, seeds, workshop)
    else:
        applicable, refused = list(rules), {}
    producer = _Producer(tester.maker(shape, seeds, workshop), receive)
    options = tester.options.model_copy(update={"shrink": False})
    Search(producer, seeds, applicable, workshop, options, all_rules=applicable).run()  # type: ignore[arg-type]
    if not any(one.answered for one in producer.outcomes.values() if one.rule != IDENTITY):
        reasons = {one.reason for one in producer.outcomes.values() if one.reason}
        raise DataError(f"no case could be made: {'; '.join(sorted(reasons)[:3]) or 'there are no seeds for it'}")
    return refused


class Shape(Classifier):
    """The form of a target that is not there: a task and its labels. It gives no answers."""

    def __init__(self, task: Task, labels: tuple[str, ...] = ("benign", "toxic"), toxic: str = "toxic") -> None:
        super().__init__()
        self.task = task
        self._labels, self._toxic = labels, toxic

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels."""
        return self._labels

    @property
    def toxic_labels(self) -> frozenset[str]:
        """The one toxic label."""
        return frozenset({self._toxic})

    def predict_proba(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Never called."""
        raise NotImplementedError("this is the form of a target, not a target")

    def fit(self, train: Dataset, validation: Dataset | None = None, **_: Any) -> Self:
        """Never called."""
        raise NotImplementedError("this is the form of a target, not a target")

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""


def write_cases(tester: Duo, shape: Classifier, seeds: SeedSet, folder: Path) -> dict[str, Any]:
    """Write a folder for each case and control, and manifest.jsonl with a line for each; says how many, and what was not.

    Raises DataError if `folder` holds anything.
    """
    written = {"toxic": 0, "benign": 0}
    dropped: Counter[str] = Counter()
    modalities = Placement.of(shape).modalities
    with new_release(folder) as building, (building / "manifest.jsonl").open("w", encoding="utf-8") as manifest:
        (building / ".gitignore").write_text("*\n", encoding="utf-8")

        def receive(made: Made) -> None:
            if made.case is None or made.dropped is not None:
                dropped[f"{made.plan.rule.id}: {without_content(made.reason)}"] += 1
                return
            write_case(made.case, building / "cases", modalities, content=made.content_hash)
            written[made.case.expected] += 1
            line = {
                "case": made.case.id,
                "rule": made.case.rule,
                "parameters": made.case.parameters,
                "seeds": made.plan.seed_ids,
                "kind": made.case.kind,
                "expected": made.case.expected,
                "control_of": made.plan.control_of,
                "content": made.content_hash,
            }
            manifest.write(json.dumps(line, ensure_ascii=False) + "\n")

        refused = produce(tester, shape, seeds, receive)
    return {
        "cases": written["toxic"],
        "controls": written["benign"],
        "dropped": sum(dropped.values()),
        "why": dict(dropped.most_common(20)),
        "not_applicable": refused,
    }
