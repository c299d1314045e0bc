"""Posts of a picture and a text: composed pairs, and toxic pictures in benign surroundings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from quire.modality import Image as ImageModality
from quire_duo.drawing import benign_picture, quad_of
from quire_duo.rule import Fused, FusionRule, Parameter, Slot
from quire_duo.seeds import NotApplicable
from quire_duo.witness import ImageRegion, TextSpan, Unit, Witness, tokens_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from quire_duo.seeds import Seed
    from quire_duo.workshop import Workshop

_PLAIN = ImageModality(mode="RGB")
_LEAST_SIDE = 64
"""Of a toxic picture within another, in pixels."""


class Compose(FusionRule):
    """A text and a picture that are harmless alone and toxic together, as a row of the user's composition table says."""

    id = "TI.compose"
    summary = "A text and a picture that a composition table vouches for"
    slots = (Slot("pair", "pair", "pair"),)
    produces = frozenset({"text", "image"})
    guarantee = "compose"

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """The pair as it is: one seed with both as its content, or two seeds, the text first."""
        pair = parts["pair"]
        content = pair[0].value if isinstance(pair[0].value, Mapping) else {seed.modality: seed.value for seed in pair}
        if not {"text", "image"} <= content.keys():
            raise NotApplicable(f"the pair {pair[0].id} lacks a text or a picture")
        text, image = content["text"], _whole(content["image"], workshop)
        units = (
            Unit(TextSpan(0, len(text)), tokens_of(text), surface=text),
            Unit(ImageRegion(quad_of((0, 0, *image.size)))),
        )
        return Fused({"text": text, "image": image}, Witness(units))


class Collage(FusionRule):
    """The toxic picture as a tile on a benign one, at a random place."""

    id = "II.collage"
    summary = "A toxic picture as a tile on a benign one"
    slots = (Slot("toxic", "image", "toxic"), Slot("picture", "image", "benign"))
    produces = frozenset({"image"})
    guarantee = "carrier"
    parameters = (Parameter("share", (0.25,), "of the area that the tile takes", low=0.02, high=1.0),)

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """A tile of another shape than the picture takes less where its side would be longer than the picture's."""
        image = benign_picture(parts["picture"][0], workshop)
        tile = _PLAIN.validate(parts["toxic"][0].value)
        scale = (parameters["share"] * image.width * image.height / (tile.width * tile.height)) ** 0.5
        scale = min(scale, image.width / tile.width, image.height / tile.height)
        size = (max(1, round(tile.width * scale)), max(1, round(tile.height * scale)))
        if min(size) < _LEAST_SIDE:
            raise NotApplicable(f"the toxic picture would be {size[0]} x {size[1]} pixels, a side below {_LEAST_SIDE}")
        left, top = (int(rng.integers(0, whole - part + 1)) for whole, part in zip(image.size, size, strict=True))
        right, bottom = left + size[0], top + size[1]
        ImageDraw.Draw(image).rectangle((left - 3, top - 3, right + 2, bottom + 2), fill="white")
        image.paste(tile.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0), (left, top))
        return Fused({"image": image}, Witness((Unit(ImageRegion(quad_of((left, top, right, bottom)))),)))


class BenignText(FusionRule):
    """The toxic picture as it is, in a post whose text is benign."""

    id = "IT.benign_text"
    summary = "A toxic picture in a post with a benign text"
    slots = (Slot("toxic", "image", "toxic"), Slot("post", "text", "benign"))
    produces = frozenset({"text", "image"})
    guarantee = "carrier"

    def apply(
        self,
        parts: Mapping[str, Sequence[Seed]],
        parameters: Mapping[str, Any],
        rng: np.random.Generator,
        workshop: Workshop,
    ) -> Fused:
        """The text is left alone."""
        image = _whole(parts["toxic"][0].value, workshop)
        content = {"text": parts["post"][0].text, "image": image}
        return Fused(content, Witness((Unit(ImageRegion(quad_of((0, 0, *image.size)))),)))


def _whole(value: Any, workshop: Workshop) -> Image.Image:
    """A picture of the user's as it is, RGB with 8 bits, at most `canvas.max` long."""
    image = _PLAIN.validate(value)
    scale = workshop.canvas.max / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
