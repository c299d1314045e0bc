"""Witnesses: where every unit of the toxic seed sits in a fused input."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quire.storage import JSON

Point = tuple[float, float]
Quad = tuple[Point, Point, Point, Point]
RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Place:
    """Where a unit is. Subclasses, one per kind of content, register themselves for `Witness.from_json`.

    A third party's rule for a modality of its own adds a subclass with a `kind` of its own.
    """

    kind: ClassVar[str] = ""
    """The kind of content that the unit stands in."""
    types: ClassVar[dict[str, type[Place]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        Place.types[cls.__name__] = cls

    def to_json(self) -> dict[str, JSON]:
        """The place with its type's name."""
        return {"type": type(self).__name__, **asdict(self)}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Place:
        """The inverse of `to_json`."""
        cls = Place.types[data["type"]]
        return cls(**{part.name: _tuples(data[part.name]) for part in fields(cls)})


@dataclass(frozen=True)
class TextSpan(Place):
    """Characters [start, end) of the text."""

    kind: ClassVar[str] = "text"
    start: int
    end: int


@dataclass(frozen=True)
class ImageRegion(Place):
    """A quadrilateral of the image, in pixels from the upper left, corners clockwise from the text's own upper left.

    Of drawn text: glyph_height (of a capital letter, after every transformation), colour, rotation in degrees, opacity,
    contrast (WCAG, of the colour against the 5th percentile of the local background, in 1..21) and missing (code points
    that the font lacks). Of a picture: None for these. covered: the share of the region that was drawn over later.
    """

    kind: ClassVar[str] = "image"
    quad: Quad
    glyph_height: float | None = None
    colour: RGB | None = None
    rotation: float = 0.0
    opacity: float = 1.0
    contrast: float | None = None
    covered: float = 0.0
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class AudioInterval(Place):
    """Seconds [start, end) of the sound. level and bed: RMS in dB relative to full scale, of the speech and of what
    plays under it (None for silence). words: how many are said in it; 0 where that does not count (a toxic recording).
    """

    kind: ClassVar[str] = "audio"
    start: float
    end: float
    level: float
    bed: float | None = None
    words: int = 0


@dataclass(frozen=True)
class VideoInterval(Place):
    """Seconds [start, end) of the film during which the unit is shown whole, and where in the frame."""

    kind: ClassVar[str] = "video"
    start: float
    end: float
    region: ImageRegion | None = None
    words: int = 0


@dataclass(frozen=True)
class SeriesInterval(Place):
    """Time steps [start, end) of the series that hold the pattern as gain * pattern + offset (per channel).

    residual: the root-mean-square difference between what stands there and that, relative to the standard deviation of
    gain * pattern. stretched: the steps to which the seed was resampled before (linearly), None if it was not. source:
    the steps [first, last) of the seed, after that, which stand there; None for all of them.
    """

    kind: ClassVar[str] = "series"
    start: int
    end: int
    channels: tuple[int, ...]
    gain: float
    offset: float
    residual: float
    stretched: int | None = None
    source: tuple[int, int] | None = None


@dataclass(frozen=True)
class Unit:
    """One piece of the toxic seed: the tokens of it that stand at `place`.

    tokens: as in the seed, also where the surface is disguised; () for a seed that is no text. glued: the first token
    continues the last one of the unit before (a cut inside a word). surface: what can be read or heard there.
    """

    place: Place
    tokens: tuple[str, ...] = ()
    glued: bool = False
    surface: str = ""

    @property
    def kind(self) -> str:
        """The kind of content that it stands in."""
        return self.place.kind


@dataclass(frozen=True)
class Witness:
    """The units of one toxic seed, in the order in which a person takes them in."""

    units: tuple[Unit, ...]

    @property
    def tokens(self) -> tuple[str, ...]:
        """The units' tokens joined: the seed's, if nothing was lost."""
        joined: list[str] = []
        for unit in self.units:
            for position, token in enumerate(unit.tokens):
                if unit.glued and position == 0 and joined:
                    joined[-1] += token
                else:
                    joined.append(token)
        return tuple(joined)

    def to_json(self) -> list[JSON]:
        """The units."""
        return [
            {
                "place": unit.place.to_json(),
                "tokens": list(unit.tokens),
                "glued": unit.glued,
                "surface": unit.surface,
            }
            for unit in self.units
        ]

    @classmethod
    def from_json(cls, data: Sequence[dict[str, Any]]) -> Self:
        """The inverse of `to_json`."""
        return cls(
            tuple(
                Unit(Place.from_json(unit["place"]), tuple(unit["tokens"]), unit["glued"], unit["surface"])
                for unit in data
            )
        )


def tokens_of(text: str) -> tuple[str, ...]:
    """The token sequence t_1..t_n of a text: what white space parts."""
    return tuple(text.split())


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):  # a region inside a place
        return ImageRegion(**{name: _tuples(part) for name, part in value.items()})
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
