"""What can be known of image files before they are used: kind, size, mode, and whether they are whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from quire.errors import DataError, InvalidSample, Where
from quire.modality import decoding
from quire.storage import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

Check = Literal["names", "headers", "pixels"]
FORMATS = ("JPEG", "PNG", "BMP", "PPM", "GIF", "WEBP", "TIFF")  # none of these runs a program to be read
_ROTATED = (5, 6, 7, 8)
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Header:
    """What an image file says of itself: width and height upright, and what must be converted ("" if nothing)."""

    width: int
    height: int
    conversion: str


def read_header(file: Path, *, pixels: bool = False) -> Header | None:
    """The header of an image file; None where the content is no image of FORMATS.

    With `pixels` the whole file is decoded, which finds truncated ones. InvalidSample for an empty, animated or damaged
    file.
    """
    if not file.stat().st_size:
        raise InvalidSample("the file is empty", where=Where(file=file))
    try:
        with PillowImage.open(file, formats=FORMATS) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise InvalidSample("the image is animated", where=Where(file=file))
            rotation = image.getexif().get(_ORIENTATION, 1)
            width, height = image.size[::-1] if rotation in _ROTATED else image.size
            conversion = "rotated by EXIF" if rotation != 1 else _conversion(image)
            if pixels:
                with decoding("image"):
                    image.load()
    except UnidentifiedImageError:
        return None
    except InvalidSample as error:
        raise InvalidSample(error.message, where=Where(file=file), remedy=error.remedy) from error
    except (OSError, SyntaxError, ValueError, PillowImage.DecompressionBombError) as error:
        raise InvalidSample(f"this image can't be read ({error})", where=Where(file=file)) from error
    return Header(width, height, conversion)


def _conversion(image: PillowImage.Image) -> str:
    kinds = {"L": "grey", "1": "grey", "P": "palette", "RGBA": "with transparency", "LA": "with transparency"}
    return kinds.get(image.mode, "" if image.mode == "RGB" else "16-bit" if image.mode[0] == "I" else image.mode)


def conversions_note(headers: Iterable[Header]) -> str | None:
    """How many images are turned into plain RGB, by kind."""
    counts = Counter(header.conversion for header in headers if header.conversion)
    if not counts:
        return None
    told = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    return f"images that are converted to RGB: {told}"


def require_one_size(headers: Sequence[tuple[Path, Header]], size: tuple[int, int] | None) -> None:
    """DataError where images differ in size and are not resized, or where they look transposed (width for height)."""
    sizes: dict[tuple[int, int], Path] = {}
    for file, header in headers:
        sizes.setdefault((header.width, header.height), file)
    if size is not None:
        height, width = size
        if width != height and (height, width) in sizes:
            raise DataError(
                f"{height}x{width} pixels (width x height) looks transposed: size asks for height {height}, width {width}",
                where=Where(file=sizes[height, width]),
                remedy=f"Give size=[{width}, {height}], or align the images.",
            )
        return
    if len(sizes) > 1:
        (first, one), (second, other) = list(sizes.items())[:2]
        transposed = first == second[::-1]
        raise DataError(
            f"{one} has {first[0]}x{first[1]} pixels and {other} {second[0]}x{second[1]}"
            + ("; one looks transposed" if transposed else ""),
            remedy="Align them with `quire faces align`, or give size=[height, width] to resize all.",
        )


def duplicates(files: Iterable[tuple[Path, str]]) -> list[str]:
    """One sentence for each content that stands under more than one identity; `files` are (file, identity)."""
    by_content: dict[str, list[tuple[Path, str]]] = {}
    for file, identity in files:
        by_content.setdefault(content_hash(file), []).append((file, identity))
    return [
        f"one image is there under several identities: {', '.join(str(file) for file, _ in found)}"
        for found in by_content.values()
        if len({identity for _, identity in found}) > 1
    ]
