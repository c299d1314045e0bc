"""Bringing faces to one pose: the least-squares similarity transform from five landmarks to the field's templates."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from PIL import Image as PillowImage

from quire.errors import ConfigError, DataError, InvalidSample, Where

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Points = NDArray[np.float64]

Several = Literal["error", "largest", "center"]

TEMPLATE_112X96 = np.array(
    [[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]]
)
"""Left eye, right eye, nose, left and right corner of the mouth (x, y) in 112 x 96 pixels (height x width); "left"
is the left of the picture."""

TEMPLATE_112X112 = TEMPLATE_112X96 + np.array([8.0, 0.0])
"""The same in 112 x 112 pixels."""

_TEMPLATES = {(112, 96): TEMPLATE_112X96, (112, 112): TEMPLATE_112X112}


@dataclass(frozen=True)
class Face:
    """A face that was found: five landmarks [5, 2] (x, y) and, where known, its box (left, top, right, bottom)."""

    landmarks: Points
    box: tuple[float, float, float, float] | None = None
    score: float = 1.0


class Detector(Protocol):
    """What finds faces in a picture; quire has none of its own, for their weights have terms of their own."""

    def __call__(self, image: PillowImage.Image) -> Sequence[Face]:
        """All faces of the picture."""
        ...


def template(size: tuple[int, int]) -> Points:
    """The landmarks' places for `size` (height, width): 112 x 96, 112 x 112, or one of these scaled. ConfigError."""
    height, width = size
    for (rows, columns), points in _TEMPLATES.items():
        if height * columns == width * rows:
            scaled: Points = points * (height / rows)
            return scaled
    raise ConfigError(
        f"there is no template for {height} x {width} pixels (height x width)",
        remedy="Use 112 x 96, 112 x 112, or a multiple of one of them.",
    )


def similarity_transform(source: Points, target: Points) -> Points:
    """The least-squares similarity [2, 3] (scale, rotation, shift; no reflection) from `source` to `target` [n, 2].

    Umeyama (1991). InvalidSample for points that are not finite, fewer than two, or all in one place.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2 or len(source) < 2:
        raise InvalidSample(f"landmarks {list(source.shape)} do not fit the template {list(target.shape)}")
    if not np.isfinite(source).all():
        raise InvalidSample("a landmark is not a finite number")
    middle, aim = source.mean(axis=0), target.mean(axis=0)
    centred = source - middle
    variance = np.square(centred).sum() / len(source)
    if variance < 1e-12:
        raise InvalidSample("all landmarks are in one place")
    left, singular, right = np.linalg.svd((target - aim).T @ centred / len(source))
    sign = np.array([1.0, -1.0 if np.linalg.det(left) * np.linalg.det(right) < 0 else 1.0])
    rotation = left @ np.diag(sign) @ right
    scale = (singular * sign).sum() / variance
    return np.column_stack([scale * rotation, aim - scale * rotation @ middle])


def align(
    image: PillowImage.Image,
    landmarks: Points,
    size: tuple[int, int] = (112, 112),
    *,
    first_pixel: Literal[0, 1] = 0,
) -> PillowImage.Image:
    """The face of `image` with its landmarks [5, 2] at the template's places, height x width = `size`, bilinear.

    Pixels outside the picture are black. first_pixel: where the middle of the first pixel is, in landmarks and template:
    0 as in insightface and OpenCV, 1 as in SphereFace's MATLAB code.
    """
    to_template = similarity_transform(np.asarray(landmarks, np.float64), template(size))
    inverse = np.linalg.inv(np.vstack([to_template, [0.0, 0.0, 1.0]]))
    shift, back = np.eye(3), np.eye(3)
    shift[:2, 2], back[:2, 2] = first_pixel - 0.5, 0.5 - first_pixel  # Pillow has the first pixel's middle at .5
    coefficients = (back @ inverse @ shift)[:2].ravel().tolist()
    return image.transform(
        size[::-1], PillowImage.Transform.AFFINE, coefficients, resample=PillowImage.Resampling.BILINEAR
    )


def choose_face(faces: Sequence[Face], image: PillowImage.Image, several: Several = "error") -> Face:
    """The one face, or of several the largest or the nearest to the middle. InvalidSample where there is none."""
    if not faces:
        raise InvalidSample("there is no face in this image", remedy="Give landmarks, or leave the image out.")
    if len(faces) == 1:
        return faces[0]
    if several == "error":
        raise InvalidSample(
            f"there are {len(faces)} faces in this image", remedy="Choose with several=largest or several=center."
        )
    if several == "largest":
        return max(faces, key=_area)
    middle = np.array(image.size) / 2
    return min(faces, key=lambda face: float(np.square(_middle(face) - middle).sum()))


def read_landmarks(path: Path) -> dict[str, Points]:
    """Image -> landmarks [5, 2] of a file: CSV (path and x1,y1,...,x5,y5), JSON, or lines `path x1 y1 ... x5 y5 ...`.

    The JSON is an object of path -> ten numbers or five pairs. The third form is also IJB's `name_5pts_score.txt` (a
    score after the ten numbers). DataError with the line.
    """
    if path.suffix.lower() == ".json":
        from quire.storage import read_json

        content = read_json(path)
        if not isinstance(content, dict):
            raise DataError("this is no object of path -> landmarks", where=Where(file=path))
        return {name: _five(np.asarray(points, dtype=object).ravel(), path, name) for name, points in content.items()}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file)) if path.suffix.lower() == ".csv" else [line.split() for line in file]
    landmarks = {}
    for number, row in enumerate(rows, 1):
        if not row or (number == 1 and len(row) > 1 and row[0].strip().lower() in ("path", "image", "name")):
            continue
        if len(row) not in (11, 12):
            raise DataError(
                f"{len(row)} fields; a path and ten numbers (and a score) are needed",
                where=Where(file=path, line=number),
            )
        landmarks[row[0].strip()] = _five(np.array(row[1:11], dtype=object), path, number)
    return landmarks


def _five(values: NDArray[Any], path: Path, place: int | str) -> Points:
    where = Where(file=path, line=place) if isinstance(place, int) else Where(file=path, sample=place)
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError("a landmark is not a number", where=where) from None
    if numbers.size != 10 or not np.isfinite(numbers).all():
        raise DataError(f"ten finite numbers are needed, not {numbers.size}", where=where)
    return numbers.reshape(5, 2)


def _area(face: Face) -> float:
    if face.box is not None:
        left, top, right, bottom = face.box
        return (right - left) * (bottom - top)
    return float(np.prod(np.ptp(face.landmarks, axis=0)))


def _middle(face: Face) -> Points:
    if face.box is not None:
        left, top, right, bottom = face.box
        return np.array([(left + right) / 2, (top + bottom) / 2])
    middle: Points = face.landmarks.mean(axis=0)
    return middle
