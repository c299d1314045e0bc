"""Films: frames to draw on, made longer, larger and counted.

Frames are uint8 [n, height, width, 3] (RGB).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from quire.modality import Frames
from quire.modality import Image as ImageModality
from quire_duo.drawing import quad_of
from quire_duo.seeds import NotApplicable
from quire_duo.witness import ImageRegion, VideoInterval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from quire_duo.seeds import Seed
    from quire_duo.witness import Unit
    from quire_duo.workshop import Workshop

LONGEST = 300.0
"""Seconds; a text that takes longer to show is not applicable."""
_PLAIN = ImageModality(mode="RGB")


def frames_for(seconds: float, fps: float) -> int:
    """The least number of frames, at least one, that last `seconds`."""
    return max(1, math.ceil(seconds * fps - 1e-6))


def plain_image(seed: Seed) -> Image.Image:
    """The picture of a seed, RGB with 8 bits."""
    return _PLAIN.validate(seed.value)


def backdrop(seed: Seed, workshop: Workshop) -> Frames:
    """A benign film to draw on, or a picture as a film of one frame in the workshop's format.

    A film is scaled to be at least as wide and high as the workshop's, and its longest side at most `canvas.max`.
    """
    if not isinstance(seed.value, Frames):
        return Frames(np.asarray(still(seed, workshop))[None], workshop.film.fps)
    frames, fps = seed.value.frames, seed.value.fps
    height, width = frames.shape[1:3]
    least = max(1.0, workshop.film.width / width, workshop.film.height / height)
    scale = min(least, workshop.canvas.max / max(height, width))
    if scale == 1:
        return Frames(frames, fps)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    return Frames(np.stack([resized(frame, size) for frame in frames]), fps)


def still(seed: Seed, workshop: Workshop) -> Image.Image:
    """A picture in the format of the workshop's films, with black bars where it has another one."""
    return ImageOps.pad(plain_image(seed), (workshop.film.width, workshop.film.height), Image.Resampling.BICUBIC)


def standing(image: Image.Image, seconds: float, fps: float) -> Frames:
    """A picture shown for `seconds`, up to a frame more."""
    return Frames(np.repeat(np.asarray(image)[None], frames_for(seconds, fps), axis=0), fps)


def looped(film: Frames, count: int) -> NDArray[np.uint8]:
    """`count` frames of a film that is shown over and over. A copy. NotApplicable beyond LONGEST seconds."""
    if count > LONGEST * film.fps:
        raise NotApplicable(f"a film of {count / film.fps:.0f} s would be needed, longer than {LONGEST:.0f} s")
    return film.frames[np.arange(count) % len(film.frames)]


def resized(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A frame at `size` (width, height)."""
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))


def timed(unit: Unit, first: int, last: int, fps: float, words: int) -> Unit:
    """A unit that is drawn in frames [first, last). words: how many are shown together with it, its own counted."""
    assert isinstance(unit.place, ImageRegion)
    return replace(unit, place=VideoInterval(first / fps, last / fps, unit.place, words))


def picture_region(box: tuple[int, int, int, int]) -> ImageRegion:
    """The region of a picture that fills `box` (left, top, right, bottom)."""
    return ImageRegion(quad_of(box))
