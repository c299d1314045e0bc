"""Contrast as the Web Content Accessibility Guidelines define it (WCAG 2.2, relative luminance and contrast ratio)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from quire_duo.witness import RGB, Quad

_LEVELS = np.arange(256) / 255
_LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4)
_RED, _GREEN, _BLUE = (weight * _LINEAR for weight in (0.2126, 0.7152, 0.0722))
_CORE = 0.85
PERCENTILE = 5.0
"""Of the contrasts over a box, the one that counts: all but the worst twentieth of the background is at least as far."""


def luminance(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Relative luminance in [0, 1] of sRGB pixels, uint8 [..., 3] -> [...]."""
    return np.asarray(_RED[pixels[..., 0]] + _GREEN[pixels[..., 1]] + _BLUE[pixels[..., 2]])


def contrast(first: RGB, second: RGB) -> float:
    """The ratio of two colours, 1..21."""
    return float(_ratio(luminance(np.array(first, np.uint8)), luminance(np.array(second, np.uint8))))


def pixels_inside(image: Image.Image, quad: Quad) -> NDArray[np.uint8]:
    """The pixels of a picture inside a quadrilateral, uint8 [n, 3]; none if it lies outside."""
    box, inside = _inside(quad, image.size)
    return np.asarray(image.crop(box))[inside] if inside.size else np.zeros((0, 3), np.uint8)


def local_contrast(colour: RGB, background: NDArray[np.uint8], opacity: float = 1.0) -> float:
    """The 5th percentile of the contrast of letters against the pixels that they lie on.

    background: uint8 [..., 3]. The letters' pixels are `colour` laid over it with `opacity`. Gives 1 for no pixels.
    """
    pixels = background.reshape(-1, 3)
    if not len(pixels):
        return 1.0
    if (pixels == pixels[0]).all():  # paper
        pixels = pixels[:1]
    if opacity >= 1:
        return percentile(luminance(np.array([colour], np.uint8)), luminance(pixels))
    return translucent_contrast(colour, pixels, opacity, pixels)


def translucent_contrast(colour: RGB, under: NDArray[np.uint8], opacity: float, background: NDArray[np.uint8]) -> float:
    """The same for letters of `colour` laid over the pixels `under`, against `background`, both uint8 [n, 3]."""
    return percentile(luminance(blended(colour, under, opacity)), luminance(background))


def translucent_ratios(image: Image.Image, opacity: float) -> NDArray[np.float64]:
    """The contrast of white against black, both laid over every pixel with `opacity`, float64 [height, width]."""
    pixels = np.asarray(image)
    over, under = (
        luminance(blended(colour, pixels.reshape(-1, 3), opacity)) for colour in ((255, 255, 255), (0, 0, 0))
    )
    return np.asarray(_ratio(over, under)).reshape(pixels.shape[:2])


def blended(colour: RGB, under: NDArray[np.uint8], opacity: float) -> NDArray[np.uint8]:
    """The pixels that show where `colour` is laid over the pixels `under`, uint8 [n, 3]."""
    levels = np.arange(256)[:, None] * (1 - opacity) + opacity * np.array(colour)
    table = np.rint(levels).astype(np.uint8)
    return np.stack([table[under[:, channel], channel] for channel in range(3)], axis=1)


def drawn_contrast(image: Image.Image, backdrop: Image.Image, ground: Image.Image, quad: Quad) -> float:
    """The same, where the letters' colour is not known but measured, as after a blur.

    image: the picture; backdrop: the same without the letters; ground: the same without their outlines either, which is
    `backdrop` where they have none. Letters are where image and backdrop differ by at least 85 % of the most that they
    differ, which are the cores of strokes; their luminance is the median there. Where there are outlines, these alone
    are what letters lie on.
    Gives 1 where no letter can be seen.
    """
    box, inside = _inside(quad, image.size)
    if not inside.any():
        return 1.0
    letters, behind = (luminance(np.asarray(one.crop(box))[inside]) for one in (image, backdrop))
    distance = np.abs(letters - behind)
    most = np.percentile(distance, 99)
    if most < 1 / 255:
        return 1.0
    shown = np.median(letters[distance >= _CORE * most])
    if ground is not backdrop:
        outlined = np.abs(luminance(np.asarray(ground.crop(box))[inside]) - behind)
        behind = behind[outlined >= _CORE * np.percentile(outlined, 99)]
    return percentile(shown, behind)


def _inside(quad: Quad, size: tuple[int, int]) -> tuple[tuple[int, int, int, int], NDArray[np.bool_]]:
    """The box around a quadrilateral, clipped to the picture, and which of its pixels lie inside."""
    xs, ys = [point[0] for point in quad], [point[1] for point in quad]
    left, top = max(0, int(min(xs))), max(0, int(min(ys)))
    right, bottom = min(size[0], int(np.ceil(max(xs)))), min(size[1], int(np.ceil(max(ys))))
    if right <= left or bottom <= top:
        return (0, 0, 0, 0), np.zeros(0, bool)
    mask = Image.new("1", (right - left, bottom - top))
    ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in quad], fill=1)
    return (left, top, right, bottom), np.asarray(mask)


def percentile(letters: NDArray[np.float64] | np.float64, ground: NDArray[np.float64]) -> float:
    """The 5th percentile of the contrasts of luminances against luminances, pixel by pixel."""
    ratios = _ratio(letters, ground)
    return float(ratios[0]) if ratios.size == 1 else float(np.percentile(ratios, PERCENTILE))


def _ratio(first: NDArray[np.float64] | np.float64, second: NDArray[np.float64]) -> NDArray[np.float64]:
    return (np.maximum(first, second) + 0.05) / (np.minimum(first, second) + 0.05)
