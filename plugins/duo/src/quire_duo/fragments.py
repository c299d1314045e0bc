"""Fragments: pieces of the toxic text with what is shown of them, cut and joined without losing a token."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING
from unicodedata import category

from quire_duo.seeds import NotApplicable
from quire_duo.witness import Place, Unit, tokens_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from quire_duo.seeds import Lexicon

_JOINER = "\u200d"


@dataclass(frozen=True)
class Fragment:
    """Tokens of the seed, and the surface that is shown of them, which may be disguised.

    glued: the first token continues the last one of the fragment before.
    """

    tokens: tuple[str, ...]
    surface: str
    glued: bool = False

    def at(self, place: Place) -> Unit:
        """The witness's unit of this fragment, standing at `place`."""
        return Unit(place, self.tokens, self.glued, self.surface)


def plain(tokens: Iterable[str]) -> tuple[Fragment, ...]:
    """Every token undisguised."""
    return tuple(Fragment((token,), token) for token in tokens)


def require_tokens(text: str) -> tuple[str, ...]:
    """The tokens of `text`. NotApplicable if it has none."""
    tokens = tokens_of(text)
    if not tokens:
        raise NotApplicable("the text is empty")
    return tokens


def joined(fragments: Sequence[Fragment]) -> Fragment:
    """Fragments that follow one another as one: a glued one is set on without a blank."""
    surface, tokens = fragments[0].surface, list(fragments[0].tokens)
    for fragment in fragments[1:]:
        surface += fragment.surface if fragment.glued else " " + fragment.surface
        if fragment.glued and fragment.tokens and tokens:
            tokens[-1] += fragment.tokens[0]
            tokens.extend(fragment.tokens[1:])
        else:
            tokens.extend(fragment.tokens)
    return Fragment(tuple(tokens), surface, fragments[0].glued)


def breaks(word: str) -> list[int]:
    """Where a word can be cut: before every character that does not modify or continue the one before it."""
    return [
        position
        for position in range(1, len(word))
        if category(word[position])[0] != "M"
        and _JOINER not in word[position - 1 : position + 1]
        and not 0x1F3FB <= ord(word[position]) <= 0x1F3FF
    ]


def cut(fragment: Fragment, share: float = 0.5) -> tuple[Fragment, Fragment]:
    """A fragment of one token in two, at about `share` of it; a disguised surface is cut at the same share.

    NotApplicable for a fragment of several tokens and for one of a single character.
    """
    if len(fragment.tokens) != 1:
        raise NotApplicable(f"{fragment.surface!r} stands for several words and can't be cut")
    token, surface = fragment.tokens[0], fragment.surface
    at, shown_at = _break_near(token, share), _break_near(surface, share)
    if surface == token:
        shown_at = at
    return (
        Fragment((token[:at],), surface[:shown_at], fragment.glued),
        Fragment((token[at:],), surface[shown_at:], glued=True),
    )


def _break_near(word: str, share: float) -> int:
    places = breaks(word)
    if not places:
        raise NotApplicable(f"{word!r} is too short to be cut")
    return min(places, key=lambda place: abs(place - share * len(word)))


def characters(fragment: Fragment) -> tuple[Fragment, ...]:
    """A fragment of one token as one fragment a character of its surface, with what modifies the character.

    A disguised surface, whose characters are not the token's, gets the token's in equal shares as far as they go.
    """
    shown = pieces(fragment.surface, breaks(fragment.surface))
    if len(fragment.tokens) != 1:
        raise NotApplicable(f"{fragment.surface!r} stands for several words and can't be spelt")
    token = fragment.tokens[0]
    if token == fragment.surface:
        parts = shown
    else:
        bounds = [ceil(index * len(token) / len(shown)) for index in range(1, len(shown))]
        parts = pieces(token, bounds)
    return tuple(
        Fragment((part,) if part else (), surface, glued=fragment.glued or index > 0)
        for index, (part, surface) in enumerate(zip(parts, shown, strict=True))
    )


def pieces(word: str, bounds: Sequence[int]) -> list[str]:
    """`word` cut at every bound."""
    return [word[start:end] for start, end in zip((0, *bounds), (*bounds, len(word)), strict=True)]


def halves(fragments: Sequence[Fragment], first: int = 0) -> tuple[tuple[Fragment, ...], tuple[Fragment, ...]]:
    """The first `first` fragments, half of them for 0, and the others. NotApplicable where one part would be empty."""
    size = first or len(fragments) // 2
    if not 0 < size < len(fragments):
        raise NotApplicable(
            "a text of one word can't be split between words"
            if len(fragments) < 2
            else f"a text of {len(fragments)} words has no part after the first {size}"
        )
    return tuple(fragments[:size]), tuple(fragments[size:])


def halves_inside(fragments: Sequence[Fragment], lexicon: Lexicon) -> tuple[tuple[Fragment, ...], tuple[Fragment, ...]]:
    """All before and in the first half of the first keyword that can be cut, and the others."""
    for index in keywords(fragments, lexicon):
        try:
            left, right = cut(fragments[index])
        except NotApplicable:
            continue
        return (*fragments[:index], left), (right, *fragments[index + 1 :])
    raise NotApplicable("no keyword of the text can be cut")


def keywords(fragments: Sequence[Fragment], lexicon: Lexicon) -> tuple[int, ...]:
    """The positions of the fragments that hold words of the lexicon; without one, of the longest quarter of them."""
    found = tuple(index for index, fragment in enumerate(fragments) if lexicon.keywords(fragment.tokens))
    return found or longest(tuple(fragment.surface for fragment in fragments))


def longest(words: Sequence[str]) -> tuple[int, ...]:
    """The positions of the longest quarter of `words`, at least one, in order; of equal ones the earlier."""
    ranked = sorted(range(len(words)), key=lambda index: (-len(words[index]), index))
    return tuple(sorted(ranked[: ceil(len(words) / 4)]))
