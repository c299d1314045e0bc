"""Which cases a run makes: seeds that the target knows in plain form, and the strategies over rules and parameters."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections import Counter
from dataclasses import replace
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from quire_duo.composition import BENIGN
from quire_duo.generate import Plan
from quire_duo.plain import plain_rule
from quire_duo.seed_set import PAIR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quire_duo.generate import Phase
    from quire_duo.journal import Outcome
    from quire_duo.options import DuoOptions
    from quire_duo.rule import FusionRule
    from quire_duo.runner import Runner
    from quire_duo.seed_set import SeedInfo, SeedSet
    from quire_duo.workshop import Workshop

WAVE = 8  # cases of each rule between two looks at what came of them
_ALIKE = 8  # benign seeds of the nearest lengths, of which a control is one
_ATTEMPTS = 4  # plans, as a multiple of the cases wanted, before a rule is given up


class Grid:
    """The parameter points of a rule; overrides replace a parameter's own grid by a value or a list of them."""

    def __init__(self, rule: FusionRule, overrides: dict[str, Any]) -> None:
        rule.check({name: _values(value)[0] for name, value in overrides.items()})  # an unknown name
        self.values = {
            parameter.name: _values(overrides[parameter.name]) if parameter.name in overrides else list(parameter.grid)
            for parameter in rule.parameters
        }
        for name, values in self.values.items():
            for value in values:
                rule.check({name: value})
        self.size = math.prod(len(values) for values in self.values.values())
        self.levels = max((len(values) for values in self.values.values()), default=1)

    def point(self, number: int) -> dict[str, Any]:
        """The point of that number, 0 .. size - 1; the first is the mildest."""
        point = {}
        for name, values in self.values.items():
            number, index = divmod(number, len(values))
            point[name] = values[index]
        return point

    def drawn(self, salt: str) -> Iterator[int]:
        """All points once, in an order that depends on `salt` alone."""
        rng = np.random.default_rng(_number(salt))
        if self.size <= 10_000:
            yield from rng.permutation(self.size).tolist()
            return
        seen: set[int] = set()
        while len(seen) < self.size:
            number = int(rng.integers(self.size))
            if number not in seen:
                seen.add(number)
                yield number

    def at_level(self, level: int) -> dict[str, Any]:
        """Every parameter at that strength, or at its strongest."""
        return {name: values[min(level, len(values) - 1)] for name, values in self.values.items()}

    def strengths(self, point: dict[str, Any]) -> dict[str, int]:
        """The strength of each parameter of a point, 0 for the mildest."""
        return {name: values.index(point[name]) for name, values in self.values.items()}


