"""V.*: toxic words and pictures in harmless films.

Films keep the size and rate of the benign one, which is shown over and over where it is too short; they have no sound.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image

from quire.modality import Frames
from quire_duo.drawing import CAPTION, WHITE, Ink, Sheet, moved
from quire_duo.film import backdrop, frames_for, looped, picture_region, plain_image, resized, timed
from quire_duo.fonts import font_for
from quire_duo.layout import Block, fit, pitch, right_to_left, smallest_size, wrap
from quire_duo.rule import Fused, FusionRule, Guarantee, Parameter, Slot
from quire_duo.rules.images import text_of
from quire_duo.rules.text import THEN, TOXIC_TEXT, disguised
from quire_duo.seeds import NotApplicable
from quire_duo.validity.exposure import needed_seconds
from quire_duo.witness import Unit, VideoInterval, Witness

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from quire_duo.fragments import Fragment
    from quire_duo.seeds import Seed
    from quire_duo.workshop import Workshop

FILM = Slot("film", "video", "benign")
TOXIC_PICTURE = Slot("toxic", "image", "toxic")


class FilmRule(FusionRule):
    """A rule that makes a film without sound."""

    produces: ClassVar[frozenset[str]] = frozenset({"video"})
    guarantee: ClassVar[Guarantee] = "carrier"


class WordFrames(FilmRule):
    """One word at a time."""

    id = "V.word_frames"
    summary = "The text over a benign picture, one word at a time"
    slots = (TOXIC_TEXT, Slot("picture", "image", "benign"))
    guarantee: ClassVar[Guarantee] = "split"
    parameters = (Parameter("seconds", (0.6, 0.5, 0.4), "that each word is shown", low=0.1, high=10), THEN)

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """Words follow one another without a pause; of several that stand together each gets at least 0.4 s."""
        fragments = disguised(parts["toxic"][0], parameters["then"], rng, workshop)
        if len(fragments) < 2:
            raise NotApplicable("a text of one word can't be split between words")
        film = backdrop(parts[self.slots[1].name][0], workshop)
        counts = [frames_for(self._seconds(fragment, parameters["seconds"]), film.fps) for fragment in fragments]
        frames = looped(film, sum(counts))
        units: list[Unit] = []
        first = 0
        for fragment, count in zip(fragments, counts, strict=True):
            block = _word(fragment, frames.shape[2], frames.shape[1], workshop)
            top = (frames.shape[1] - block.height) / 2
            lines = _written(frames[first : first + count], block, top)
            units.extend(timed(line, first, first + count, film.fps, len(fragment.tokens)) for line in lines)
            first += count
        return Fused({"video": Frames(frames, film.fps)}, Witness(tuple(units)))

    @staticmethod
    def _seconds(fragment: Fragment, asked: float) -> float:
        words = len(fragment.tokens)
        return asked if words < 2 else max(asked, needed_seconds(words))


class WordFramesFilm(WordFrames):
    """One word at a time over a film."""

    id = "V.word_frames_film"
    summary = "The text over a benign film, one word at a time"
    slots = (TOXIC_TEXT, FILM)


class Subtitle(FilmRule):
    """Subtitles of at most two lines."""

    id = "V.subtitle"
    summary = "The text as burnt-in subtitles of a benign film"
    slots = (TOXIC_TEXT, FILM)
    parameters = (
        Parameter(
            "seconds_per_word", (0.6, 0.5, 0.4), "that a subtitle is shown, but 1 s at the least", low=0.1, high=5
        ),
        THEN,
    )
    _LINES = 2

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """From a random moment on, one subtitle after the other."""
        fragments = disguised(parts["toxic"][0], parameters["then"], rng, workshop)
        film = backdrop(parts["film"][0], workshop)
        height, width = film.frames.shape[1:3]
        font = font_for(text_of(fragments), workshop)
        whole = wrap(fragments, font, max(smallest_size(font), round(height / 14)), 0.92 * width)
        pages = list(_pages(whole, self._LINES))
        words = [sum(len(line.tokens) for line in page.lines) for page in pages]
        counts = [frames_for(max(1.0, parameters["seconds_per_word"] * count), film.fps) for count in words]
        total = max(len(film.frames), sum(counts))
        frames = looped(film, total)
        first = int(rng.integers(total - sum(counts) + 1))
        units: list[Unit] = []
        for page, count, together in zip(pages, counts, words, strict=True):
            if page.height > height:
                raise NotApplicable(f"a subtitle of {page.height} pixels doesn't fit a film of {height}")
            lines = _written(frames[first : first + count], page, max(0.0, 0.95 * height - page.height))
            units.extend(timed(line, first, first + count, film.fps, together) for line in lines)
            first += count
        return Fused({"video": Frames(frames, film.fps)}, Witness(tuple(units)))


class Scroll(FilmRule):
    """A ticker along the lower edge."""

    id = "V.scroll"
    summary = "The text as a ticker that runs through a benign film"
    slots = (TOXIC_TEXT, FILM)
    parameters = (
        Parameter("seconds", (2.0, 1.5, 1.0), "that each word is visible at the least", low=0.2, high=20),
        THEN,
    )

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """From the right edge to the left one, a whole number of pixels a frame, white on a black bar.

        A word's region is where it stands in the first frame in which all of it can be seen.
        """
        fragments = disguised(parts["toxic"][0], parameters["then"], rng, workshop)
        if any(right_to_left(fragment.surface) for fragment in fragments):
            raise NotApplicable("a ticker for a script that is written from the right is not there")
        film = backdrop(parts["film"][0], workshop)
        height, width = film.frames.shape[1:3]
        strip = _strip(fragments, height, workshop)
        if strip.image.height > height:
            raise NotApplicable(f"a ticker of {strip.image.height} pixels doesn't fit a film of {height}")
        edges = [_edges(unit) for unit in strip.units]
        step = (width - max(right - left for left, right in edges)) // (frames_for(parameters["seconds"], film.fps) + 1)
        if step < 1:
            raise NotApplicable(f"a word of the text is too wide for a film of {width} pixels")
        frames = looped(film, max(len(film.frames), math.ceil((width + strip.image.width) / step) + 1))
        top = height - strip.image.height
        bar = np.asarray(strip.image)
        padded = np.pad(bar, ((0, 0), (width, len(frames) * step), (0, 0)))
        for index, frame in enumerate(frames):
            frame[top:] = padded[:, index * step : index * step + width]
        units = []
        for unit, (left, right) in zip(strip.units, edges, strict=True):
            first, last = math.ceil(right / step), (width + left) // step
            shown = moved(unit, (width - first * step, top))
            units.append(timed(shown, first, last + 1, film.fps, max(1, len(unit.tokens))))
        return Fused({"video": Frames(frames, film.fps)}, Witness(tuple(units)))


class Flash(FilmRule):
    """A toxic picture that flashes up."""

    id = "V.flash"
    summary = "A toxic picture fills the frame of a benign film for a moment, again and again"
    slots = (TOXIC_PICTURE, FILM)
    parameters = (
        Parameter("seconds", (0.5, 0.4), "that the picture is shown each time", low=0.05, high=10),
        Parameter("every", (5.0, 10.0), "seconds from one time to the next", low=0.1, high=600),
    )

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """First at a random moment within the first period; at least once, at most for half of the film."""
        film = backdrop(parts["film"][0], workshop)
        height, width = film.frames.shape[1:3]
        shown, period = (frames_for(parameters[name], film.fps) for name in ("seconds", "every"))
        if period < 2 * shown:
            raise NotApplicable(
                f"a picture shown for {parameters['seconds']:g} s every {parameters['every']:g} s is the film"
            )
        frames = looped(film, max(len(film.frames), 2 * shown))
        picture, box = _fitted(plain_image(parts["toxic"][0]), (width, height))
        left, top, right, bottom = box
        offset = int(rng.integers(min(period, len(frames)) - shown + 1))
        units = []
        for first in range(offset, len(frames) - shown + 1, period):
            frames[first : first + shown] = 0
            frames[first : first + shown, top:bottom, left:right] = picture
            place = VideoInterval(first / film.fps, (first + shown) / film.fps, picture_region(box))
            units.append(Unit(place))
        return Fused({"video": Frames(frames, film.fps)}, Witness(tuple(units)))


class Pip(FilmRule):
    """A toxic picture in a harmless film."""

    id = "V.pip"
    summary = "A toxic picture stands in a corner or elsewhere in a benign film"
    slots = (TOXIC_PICTURE, FILM)
    parameters = (Parameter("share", (0.25, 0.15), "of the frame's area that it takes", low=0.005, high=0.9),)

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """At a random place, for the whole film, which lasts a second at the least; in its own proportions."""
        film = backdrop(parts["film"][0], workshop)
        height, width = film.frames.shape[1:3]
        inset = self._inset(parts["toxic"][0], film.fps)
        frames = looped(film, max(len(film.frames), len(inset), frames_for(1.0, film.fps)))
        size = _share_of(inset.shape[2] / inset.shape[1], parameters["share"], (width, height))
        left, top = int(rng.integers(width - size[0] + 1)), int(rng.integers(height - size[1] + 1))
        box = (left, top, left + size[0], top + size[1])
        shown = len(frames) if len(inset) == 1 else len(inset)
        small = np.stack([resized(frame, size) for frame in inset])
        frames[:shown, top : box[3], left : box[2]] = small
        place = VideoInterval(0.0, shown / film.fps, picture_region(box))
        return Fused({"video": Frames(frames, film.fps)}, Witness((Unit(place),)))

    @staticmethod
    def _inset(seed: Seed, fps: float) -> NDArray[np.uint8]:
        """The frames of the toxic seed at the host's rate."""
        if not isinstance(seed.value, Frames):
            return np.asarray(plain_image(seed))[None]
        count = frames_for(seed.value.seconds, fps)
        chosen = (np.arange(count) * seed.value.fps / fps).astype(int).clip(max=len(seed.value.frames) - 1)
        return np.asarray(seed.value.frames[chosen])


