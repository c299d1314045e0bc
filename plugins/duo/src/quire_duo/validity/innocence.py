"""V5: whether each single-modality part of a split or composed case is harmless by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from quire_duo.case import Check
from quire_duo.content import Placement
from quire_duo.seeds import bare
from quire_duo.witness import tokens_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from quire.model import Classifier
    from quire_duo.case import Case
    from quire_duo.content import Content
    from quire_duo.seeds import Lexicon


class Judge(Protocol):
    """A reference judge of one kind of content."""

    def toxic(self, content: Content, readable: str) -> bool:
        """Whether `content`, of one kind, is toxic. readable: the words in it, as they are written or said."""
        ...


@dataclass(frozen=True)
class LexiconJudge:
    """Finds keywords, single words or phrases, among the words that can be read or heard."""

    lexicon: Lexicon

    def toxic(self, content: Content, readable: str) -> bool:
        """Whether any keyword is there, whatever its case and the punctuation around it."""
        words = f" {' '.join(bare(token) for token in tokens_of(readable))} "
        return any(f" {keyword} " in words for keyword in self.lexicon.words)


@dataclass(frozen=True)
class ClassifierJudge:
    """A classifier of one kind of content, and another judge for the kinds that it does not take."""

    classifier: Classifier
    labels: Collection[str]
    """Those that mean toxic."""
    otherwise: Judge
    threshold: float = 0.5

    def toxic(self, content: Content, readable: str) -> bool:
        """Whether the probabilities of the toxic labels sum to the threshold."""
        placement = Placement.of(self.classifier)
        if placement.missing(content):
            return self.otherwise.toxic(content, readable)
        (row,) = self.classifier.predict_proba([placement.sample(content, "part")])
        share = sum(float(row[index]) for index, label in enumerate(self.classifier.labels) if label in self.labels)
        return share >= self.threshold


def check(case: Case, judge: Judge) -> tuple[Check | None, bool]:
    """What the parts are by themselves, and whether one of them is toxic: then the case is a partial carrier.

    Such a case stays valid, but is reported apart. None and False for a case that carries the whole seed in one place.
    """
    if case.guarantee == "carrier":
        return None, False
    toxic = [
        kind for kind in sorted(case.content) if judge.toxic({kind: case.content[kind]}, readable_part(case, kind))
    ]
    detail = f"toxic by itself: {', '.join(toxic)}" if toxic else ""
    return Check("V5", True, detail, {"parts": float(len(case.content)), "toxic_parts": float(len(toxic))}), bool(toxic)


def readable_part(case: Case, kind: str) -> str:
    """The words in one kind of content: a text as it is, of others what the witness says stands in them.

    What a cut parts stays parted: nobody who sees one part by itself joins the halves of a word from different places.
    """
    if kind == "text":
        return str(case.content["text"])
    return " ".join(unit.surface for unit in case.witness.units if unit.kind == kind)
