"""Still pictures."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps

from quire.errors import InvalidSample
from quire.modality.base import Modality, decoding, typename
from quire.modality.media import media_bytes, media_payload, media_schema

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from quire.storage import JSON


@dataclass(frozen=True)
class Image(Modality[PillowImage.Image]):
    """A still picture, `PIL.Image.Image` of mode "L", "RGB" or "I;16" (16-bit grey).

    `mode` asks for one of them (the usual weights for grey; 16-bit values are divided by 257, 8-bit values multiplied
    by it), None keeps what the file holds. The EXIF orientation is applied, transparency is laid over white, palettes
    and CMYK become RGB, of an animation the first frame counts, metadata is left behind. Arrays uint8 [h, w] or
    [h, w, 3] and uint16 [h, w] are taken too. More than `max_pixels` pixels are refused before they are decoded
    (Pillow's own limit stands above it).
    """

    kind: ClassVar[str] = "image"
    suffixes: ClassVar[tuple[str, ...]] = (
        *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pgm", ".ppm", ".pbm", ".pnm", ".jp2"),
        *(".tga", ".ico", ".avif"),
    )
    writes: ClassVar[tuple[str, ...]] = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")

    mode: Literal["RGB", "L", "I;16"] | None = "RGB"
    max_pixels: int = 178_956_970

    def load(self, source: Path | bytes) -> PillowImage.Image:
        """The upright first frame, without metadata."""
        with PillowImage.open(source if isinstance(source, Path) else io.BytesIO(source)) as opened:
            self._require_size(opened)
            image = plain_image(ImageOps.exif_transpose(opened))
        image.info = {}
        return image

    def validate(self, value: object) -> PillowImage.Image:
        """A picture of the mode asked for, of 1 to `max_pixels` pixels."""
        if isinstance(value, np.ndarray):
            value = image_of_array(value)
        if not isinstance(value, PillowImage.Image):
            raise InvalidSample(f"expected an image, got {typename(value)}")
        self._require_size(value)
        with decoding("image"):
            image = plain_image(value)
            return image if self.mode in (None, image.mode) else image_as_mode(image, self.mode or image.mode)

    def _require_size(self, image: PillowImage.Image) -> None:
        width, height = image.size
        if not 0 < width * height <= self.max_pixels:
            raise InvalidSample(f"{width} x {height} pixels are outside 1..{self.max_pixels}")

    def encode(self, value: PillowImage.Image) -> JSON:
        """PNG."""
        return media_payload("image/png", self.to_bytes(value, ".png"))

    def parse(self, data: JSON) -> PillowImage.Image:
        """An image file of any format that `read` takes."""
        raw = media_bytes(data)
        with decoding("image"):
            return self.load(raw)

    def to_bytes(self, value: PillowImage.Image, suffix: str) -> bytes:
        """PNG, TIFF and BMP are lossless; only PNG and TIFF hold 16 bits."""
        buffer = io.BytesIO()
        if suffix not in (".png", ".tif", ".tiff"):
            value = image_as_mode(value, "L" if value.mode == "I;16" else value.mode)
        value.save(buffer, format=PillowImage.registered_extensions()[suffix])
        return buffer.getvalue()

    def json_schema(self) -> dict[str, Any]:
        """An object of base64 data and media type."""
        return media_schema("An image file (PNG, JPEG, TIFF, ...)")

    def widget(self) -> dict[str, Any]:
        """A file."""
        return {"kind": self.kind, "input": "file", "accept": list(self.suffixes)}

    def show(self, value: PillowImage.Image, axes: Axes) -> None:
        """The picture, without ticks."""
        axes.imshow(np.asarray(value), cmap=None if value.mode == "RGB" else "gray")
        axes.set_axis_off()


def plain_image(image: PillowImage.Image) -> PillowImage.Image:
    """`image` as one of the modes "L", "RGB" and "I;16"."""
    if image.mode == "I;16" or (image.mode in ("L", "RGB") and not image.has_transparency_data):
        return image
    if image.mode == "F":
        raise InvalidSample("the pixels are floating-point numbers", remedy="Scale them to 0..255 or 0..65535 first.")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise InvalidSample(f"pixel values from {values.min()} to {values.max()} do not fit 16 bits")
        return PillowImage.fromarray(values.astype(np.uint16))
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        image = PillowImage.alpha_composite(PillowImage.new("RGBA", opaque.size, "white"), opaque)
    return image.convert("L" if grey else "RGB")


def image_as_mode(image: PillowImage.Image, mode: str) -> PillowImage.Image:
    """`image`, of a plain mode, as another plain mode."""
    if mode == "I;16":
        return PillowImage.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if image.mode == "I;16":
        image = PillowImage.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    return image.convert(mode)


def image_of_array(array: NDArray[Any]) -> PillowImage.Image:
    """The picture in an array, uint8 [h, w] or [h, w, 3] or uint16 [h, w]."""
    grey, colour = array.ndim == 2, array.ndim == 3 and array.shape[2] == 3
    if not ((array.dtype == np.uint8 and (grey or colour)) or (array.dtype == np.uint16 and grey)):
        raise InvalidSample(
            f"expected uint8 [h, w] or [h, w, 3] or uint16 [h, w], got {array.dtype} {list(array.shape)}",
            remedy="Scale pixels to 0..255 and put the channels last.",
        )
    return PillowImage.fromarray(np.ascontiguousarray(array))
