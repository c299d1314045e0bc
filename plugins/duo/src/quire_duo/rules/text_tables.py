"""Text rules that substitute words by the user's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from quire_duo.fragments import Fragment
from quire_duo.rules.text import TextRule, core
from quire_duo.seeds import NotApplicable, bare

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from quire_duo.workshop import Workshop


class TableRule(TextRule):
    """Replaces what stands in a table of the user's, words or phrases, the longest first.

    Of a phrase, all words become one fragment. Punctuation around stays, as does a capital letter at the beginning.
    """

    table: ClassVar[str]
    holds: ClassVar[str]

    def unavailable(self, workshop: Workshop) -> str | None:
        """There is no such table."""
        if workshop.tables.get(self.table):
            return None
        return f"give a table {self.table!r}: a CSV file with a word and {self.holds} in every line"

    def disguise(
        self, tokens: tuple[str, ...], parameters: Mapping[str, Any], rng: np.random.Generator, workshop: Workshop
    ) -> tuple[Fragment, ...]:
        """Everything that the table has is replaced."""
        table = workshop.tables.get(self.table, {})
        most = max((len(key.split()) for key in table), default=0)
        fragments: list[Fragment] = []
        position = 0
        while position < len(tokens):
            size = next(
                (
                    size
                    for size in range(min(most, len(tokens) - position), 0, -1)
                    if _key(tokens, position, size) in table
                ),
                0,
            )
            words = tokens[position : position + max(size, 1)]
            surface = _dressed(words, table[_key(tokens, position, size)]) if size else words[0]
            fragments.append(Fragment(words, surface))
            position += len(words)
        if all(fragment.surface == " ".join(fragment.tokens) for fragment in fragments):
            raise NotApplicable(f"no word of the text is in the table {self.table!r}")
        return tuple(fragments)


def _key(tokens: tuple[str, ...], position: int, size: int) -> str:
    return " ".join(bare(token) for token in tokens[position : position + size])


def _dressed(words: tuple[str, ...], substitute: str) -> str:
    """`substitute` with the punctuation before and after `words`, and their capital letter."""
    start, end = core(words[0])[0], core(words[-1])[1]
    if words[0][start : start + 1].isupper() and substitute[:1].islower():
        substitute = substitute[:1].upper() + substitute[1:]
    return words[0][:start] + substitute + words[-1][end:]


class Language(TableRule):
    """Words in another language."""

    id = "T.language"
    summary = "Replace words by their translations"
    table = "translations"
    holds = "its translation"


class Homophone(TableRule):
    """Words that sound alike."""

    id = "T.homophone"
    summary = "Replace words by others that sound alike"
    table = "homophones"
    holds = "one that sounds like it"


class Abbreviation(TableRule):
    """Short forms."""

    id = "T.abbrev"
    summary = "Replace words and phrases by their abbreviations"
    table = "abbreviations"
    holds = "its abbreviation"
