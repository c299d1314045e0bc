"""What the tests of the runner share: targets that are told what to answer, small rules, seeds about the glorps."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest

from quire.dataset import InMemory
from quire.model import Classifier
from quire.storage import content_hash
from quire.task import TEXT_CLASSIFICATION
from quire_duo.rule import Fused, FusionRule, Parameter, Slot
from quire_duo.seeds import NotApplicable
from quire_duo.task import CONTENT_MODERATION
from quire_duo.witness import TextSpan, Unit, Witness, tokens_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quire.task import Task


class Told(Classifier):
    """Answers what a function of the sample says: the probability of the second label.

    `asked` holds the ids of all samples that it was asked about, in order.
    """

    def __init__(
        self,
        toxicity: Callable[[dict[str, Any]], float],
        *,
        task: Task = TEXT_CLASSIFICATION,
        labels: tuple[str, ...] = ("ham", "spam"),
        toxic: frozenset[str] = frozenset({"spam"}),
        name: str = "told",
    ) -> None:
        super().__init__()
        self.toxicity, self.task, self._labels, self._toxic, self._name = toxicity, task, labels, toxic, name
        self.asked: list[str] = []

    @property
    def labels(self) -> tuple[str, ...]:
        return self._labels

    @property
    def toxic_labels(self) -> frozenset[str]:
        return self._toxic

    @property
    def deterministic(self) -> bool:
        return True

    def predict_proba(self, samples: Sequence[dict[str, Any]]) -> np.ndarray:
        self.asked += [sample["id"] for sample in samples]
        scores = np.array([self.toxicity(sample) for sample in samples], dtype=np.float32)
        return np.stack([1 - scores, scores], axis=1)

    def fit(self, *_: Any, **__: Any) -> Self:
        return self

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass

    def fingerprint(self) -> str:
        return content_hash(self._name)


class TextRule(FusionRule):
    """A rule of text to text, whose whole output is the one unit."""

    slots = (Slot("toxic", "text", "toxic"),)
    produces = frozenset({"text"})
    guarantee = "carrier"

    def changed(self, text: str, parameters: Any, rng: np.random.Generator) -> str:
        raise NotImplementedError

    def apply(self, parts: Any, parameters: Any, rng: np.random.Generator, workshop: Any) -> Fused:
        (seed,) = parts["toxic"]
        text = self.changed(seed.text, parameters, rng)
        return Fused({"text": text}, Witness((Unit(TextSpan(0, len(text)), seed.tokens, surface=text),)))


class Dots(TextRule):
    """Puts dots into words: after every `every`-th letter of a word of at least `longer` letters."""

    id = "X.dots"
    summary = "dots in words"
    parameters = (
        Parameter("every", (4, 3, 2, 1), "letters between dots", low=1, high=9),
        Parameter("longer", (9, 5, 1), "letters of the words that are changed", low=1, high=99),
    )

    def changed(self, text: str, parameters: Any, rng: np.random.Generator) -> str:
        every = parameters["every"]
        return " ".join(
            ".".join(word[i : i + every] for i in range(0, len(word), every))
            if len(word) >= parameters["longer"]
            else word
            for word in text.split()
        )


class Shuffle(TextRule):
    """Puts the words into a drawn order, with a drawn number at the end: it depends on the generator alone."""

    id = "X.shuffle"
    summary = "words in another order"

    def changed(self, text: str, parameters: Any, rng: np.random.Generator) -> str:
        words = tokens_of(text)
        if len(words) < 2:
            raise NotApplicable("a single word has no other order")
        return f"{' '.join(words[i] for i in rng.permutation(len(words)))} {rng.integers(10**9)}"


class Around(FusionRule):
    """Benign messages before the toxic one."""

    id = "X.around"
    summary = "benign messages around"
    slots = (Slot("toxic", "text", "toxic"), Slot("context", "text", "benign", least=1, most=3))
    produces = frozenset({"text"})
    guarantee = "carrier"

    def apply(self, parts: Any, parameters: Any, rng: np.random.Generator, workshop: Any) -> Fused:
        before = " ".join(seed.text for seed in parts["context"]) + " "
        (seed,) = parts["toxic"]
        place = TextSpan(len(before), len(before) + len(seed.text))
        return Fused({"text": before + seed.text}, Witness((Unit(place, seed.tokens, surface=seed.text),)))


def make_seeds(toxic: int = 30, benign: int = 30, kind: str = "hate") -> InMemory:
    """Texts about glorps, and about bread, as samples of content-moderation."""
    samples = [
        {"id": f"t{n:03}", "text": f"glorp number{n} is very bad", "target": "toxic", "kind": kind}
        for n in range(toxic)
    ] + [
        {"id": f"b{n:03}", "text": f"bread number{n} is very good", "target": "benign", "kind": kind}
        for n in range(benign)
    ]
    return InMemory(samples, task=CONTENT_MODERATION, name="glorps")


def sees(word: str) -> Callable[[dict[str, Any]], float]:
    """A lexicon: 0.9 for a text with the word, else 0.1."""
    return lambda sample: 0.9 if word in sample.get("text", "") else 0.1


@pytest.fixture
def duo_kit() -> SimpleNamespace:
    """Targets, rules and seeds."""
    return SimpleNamespace(
        Told=Told, TextRule=TextRule, Dots=Dots, Shuffle=Shuffle, Around=Around, make_seeds=make_seeds, sees=sees
    )


@pytest.fixture(scope="session")
def duo_data() -> Path:
    """The real SMS messages and spoken digits."""
    root = os.environ.get("QUIRE_DATA")
    if not root:
        pytest.skip("QUIRE_DATA is not set: the real messages are not at hand")
    return Path(root) / "duo"
