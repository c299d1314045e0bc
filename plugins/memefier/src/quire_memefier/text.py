"""Text: the reference's cleaning, word vocabularies, and scripts that CLIP's tokenizer was not made for."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Cleaning = Literal["paper", "none"]
NO_TEXT = "notext"
SPECIALS = ("<pad>", "<unk>", "<sos>", "<eos>")
_DELETED = str.maketrans("", "", string.punctuation)


def clean(text: object) -> str:
    """The reference's cleaning: lower case, no punctuation, no digits, single blanks; what is no text is "notext"."""
    if not isinstance(text, str):
        return NO_TEXT
    return " ".join(re.sub(r"\d+", "", text.lower().translate(_DELETED)).split())


def prepared(text: str | None, cleaning: Cleaning) -> str | None:
    """The text that is tokenized, or None where there is none: missing or blank (with "paper" it is "notext")."""
    if cleaning == "paper":
        return clean(text if text and text.strip() else None)
    return text if text and text.strip() else None


def is_mostly_non_latin(text: str) -> bool:
    """Whether more than half of the letters are of another script than Latin."""
    letters = [character for character in text if character.isalpha()]
    latin = sum("LATIN" in unicodedata.name(character, "") for character in letters)
    return bool(letters) and latin * 2 < len(letters)


@dataclass(frozen=True)
class Vocabulary:
    """Words and their ids: `<pad>` 0, `<unk>` 1, `<sos>` 2, `<eos>` 3, then `words`, the most frequent first."""

    words: tuple[str, ...]
    ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids = {word: number for number, word in enumerate((*SPECIALS, *self.words))}
        object.__setattr__(self, "ids", ids)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, texts: Iterable[str], *, min_count: int = 1) -> Vocabulary:
        """All words of the cleaned texts that occur at least `min_count` times; of equal counts the first seen leads."""
        counts = Counter(word for text in texts for word in clean(text).split())
        return cls(tuple(word for word, count in counts.most_common() if count >= min_count))

    def encode(self, text: str | None, length: int, *, sentence: bool = False) -> list[int]:
        """Ids padded (or cut) to `length`; a `sentence` stands between `<sos>` and `<eos>`. No text is all pads."""
        if text is None:
            return [0] * length
        ids = [self.ids.get(word, 1) for word in clean(text).split()]
        if sentence:
            ids = [2, *ids[: length - 2], 3]
        return [*ids[:length], *[0] * (length - len(ids))]


def caption_length(captions: Sequence[str]) -> int:
    """L_c: the words of the longest cleaned caption, and its two ends."""
    return max((len(clean(caption).split()) for caption in captions), default=0) + 2
