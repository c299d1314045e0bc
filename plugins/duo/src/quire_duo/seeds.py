"""Seeds: single-modality inputs whose toxicity is known, of which fused inputs are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quire.errors import QuireError
from quire_duo.witness import tokens_of

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Seed:
    """One input of one modality.

    modality: its kind. kind: of toxicity ("ads", "hate", "porn", or the user's own), also of benign seeds, which are
    those that are matched with the kind. value: in the modality's form. concept: a free tag for composition.
    """

    id: str
    kind: str
    toxic: bool
    modality: str
    value: Any = field(compare=False, repr=False)
    language: str | None = None
    concept: str | None = None
    source: str | None = None
    licence: str | None = None

    @property
    def text(self) -> str:
        """The value of a text seed. TypeError for another."""
        if not isinstance(self.value, str):
            raise TypeError(f"the seed {self.id} is of {self.modality}")
        return self.value

    @property
    def tokens(self) -> tuple[str, ...]:
        """The token sequence of a text seed; () of others."""
        return tokens_of(self.value) if isinstance(self.value, str) else ()

    @property
    def length(self) -> float:
        """What controls are matched by: characters, pixels, seconds or time steps; 0 where a kind has no length."""
        value = self.value
        if isinstance(value, str):
            return float(len(value))
        if hasattr(value, "seconds"):
            return float(value.seconds)
        if hasattr(value, "width"):
            return float(value.width * value.height)
        shape = getattr(value, "shape", ())
        return float(shape[-1]) if shape else 0.0


@dataclass(frozen=True)
class Lexicon:
    """Keywords with their kind of toxicity: which words a rule disguises or moves, and what the usual judge looks for."""

    words: Mapping[str, str] = field(default_factory=dict)

    def keywords(self, tokens: tuple[str, ...]) -> tuple[int, ...]:
        """The positions of tokens that are keywords, whatever their case and the punctuation around them."""
        return tuple(index for index, token in enumerate(tokens) if bare(token) in self.words)


def bare(token: str) -> str:
    """A token in lower case, without the punctuation at its ends."""
    return token.casefold().strip(".,;:!?\"'()[]{}<>*-_…“”‘’")


class NotApplicable(QuireError):
    """A rule can't be applied to these seeds (too short, too long to be legible, a script that no font covers)."""
