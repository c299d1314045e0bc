"""Fonts: which one has all characters of a text, and what to install where none has."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import category

from fontTools import unicodedata as scripts
from fontTools.ttLib import TTFont, TTLibError
from PIL import ImageFont, features

from quire.errors import ConfigError, Where
from quire_duo.seeds import NotApplicable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quire_duo.workshop import Workshop

PACKAGES = {
    **dict.fromkeys(("Hani", "Hira", "Kana", "Hang", "Bopo"), "fonts-noto-cjk"),
    **dict.fromkeys(("Zyyy", "Zinh", "Zzzz"), "fonts-symbola"),
}
"""Script (ISO 15924) -> the Debian package with a font for it; fonts-noto-core has most others. Symbola draws emoji as
outlines; fonts of coloured bitmaps have one size only and can't be fitted."""

_RIGHT_TO_LEFT_OR_SHAPED = frozenset(
    (
        "Arab",
        "Hebr",
        "Syrc",
        "Thaa",
        "Deva",
        "Beng",
        "Guru",
        "Gujr",
        "Orya",
        "Taml",
        "Telu",
        "Knda",
        "Mlym",
        "Sinh",
        "Khmr",
        "Mymr",
    )
)


def font_for(text: str, workshop: Workshop, *, bold: bool = False) -> Path:
    """The first font that has every character of `text`: the user's, then DejaVu Sans, then the system's.

    NotApplicable with the missing code points and a package that has them; ConfigError for a font of the user's that
    can't be read.
    """
    if not features.check("raqm") and any(scripts.script(char) in _RIGHT_TO_LEFT_OR_SHAPED for char in set(text)):
        raise NotApplicable(
            "the text's script needs shaping, which this build of Pillow lacks",
            remedy="Install Pillow from its wheel, which includes raqm.",
        )
    return _font_for(frozenset(text), workshop.fonts, bold)


@lru_cache(maxsize=4096)
def _font_for(characters: frozenset[str], own: tuple[Path, ...], bold: bool) -> Path:
    first = [*own, default_font(bold=bold)]
    for font in first:
        if not _lacking(characters, font):
            return font
    for font in _system_fonts():
        try:
            if not _lacking(characters, font):
                return font
        except ConfigError:
            continue  # a broken font of the system's is nobody's mistake here
    lacking = min((_lacking(characters, font) for font in first), key=len)
    shown = ", ".join(f"U+{ord(char):04X}" for char in lacking[:8]) + (", ..." if len(lacking) > 8 else "")
    packages = sorted({PACKAGES.get(scripts.script(char), "fonts-noto-core") for char in lacking})
    raise NotApplicable(
        f"no font has {shown} ({', '.join(sorted({scripts.script_name(scripts.script(char)) for char in lacking}))})",
        remedy=f"Install one (Debian: apt-get install {' '.join(packages)}) or name a font that has them in `fonts`.",
    )


def missing(text: str, font: Path) -> tuple[str, ...]:
    """The characters of `text` that `font` lacks, as U+XXXX, each once, in order of their code points."""
    return tuple(f"U+{ord(char):04X}" for char in _lacking(frozenset(text), font))


def _lacking(characters: Iterable[str], font: Path) -> list[str]:
    known = coverage(font)
    return sorted(char for char in characters if ord(char) not in known and not _invisible(char))


def _invisible(char: str) -> bool:
    """Characters without a glyph: white space, controls, joiners and variation selectors."""
    return char.isspace() or category(char) in ("Cc", "Cf") or 0xFE00 <= ord(char) <= 0xFE0F


@lru_cache(maxsize=256)
def coverage(font: Path) -> frozenset[int]:
    """The code points that `font` has glyphs for. ConfigError if it is no font."""
    try:
        with TTFont(font, fontNumber=0, lazy=True) as opened:
            return frozenset(opened.getBestCmap() or ())
    except (OSError, TTLibError) as error:
        raise ConfigError(f"can't be read as a font: {error}", where=Where(file=font)) from error


@lru_cache(maxsize=512)
def load(font: Path, size: float) -> ImageFont.FreeTypeFont:
    """`font` at `size` pixels per em."""
    return ImageFont.truetype(font, size)


@lru_cache(maxsize=256)
def capital_share(font: Path) -> float:
    """The height of a capital letter as a share of the size; of fonts without "H", of what they say in OS/2, or 0.7."""
    if ord("H") in coverage(font):
        _, top, _, bottom = load(font, 1000).getbbox("H", anchor="ls")
        return float(bottom - top) / 1000
    with TTFont(font, fontNumber=0, lazy=True) as opened:
        height = getattr(opened["OS/2"], "sCapHeight", 0) if "OS/2" in opened else 0
        return float(height / opened["head"].unitsPerEm) if height else 0.7


@lru_cache(maxsize=2)
def default_font(*, bold: bool = False) -> Path:
    """DejaVu Sans from matplotlib's data, the same file on every system: Latin, Greek, Cyrillic and many symbols."""
    spec = find_spec("matplotlib")
    if spec is None or spec.submodule_search_locations is None:  # pragma: no cover - a requirement of this package
        raise ConfigError("matplotlib is not installed", remedy="Install it with: pip install matplotlib")
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(spec.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf" / name


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[Path, ...]:
    """Scalable fonts of the system, upright regular ones of large families first."""
    folders = {
        "darwin": ["/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"],
        "win32": [os.environ.get("WINDIR", "C:/Windows") + "/Fonts"],
    }.get(sys.platform, ["/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts"])
    found = [
        file
        for folder in folders
        for file in Path(folder).expanduser().rglob("*")
        if file.suffix.lower() in (".ttf", ".otf", ".ttc") and "Color" not in file.name
    ]
    return tuple(
        sorted(found, key=lambda file: ("Regular" not in file.name, not file.name.startswith("Noto"), str(file)))
    )
