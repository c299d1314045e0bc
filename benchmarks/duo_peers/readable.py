"""How much of a text a person can still read in another one, by a measure that knows nothing of who disguised it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from unicodedata import category, normalize

from quire_duo.confusables import LOOK_ALIKES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_REVERSED = re.compile("\u202e([^\u202c]*)\u202c")  # between the marks, screens show it from right to left

LEAST_RECALL = 0.8
"""The share of the letters that must be left: four of five."""


def letters(text: str) -> str:
    """Letters and digits alone, without accents, styles and case: what separators and fonts leave as it is."""
    return "".join(char for char in _folded(text) if char.isalnum())


def look_alikes(tables: Iterable[Mapping[str, Iterable[str]]] = ()) -> dict[str, frozenset[str]]:
    """A character -> the letters that it looks like, by our own tables and others (letter -> what stands for it).

    Both sides' tables count for both sides. Several characters for one letter, as "|3" for b, count for neither.
    """
    pairs = [(letter, made) for table in LOOK_ALIKES.values() for letter, made in table.items()]
    pairs += [(letter, made) for table in tables for letter, several in table.items() for made in several]
    found: dict[str, set[str]] = {}
    for letter, made in pairs:
        folded = _folded(made)
        if len(folded) == 1:
            found.setdefault(folded, set()).update(letters(letter))
    return {char: frozenset(like) for char, like in found.items()}


def recall(seed: str, text: str, like: Mapping[str, frozenset[str]]) -> float:
    """The share of the letters of `seed` that stand in `text` in their order: by the longest common subsequence.

    A character stands for itself and for every letter that it looks like. 1 for a seed without letters.
    """
    wanted = letters(seed)
    if not wanted:
        return 1.0
    places: dict[str, int] = {}
    for position, letter in enumerate(wanted):
        places[letter] = places.get(letter, 0) | 1 << position
    everything = (1 << len(wanted)) - 1
    row = everything  # of the dynamic programme, a bit for each letter (Hyyro 2004)
    for char in _folded(text):
        match = 0
        for letter in {char} | like.get(char, frozenset()):
            match |= places.get(letter, 0)
        row = ((row + (row & match)) | (row & ~match)) & everything
    return (len(wanted) - row.bit_count()) / len(wanted)


def kept(seed: str, text: str) -> float:
    """The share of the words of `seed` that stand in `text` literally, up to case: how little was changed."""
    words = seed.casefold().split()
    there = set(text.casefold().split())
    return sum(word in there for word in words) / len(words) if words else 1.0


def _folded(text: str) -> str:
    text = _REVERSED.sub(lambda found: found[1][::-1], text)
    decomposed = normalize("NFKD", normalize("NFKD", text).casefold())
    return "".join(char for char in decomposed if category(char) not in ("Mn", "Cf"))
