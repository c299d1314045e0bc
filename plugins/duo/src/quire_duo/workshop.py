"""What rules work with: canvas, fonts, voices, film format, lexicon and the user's tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from quire.config import Config
from quire_duo.seeds import Lexicon

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Canvas(Config):
    """The size of pictures that a rule draws itself."""

    width: PositiveInt = Field(640, description="in pixels")
    height: PositiveInt = Field(480, description="in pixels")
    max: PositiveInt = Field(2048, description="the longest side that a picture may be given")


class Speech(Config):
    """How texts are spoken."""

    backend: Literal["espeak-ng"] = Field("espeak-ng", description="the synthesiser")
    voice: str = Field("en", description="a voice of the synthesiser")
    rate: PositiveInt = Field(175, description="words per minute")
    pitch: int = Field(50, ge=0, le=99, description="pitch, 50 is the voice's own")


class Film(Config):
    """The format of videos."""

    fps: PositiveFloat = Field(5.0, description="frames per second")
    width: PositiveInt = Field(320, description="in pixels")
    height: PositiveInt = Field(240, description="in pixels")


@dataclass(frozen=True)
class Workshop:
    """The settings of a run, which every rule is given.

    tables: what a rule substitutes, by the table's name ("homophones", "abbreviations", "translations", "icons"): word,
    in lower case -> what stands for it. cache: a folder for what is costly to make again, such as speech; None keeps
    nothing.
    """

    canvas: Canvas = field(default_factory=Canvas)
    speech: Speech = field(default_factory=Speech)
    film: Film = field(default_factory=Film)
    fonts: tuple[Path, ...] = ()
    lexicon: Lexicon = field(default_factory=Lexicon)
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    cache: Path | None = None
