"""What text rules have in common: they disguise words, in a text or before it is placed elsewhere (`then`)."""

from __future__ import annotations

import re
from abc import abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from quire.errors import ConfigError, Where
from quire_duo.fragments import Fragment, keywords, plain, require_tokens
from quire_duo.rule import Fused, FusionRule, Parameter, Slot, find_rules
from quire_duo.seeds import NotApplicable
from quire_duo.witness import TextSpan, Witness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from quire_duo.rule import Guarantee
    from quire_duo.seeds import Seed
    from quire_duo.workshop import Workshop

THEN = Parameter("then", ("",), "a text rule that disguises the text first, such as T.noise", free=True)
TOXIC_TEXT = Slot("toxic", "text", "toxic")


class TextRule(FusionRule):
    """Text -> text: every token keeps its place, some get another surface."""

    slots = (TOXIC_TEXT,)
    produces: ClassVar[frozenset[str]] = frozenset({"text"})
    guarantee: ClassVar[Guarantee] = "carrier"

    @abstractmethod
    def disguise(
        self, tokens: tuple[str, ...], parameters: Mapping[str, Any], rng: np.random.Generator, workshop: Workshop
    ) -> tuple[Fragment, ...]:
        """All `tokens`, at least one, in order, with their surfaces. NotApplicable where nothing would change."""

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """The text with its own white space between the disguised words."""
        text = parts["toxic"][0].text
        fragments = self.disguise(require_tokens(text), parameters, rng, workshop)
        shown, spans = replace_words(text, fragments)
        units = tuple(fragment.at(TextSpan(*span)) for fragment, span in zip(fragments, spans, strict=True))
        return Fused({"text": shown}, Witness(units))


class WordRule(TextRule):
    """Disguises words one by one: keywords, or all words if the rule has a parameter `scope` that says so."""

    unchanged: ClassVar[str] = "no word of the text can be changed in this way"

    @abstractmethod
    def candidates(self, word: str, parameters: Mapping[str, Any]) -> Sequence[tuple[int, int, str]]:
        """Changes that are possible in `word`: of characters [start, end) to a string; they don't overlap."""

    def choose(self, changes: Sequence[Any], parameters: Mapping[str, Any], rng: np.random.Generator) -> Sequence[int]:
        """The positions of the changes that are made, out of those in one scope: a share of `rate`, at least one."""
        count = max(1, round(parameters.get("rate", 1.0) * len(changes)))
        return [int(index) for index in rng.choice(len(changes), size=count, replace=False)]

    def disguise(
        self, tokens: tuple[str, ...], parameters: Mapping[str, Any], rng: np.random.Generator, workshop: Workshop
    ) -> tuple[Fragment, ...]:
        """Words of the lexicon that can be changed; where there are none, the longest ones that can."""
        possible = {
            index: changes for index, token in enumerate(tokens) if (changes := self._candidates(token, parameters))
        }
        if not possible:
            raise NotApplicable(self.unchanged)
        scope = list(possible)
        if parameters.get("scope", "keyword") == "keyword":
            scope = [index for index in workshop.lexicon.keywords(tokens) if index in possible]
            if not scope:
                changeable = plain(tokens[index] for index in possible)
                scope = [list(possible)[position] for position in keywords(changeable, workshop.lexicon)]
        surfaces = list(tokens)
        for index, made in self._chosen(possible, scope, parameters, rng).items():
            for start, end, new in sorted(made, reverse=True):
                surfaces[index] = surfaces[index][:start] + new + surfaces[index][end:]
        return tuple(Fragment((token,), surface) for token, surface in zip(tokens, surfaces, strict=True))

    def _candidates(self, token: str, parameters: Mapping[str, Any]) -> list[tuple[int, int, str]]:
        start, end = core(token)
        return [
            (start + first, start + last, new) for first, last, new in self.candidates(token[start:end], parameters)
        ]

    def _chosen(
        self,
        possible: Mapping[int, Sequence[tuple[int, int, str]]],
        scope: Sequence[int],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
    ) -> dict[int, list[tuple[int, int, str]]]:
        """The changes made, by token. Drawn within every word, so that every keyword is disguised."""
        return {
            index: [possible[index][one] for one in self.choose(possible[index], parameters, rng)] for index in scope
        }


def core(token: str) -> tuple[int, int]:
    """The word in a token, as [start, end): without the punctuation at its ends; all of one that is nothing else."""
    inner = [index for index, char in enumerate(token) if char.isalnum()]
    return (inner[0], inner[-1] + 1) if inner else (0, len(token))


def replace_words(text: str, fragments: Sequence[Fragment]) -> tuple[str, list[tuple[int, int]]]:
    """`text` with the surfaces of `fragments` in the place of its words, and where they stand in it."""
    words = [match.span() for match in re.finditer(r"\S+", text)]
    shown, spans, used, position = "", [], 0, 0
    for fragment in fragments:
        start, end = words[used][0], words[used + max(len(fragment.tokens), 1) - 1][1]
        shown += text[position:start]
        spans.append((len(shown), len(shown) + len(fragment.surface)))
        shown += fragment.surface
        used, position = used + len(fragment.tokens), end
    return shown + text[position:], spans


def disguised(seed: Seed, then: str, rng: np.random.Generator, workshop: Workshop) -> tuple[Fragment, ...]:
    """The tokens of a text seed, disguised by the text rule `then` with its usual parameters, or plain for "".

    ConfigError if `then` is no text rule; NotApplicable for an empty text, and whatever the rule raises.
    """
    tokens = require_tokens(seed.text)
    if not then:
        return plain(tokens)
    rule = _text_rule(then)
    if reason := rule.unavailable(workshop):
        raise NotApplicable(f"{then} can't disguise the text: {reason}")
    return rule.disguise(tokens, rule.check({}), rng, workshop)


@lru_cache(maxsize=64)
def _text_rule(name: str) -> TextRule:
    found = find_rules((name,))
    if len(found) == 1 and isinstance(found[0], TextRule):
        return found[0]
    raise ConfigError(f"{name!r} is not a rule that disguises the words of a text", where=Where(field="then"))
