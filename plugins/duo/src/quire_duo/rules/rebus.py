"""Rebuses: words that the user has icons for are replaced by these."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from quire.modality import Image as ImageModality
from quire_duo.drawing import Ink, Picture, Sheet, draw_benign, quad_of
from quire_duo.fonts import font_for
from quire_duo.fragments import Fragment
from quire_duo.layout import Block, length_of, pitch
from quire_duo.rules.images import PictureRule, text_of
from quire_duo.rules.text import THEN, TOXIC_TEXT, disguised
from quire_duo.seeds import NotApplicable, bare
from quire_duo.witness import ImageRegion, TextSpan, Unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from quire_duo.seeds import Seed
    from quire_duo.workshop import Workshop

_SIZE = 24.0
_NUMBER = 18.0
_ICON = 64
"""The longest side of an icon, in pixels."""
_MARGIN = 16
_GAP = 10


@dataclass(frozen=True)
class Sign:
    """A word in writing, or with the file of its icon and the icon's number."""

    fragment: Fragment
    icon: Path | None = None
    number: int = 0


def rebus(fragments: Sequence[Fragment], icons: Mapping[str, str]) -> list[Sign]:
    """Every fragment, with an icon where its one token has one. NotApplicable where none has, or all have only one."""
    signs: list[Sign] = []
    for fragment in fragments:
        file = icons.get(bare(fragment.tokens[0])) if len(fragment.tokens) == 1 else None
        number = 1 + sum(sign.icon is not None for sign in signs)
        signs.append(Sign(fragment, Path(file), number) if file else Sign(fragment))
    if not any(sign.icon for sign in signs):
        raise NotApplicable("the table of icons has no word of the text")
    if len(signs) < 2:
        raise NotApplicable("a text of one word is not split")
    return signs


class Rebus(PictureRule):
    """Words and icons in lines, in the text's order."""

    id = "TI.rebus"
    summary = "A picture of the text with the user's icons for some words"
    slots = (TOXIC_TEXT,)
    guarantee = "split"
    parameters = (THEN,)

    def unavailable(self, workshop: Workshop) -> str | None:
        """There is no table of icons."""
        return _unavailable(workshop)

    def picture(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Picture:
        """As wide as the canvas and as high as the lines need."""
        fragments = disguised(parts["toxic"][0], parameters["then"], rng, workshop)
        signs = rebus(fragments, workshop.tables.get("icons", {}))
        return _drawn(signs, workshop)


class RebusPost(PictureRule):
    """The post's text has numbers in the place of words; its picture shows the numbered icons."""

    id = "TI.rebus_post"
    summary = "A post that points to numbered icons in its picture"
    slots = (TOXIC_TEXT,)
    produces = frozenset({"text", "image"})
    guarantee = "split"
    parameters = (THEN,)

    def unavailable(self, workshop: Workshop) -> str | None:
        """There is no table of icons."""
        return _unavailable(workshop)

    def picture(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Picture:
        """The witness goes through the text; a unit that is a number there stands in the picture."""
        fragments = disguised(parts["toxic"][0], parameters["then"], rng, workshop)
        signs = rebus(fragments, workshop.tables.get("icons", {}))
        shown = _drawn([sign for sign in signs if sign.icon], workshop)
        icons = iter(shown.units)
        text, units = "", list[Unit]()
        for sign in signs:
            text += " " if text else ""
            surface = f"[{sign.number}]" if sign.icon else sign.fragment.surface
            span = TextSpan(len(text), len(text) + len(surface))
            units.append(next(icons) if sign.icon else sign.fragment.at(span))
            text += surface
        return Picture(shown.image, shown.backdrop, shown.ground, tuple(units), text)


def _unavailable(workshop: Workshop) -> str | None:
    if workshop.tables.get("icons"):
        return None
    return "give a table 'icons': a CSV file with a word and the file of its icon in every line"


def _drawn(signs: Sequence[Sign], workshop: Workshop) -> Picture:
    """Signs in lines, icons with their numbers under them."""
    font = font_for(text_of([sign.fragment for sign in signs]) + "[]0123456789", workshop)
    width, step = workshop.canvas.width, _ICON + pitch(font, _SIZE) + _GAP
    places: list[tuple[Sign, float, int]] = []
    left, row = float(_MARGIN), 0
    for sign in signs:
        needed = _icon(sign.icon).width if sign.icon else length_of(sign.fragment.surface, font, _SIZE)
        if needed > width - 2 * _MARGIN:
            raise NotApplicable(f"{sign.fragment.surface[:20]!r} is wider than the picture")
        if left > _MARGIN and left + needed > width - _MARGIN:
            left, row = float(_MARGIN), row + 1
        places.append((sign, left, _MARGIN + row * step))
        left += needed + _GAP
    height = 2 * _MARGIN + (row + 1) * step
    if height > workshop.canvas.max:
        raise NotApplicable(f"a rebus of {row + 1} lines is higher than {workshop.canvas.max} pixels")
    paper = Image.new("RGB", (width, height), "white")
    for sign, x, y in places:
        if sign.icon:
            number = Block((Fragment((), f"[{sign.number}]"),), font, _NUMBER, 0.0, pitch(font, _NUMBER))
            draw_benign(paper, number, (x, y + _ICON, x, 0), Ink())
    sheet = Sheet(paper)
    for sign, x, y in places:
        _place(sheet, sign, (x, y), font)
    return sheet.picture()


def _place(sheet: Sheet, sign: Sign, at: tuple[float, int], font: Path) -> None:
    if sign.icon is None:
        top = at[1] + (_ICON - pitch(font, _SIZE)) // 2
        sheet.write(Block((sign.fragment,), font, _SIZE, 0.0, pitch(font, _SIZE)), (at[0], top, at[0], top), Ink())
        return
    icon = _icon(sign.icon)
    left, top = round(at[0]), at[1] + (_ICON - icon.height) // 2
    sheet.paste_toxic(icon, (left, top))
    region = ImageRegion(quad_of((left, top, left + icon.width, top + icon.height)))
    sheet.units.append(Fragment(sign.fragment.tokens, f"[{sign.number}]", sign.fragment.glued).at(region))


@lru_cache(maxsize=256)
def _icon(file: Path) -> Image.Image:
    """An icon, scaled to 64 pixels on its longer side. InvalidSample for a file that is no picture."""
    image = ImageModality(mode="RGB").read(file)
    scale = _ICON / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)
