"""Identities that a training set and a test set share, by their names."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Literal

from quire.errors import DataError, Where

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Kind = Literal["exact", "similar"]
SIMILAR = 0.88  # of SequenceMatcher's ratio: "Norm_MacDonald" and "Norm_Mcdonald" are above, different people below


@dataclass(frozen=True)
class Match:
    """One identity of `ours` that is in `theirs`, and how its name tells: exact after normalising, or similar."""

    ours: str
    name: str
    theirs: str
    kind: Kind


def read_names(path: Path) -> dict[str, str]:
    """Identity -> name of a list: lines of `id name` (an id has a digit), `name`, or `name<TAB>count`; "#" is a comment.

    DataError for a file without a name.
    """
    names: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        words = re.split(r"[\t ,]+", text, maxsplit=1)
        first = words[0]
        is_id = any(letter.isdigit() for letter in first)
        counted = len(words) == 2 and words[1].strip().isdecimal()
        if is_id or counted or len(words) == 1:
            names[first] = words[1].strip() if is_id and len(words) == 2 else first
        else:
            names[text] = text
    if not names:
        raise DataError("there is no name in this list", where=Where(file=path))
    return names


def normalised(name: str) -> str:
    """A name in one form: lower case without accents, words in order apart, nothing in brackets, no initials inside."""
    plain = unicodedata.normalize("NFKD", re.sub(r"\(.*?\)", "", name)).encode("ascii", "ignore").decode().lower()
    words = [word for word in re.split(r"[^a-z0-9]+", plain) if word]
    full = [word for word in words if len(word) > 1]
    return " ".join(full if len(full) > 1 else words)


def overlap(ours: Mapping[str, str], theirs: Iterable[str], *, similar: bool = True) -> list[Match]:
    """The identities of `ours` (id -> name) whose names are among `theirs`.

    Exact: the same words after `normalised`, in any order. Similar: the first and the last word are the same, or the
    whole name nearly is; these are for a person to look at.
    """
    exact: dict[str, str] = {}
    by_word: dict[str, set[str]] = defaultdict(set)
    for name in theirs:
        key = normalised(name)
        exact.setdefault(_sorted(key), name)
        for word in key.split():
            by_word[word].add(name)
    matches: list[Match] = []
    for identity, name in ours.items():
        key = normalised(name)
        if not key:
            continue
        if (found := exact.get(_sorted(key))) is not None:
            matches.append(Match(identity, name, found, "exact"))
        elif similar:
            near = {other for word in key.split() for other in by_word.get(word, ())}
            matches += [Match(identity, name, other, "similar") for other in sorted(near) if _similar(key, other)]
    return matches


def _sorted(name: str) -> str:
    return " ".join(sorted(name.split()))


def _similar(key: str, other: str) -> bool:
    words, others = key.split(), normalised(other).split()
    if len(words) > 1 and len(others) > 1 and {words[0], words[-1]} == {others[0], others[-1]}:
        return True
    if len(words) != len(others):
        return False
    return SequenceMatcher(None, key, " ".join(others)).ratio() >= SIMILAR
