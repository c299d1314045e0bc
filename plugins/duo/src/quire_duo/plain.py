"""The plain form of a seed: what the target is shown before anything is disguised (section 3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from quire_duo.rule import Fused, FusionRule, Slot
from quire_duo.seed_set import PAIR
from quire_duo.witness import AudioInterval, ImageRegion, Place, SeriesInterval, TextSpan, Unit, VideoInterval, Witness

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from quire_duo.content import Placement
    from quire_duo.seeds import Seed
    from quire_duo.workshop import Workshop

IDENTITY = "identity"
"""The id under which plain forms are counted."""
_STANDS_FOR = {"text": ("TI.screenshot", "A.speech")}


class Plain(FusionRule):
    """A seed as it is."""

    id = IDENTITY
    summary = "the seed in plain form"
    guarantee = "carrier"

    def __init__(self, modality: str) -> None:
        self.slots = (Slot("seed", modality, "toxic"),)  # type: ignore[misc]  # of every modality the same rule
        self.produces = frozenset({modality})  # type: ignore[misc]

    def apply(
        self, parts: Mapping[str, Sequence[Seed]], parameters: Mapping[str, Any], rng: Any, workshop: Workshop
    ) -> Fused:
        """The seed's value as the only content, all of it the one unit of the witness."""
        (seed,) = parts["seed"]
        if seed.modality == PAIR:
            return Fused(dict(seed.value), Witness(()))
        place = _whole(seed)
        units = () if place is None else (Unit(place, seed.tokens, surface=seed.value if seed.tokens else ""),)
        return Fused({seed.modality: seed.value}, Witness(units))


class PlainAs(FusionRule):
    """A seed by another rule at its mildest, for targets that do not take the seed's own kind of content."""

    id = IDENTITY
    guarantee = "carrier"

    def __init__(self, rule: FusionRule) -> None:
        self._rule = rule
        self.summary = f"the seed in plain form: {rule.summary}"  # type: ignore[misc]
        self.slots, self.produces = rule.slots, rule.produces  # type: ignore[misc]

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """What the rule makes with its default parameters."""
        return self._rule.apply(parts, self._rule.check({}), rng, workshop)

    def unavailable(self, workshop: Workshop) -> str | None:
        """As the rule says."""
        return self._rule.unavailable(workshop)


def plain_rule(
    modality: str, placement: Placement, rules: Iterable[FusionRule], workshop: Workshop
) -> FusionRule | None:
    """How the target is shown seeds of this modality: as they are, or as screenshot or speech; None if it can't be."""
    if modality == PAIR:
        return None
    if not placement.missing({modality}):
        return Plain(modality)
    known = {rule.id: rule for rule in rules}
    for name in _STANDS_FOR.get(modality, ()):
        rule = known.get(name)
        if rule is not None and not placement.missing(rule.produces) and rule.unavailable(workshop) is None:
            return PlainAs(rule)
    return None


def _whole(seed: Seed) -> Place | None:
    """The place that is all of a seed's value; None for a kind of content that core does not know."""
    value = seed.value
    if isinstance(value, str):
        return TextSpan(0, len(value))
    if seed.modality == "image":
        width, height = value.size
        return ImageRegion(((0, 0), (width, 0), (width, height), (0, height)))
    if seed.modality == "audio":
        power = float(np.mean(np.square(value.samples, dtype=np.float64)))
        return AudioInterval(0.0, value.seconds, level=10 * float(np.log10(max(power, 1e-12))))
    if seed.modality == "video":
        return VideoInterval(0.0, value.seconds)
    if seed.modality == "series":
        return SeriesInterval(0, value.shape[-1], tuple(range(len(value))), gain=1.0, offset=0.0, residual=0.0)
    return None
