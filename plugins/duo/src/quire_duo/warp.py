"""Plane projective maps of pictures and of the witness's regions with them.

A map is a 3 x 3 matrix that takes (x, y, 1) of the old picture to a multiple of (x, y, 1) of the new one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from quire_duo.witness import ImageRegion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from quire_duo.witness import RGB, Point, Quad, Unit


def rotation(degrees: float, size: tuple[int, int]) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """The anticlockwise turn of a picture of `size` about its centre, and the size of the picture that holds all of it."""
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    corners = points(turn, corners_of(size))
    low, high = corners.min(axis=0), corners.max(axis=0)
    # rounded up after a millionth is taken off: 480 * cos(90 degrees) is not quite 0
    new = (int(np.ceil(high[0] - low[0] - 1e-6)), int(np.ceil(high[1] - low[1] - 1e-6)))
    shift = np.array(
        [[1.0, 0.0, (new[0] - high[0] - low[0]) / 2], [0.0, 1.0, (new[1] - high[1] - low[1]) / 2], [0, 0, 1]]
    )
    return shift @ turn, new


def scaling(x: float, y: float) -> NDArray[np.float64]:
    """x and y times as large."""
    return np.diag([x, y, 1.0])


def tilting(size: tuple[int, int], degrees: float, axis: float) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """A sheet of `size` turned by `degrees` about an axis in its plane, seen from twice its diagonal away.

    axis: the angle of the axis, in radians. Gives the map and the size of the box that holds the sheet's image, whose
    scale is that of the sheet's centre.
    """
    width, height = size
    distance = 2 * float(np.hypot(width, height))
    tilt = np.deg2rad(degrees)
    direction = np.array([np.cos(axis), np.sin(axis), 0.0])
    cross = np.array([[0, 0, direction[1]], [0, 0, -direction[0]], [-direction[1], direction[0], 0]])
    turn = np.eye(3) + np.sin(tilt) * cross + (1 - np.cos(tilt)) * (cross @ cross)  # Rodrigues' formula
    plane = np.array([[1.0, 0.0, -width / 2], [0.0, 1.0, -height / 2], [0.0, 0.0, 1.0]])
    # a point (x, y) of the sheet lies at turn[:, :2] @ (x, y) and is seen at distance * (X, Y) / (distance + Z)
    seen = (
        np.array([[*(distance * turn[0, :2]), 0.0], [*(distance * turn[1, :2]), 0.0], [*turn[2, :2], distance]]) @ plane
    )
    corners = points(seen, corners_of(size))
    low, high = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    shift = np.array([[1.0, 0.0, -low[0]], [0.0, 1.0, -low[1]], [0.0, 0.0, 1.0]])
    return shift @ seen, (int(high[0] - low[0]), int(high[1] - low[1]))


def warp(image: Image.Image, matrix: NDArray[np.float64], size: tuple[int, int], fill: RGB | int) -> Image.Image:
    """The picture under a map, `size` large; what comes from outside it is `fill`."""
    if image.size == size and np.array_equal(matrix, np.eye(3)):
        return image.copy()
    if image.getpixel((0, 0)) == fill and not _varies(image):
        return Image.new(image.mode, size, fill)
    inverse = np.linalg.inv(matrix)
    inverse /= inverse[2, 2]
    return image.transform(
        size, Image.Transform.PERSPECTIVE, tuple(inverse.ravel()[:8]), Image.Resampling.BILINEAR, fillcolor=fill
    )


def _varies(image: Image.Image) -> bool:
    """Whether there is more than one colour."""
    ranges = image.getextrema()
    channels = ranges if isinstance(ranges[0], tuple) else (ranges,)
    return any(low != high for low, high in channels)


def points(matrix: NDArray[np.float64], old: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points float64 [n, 2] under a map."""
    new = np.column_stack([old, np.ones(len(old))]) @ matrix.T
    return np.asarray(new[:, :2] / new[:, 2:])


def corners_of(size: tuple[int, int]) -> NDArray[np.float64]:
    """The corners of a picture, [4, 2], clockwise from the upper left."""
    return np.array([[0, 0], [size[0], 0], [size[0], size[1]], [0, size[1]]], float)


def carried(unit: Unit, matrix: NDArray[np.float64], turned: float = 0.0) -> Unit:
    """A unit whose picture goes through a map: its corners, and the height of its letters where they become smallest.

    turned: degrees by which the map turns the picture, added to the region's rotation.
    """
    region = unit.place
    assert isinstance(region, ImageRegion)
    corners = np.array(region.quad)
    quad: Quad = tuple((float(x), float(y)) for x, y in points(matrix, corners))  # type: ignore[assignment]
    height = region.glyph_height
    if height is not None:
        height *= _least_stretch(matrix, region.quad)
    return replace(unit, place=replace(region, quad=quad, glyph_height=height, rotation=region.rotation + turned))


def _least_stretch(matrix: NDArray[np.float64], quad: Quad) -> float:
    """How much a map stretches the quadrilateral's upright direction, the least over its four corners."""
    corners = np.array(quad)
    upright = _unit(corners[0] - corners[3])
    step = 1e-3
    before, after = points(matrix, corners), points(matrix, corners + step * upright)
    return float((np.linalg.norm(after - before, axis=1) / step).min())


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    return vector / length if length else np.array([0.0, -1.0])


def centre(quad: Quad) -> Point:
    """The mean of the corners."""
    xs, ys = zip(*quad, strict=True)
    return (sum(xs) / 4, sum(ys) / 4)
