"""The loop of a run: plans are made into cases, the target is asked in batches, every outcome is kept at once."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from quire.model import ItemError
from quire.storage import FeatureCache
from quire_duo.journal import Outcome, without_content
from quire_duo.verdict import check_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from quire.model import Classifier
    from quire_duo.generate import Made, Maker, Plan
    from quire_duo.journal import Journal
    from quire_duo.options import DuoOptions
    from quire_duo.verdict import Policy

    Answer = list[NDArray[np.float32]] | ItemError
    """One row for each repeat, or why there is none."""

USUAL_BATCH = 32


class BudgetSpent(Exception):
    """The run may not go on: as many cases, queries or seconds as the user allows are spent."""


@dataclass
class Costs:
    """What a run took: queries count every answer, also those that were known from before; asked counts requests."""

    cases: int = 0
    queries: int = 0
    asked: int = 0
    cached: int = 0
    seconds: float = 0.0


@dataclass
class Runner:
    """Executes plans one after another. The outcome depends on plans and target alone: not on workers, batches or
    interruptions, for what the journal knows is taken from it, in the same order.

    keep: called with every made case and its outcome before the outcome's line is written.
    """

    target: Classifier
    policy: Policy
    maker: Maker
    journal: Journal
    options: DuoOptions
    keep: Callable[[Made, Outcome], None]
    costs: Costs = field(default_factory=Costs)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._answers: dict[str, Answer] = {}
        self._started = time.monotonic()
        self._pool: ThreadPoolExecutor | None = None
        self._kept = _kept_answers(self.target, self.policy, self.options)

    @contextmanager
    def running(self) -> Iterator[Runner]:
        """Holds the threads that make cases."""
        with ThreadPoolExecutor(self.options.workers, thread_name_prefix="duo") as pool:
            self._pool = pool
            try:
                yield self
            finally:
                self._pool = None
                pool.shutdown(cancel_futures=True)

    def execute(self, plans: Iterable[Plan]) -> list[Outcome]:
        """The outcomes of all plans, in order; a plan that was executed before has the same outcome.

        Raises BudgetSpent once no further plan is allowed; what was done until then is kept.
        """
        plans = list(plans)
        new = list({plan.id: plan for plan in plans if plan.id not in self.outcomes}.values())
        waiting: list[Made] = []
        asking, spent = 0, False
        for plan, made in self._in_order(new):
            needs = self._needs(plan, made)
            if not self._allows(needs, asking):
                spent = True
                break
            self.costs.cases += 1
            if made is not None:
                waiting.append(made)
                asking += needs
            if made is None or asking >= self.batch_size * self.options.repeats or len(waiting) > 4 * self.batch_size:
                self._settle(waiting)
                waiting, asking = [], 0
            if made is None:
                self._replay(plan)
        self._settle(waiting)
        if spent:
            raise BudgetSpent
        return [self.outcomes[plan.id] for plan in plans]

    @property
    def batch_size(self) -> int:
        """Cases a call of the target."""
        return self.options.batch_size or min(self.target.limits.batch or USUAL_BATCH, USUAL_BATCH)

    def _in_order(self, plans: Sequence[Plan]) -> Iterator[tuple[Plan, Made | None]]:
        """Every plan with its case, made by the threads a little ahead; None for one that the journal knows."""
        pending: deque[tuple[Plan, Future[Made] | None]] = deque()
        for plan in plans:
            known = plan.id in self.journal.known
            pending.append((plan, None if known else self._threads.submit(self.maker.make, plan)))
            if len(pending) > 2 * self.batch_size:
                yield self._first(pending)
        while pending:
            yield self._first(pending)

    @property
    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            raise RuntimeError("plans are executed inside `running`")
        return self._pool

    @staticmethod
    def _first(pending: deque[tuple[Plan, Future[Made] | None]]) -> tuple[Plan, Made | None]:
        plan, future = pending.popleft()
        return plan, None if future is None else future.result()

    def _needs(self, plan: Plan, made: Made | None) -> int:
        """How many queries the plan costs."""
        asked = self.journal.known[plan.id].asked if made is None else made.dropped is None
        return self.options.repeats if asked else 0

    def _allows(self, needs: int, asking: int) -> bool:
        options, costs = self.options, self.costs
        queries = costs.queries + asking + needs
        return (
            (options.max_cases is None or costs.cases < options.max_cases)
            and (options.max_queries is None or queries <= options.max_queries or not needs)
            and (options.max_seconds is None or time.monotonic() - self._started < options.max_seconds)
        )

    def _replay(self, plan: Plan) -> None:
        outcome = self.journal.known[plan.id]
        if outcome.asked:
            self.costs.queries += self.options.repeats
            self.costs.cached += self.options.repeats
        if outcome.answered:
            self._answers[outcome.content] = [np.array(row, dtype=np.float32) for row in outcome.scores]
        elif outcome.asked:
            self._answers[outcome.content] = ItemError(0, outcome.reason)
        self._note(plan, outcome)

    def _note(self, plan: Plan, outcome: Outcome) -> None:
        self.outcomes[plan.id] = outcome
        self.plans[plan.id] = plan

    def _settle(self, waiting: Sequence[Made]) -> None:
        """Ask the target about a batch, and keep what it says."""
        if not waiting:
            return
        started = time.monotonic()
        askable = [made for made in waiting if made.dropped is None]
        known = {made.content_hash for made in askable if self._known(made.content_hash)}
        new = list({made.content_hash: made for made in askable if made.content_hash not in known}.values())
        if new:
            self._ask(new)
        took = time.monotonic() - started
        self.costs.seconds += took
        self.costs.queries += len(askable) * self.options.repeats
        self.costs.cached += (len(askable) - len(new)) * self.options.repeats
        outcomes = [self._outcome(made) for made in waiting]
        for made, outcome in zip(waiting, outcomes, strict=True):
            self.keep(made, outcome)
        costs = [
            {"case": made.plan.id, "seconds": took / len(new) if made in new else 0.0, "cached": made not in new}
            for made in askable
        ]
        self.journal.add(outcomes, costs)
        for made, outcome in zip(waiting, outcomes, strict=True):
            self._note(made.plan, outcome)

    def _known(self, content: str) -> bool:
        """Whether the answer to this content is known, from this run or from the cache on disk."""
        if content in self._answers:
            return True
        if self._kept is None or content not in self._kept:
            return False
        rows = self._kept.get(content)["rows"]
        self._answers[content] = [np.array(row) for row in rows]
        return True

    def _ask(self, new: Sequence[Made]) -> None:
        """Ask about content that is new, `repeats` times."""
        samples = [made.sample for made in new if made.sample is not None]
        rows: list[list[NDArray[np.float32]]] = [[] for _ in new]
        failed: dict[int, str] = {}
        for _ in range(self.options.repeats):
            answers = self.target.answer_each(samples)
            self.costs.asked += len(samples)
            check_answers(answers, len(samples), self.target, self.policy)
            for index, answer in enumerate(answers):
                if isinstance(answer, ItemError):
                    failed[index] = answer.reason
                else:
                    rows[index].append(np.asarray(answer, dtype=np.float32))
        for index, made in enumerate(new):
            self._answers[made.content_hash] = rows[index] or ItemError(index, failed[index])
        if self._kept is not None:
            whole = [(made.content_hash, {"rows": np.stack(rows[i])}) for i, made in enumerate(new) if i not in failed]
            self._kept.put_many(whole)

    def _told(self, reason: str) -> str:
        return reason if self.options.log_content else without_content(reason)

    def _outcome(self, made: Made) -> Outcome:
        plan, answer = made.plan, self._answers.get(made.content_hash)
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
            "control_of": plan.control_of,
            "partial": made.case is not None and made.case.partial,
            "content": made.content_hash,
        }
        if self.options.log_content and made.case is not None:
            about["text"] = made.case.content.get("text")
        if made.dropped is not None:
            return Outcome(**about, status=made.dropped, reason=self._told(made.reason))
        if answer is None or isinstance(answer, ItemError):
            reason = "" if answer is None else answer.reason
            return Outcome(**about, status="inconclusive", reason=self._told(reason))
        verdict = self.policy.judge(answer, plan.kind)
        return Outcome(
            **about,
            status="answered",
            scores=[row.tolist() for row in answer],
            toxic_score=verdict.score,
            flagged=verdict.flagged,
            flaky=verdict.flaky,
            error=plan.expected == "toxic" and not verdict.flagged,
        )


def _kept_answers(target: Classifier, policy: Policy, options: DuoOptions) -> FeatureCache | None:
    """The answers of this target that are kept on disk, if the user wants that."""
    if options.cache_dir is None:
        return None
    namespace: dict[str, Any] = {
        "target": target.fingerprint(),
        "labels": list(policy.labels),
        "repeats": options.repeats,
    }
    return FeatureCache(namespace, root=options.cache_dir)
