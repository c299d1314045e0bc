"""Simple faces that people could tell apart, for the synthetic releases of the readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

if TYPE_CHECKING:
    from collections.abc import Iterator

HEIGHT, WIDTH = 56, 48


def draw_people(people: int, images: int, rng: np.random.Generator) -> Iterator[tuple[int, int, PillowImage.Image]]:
    """(person, number, RGB image of 48 x 56 pixels): the same features each time, another light, place and noise."""
    for person in range(people):
        face = {
            "skin": rng.integers(120, 230, 3),
            "hair": rng.integers(0, 160, 3),
            "eyes": rng.integers(0, 255, 3),
            "width": rng.uniform(0.26, 0.40),
            "apart": rng.uniform(0.10, 0.20),
            "mouth": rng.uniform(0.06, 0.18),
            "fringe": rng.uniform(0.10, 0.30),
        }
        for number in range(images):
            yield person, number, _draw(face, rng)


def _draw(face: dict[str, object], rng: np.random.Generator) -> PillowImage.Image:
    light = rng.uniform(0.7, 1.2)
    left, top = rng.uniform(-2, 2, 2)

    def colour(name: str) -> tuple[int, ...]:
        return tuple(np.clip(np.asarray(face[name]) * light, 0, 255).astype(int).tolist())

    def box(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
        middle, level = WIDTH * x + left, HEIGHT * y + top
        return middle - WIDTH * width, level - HEIGHT * height, middle + WIDTH * width, level + HEIGHT * height

    picture = PillowImage.new("RGB", (WIDTH, HEIGHT), (40, 44, 50))
    pen = ImageDraw.Draw(picture)
    width, apart, mouth = (float(face[name]) for name in ("width", "apart", "mouth"))  # type: ignore[arg-type]
    pen.ellipse(box(0.5, 0.52, width, 0.42), fill=colour("skin"))
    pen.chord(box(0.5, 0.40, width + 0.04, float(face["fringe"]) + 0.1), 180, 360, fill=colour("hair"))  # type: ignore[arg-type]
    for side in (-1, 1):
        pen.ellipse(box(0.5 + side * apart, 0.5, 0.05, 0.035), fill=colour("eyes"))
    pen.line((*box(0.5, 0.6, 0.0, 0.05)[:2], *box(0.5, 0.6, 0.02, 0.05)[2:]), fill=colour("hair"), width=2)
    pen.ellipse(box(0.5, 0.76, mouth, 0.03), fill=(180, 60, 70))
    noisy = np.asarray(picture, dtype=np.int16) + rng.integers(-12, 13, (HEIGHT, WIDTH, 1))
    return PillowImage.fromarray(noisy.clip(0, 255).astype(np.uint8))
