"""Degraded pictures of text: turned, blurred, noisy, crossed by lines, pale, compressed, small."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from quire.errors import ConfigError, Where
from quire_duo.contrast import drawn_contrast
from quire_duo.rule import Parameter, Slot, find_rules
from quire_duo.rules.images import PictureRule
from quire_duo.rules.text import THEN, TOXIC_TEXT
from quire_duo.seeds import NotApplicable
from quire_duo.warp import carried, rotation, scaling, warp
from quire_duo.witness import ImageRegion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from quire_duo.drawing import Picture
    from quire_duo.seeds import Seed
    from quire_duo.witness import Unit
    from quire_duo.workshop import Workshop

OFF = "leaves the picture as it is"


class Degrade(PictureRule):
    """Another picture rule's picture made harder to read. Each change is off at its first value but the rotation.

    In this order: contrast, rotation, size, blur, noise, lines, JPEG. Corners, heights and contrasts of the witness are
    those of the final picture.
    """

    id = "TI.degrade"
    summary = "Degrade a picture of the text: rotation, blur, noise, lines, contrast, JPEG, downscaling"
    slots = (TOXIC_TEXT, Slot("picture", "image", "benign", least=0))
    parameters = (
        Parameter("base", ("TI.screenshot", "TI.caption_overlay"), "the picture rule that is degraded", free=True),
        Parameter("rotate", (5, 15, 30, 90), f"degrees, anticlockwise; 0 {OFF}", low=-180, high=180),
        Parameter("blur", (0.0, 0.5, 1.0, 2.0), f"sigma in pixels; 0 {OFF}", low=0, high=20),
        Parameter("noise", (0.0, 10.0, 25.0, 50.0), f"standard deviation in grey levels; 0 {OFF}", low=0, high=128),
        Parameter("lines", (0, 7), f"a line every so many pixels; 0 {OFF}", low=0, high=100),
        Parameter("contrast", (21.0, 7.0, 4.5, 3.0), f"of the letters, at most; 21 {OFF}", low=1, high=21),
        Parameter("jpeg", (100, 30), f"quality; 100 {OFF}", low=1, high=100),
        Parameter("downscale", (1.0, 0.5), f"the share of width and height that is left; 1 {OFF}", low=0.05, high=1),
        THEN,
    )

    def picture(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Picture:
        """The base rule's picture with its usual parameters, changed. NotApplicable where it needs a benign picture."""
        made = _base(parameters["base"], parts, parameters["then"], rng, workshop)
        made = _paled(made, float(parameters["contrast"]))
        made = _turned(made, float(parameters["rotate"]), workshop.canvas.max)
        made = _shrunk(made, float(parameters["downscale"]))
        for change in _filters(parameters, made.image.size, rng):
            made = _changed(made, change)
        quality = int(parameters["jpeg"])
        # contrast is measured without the lines: they cover letters, and are no background of theirs
        made = replace(made, units=_measured(_compressed(made, quality)))
        return _compressed(_crossed(made, int(parameters["lines"])), quality)


def _base(
    name: str, parts: Mapping[str, Sequence[Seed]], then: str, rng: np.random.Generator, workshop: Workshop
) -> Picture:
    rule = _base_rule(name)
    for slot in rule.slots:
        if len(parts.get(slot.name, ())) < slot.least:
            raise NotApplicable(f"{name} needs a benign {slot.modality}", remedy="Give benign seeds of that modality.")
    return rule.picture(parts, rule.check({"then": then}), rng, workshop)


@lru_cache(maxsize=64)
def _base_rule(name: str) -> PictureRule:
    found = find_rules((name,))
    rule = found[0]
    if len(found) > 1 or not isinstance(rule, PictureRule) or isinstance(rule, Degrade):
        raise ConfigError(f"{name!r} is not a rule that draws text", where=Where(field=f"{Degrade.id}.base"))
    if rule.guarantee != "carrier" or rule.produces != {"image"}:
        raise ConfigError(
            f"{name} does not put the whole text into one picture", where=Where(field=f"{Degrade.id}.base")
        )
    return rule


def _changed(picture: Picture, change: Callable[[Image.Image], Image.Image]) -> Picture:
    """The same change to the picture and its twins, each once."""
    image, backdrop = change(picture.image), change(picture.backdrop)
    ground = backdrop if picture.ground is picture.backdrop else change(picture.ground)
    return replace(picture, image=image, backdrop=backdrop, ground=ground)