class Search:
    """The plans of a run, made while their outcomes come in.

    Each wave has equally many cases of every rule, so that a budget that ends the run ends it evenly, and all rules see
    the same seeds in the same order, so that they can be compared.
    """

    def __init__(
        self,
        runner: Runner,
        seeds: SeedSet,
        rules: Sequence[FusionRule],
        workshop: Workshop,
        options: DuoOptions,
        *,
        all_rules: Sequence[FusionRule] = (),
    ) -> None:
        self.runner, self.seeds, self.rules, self.options = runner, seeds, rules, options
        self.grids = {rule.id: Grid(rule, options.parameters.get(rule.id, {})) for rule in rules}
        kinds = None if options.kinds == ("all",) else options.kinds
        order = {info.id: info.share(str(options.seed)) for info in seeds}
        chosen = seeds.select(toxic=True, kinds=kinds)
        self._pending: dict[str, list[SeedInfo]] = {}
        for info in sorted(chosen, key=lambda info: (order[info.id], info.id)):
            self._pending.setdefault(info.modality, []).append(info)
        self._benign: dict[str, list[SeedInfo]] = {}
        for info in sorted(seeds.select(toxic=False), key=lambda info: (order[info.id], info.id)):
            self._benign.setdefault(info.modality, []).append(info)
        self._plain = {
            modality: plain_rule(modality, runner.maker.placement, all_rules or rules, workshop)
            for modality in self._pending
        }
        self.usable: dict[str, list[SeedInfo]] = {modality: [] for modality in self._pending}
        self.without_plain_form = sum(
            len(infos) for modality, infos in self._pending.items() if modality != PAIR and not self._plain[modality]
        )
        self.shrunk: dict[str, str] = {}
        self._by_length = {
            modality: sorted(infos, key=lambda info: (info.length, order[info.id], info.id))
            for modality, infos in self._benign.items()
        }
        self._controls_of: dict[str, set[str]] = {}

    def run(self) -> None:
        """Carry out the strategy, then shrink. Raises BudgetSpent."""
        {"sample": self._sample, "grid": self._sample, "escalate": self._escalate}[self.options.strategy]()
        if self.options.shrink:
            self._shrink()

    def seed_at(self, modality: str, position: int) -> SeedInfo | None:
        """The toxic seed at a position in the order of the run: of those that the target flags in plain form, or of all.

        More seeds are shown to the target in plain form as they are asked for.
        """
        usable, pending = self.usable.get(modality, []), self._pending.get(modality, [])
        while len(usable) <= position and pending:
            chunk, pending[:] = pending[:32], pending[32:]
            rule = self._plain[modality]
            detected: list[SeedInfo] = []
            if rule is not None:
                plans = [plan for info in chunk for plan in self._with_control(rule, info, {}, phase="plain")]
                outcomes = {outcome.case: outcome for outcome in self.runner.execute(plans)}
                flagged = {plan.seed.id for plan in plans if plan.expected == "toxic" and outcomes[plan.id].flagged}
                detected = [info for info in chunk if info.id in flagged]
            every = self.options.seed_filter == "all" or modality == PAIR
            usable += chunk if every else detected
        return usable[position] if position < len(usable) else None

    def plans(self, rule: FusionRule, info: SeedInfo, parameters: dict[str, Any], **more: Any) -> list[Plan]:
        """The plan of a case and, if controls are wanted, that of its control; none where benign parts are lacking."""
        return self._with_control(rule, info, parameters, **more)

    def _with_control(
        self,
        rule: FusionRule,
        info: SeedInfo,
        parameters: dict[str, Any],
        *,
        phase: Phase = "search",
        replicate: int = 0,
        level: int = 0,
    ) -> list[Plan]:
        salt = f"{self.options.seed}|{rule.id}|{info.id}|{replicate}"
        control = self._control(info, f"{rule.id}|{parameters}", salt) if self.options.controls else None
        others = self._other_parts(rule, salt, {info.id, control.id if control else ""})
        if others is None:
            return []
        slot = rule.toxic_slot.name
        parts = {slot: (info,), **others}
        plan = Plan(
            rule, parameters, parts, info.kind, "toxic", self.options.seed, phase, replicate=replicate, level=level
        )
        if control is None or phase == "shrink":
            return [plan]
        beside = replace(plan, parts={**parts, slot: (control,)}, expected="benign", control_of=plan.id)
        return [plan, beside]

    def _control(self, info: SeedInfo, form: str, salt: str) -> SeedInfo | None:
        """A benign seed of matched length: one of the nearest that this form was not given yet, of the same kind if any."""
        benign = self._by_length.get(info.modality, [])
        same = [other for other in benign if other.kind in (info.kind, BENIGN)] or benign
        used = self._controls_of.setdefault(f"{form}|{info.modality}", set())
        fresh = [other for other in same if other.id not in used]
        nearest = _nearest(fresh or same, info.length)
        if not nearest:
            return None
        control = nearest[_number(f"{salt}|control") % len(nearest)]
        used.add(control.id)
        return control

    def _other_parts(self, rule: FusionRule, salt: str, taken: set[str]) -> dict[str, tuple[SeedInfo, ...]] | None:
        """Benign seeds for the other slots, as many as a slot takes; None if there are too few."""
        parts: dict[str, tuple[SeedInfo, ...]] = {}
        for slot in rule.slots:
            if slot is rule.toxic_slot:
                continue
            pool = [info for info in self._benign.get(slot.modality, []) if info.id not in taken]
            if len(pool) < slot.least:
                return None
            rng = np.random.default_rng(_number(f"{salt}|{slot.name}"))
            chosen = rng.choice(len(pool), size=min(slot.most, len(pool)), replace=False)
            parts[slot.name] = tuple(pool[index] for index in chosen.tolist())
        return parts

    def _points(self, rule: FusionRule) -> Iterator[list[Plan]]:
        """The cases of a rule: every seed with one parameter point, then every seed with another one, and so on.

        strategy=grid: every point of one seed, then of the next, for `per_rule` seeds.
        """
        grid, modality = self.grids[rule.id], rule.toxic_slot.modality
        if self.options.strategy == "grid":
            for position in range(self.options.per_rule):
                info = self.seed_at(modality, position)
                if info is None:
                    return
                for number in range(grid.size):
                    yield self.plans(rule, info, grid.point(number))
            return
        drawn: dict[str, Iterator[int]] = {}
        for turn in range(grid.size):
            for position in count():
                info = self.seed_at(modality, position)
                if info is None:
                    if position == 0:
                        return
                    break
                points = drawn.setdefault(info.id, grid.drawn(f"{self.options.seed}|{rule.id}|{info.id}"))
                yield self.plans(rule, info, grid.point(next(points)), replicate=turn)

    def _sample(self) -> None:
        """Waves of cases of every rule until each has as many as wanted."""
        wanted = self.options.per_rule if self.options.strategy == "sample" else None
        walks = {rule.id: self._points(rule) for rule in self.rules}
        done: Counter[str] = Counter()
        tried: Counter[str] = Counter()
        while walks:
            wave: list[Plan] = []
            for name, walk in list(walks.items()):
                size = WAVE if wanted is None else min(WAVE, wanted - done[name])
                groups = list(islice(walk, size))
                tried[name] += len(groups)
                wave += [plan for group in groups for plan in group]
                if len(groups) < size or (wanted is not None and tried[name] >= _ATTEMPTS * wanted):
                    del walks[name]
            outcomes = self.runner.execute(wave)
            done.update(outcome.rule for outcome in outcomes if outcome.asked and outcome.expected == "toxic")
            for name in [name for name in walks if wanted is not None and done[name] >= wanted]:
                del walks[name]

    def _escalate(self) -> None:
        """Per rule and seed from mild to strong until one passes; the walks of all rules go side by side."""
        walks: dict[tuple[str, str], tuple[FusionRule, SeedInfo]] = {}
        for rule in self.rules:
            for position in range(self.options.per_rule):
                info = self.seed_at(rule.toxic_slot.modality, position)
                if info is None:
                    break
                walks[rule.id, info.id] = (rule, info)
        for level in range(max((grid.levels for grid in self.grids.values()), default=0)):
            walks = {key: walk for key, walk in walks.items() if level < self.grids[key[0]].levels}
            wave = [
                plan
                for rule, info in walks.values()
                for plan in self.plans(rule, info, self.grids[rule.id].at_level(level), level=level)
            ]
            for outcome in self.runner.execute(wave):
                if outcome.error:
                    walks.pop((outcome.rule, outcome.seed), None)

    def _shrink(self) -> None:
        """For every failing case, the mildest parameters with which it still passes."""
        failing = [outcome for outcome in self.runner.outcomes.values() if outcome.error and outcome.phase == "search"]
        for outcome in failing:
            plan = self.runner.plans[outcome.case]
            milder = self._milder(plan)
            if milder.id != plan.id:
                self.shrunk[plan.id] = milder.id

    def _milder(self, plan: Plan) -> Plan:
        """Delta debugging on parameters: put groups of them to their mildest values, then each to its mildest that fails.

        The groups are halved as in ddmin; benign parts that a slot can spare are left out last.
        """
        grid = self.grids[plan.rule.id]
        best = plan
        names = [name for name, strength in grid.strengths(plan.parameters).items() if strength]
        size = len(names)
        while names and size:
            for start in range(0, len(names), size):
                group = names[start : start + size]
                candidate = self._changed(best, {name: grid.values[name][0] for name in group})
                if self._passes(candidate):
                    best = candidate
            names = [name for name in names if grid.strengths(best.parameters)[name]]
            size = min(size, len(names)) // 2
        for name in names:
            for value in grid.values[name][1 : grid.strengths(best.parameters)[name]]:
                candidate = self._changed(best, {name: value})
                if self._passes(candidate):
                    best = candidate
                    break
        for slot in plan.rule.slots:
            parts = best.parts.get(slot.name, ())
            fewer = parts[: slot.least]
            if slot is not plan.rule.toxic_slot and len(fewer) < len(parts):
                candidate = replace(best, parts={**best.parts, slot.name: fewer}, phase="shrink")
                best = candidate if self._passes(candidate) else best
        return best

    def _changed(self, plan: Plan, values: dict[str, Any]) -> Plan:
        return replace(plan, parameters={**plan.parameters, **values}, phase="shrink")

    def _passes(self, plan: Plan) -> bool:
        outcome: Outcome = self.runner.execute([plan])[0]
        return bool(outcome.error)


def _nearest(by_length: Sequence[SeedInfo], length: float) -> list[SeedInfo]:
    """The seeds of the nearest lengths, out of seeds that are sorted by it."""
    middle = bisect_left(by_length, length, key=lambda info: info.length)
    around = by_length[max(0, middle - _ALIKE) : middle + _ALIKE]
    return sorted(around, key=lambda other: abs(other.length - length))[:_ALIKE]


def _values(value: Any) -> list[Any]:
    """A value, or a list of them, as a list."""
    return list(value) if isinstance(value, list | tuple) and value else [value]


def _number(salt: str) -> int:
    """64 bits that depend on `salt` alone."""
    return int.from_bytes(hashlib.sha256(salt.encode()).digest()[:8], "big")
