"""Text rules that put benign text around the toxic one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quire_duo.rule import Fused, FusionRule, Parameter, Slot
from quire_duo.rules.text import THEN, TOXIC_TEXT, disguised, replace_words
from quire_duo.seeds import NotApplicable
from quire_duo.witness import TextSpan, Witness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from quire_duo.seeds import Seed
    from quire_duo.workshop import Workshop


class BenignContext(FusionRule):
    """n benign texts before the toxic one and n after it, all in one paragraph."""

    id = "T.benign_context"
    summary = "Put the text between benign ones"
    slots = (TOXIC_TEXT, Slot("around", "text", "benign", least=2, most=10))
    produces = frozenset({"text"})
    guarantee = "carrier"
    parameters = (Parameter("n", (1, 3, 5), "benign texts on each side", low=1, high=5), THEN)

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """The benign texts as they were given, half of the needed ones before. NotApplicable where they are too few."""
        n = int(parameters["n"])
        around = [seed.text.strip() for seed in parts["around"]]
        if len(around) < 2 * n:
            raise NotApplicable(f"{2 * n} benign texts are needed, there are {len(around)}")
        toxic = parts["toxic"][0]
        text, spans = replace_words(
            toxic.text.strip(), fragments := disguised(toxic, parameters["then"], rng, workshop)
        )
        before = " ".join(around[:n]) + " "
        places = [TextSpan(len(before) + start, len(before) + end) for start, end in spans]
        units = tuple(fragment.at(place) for fragment, place in zip(fragments, places, strict=True))
        return Fused({"text": f"{before}{text} {' '.join(around[n : 2 * n])}"}, Witness(units))