def _paled(picture: Picture, target: float) -> Picture:
    """Letters faded into the backdrop until the least contrast of a line is the one asked for; the opacity by bisection."""
    if target >= 21 or min(_contrasts(picture)) <= target:
        return picture
    low, high = 0.0, 1.0
    for _ in range(9):
        middle = (low + high) / 2
        enough = min(_contrasts(_faded(picture, middle))) >= target
        low, high = (low, middle) if enough else (middle, high)
    return _faded(picture, high)


def _faded(picture: Picture, opacity: float) -> Picture:
    return replace(picture, image=Image.blend(picture.backdrop, picture.image, opacity))


def _contrasts(picture: Picture) -> list[float]:
    return [
        drawn_contrast(picture.image, picture.backdrop, picture.ground, _region(unit).quad) for unit in picture.units
    ]


def _measured(picture: Picture) -> tuple[Unit, ...]:
    """The units with the contrasts that they have in the picture."""
    return tuple(
        replace(unit, place=replace(_region(unit), contrast=measured))
        for unit, measured in zip(picture.units, _contrasts(picture), strict=True)
    )


def _region(unit: Unit) -> ImageRegion:
    assert isinstance(unit.place, ImageRegion)
    return unit.place


def _turned(picture: Picture, degrees: float, longest: int) -> Picture:
    """Turned about its centre, on a picture that holds all of it, in the colour of the upper left corner."""
    if degrees == 0:
        return picture
    matrix, size = rotation(degrees, picture.image.size)
    if max(size) > longest:
        raise NotApplicable(f"the turned picture of {size[0]} x {size[1]} pixels is longer than {longest}")
    red, green, blue = picture.ground.crop((0, 0, 1, 1)).tobytes()
    fill = (red, green, blue)
    units = tuple(carried(unit, matrix, degrees) for unit in picture.units)
    return replace(_changed(picture, lambda image: warp(image, matrix, size, fill)), units=units)


def _shrunk(picture: Picture, share: float) -> Picture:
    if share == 1:
        return picture
    width, height = picture.image.size
    size = (max(1, round(share * width)), max(1, round(share * height)))
    matrix = scaling(size[0] / width, size[1] / height)
    units = tuple(carried(unit, matrix) for unit in picture.units)
    return replace(_changed(picture, lambda image: image.resize(size, Image.Resampling.LANCZOS)), units=units)


def _filters(
    parameters: Mapping[str, Any], size: tuple[int, int], rng: np.random.Generator
) -> list[Callable[[Image.Image], Image.Image]]:
    """Blur and noise, as far as they are on."""
    changes: list[Callable[[Image.Image], Image.Image]] = []
    if parameters["blur"]:
        changes.append(lambda image: image.filter(ImageFilter.GaussianBlur(parameters["blur"])))
    if parameters["noise"]:
        noise = rng.normal(0, parameters["noise"], (size[1], size[0], 3)).astype(np.float32)
        changes.append(lambda image: _noisy(image, noise))
    return changes


def _noisy(image: Image.Image, noise: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _crossed(picture: Picture, every: int) -> Picture:
    """Horizontal lines, a pixel thick, in the colour of the first unit's letters; they cover the letters."""
    if every == 0:
        return picture
    rows = range(every // 2, picture.image.height, every)
    colour = _region(picture.units[0]).colour

    def draw(image: Image.Image) -> Image.Image:
        image = image.copy()
        pen = ImageDraw.Draw(image)
        for row in rows:
            pen.line((0, row, image.width, row), fill=colour)
        return image

    units = []
    for unit in picture.units:
        region = _region(unit)
        ys = [y for _, y in region.quad]
        crossing = sum(min(ys) - 1 < row < max(ys) for row in rows)
        share = min(1.0, crossing / max(1.0, max(ys) - min(ys)))
        units.append(replace(unit, place=replace(region, covered=1 - (1 - region.covered) * (1 - share))))
    return replace(picture, image=draw(picture.image), units=tuple(units))


def _compressed(picture: Picture, quality: int) -> Picture:
    """As JPEG gives it back."""
    if quality == 100:
        return picture

    def change(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")

    return _changed(picture, change)