class PipFilm(Pip):
    """A toxic film in a harmless one."""

    id = "V.pip_film"
    summary = "A toxic film runs in a corner or elsewhere of a benign film"
    slots = (Slot("toxic", "video", "toxic"), FILM)


def _word(fragment: Fragment, width: int, height: int, workshop: Workshop) -> Block:
    font = font_for(fragment.surface, workshop, bold=True)
    return fit((fragment,), font, 0.9 * width, 0.9 * height, max(smallest_size(font), height // 5))


def _written(frames: NDArray[np.uint8], block: Block, top: float) -> list[Unit]:
    """Writes a block over the middle of every frame, in place; the units are those of the first one.

    Letters and outlines are drawn once, as masks.
    """
    height, width = frames.shape[1:3]
    box = (0, top, width, top + block.height)
    units = Sheet(Image.fromarray(frames[0])).write(block, box, CAPTION, "center")
    letters, covered = Sheet(Image.new("RGB", (width, height))), Sheet(Image.new("RGB", (width, height)))
    letters.write(block, box, CAPTION, "center")
    covered.write(block, box, replace(CAPTION, around=WHITE), "center")
    white, through = np.asarray(letters.image), 255 - np.asarray(covered.image)
    rows = np.flatnonzero((through < 255).any(axis=(1, 2)))
    if rows.size:
        band = slice(rows[0], rows[-1] + 1)
        for frame in frames:
            behind = frame[band].astype(np.uint16) * through[band] // 255
            frame[band] = np.minimum(behind + white[band], 255)
    return units


def _pages(block: Block, lines: int) -> Iterator[Block]:
    """A block in blocks of a few lines each. A line without a token of its own stays with the one before."""
    page: list[Fragment] = []
    for line in block.lines:
        if len(page) >= lines and line.tokens and not line.glued:
            yield Block(tuple(page), block.font, block.size, block.width, block.pitch)
            page = []
        page.append(line)
    yield Block(tuple(page), block.font, block.size, block.width, block.pitch)


def _strip(fragments: Sequence[Fragment], height: int, workshop: Workshop) -> Sheet:
    """All words in one line, white on black, a unit each."""
    font = font_for(text_of(fragments), workshop)
    size = max(smallest_size(font), round(height / 14))
    words = [wrap((fragment,), font, size, math.inf) for fragment in fragments]
    blank = wrap((fragments[0],), font, size, math.inf).pitch / 4
    starts: list[float] = []
    position = 0.0
    for word, fragment in zip(words, fragments, strict=True):
        position += 0 if fragment.glued or not starts else blank
        starts.append(position)
        position += word.width
    line = pitch(font, size)
    sheet = Sheet(Image.new("RGB", (math.ceil(position) + 2, line + line // 2)))
    for word, start in zip(words, starts, strict=True):
        sheet.write(word, (start, line // 4, start + word.width, line), Ink(WHITE))
    return sheet


def _edges(unit: Unit) -> tuple[int, int]:
    """The first and the last column of a drawn word."""
    columns = [x for x, _ in unit.place.quad]  # type: ignore[attr-defined]
    return math.floor(min(columns)), math.ceil(max(columns))


def _fitted(picture: Image.Image, size: tuple[int, int]) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]]:
    """A picture as large as it fits into a frame of `size`, and its box in the middle of it."""
    scale = min(size[0] / picture.width, size[1] / picture.height)
    width, height = max(1, round(scale * picture.width)), max(1, round(scale * picture.height))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return resized(np.asarray(picture), (width, height)), (left, top, left + width, top + height)


def _share_of(aspect: float, share: float, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a box with `share` of the area of `size`. NotApplicable where it would be larger than that."""
    area = share * size[0] * size[1]
    width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    if not (0 < width <= size[0] and 0 < height <= size[1]):
        raise NotApplicable(
            f"a picture {aspect:.2f} times as wide as high can't take {share:.0%} of a frame {size[0]} x {size[1]}"
        )
    return width, height
