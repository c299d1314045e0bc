"""Layout: fragments in lines, as large as a box allows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING
from unicodedata import bidirectional

from quire_duo.fonts import capital_share, load
from quire_duo.fragments import Fragment, characters, joined
from quire_duo.seeds import NotApplicable
from quire_duo.validity.legibility import GLYPH_HEIGHT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


_REFERENCE = 64.0
"""The size at which words are measured to estimate their lengths at others."""


@dataclass(frozen=True)
class Block:
    """Lines of one font and size. width and pitch (from line to line) in pixels."""

    lines: tuple[Fragment, ...]
    font: Path
    size: float
    width: float
    pitch: int

    @property
    def height(self) -> int:
        """From the top of the first line to the bottom of the last."""
        return self.pitch * len(self.lines)

    @property
    def glyph_height(self) -> float:
        """Of a capital letter, in pixels."""
        return self.size * capital_share(self.font)


def smallest_size(font: Path, glyph_height: float = GLYPH_HEIGHT) -> float:
    """The size in whole pixels per em at which capital letters are at least `glyph_height` high."""
    return ceil(glyph_height / capital_share(font))


def wrap(fragments: Sequence[Fragment], font: Path, size: float, width: float) -> Block:
    """`fragments` in lines of at most `width`; what is longer is broken, words between any two characters.

    NotApplicable where not even one character fits.
    """
    blank = length_of(" ", font, size)
    lines: list[list[Fragment]] = []
    room = 0.0
    for fragment in fragments:
        length = length_of(fragment.surface, font, size)
        gap = 0.0 if fragment.glued else blank
        if lines and gap + length <= room:
            lines[-1].append(fragment)
            room -= gap + length
            continue
        for part in [fragment] if length <= width else _broken(fragment, font, size, width):
            lines.append([part])
            room = width - length_of(part.surface, font, size)
    made = tuple(joined(line) for line in lines)
    widest = max(length_of(line.surface, font, size) for line in made)
    return Block(made, font, size, widest, pitch(font, size))


def fit(fragments: Sequence[Fragment], font: Path, width: float, height: float, largest: float) -> Block:
    """`fragments` as large as they fit into a box, at most `largest`, found by bisection.

    Words are broken only at the smallest size that is legible. NotApplicable if that does not fit either.
    """
    smallest = min(smallest_size(font), largest)
    low, high = 0, int(largest - smallest)
    while low < high:  # on lengths in proportion to the size, which are known without setting the text at every size
        middle = (low + high + 1) // 2
        if _seems_to_fit(fragments, font, smallest + middle, width, height):
            low = middle
        else:
            high = middle - 1
    for step in range(low, -1, -1):  # hinting may have made it longer
        if step and max(length_of(fragment.surface, font, smallest + step) for fragment in fragments) > width:
            continue
        block = wrap(fragments, font, smallest + step, width)
        if block.height <= height and block.width <= width:
            return block
    raise NotApplicable(
        f"the text of {sum(len(one.surface) + 1 for one in fragments) - 1} characters can't be legible in"
        f" {width:.0f} x {height:.0f} pixels"
    )


def _seems_to_fit(fragments: Sequence[Fragment], font: Path, size: float, width: float, height: float) -> bool:
    scale = size / _REFERENCE
    blank = scale * length_of(" ", font, _REFERENCE)
    lines, room = 0, 0.0
    for fragment in fragments:
        length = scale * length_of(fragment.surface, font, _REFERENCE)
        if length > width:
            return False
        needed = length + (0.0 if fragment.glued else blank)
        if lines and needed <= room:
            room -= needed
        else:
            lines, room = lines + 1, width - length
    return lines * pitch(font, size) <= height


def _broken(fragment: Fragment, font: Path, size: float, width: float) -> list[Fragment]:
    """A fragment that is longer than a line, in parts that are not."""
    if len(fragment.tokens) == 1:
        parts: Sequence[Fragment] = characters(fragment)
    else:  # a phrase: all its tokens stand with its first word
        first, *others = fragment.surface.split(" ")
        parts = [Fragment(fragment.tokens, first, fragment.glued), *(Fragment((), word) for word in others)]
    lines: list[list[Fragment]] = [[]]
    for part in parts:
        if lines[-1] and length_of(joined([*lines[-1], part]).surface, font, size) > width:
            lines.append([])
        lines[-1].append(part)
    if any(length_of(part.surface, font, size) > width for part in parts):
        raise NotApplicable(f"a line of {width:.0f} pixels is too narrow for {fragment.surface[:20]!r}")
    return [joined(line) for line in lines]


def pitch(font: Path, size: float) -> int:
    """From line to line, in pixels: ascent and descent of the font."""
    return sum(load(font, size).getmetrics())


def right_to_left(text: str) -> bool:
    """Whether the first letter with a direction runs from the right."""
    return next((kind in ("R", "AL") for char in text if (kind := bidirectional(char)) in ("L", "R", "AL")), False)


@lru_cache(maxsize=65536)
def length_of(text: str, font: Path, size: float) -> float:
    """The advance of a text in one line, in pixels."""
    return float(load(font, size).getlength(text))
