"""What is compared: rules with fixed parameters whose making is timed and whose texts must be readable, ours and AugLy's."""

from __future__ import annotations

import hashlib
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from duo_peers.readable import LEAST_RECALL, kept, recall
from quire.ocr import read_text
from quire_duo.rule import Fused, FusionRule
from quire_duo.seeds import NotApplicable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from PIL.Image import Image

    from quire_duo.rule import Slot
    from quire_duo.seeds import Seed
    from quire_duo.workshop import Workshop

UNREADABLE = "unreadable"


class Reader:
    """What tesseract reads in pictures; it remembers, so that what the target read can be looked up."""

    def __init__(self) -> None:
        self._read: dict[str, str] = {}

    def __call__(self, image: Image) -> str:
        key = self.key(image)
        if key not in self._read:
            self._read[key] = read_text(image)
        return self._read[key]

    def known(self, key: str) -> str | None:
        """What was read in the picture of this key; None if it was not shown to the target."""
        return self._read.get(key)

    @staticmethod
    def key(image: Image) -> str:
        return hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()


class Candidate(FusionRule):
    """A rule or operator at one parameter point. seconds: CPU seconds of every case; kept: the share of words that each text
    has literally; pictures: seed and key of each picture."""

    guarantee = "carrier"

    def __init__(
        self, name: str, slots: tuple[Slot, ...], produces: frozenset[str], like: Mapping[str, frozenset[str]]
    ) -> None:
        self.id = name  # type: ignore[misc]  # one class for many
        self.summary = name  # type: ignore[misc]
        self.slots, self.produces = slots, produces  # type: ignore[misc]
        self._like = like
        self.seconds: list[float] = []
        self.kept: list[float] = []
        self.pictures: list[tuple[str, str]] = []

    @abstractmethod
    def make(
        self, parts: Mapping[str, Sequence[Seed]], rng: np.random.Generator, workshop: Workshop
    ) -> tuple[Fused, float]:
        """The case, and the CPU seconds that making it took."""

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """The case. NotApplicable where it can't be made, and where its text can't be read."""
        made, seconds = self.make(parts, rng, workshop)
        self.seconds.append(seconds)
        if "text" in made.content:
            seed, text = parts["toxic"][0].text, made.content["text"]
            found = recall(seed, text, self._like)
            if found < LEAST_RECALL:
                raise NotApplicable(f"{UNREADABLE}: {found:.2f} of the letters are left")
            self.kept.append(kept(seed, text))
        else:
            self.pictures.append((parts["toxic"][0].text, Reader.key(made.content["image"])))
        return made


class Ours(Candidate):
    """A rule of quire-duo."""

    def __init__(
        self, name: str, rule: FusionRule, parameters: Mapping[str, Any], like: Mapping[str, frozenset[str]]
    ) -> None:
        super().__init__(name, rule.slots, rule.produces, like)
        self._rule = rule
        self._parameters = rule.check(parameters)

    def make(
        self, parts: Mapping[str, Sequence[Seed]], rng: np.random.Generator, workshop: Workshop
    ) -> tuple[Fused, float]:
        started = time.thread_time()
        made = self._rule.apply(parts, self._parameters, rng, workshop)
        return made, time.thread_time() - started
