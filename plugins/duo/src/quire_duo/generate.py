"""From a plan (rule, parameters, seeds) to a case that a target can be asked about, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from quire.errors import QuireError
from quire_duo.case import Case, Expected, case_id, case_rng_seed
from quire_duo.content import Content, Placement, hash_content
from quire_duo.plain import IDENTITY
from quire_duo.validity import run_checks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quire.modality import Sample
    from quire.model import Classifier, Limits
    from quire_duo.rule import FusionRule
    from quire_duo.seed_set import SeedInfo, SeedSet
    from quire_duo.validity import Judge
    from quire_duo.workshop import Workshop

Phase = Literal["plain", "search", "shrink"]
Stage = Literal["not applicable", "invalid", "refused"]
"""not applicable: the rule can't be applied to these seeds. invalid: a validity check failed. refused: the target does
not take such content."""


@dataclass(frozen=True)
class Plan:
    """All that makes one case. parts: by slot, the toxic one first. level: how strong the parameters are, from 0."""

    rule: FusionRule
    parameters: dict[str, Any]
    parts: Mapping[str, tuple[SeedInfo, ...]]
    kind: str
    expected: Expected
    run_seed: int
    phase: Phase = "search"
    replicate: int = 0
    level: int = 0
    control_of: str | None = None

    @property
    def seed(self) -> SeedInfo:
        """The seed in the toxic slot."""
        return self.parts[self.rule.toxic_slot.name][0]

    @property
    def seed_ids(self) -> list[str]:
        """The ids of all parts, the toxic slot's first."""
        first = self.rule.toxic_slot.name
        names = [first, *(name for name in self.parts if name != first)]
        return [info.id for name in names for info in self.parts[name]]

    @cached_property
    def rng_seed(self) -> int:
        """Of everything that is drawn for the case."""
        return case_rng_seed(self.run_seed, self.rule.id, self.parameters, self.seed_ids, self.replicate)

    @cached_property
    def id(self) -> str:
        """The case's id."""
        return case_id(self.rule.id, self.parameters, self.seed_ids, self.expected, self.replicate, self.rng_seed)


@dataclass(frozen=True)
class Made:
    """What came of a plan: a case with the sample that shows it to the target, or the stage at which it was dropped."""

    plan: Plan
    case: Case | None = None
    sample: Sample | None = None
    content_hash: str = ""
    dropped: Stage | None = None
    reason: str = ""


class Maker:
    """Makes cases; holds nothing that changes, so that threads may share it."""

    def __init__(
        self,
        target: Classifier,
        seeds: SeedSet,
        workshop: Workshop,
        *,
        checks: Sequence[str],
        judge: Judge | None = None,
    ) -> None:
        self.task = target.task
        self.placement = Placement.of(target)
        self._limits = target.limits
        self._seeds = seeds
        self._workshop = workshop
        self._checks = tuple(checks)
        self._judge = judge

    def make(self, plan: Plan) -> Made:
        """The case of a plan: fused, checked, and in the form of the target's task."""
        try:
            case = self._fuse(plan)
        except QuireError as error:
            return Made(plan, dropped="not applicable", reason=str(error))
        case = self._checked(case)
        if not case.valid:
            failed = next(check for check in case.checks if not check.passed)
            return Made(plan, case, dropped="invalid", reason=f"{failed.name}: {failed.detail}")
        return self._shown(plan, case)

    def _fuse(self, plan: Plan) -> Case:
        parts = {name: tuple(self._seeds.load(info) for info in infos) for name, infos in plan.parts.items()}
        first = plan.rule.toxic_slot.name
        others = (seed for name, seeds in parts.items() if name != first for seed in seeds)
        rng = np.random.default_rng(plan.rng_seed)
        fused = plan.rule.apply(parts, plan.parameters, rng, self._workshop)
        return Case(
            rule=plan.rule.id,
            parameters=plan.parameters,
            seeds=(*parts[first], *others),
            kind=plan.kind,
            expected=plan.expected,
            guarantee=plan.rule.guarantee,
            content=fused.content,
            witness=fused.witness,
            rng_seed=plan.rng_seed,
            replicate=plan.replicate,
        )

    def _checked(self, case: Case) -> Case:
        """The case with the outcome of its checks; a plain form is what it is, and a control is no toxic part to judge."""
        if case.rule == IDENTITY or not self._checks:
            return case
        names = [name for name in self._checks if name != "V5" or case.expected == "toxic"]
        checks, partial = run_checks(case, names, lexicon=self._workshop.lexicon, judge=self._judge)
        return case.checked(checks, partial=partial)

    def _shown(self, plan: Plan, case: Case) -> Made:
        missing = self.placement.missing(case.content)
        if missing:
            return Made(plan, case, dropped="refused", reason=f"the target lacks or needs {', '.join(missing)}")
        too_much = beyond(self._limits, case.content)
        if too_much:
            return Made(plan, case, dropped="refused", reason=too_much)
        try:
            sample = self.task.check(self.placement.sample(case.content, case.id))
        except QuireError as error:
            return Made(plan, case, dropped="refused", reason=str(error))
        kinds = {kind: sample[self.placement.fields[kind]] for kind in case.content}
        case = replace(case, content=kinds)
        return Made(plan, case, sample, hash_content(kinds, self.placement.modalities))


def beyond(limits: Limits, content: Content) -> str | None:
    """Which bound of a target content exceeds, in words; None if it keeps to all of them."""
    text, image, audio, video = (content.get(kind) for kind in ("text", "image", "audio", "video"))
    measures = (
        ("characters of text", limits.text_characters, None if text is None else len(text)),
        ("pixels", limits.image_pixels, None if image is None else image.width * image.height),
        ("seconds of sound", limits.audio_seconds, None if audio is None else audio.seconds),
        ("seconds of film", limits.video_seconds, None if video is None else video.seconds),
        ("time steps", limits.series_length, content["series"].shape[-1] if "series" in content else None),
    )
    for name, bound, measured in measures:
        if bound is not None and measured is not None and measured > bound:
            return f"{measured:g} {name} are more than the {bound:g} that the target takes"
    return None
