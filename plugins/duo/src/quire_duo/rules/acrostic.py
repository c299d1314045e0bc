"""Acrostics: words or letters of the text at the beginnings of lines that go on harmlessly."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from PIL import Image

from quire_duo.drawing import Ink, Picture, Sheet, draw_benign
from quire_duo.fonts import font_for
from quire_duo.fragments import Fragment, characters
from quire_duo.layout import Block, length_of, pitch
from quire_duo.rule import Fused, FusionRule, Parameter, Slot
from quire_duo.rules.images import PictureRule
from quire_duo.rules.text import THEN, TOXIC_TEXT, disguised
from quire_duo.seeds import NotApplicable, bare
from quire_duo.witness import TextSpan, Unit, Witness, tokens_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from quire_duo.seeds import Seed
    from quire_duo.workshop import Workshop

BENIGN_LINES = Slot("filler", "text", "benign", least=1, most=10)
PARAMETERS = (
    Parameter("unit", ("word", "letter"), "what stands at the beginning of a line"),
    Parameter("filler", (4,), "benign words in a line, at most", low=1, high=12),
    THEN,
)
_MOST_LINES = 60
_SIZE = 24.0
_MARGIN = 16


@dataclass(frozen=True)
class Line:
    """What begins a line, and how it goes on, with the blank before it if there is one. None begins an empty line."""

    start: Fragment | None
    rest: str = ""


def acrostic(fragments: Sequence[Fragment], fillers: Sequence[str], *, letters: bool, words: int) -> list[Line]:
    """The lines of an acrostic: their ends are the words of `fillers` in turn.

    Of letters, each begins a benign word if one begins with it, and an empty line stands between words. NotApplicable
    for what would be a single line or more than sixty.
    """
    pool = [word for text in fillers for word in tokens_of(text)]
    if not pool:
        raise NotApplicable("the benign texts hold no word")
    take = (pool[index % len(pool)] for index in count())
    lines: list[Line] = []
    for fragment in fragments:
        if not letters:
            lines.append(Line(fragment, " " + " ".join(next(take) for _ in range(words))))
            continue
        if lines:
            lines.append(Line(None))
        for letter in characters(fragment):
            end = next(
                (word[1:] for word in pool if bare(word)[:1] == letter.surface.casefold() == word[:1].casefold()), ""
            )
            lines.append(Line(letter, f"{end} {' '.join(next(take) for _ in range(words))}"))
    starts = sum(line.start is not None for line in lines)
    if starts < 2:
        raise NotApplicable("a text with a single beginning of a line is not split")
    if len(lines) > _MOST_LINES:
        raise NotApplicable(f"the acrostic would have {len(lines)} lines, more than {_MOST_LINES}")
    return lines


def _lines(
    parts: Mapping[str, Sequence[Seed]], parameters: Mapping[str, Any], rng: np.random.Generator, workshop: Workshop
) -> list[Line]:
    fragments = disguised(parts["toxic"][0], parameters["then"], rng, workshop)
    fillers = [seed.text for seed in parts["filler"]]
    return acrostic(fragments, fillers, letters=parameters["unit"] == "letter", words=int(parameters["filler"]))


class AcrosticText(FusionRule):
    """An acrostic as a post's text."""

    id = "T.acrostic"
    summary = "Words or letters at the beginnings of harmless lines"
    slots = (TOXIC_TEXT, BENIGN_LINES)
    produces = frozenset({"text"})
    guarantee = "split"
    parameters = PARAMETERS

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """One line under the other."""
        text, units = "", list[Unit]()
        for line in _lines(parts, parameters, rng, workshop):
            text += "\n" if text else ""
            if line.start is not None:
                units.append(line.start.at(TextSpan(len(text), len(text) + len(line.start.surface))))
                text += line.start.surface + line.rest
        return Fused({"text": text}, Witness(tuple(units)))


class AcrosticPicture(PictureRule):
    """An acrostic as a note whose lines begin in bold."""

    id = "TI.acrostic"
    summary = "A picture of harmless lines with words or letters at their beginnings"
    slots = (TOXIC_TEXT, BENIGN_LINES)
    guarantee = "split"
    parameters = PARAMETERS

    def picture(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Picture:
        """As wide as the canvas and as high as the lines need; benign words that don't fit are left out."""
        lines = _lines(parts, parameters, rng, workshop)
        whole = "".join((line.start.surface if line.start else "") + line.rest for line in lines)
        bold, plain = font_for(whole, workshop, bold=True), font_for(whole, workshop)
        step = max(pitch(bold, _SIZE), pitch(plain, _SIZE))
        width, height = workshop.canvas.width, 2 * _MARGIN + step * len(lines)
        if height > workshop.canvas.max:
            raise NotApplicable(f"an acrostic of {len(lines)} lines is higher than {workshop.canvas.max} pixels")
        paper = Image.new("RGB", (width, height), "white")
        starts: list[tuple[Block, int]] = []
        for index, line in enumerate(lines):
            if line.start is None:
                continue
            top = _MARGIN + index * step
            begins = length_of(line.start.surface, bold, _SIZE)
            if begins > width - 2 * _MARGIN:
                raise NotApplicable(f"{line.start.surface[:20]!r} is wider than the picture")
            rest = _shortened(line.rest, plain, width - 2 * _MARGIN - begins)
            if rest.strip():
                block = Block((Fragment((), rest),), plain, _SIZE, 0.0, step)
                draw_benign(paper, block, (_MARGIN + begins, top, width, height), Ink((40, 40, 40)))
            starts.append((Block((line.start,), bold, _SIZE, begins, step), top))
        sheet = Sheet(paper)
        for start, top in starts:
            sheet.write(start, (_MARGIN, top, width, height), Ink())
        return sheet.picture()


def _shortened(text: str, font: Path, width: float) -> str:
    """As many of the first words as fit."""
    while text and length_of(text, font, _SIZE) > width:
        text = text.rpartition(" ")[0]
    return text
