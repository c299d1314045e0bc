"""Text rules that change letters within words."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from quire_duo.confusables import LOOK_ALIKES, ONE_FOR_TWO, TWO_FOR_ONE
from quire_duo.fragments import breaks, pieces
from quire_duo.rule import Parameter
from quire_duo.rules.text import WordRule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

SCOPE = Parameter("scope", ("keyword", "all"), "keywords (without a lexicon, the longest words) or all words")
ZERO_WIDTH_SPACE = "\u200b"


def _rate(default: float, what: str) -> Parameter:
    return Parameter("rate", (default,), f"the share of {what} of a word that is changed, at least one", low=0, high=1)


class VisualSubstitution(WordRule):
    """Letters become letters of another alphabet, or digits, that look like them."""

    id = "T.visual_sub"
    summary = "Replace letters by look-alikes of another alphabet or digits"
    parameters = (
        Parameter("letters", tuple(LOOK_ALIKES), "where the look-alikes come from"),
        Parameter("only", ("",), "the letters that may be replaced, such as aceopxy; all of them if empty", free=True),
        _rate(0.3, "the letters with look-alikes"),
        SCOPE,
    )
    unchanged = "no letter of the text has a look-alike"

    def candidates(self, word: str, parameters: Mapping[str, Any]) -> Sequence[tuple[int, int, str]]:
        """Every letter that is in the table, and among those asked for."""
        table, only = LOOK_ALIKES[parameters["letters"]], parameters["only"]
        return [
            (index, index + 1, table[char])
            for index, char in enumerate(word)
            if char in table and (not only or char in only)
        ]


class VisualSplit(WordRule):
    """A letter becomes two glyphs that together look like it: vv for w, cl for d."""

    id = "T.visual_split"
    summary = "Replace letters by two glyphs that look like them"
    parameters = (_rate(0.3, "the letters that can be split"), SCOPE)
    unchanged = "no letter of the text looks like two glyphs"

    def candidates(self, word: str, parameters: Mapping[str, Any]) -> Sequence[tuple[int, int, str]]:
        """Every letter that is in the table."""
        return [(index, index + 1, TWO_FOR_ONE[char]) for index, char in enumerate(word) if char in TWO_FOR_ONE]


class VisualCombination(WordRule):
    """Two glyphs become one letter that looks like them: m for rn, d for cl."""

    id = "T.visual_combine"
    summary = "Replace two neighbouring glyphs by one letter that looks like them"
    parameters = (_rate(1.0, "the pairs that can be combined"), SCOPE)
    unchanged = "no two neighbouring letters of the text look like one"

    def candidates(self, word: str, parameters: Mapping[str, Any]) -> Sequence[tuple[int, int, str]]:
        """Pairs from the left, none of which overlap."""
        found: list[tuple[int, int, str]] = []
        for index in range(len(word) - 1):
            pair = word[index : index + 2]
            if pair in ONE_FOR_TWO and (not found or found[-1][1] <= index):
                found.append((index, index + 2, ONE_FOR_TWO[pair]))
        return found


class Noise(WordRule):
    """Separators within the word: g.l.o.r.p."""

    id = "T.noise"
    summary = "Insert a separator every few letters of a keyword"
    parameters = (
        Parameter("separator", (".", "-", "_", "*", ZERO_WIDTH_SPACE), "what is inserted"),
        Parameter("every", (2,), "after how many letters", low=1, high=10),
    )
    unchanged = "every word of the text is too short for a separator"

    def candidates(self, word: str, parameters: Mapping[str, Any]) -> Sequence[tuple[int, int, str]]:
        """All insertions: none at the word's ends."""
        places = breaks(word)[int(parameters["every"]) - 1 :: int(parameters["every"])]
        return [(place, place, parameters["separator"]) for place in places]


class Mask(WordRule):
    """Inner letters become asterisks; the first and the last stay."""

    id = "T.mask"
    summary = "Replace inner letters of a keyword by asterisks"
    parameters = (Parameter("mask", ("*",), "what stands for a letter", free=True), _rate(0.34, "the inner letters"))
    unchanged = "every word of the text is too short to be masked"

    def candidates(self, word: str, parameters: Mapping[str, Any]) -> Sequence[tuple[int, int, str]]:
        """Every letter but the first and the last, with what modifies it."""
        bounds = breaks(word)
        return [
            (start, end, parameters["mask"])
            for start, end in itertools.pairwise(bounds)
            if word[start:end] != parameters["mask"]
        ]


class Swap(WordRule):
    """Neighbouring inner letters change places: golrp."""

    id = "T.swap"
    summary = "Swap neighbouring inner letters of a keyword"
    parameters = (Parameter("count", (1,), "how many swaps in a word", low=1, high=10),)
    unchanged = "no word of the text has two different neighbouring inner letters"

    def candidates(self, word: str, parameters: Mapping[str, Any]) -> Sequence[tuple[int, int, str]]:
        """Every pair of different letters between the first and the last letter; `choose` avoids overlaps."""
        bounds = [0, *breaks(word), len(word)]
        letters = pieces(word, bounds[1:-1])
        return [
            (bounds[index], bounds[index + 2], letters[index + 1] + letters[index])
            for index in range(1, len(letters) - 2)
            if letters[index] != letters[index + 1]
        ]

    def choose(self, changes: Sequence[Any], parameters: Mapping[str, Any], rng: np.random.Generator) -> Sequence[int]:
        """Up to `count` pairs without a common letter."""
        chosen: list[int] = []
        for index in map(int, rng.permutation(len(changes))):
            start, end, _ = changes[index]
            if all(end <= changes[other][0] or changes[other][1] <= start for other in chosen):
                chosen.append(index)
            if len(chosen) == parameters["count"]:
                break
        return chosen


class WordSplit(WordRule):
    """A keyword becomes two words: glo rp."""

    id = "T.word_split"
    summary = "Split a keyword into two words"
    parameters = (Parameter("separator", ("space", "comma"), "what stands between the parts"),)
    unchanged = "every word of the text is a single letter"

    def candidates(self, word: str, parameters: Mapping[str, Any]) -> Sequence[tuple[int, int, str]]:
        """The middle of the word."""
        places = breaks(word)
        if not places:
            return []
        middle = min(places, key=lambda place: abs(place - len(word) / 2))
        return [(middle, middle, {"space": " ", "comma": ", "}[parameters["separator"]])]
