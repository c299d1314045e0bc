"""What one field of a sample is: how it is read, checked, carried as JSON, written and drawn."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
import textwrap
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar, cast

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps, ImageSequence

from quire.errors import InvalidSample, MissingExtra, QuireError, Where, nearest, require
from quire.storage import JSON, atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

T = TypeVar("T")
Sample: TypeAlias = dict[str, Any]

MAX_JSON_VALUES = 2**24
"""The most numbers that one field of a JSON request may hold."""
MAX_MEDIA_BYTES = 2**28
"""The most bytes that one media field of a JSON request may hold, decoded."""
MAX_VIDEO_BYTES = 2**32
"""The most bytes that one video may take in memory, decoded."""
MAX_RATE, MAX_CHANNELS = 2**22, 255
"""The highest rate in Hz and the most channels of sound; a WAV header has room for their product."""
LONGEST_FRAME = 65_535  # milliseconds, the most that an animated PNG can say
MAX_CELL = 2**30
"""The most characters of a table's cell: the csv module's own limit, 128 KiB, is less than one long text."""


@contextmanager
def placed(where: Where) -> Iterator[None]:
    """Adds the parts of `where` that are set to the place of an InvalidSample raised inside."""
    try:
        yield
    except InvalidSample as error:
        known = {part.name: getattr(where, part.name) for part in fields(where)}
        merged = replace(error.where or Where(), **{name: part for name, part in known.items() if part is not None})
        raise InvalidSample(error.message, where=merged, remedy=error.remedy) from error.__cause__


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Turns whatever a decoder raises on a damaged or missing file into InvalidSample; `what` names the format."""
    try:
        yield
    except QuireError:
        raise
    except FileNotFoundError as error:
        raise InvalidSample("there is no such file") from error
    except IsADirectoryError as error:
        raise InvalidSample(f"this is a folder, not a file of {what}") from error
    except MemoryError as error:
        raise InvalidSample(f"this {what} does not fit in memory") from error
    except Exception as error:  # decoders raise anything from SyntaxError to struct.error on damaged bytes
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise InvalidSample(
            f"this {what} can't be read ({reason})", remedy="Check that the file is complete and of this kind."
        ) from error


def path_inside(folder: Path, relative: str) -> Path:
    """`folder / relative` for a path that stands in a user's table.

    Raises InvalidSample for an empty path, an absolute one (of any operating system) and one with "..": a table that
    was got from elsewhere must not reach outside its own folder.
    """
    windows = PureWindowsPath(relative)
    if not relative.strip() or PurePosixPath(relative).is_absolute() or windows.drive or windows.root:
        raise InvalidSample(
            f"{relative!r} is not a path relative to the table", remedy="Write paths relative to the table's folder."
        )
    if ".." in windows.parts:
        raise InvalidSample(f"{relative!r} leads out of the table's folder", remedy="Put the files beside the table.")
    return folder / relative


class Modality(ABC, Generic[T]):
    """The one place that knows how a field looks in memory (`T`), on disk, in JSON and on a page.

    Subclasses are frozen dataclasses: equal by value, hashable, picklable. They write `load`, `validate`, `encode`,
    `parse`, `to_bytes`, `json_schema`, `widget` and `show`; what raises InvalidSample in them need not know the place
    of the fault, for `read`, `check` and `decode` add it.
    """

    kind: ClassVar[str]
    """The modality's short name."""
    suffixes: ClassVar[tuple[str, ...]]
    """The endings of the files that `read` takes, lower case."""
    writes: ClassVar[tuple[str, ...]]
    """The endings of the files that `write` makes; the first is the usual one."""

    def __str__(self) -> str:
        options = [(part, getattr(self, part.name)) for part in fields(cast("Any", self))]
        changed = ", ".join(f"{part.name}={value!r}" for part, value in options if value != part.default)
        return f"{type(self).__name__}({changed})" if changed else type(self).__name__

    @abstractmethod
    def load(self, source: Path | bytes) -> object:
        """What a decoder makes of a file or of its content, to be validated."""

    @abstractmethod
    def validate(self, value: object) -> T:
        """`value` in this field's one form; InvalidSample when it can't be brought there without a guess."""

    @abstractmethod
    def encode(self, value: T) -> JSON:
        """`value` as JSON; `decode` gives it back unchanged."""

    @abstractmethod
    def parse(self, data: JSON) -> object:
        """What the JSON stands for, to be validated."""

    @abstractmethod
    def to_bytes(self, value: T, suffix: str) -> bytes:
        """The content of a file of the format `suffix`, one of `writes`."""

    @abstractmethod
    def json_schema(self) -> dict[str, Any]:
        """A JSON schema of what `encode` gives and `decode` takes."""

    @abstractmethod
    def widget(self) -> dict[str, Any]:
        """How a page asks for a value: "kind", "input" (file, text, choice or numbers) and that input's options."""

    @abstractmethod
    def show(self, value: T, axes: Axes) -> None:
        """Draws `value` on `axes`."""

    def read(self, source: Path | bytes) -> T:
        """The one value in a file, or in a file's content; InvalidSample names the file."""
        with placed(Where(file=source if isinstance(source, Path) else None)), decoding(self.kind):
            return self.validate(self.load(source))

    def read_all(self, path: Path) -> Iterator[tuple[str, T]]:
        """Every value in a file with its id, which begins with the file's name; one unless the kind has tables."""
        yield path.name, self.read(path)

    def check(self, value: object, *, field: str, sample: str | int | None = None) -> T:
        """`value` in this field's one form, harmless variants converted; InvalidSample names `field` and `sample`."""
        with placed(Where(sample=sample, field=field)):
            return self.validate(value)

    def decode(self, data: JSON, *, field: str) -> T:
        """The value that `data`, JSON from outside, stands for; InvalidSample names `field`."""
        with placed(Where(field=field)):
            return self.validate(self.parse(data))

    def from_cell(self, cell: object, folder: Path) -> T:
        """The value of a table's cell.

        A text is a path relative to `folder` or, in brackets or braces, JSON; anything else is what `decode` takes, or
        the content of a file as bytes. Raises InvalidSample without a file: the caller knows the table and its row.
        """
        if isinstance(cell, dict) and isinstance(cell.get("bytes"), bytes):  # as Hugging Face keeps media in Parquet
            cell = cell["bytes"]
        if isinstance(cell, bytes):
            return self.read(cell)
        if not isinstance(cell, str):
            return self.validate(self.parse(cast("JSON", cell)))
        text = cell.strip()
        if (text[:1], text[-1:]) in {("[", "]"), ("{", "}")}:
            return self.validate(self.parse(_json(text)))
        path = path_inside(folder, text)
        try:
            return self.read(path)
        except InvalidSample as error:
            raise InvalidSample(f"{text}: {error.message}", remedy=error.remedy) from error

    def write(self, value: T, path: Path) -> Path:
        """Writes `value` atomically and returns the path: `path`, with the usual ending if it has none of `writes`."""
        suffix = path.suffix.lower()
        if suffix not in self.writes:
            suffix = self.writes[0]
            path = path.with_name(path.name + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path, "wb") as file:
            file.write(self.to_bytes(value, suffix))
        return path

    def fits(self, other: Modality[Any]) -> bool:
        """Whether a value of `other` may be used where this one is asked for, as far as the two declarations tell."""
        return isinstance(other, type(self))


@dataclass(frozen=True, eq=False)
class Waveform:
    """Sound: `samples` float32 [channels, frames], nominally in [-1, 1]; `rate` frames per second."""

    samples: NDArray[np.float32]
    rate: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return float(self.samples.shape[-1] / self.rate)


@dataclass(frozen=True, eq=False)
class Frames:
    """Moving pictures: `frames` uint8 [n, height, width, 3] (RGB) at `fps` frames per second."""

    frames: NDArray[np.uint8]
    fps: float

    @property
    def seconds(self) -> float:
        """Duration."""
        return float(len(self.frames) / self.fps)


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
            image = _plain(ImageOps.exif_transpose(opened))
        image.info = {}
        return image

    def validate(self, value: object) -> PillowImage.Image:
        """A picture of the mode asked for, of 1 to `max_pixels` pixels."""
        if isinstance(value, np.ndarray):
            value = _image_of(value)
        if not isinstance(value, PillowImage.Image):
            raise InvalidSample(f"expected an image, got {_typename(value)}")
        self._require_size(value)
        with decoding("image"):
            image = _plain(value)
            return image if self.mode in (None, image.mode) else _as_mode(image, self.mode or image.mode)

    def _require_size(self, image: PillowImage.Image) -> None:
        width, height = image.size
        if not 0 < width * height <= self.max_pixels:
            raise InvalidSample(f"{width} x {height} pixels are outside 1..{self.max_pixels}")

    def encode(self, value: PillowImage.Image) -> JSON:
        """PNG."""
        return _payload("image/png", self.to_bytes(value, ".png"))

    def parse(self, data: JSON) -> PillowImage.Image:
        """An image file of any format that `read` takes."""
        raw = _payload_bytes(data)
        with decoding("image"):
            return self.load(raw)

    def to_bytes(self, value: PillowImage.Image, suffix: str) -> bytes:
        """PNG, TIFF and BMP are lossless; only PNG and TIFF hold 16 bits."""
        buffer = io.BytesIO()
        if suffix not in (".png", ".tif", ".tiff"):
            value = _as_mode(value, "L" if value.mode == "I;16" else value.mode)
        value.save(buffer, format=PillowImage.registered_extensions()[suffix])
        return buffer.getvalue()

    def json_schema(self) -> dict[str, Any]:
        """An object of base64 data and media type."""
        return _media_schema("An image file (PNG, JPEG, TIFF, ...)")

    def widget(self) -> dict[str, Any]:
        """A file."""
        return {"kind": self.kind, "input": "file", "accept": list(self.suffixes)}

    def show(self, value: PillowImage.Image, axes: Axes) -> None:
        """The picture, without ticks."""
        axes.imshow(np.asarray(value), cmap=None if value.mode == "RGB" else "gray")
        axes.set_axis_off()


@dataclass(frozen=True)
class Text(Modality[str]):
    """A `str` of at most `max_length` characters; on disk UTF-8, with or without a byte-order mark.

    A file is one text, less one final line break. A .csv or .tsv file of one column (no header, or the header "text")
    is one text per row.
    """

    kind: ClassVar[str] = "text"
    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".md", ".csv", ".tsv")
    writes: ClassVar[tuple[str, ...]] = (".txt",)

    max_length: int | None = None

    def load(self, source: Path | bytes) -> str:
        """The whole text."""
        text = utf8_text(source)
        return text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")

    def read_all(self, path: Path) -> Iterator[tuple[str, str]]:
        """One text, or one per row of a .csv or .tsv file with the id "name:row", rows from 1."""
        if path.suffix.lower() not in (".csv", ".tsv"):
            yield path.name, self.read(path)
            return
        with placed(Where(file=path)), decoding(self.kind):
            rows = list(_text_rows(utf8_text(path), "," if path.suffix.lower() == ".csv" else "\t"))
        if rows and rows[0][1] == self.kind:
            del rows[0]
        for row, (line, text) in enumerate(rows, 1):
            with placed(Where(file=path, line=line)):
                value = self.validate(text)
            yield f"{path.name}:{row}", value

    def validate(self, value: object) -> str:
        """A text that UTF-8 can carry, not longer than allowed."""
        if not isinstance(value, str):
            raise InvalidSample(f"expected text, got {_typename(value)}")
        if self.max_length is not None and len(value) > self.max_length:
            raise InvalidSample(f"{len(value)} characters are more than the {self.max_length} that are allowed")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidSample(f"character {error.start + 1} is half of a surrogate pair, not a character") from error
        return str(value)

    def encode(self, value: str) -> JSON:
        """The text itself."""
        return value

    def parse(self, data: JSON) -> object:
        """The text itself."""
        return data

    def from_cell(self, cell: object, folder: Path) -> str:
        """The cell itself."""
        return self.validate(cell)

    def to_bytes(self, value: str, suffix: str) -> bytes:
        """UTF-8 with a final line break."""
        return f"{value}\n".encode()

    def json_schema(self) -> dict[str, Any]:
        """A string."""
        return {"type": "string"} | ({} if self.max_length is None else {"maxLength": self.max_length})

    def widget(self) -> dict[str, Any]:
        """A text box."""
        return {"kind": self.kind, "input": "text", "accept": list(self.suffixes), "max_length": self.max_length}

    def show(self, value: str, axes: Axes) -> None:
        """The first 600 characters, wrapped."""
        _write_on(axes, textwrap.fill(textwrap.shorten(value, 600, placeholder=" …"), 48))


@dataclass(frozen=True)
class Label(Modality[str]):
    """The name of a class, a `str` that is not empty; integers (and floats without a fraction) become their digits.

    `labels`, where given, are the only ones allowed.
    """

    kind: ClassVar[str] = "label"
    suffixes: ClassVar[tuple[str, ...]] = (".txt",)
    writes: ClassVar[tuple[str, ...]] = (".txt",)

    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(self.labels))

    def load(self, source: Path | bytes) -> str:
        """The text of the file, less the white space around it."""
        return utf8_text(source).strip()

    def validate(self, value: object) -> str:
        """One of the labels."""
        if isinstance(value, float | np.floating) and float(value).is_integer():
            value = int(value)
        if isinstance(value, int | np.integer) and not isinstance(value, bool):
            value = str(int(value))
        if not isinstance(value, str):
            raise InvalidSample(f"expected a label, got {_typename(value)}", remedy="Write labels as text or integers.")
        if not value.strip():
            raise InvalidSample("the label is empty")
        if self.labels is not None and value not in self.labels:
            raise InvalidSample(
                f"unknown label {value!r}{nearest(value, self.labels)}", remedy=f"Known are: {_listed(self.labels)}."
            )
        return str(value)

    def encode(self, value: str) -> JSON:
        """The label itself."""
        return value

    def parse(self, data: JSON) -> object:
        """The label itself."""
        return data

    def from_cell(self, cell: object, folder: Path) -> str:
        """The cell itself."""
        return self.validate(cell)

    def to_bytes(self, value: str, suffix: str) -> bytes:
        """UTF-8 with a final line break."""
        return f"{value}\n".encode()

    def json_schema(self) -> dict[str, Any]:
        """A string, of the labels where they are known."""
        return {"type": "string", "minLength": 1} if self.labels is None else {"enum": list(self.labels)}

    def widget(self) -> dict[str, Any]:
        """A choice where the labels are known, else a text box."""
        if self.labels is None:
            return {"kind": self.kind, "input": "text", "accept": list(self.suffixes), "max_length": None}
        return {"kind": self.kind, "input": "choice", "options": list(self.labels)}

    def show(self, value: str, axes: Axes) -> None:
        """The label."""
        _write_on(axes, value)

    def fits(self, other: Modality[Any]) -> bool:
        """Labels of `other` that are known must all be allowed here."""
        if not isinstance(other, Label):
            return False
        return self.labels is None or other.labels is None or set(other.labels) <= set(self.labels)


@dataclass(frozen=True)
class Audio(Modality[Waveform]):
    """Sound, `Waveform`: float32 [channels, frames] in [-1, 1] and a rate in Hz.

    `rate` resamples (soxr, extra [audio]) what comes at another one. `channels=1` averages channels, more of them
    repeat a single one; other counts are refused. Sound longer than `max_seconds` is refused. WAV files are read with
    or without the extra [audio], all other formats need it.
    """

    kind: ClassVar[str] = "audio"
    suffixes: ClassVar[tuple[str, ...]] = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".w64")
    writes: ClassVar[tuple[str, ...]] = (".wav",)

    rate: int | None = None
    channels: int | None = None
    max_seconds: float | None = None

    def load(self, source: Path | bytes) -> Waveform:
        """Integer samples are divided by half their range."""
        head = _head(source)
        wav = head[:4] == b"RIFF"
        if wav:
            _require_whole_riff(source, head)
        try:
            soundfile = cast("Any", require("soundfile", extra="audio", purpose="Reading sound other than WAV"))
        except MissingExtra:
            if not wav:
                raise
            return _read_wav(source)
        with soundfile.SoundFile(source if isinstance(source, Path) else io.BytesIO(source)) as file:
            self._require_seconds(file.frames / file.samplerate)
            return Waveform(file.read(dtype="float32", always_2d=True).T, file.samplerate)

    def validate(self, value: object) -> Waveform:
        """A finite waveform of the rate and channels asked for."""
        if not isinstance(value, Waveform):
            raise InvalidSample(f"expected a Waveform(samples, rate), got {_typename(value)}")
        whole = isinstance(value.rate, int | np.integer) and not isinstance(value.rate, bool)
        if not whole or not 1 <= value.rate <= MAX_RATE:
            raise InvalidSample(f"the rate must be a whole number of Hz in 1..{MAX_RATE}, not {value.rate!r}")
        if np.asarray(value.samples).dtype.kind != "f":
            raise InvalidSample(
                f"samples must be floats, not {np.asarray(value.samples).dtype}",
                remedy="Divide integer samples by half their range, such as 32768 for 16 bits.",
            )
        samples = _float32(value.samples)
        samples = samples[None] if samples.ndim == 1 else samples
        if samples.ndim != 2 or not samples.size or len(samples) > MAX_CHANNELS:
            raise InvalidSample(
                f"expected samples [1..{MAX_CHANNELS} channels, frames], got the shape {list(samples.shape)}"
            )
        if np.isnan(samples).any():
            raise InvalidSample("the samples hold NaN")
        self._require_seconds(samples.shape[1] / value.rate)
        return self._resampled(Waveform(self._mixed(samples), int(value.rate)))

    def _require_seconds(self, seconds: float) -> None:
        if self.max_seconds is not None and seconds > self.max_seconds:
            raise InvalidSample(f"{seconds:.2f} s are longer than the {self.max_seconds:g} s that are allowed")

    def _mixed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.channels in (None, len(samples)):
            return samples
        if self.channels == 1:
            mono: NDArray[np.float32] = samples.mean(axis=0, keepdims=True, dtype=np.float32)
            return mono
        if len(samples) == 1:
            return np.repeat(samples, self.channels or 1, axis=0)
        raise InvalidSample(f"{len(samples)} channels where {self.channels} are expected")

    def _resampled(self, value: Waveform) -> Waveform:
        if self.rate in (None, value.rate):
            return value
        rate = self.rate or value.rate
        soxr = cast("Any", require("soxr", extra="audio", purpose=f"Resampling from {value.rate} to {rate} Hz"))
        resampled = np.ascontiguousarray(soxr.resample(value.samples.T, value.rate, rate).T, dtype=np.float32)
        if not resampled.size:
            raise InvalidSample(f"{value.samples.shape[1]} frames at {value.rate} Hz are too few for {rate} Hz")
        return Waveform(resampled, rate)

    def encode(self, value: Waveform) -> JSON:
        """WAV of 32-bit floats."""
        return _payload("audio/wav", self.to_bytes(value, ".wav"))

    def parse(self, data: JSON) -> Waveform:
        """A sound file of any format that `read` takes."""
        raw = _payload_bytes(data)
        with decoding("audio"):
            return self.load(raw)

    def to_bytes(self, value: Waveform, suffix: str) -> bytes:
        """WAV of 32-bit floats: the samples unchanged, those beyond [-1, 1] too."""
        from scipy.io import wavfile

        buffer = io.BytesIO()
        wavfile.write(buffer, value.rate, value.samples.T)
        return buffer.getvalue()

    def json_schema(self) -> dict[str, Any]:
        """An object of base64 data and media type."""
        return _media_schema("A sound file (WAV; FLAC, OGG, MP3 and more with the extra [audio])")

    def widget(self) -> dict[str, Any]:
        """A file."""
        limit = {"rate": self.rate, "channels": self.channels, "max_seconds": self.max_seconds}
        return {"kind": self.kind, "input": "file", "accept": list(self.suffixes), **limit}

    def show(self, value: Waveform, axes: Axes) -> None:
        """Amplitude over seconds, one line per channel."""
        axes.plot(np.arange(value.samples.shape[1]) / value.rate, value.samples.T, linewidth=0.5)
        axes.set_xlabel("seconds")

    def fits(self, other: Modality[Any]) -> bool:
        """Several channels fit only as many, one channel fits and takes any."""
        if not isinstance(other, Audio):
            return False
        return self.channels in (None, 1, other.channels) or other.channels in (None, 1)


@dataclass(frozen=True)
class Video(Modality[Frames]):
    """Moving pictures without sound, `Frames`: uint8 [n, height, width, 3] (RGB) and frames per second.

    Animated GIF, WebP and PNG are read by Pillow: a frame that stands longer than the shortest one is repeated, so that
    the rate is constant. All other formats need PyAV (extra [video]). Videos longer than `max_seconds`, or larger than
    MAX_VIDEO_BYTES in memory, are refused.
    """

    kind: ClassVar[str] = "video"
    suffixes: ClassVar[tuple[str, ...]] = (
        *(".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".gif", ".webp", ".png", ".apng"),
    )
    writes: ClassVar[tuple[str, ...]] = (".png", ".apng")

    max_seconds: float | None = None

    def load(self, source: Path | bytes) -> Frames:
        """All frames."""
        head = _head(source)
        animation = head[:4] in (b"GIF8", b"\x89PNG") or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        return _read_animation(source) if animation else self._read_stream(source)

    def _read_stream(self, source: Path | bytes) -> Frames:
        av = cast("Any", require("av", extra="video", purpose="Reading video other than GIF, WebP and PNG"))
        with av.open(str(source) if isinstance(source, Path) else io.BytesIO(source)) as container:
            if not container.streams.video:
                raise InvalidSample("the file holds no video stream")
            stream = container.streams.video[0]
            fps = float(stream.average_rate or stream.guessed_rate or 0)
            frames: list[NDArray[np.uint8]] = []
            for frame in container.decode(stream):
                # Telephones store portrait video lying, with the turn as metadata.
                frames.append(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
                _require_video_bytes(len(frames) * frames[0].nbytes)
                self._require_seconds(len(frames) / fps if fps else 0.0)
        if not frames:
            raise InvalidSample("the video holds no frame")
        return Frames(np.stack(frames), fps)

    def validate(self, value: object) -> Frames:
        """At least one frame, a positive rate."""
        if not isinstance(value, Frames):
            raise InvalidSample(f"expected Frames(frames, fps), got {_typename(value)}")
        frames = np.asarray(value.frames)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
            raise InvalidSample(
                f"expected frames uint8 [n, height, width, 3], got {frames.dtype} {list(frames.shape)}",
                remedy="Scale pixels to 0..255 and put the channels last.",
            )
        if not _is_number(value.fps) or not math.isfinite(value.fps) or value.fps <= 0:
            raise InvalidSample(f"frames per second must be a number above 0, not {value.fps!r}")
        checked = Frames(frames, float(value.fps))
        self._require_seconds(checked.seconds)
        return checked

    def _require_seconds(self, seconds: float) -> None:
        if self.max_seconds is not None and seconds > self.max_seconds:
            raise InvalidSample(f"{seconds:.2f} s are longer than the {self.max_seconds:g} s that are allowed")

    def encode(self, value: Frames) -> JSON:
        """Animated PNG, with the exact rate beside it."""
        return {**_payload("image/apng", self.to_bytes(value, ".png")), "fps": value.fps}

    def parse(self, data: JSON) -> Frames:
        """A video file of any format that `read` takes; "fps", where given, overrules the file's."""
        raw = _payload_bytes(data)
        with decoding("video"):
            video = self.load(raw)
        fps = data.get("fps") if isinstance(data, dict) else None
        return video if fps is None else Frames(video.frames, fps)

    def to_bytes(self, value: Frames, suffix: str) -> bytes:
        """Animated PNG: lossless, and every browser plays it."""
        first, *rest = [PillowImage.fromarray(frame) for frame in value.frames]
        buffer = io.BytesIO()
        # Frames are opaque, so that both blend operations mean the same; alternating them keeps Pillow from merging
        # equal neighbours into one frame.
        blend = [index % 2 for index in range(len(value.frames))]
        first.save(
            buffer,
            format="PNG",
            save_all=True,
            append_images=rest,
            duration=min(1000 / value.fps, LONGEST_FRAME),
            loop=0,
            blend=blend,
        )
        return buffer.getvalue()

    def json_schema(self) -> dict[str, Any]:
        """An object of base64 data, media type and rate."""
        schema = _media_schema("A video file (GIF, WebP, PNG; MP4, MKV, WebM and more with the extra [video])")
        schema["properties"]["fps"] = {"type": "number", "exclusiveMinimum": 0, "description": "Frames per second"}
        return schema

    def widget(self) -> dict[str, Any]:
        """A file."""
        return {"kind": self.kind, "input": "file", "accept": list(self.suffixes), "max_seconds": self.max_seconds}

    def show(self, value: Frames, axes: Axes) -> None:
        """Up to four frames, evenly spaced, side by side."""
        chosen = np.linspace(0, len(value.frames) - 1, min(4, len(value.frames))).round().astype(int)
        axes.imshow(np.concatenate(list(value.frames[chosen]), axis=1))
        axes.set_axis_off()


@dataclass(frozen=True)
class Series(Modality["NDArray[np.float32]"]):
    """A time series, float32 [channels, length]; NaN is a missing value (refused unless `allow_missing`).

    [length] is taken as one channel. Files hold one series or many:

    - .npy (no pickled objects): [length], [channels, length], or [n, channels, length] for n series.
    - .csv, .tsv, .txt: one univariate series per row. Separators are tab, semicolon, comma or white space, whichever
      the file uses. Rows of unlike length are series of unlike length; empty, NaN, NA, null, None and ? are missing
      values. A first row without any number is a header, lines that begin with # are comments.
    - such a text file with a single column is one univariate series, one value per line.
    - such a text file, where `channels` is above 1, is one series with a column per channel.

    Missing values at the end of every channel are padding and cut off, within a series they stay.
    """

    kind: ClassVar[str] = "series"
    suffixes: ClassVar[tuple[str, ...]] = (".npy", ".csv", ".tsv", ".txt")
    writes: ClassVar[tuple[str, ...]] = (".npy",)

    channels: int | None = None
    min_length: int = 1
    allow_missing: bool = True

    def load(self, source: Path | bytes) -> NDArray[Any]:
        """The one series of a file."""
        found = self._entries(source)[0]
        if len(found) != 1:
            raise InvalidSample(
                f"the file holds {len(found)} series where one is expected",
                remedy="A series of several channels is a .npy file [channels, length].",
            )
        return found[0][1]

    def read_all(self, path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Every series of a file; ids are "name:row", rows from 1, where the file's form holds many."""
        with placed(Where(file=path)), decoding(self.kind):
            entries, many = self._entries(path)
        for row, (line, array) in enumerate(entries, 1):
            with placed(Where(file=path, line=line)):
                value = self.validate(array)
            yield (f"{path.name}:{row}" if many else path.name), value

    def _entries(self, source: Path | bytes) -> tuple[list[tuple[int | None, NDArray[Any]]], bool]:
        """Arrays [channels, length] with the line each one stands on, and whether the file's form holds many."""
        if _is_npy(source):
            array = _load_npy(source)
            if array.ndim not in (1, 2, 3):
                raise InvalidSample(f"expected [n, channels, length] or less, got the shape {list(array.shape)}")
            many = array.ndim == 3
            return [(None, _unpadded(one)) for one in (array if many else [np.atleast_2d(array)])], many
        rows = _number_rows(utf8_text(source))
        if self.channels is not None and self.channels > 1:
            return [(None, _unpadded(_columns(rows, self.channels)))], False
        if len(rows) > 1 and all(values.size == 1 for _, values in rows):
            return [(None, _unpadded(np.concatenate([values for _, values in rows])[None]))], False
        return [(line, _unpadded(values[None])) for line, values in rows], True

    def validate(self, value: object) -> NDArray[np.float32]:
        """float32 [channels, length]; infinite values are refused."""
        array = _float32(value)
        array = array[None] if array.ndim == 1 else array
        if array.ndim != 2 or not len(array):
            raise InvalidSample(f"expected [channels, length], got the shape {list(array.shape)}")
        if self.channels not in (None, len(array)):
            raise InvalidSample(
                f"{len(array)} channels where {self.channels} are expected (shape {list(array.shape)})",
                remedy="The shape is [channels, length]; transpose the array if its channels stand last.",
            )
        if array.shape[1] < self.min_length:
            raise InvalidSample(f"a series of length {array.shape[1]} is shorter than {self.min_length}")
        if not self.allow_missing and np.isnan(array).any():
            channel, position = np.argwhere(np.isnan(array))[0]
            raise InvalidSample(f"the value at channel {channel}, position {position} is missing")
        return array

    def encode(self, value: NDArray[np.float32]) -> JSON:
        """A list of numbers per channel; null is a missing value."""
        return [[None if math.isnan(number) else number for number in channel] for channel in value.tolist()]

    def parse(self, data: JSON) -> NDArray[np.float64]:
        """A list of numbers per channel, or of one channel's numbers; null is a missing value."""
        if not isinstance(data, list):
            raise InvalidSample(f"expected a list of numbers per channel, got {_typename(data)}")
        channels: list[Any] = data if data and isinstance(data[0], list) else [data]
        for index, channel in enumerate(channels):
            if not isinstance(channel, list):
                raise InvalidSample(f"channel {index} is {_typename(channel)}, not a list of numbers")
            if len(channel) != len(channels[0]):
                raise InvalidSample(f"channel {index} has {len(channel)} values, channel 0 has {len(channels[0])}")
        _require_json_values(sum(map(len, channels)))
        rows = [_json_numbers(channel, f"channel {index}, position ") for index, channel in enumerate(channels)]
        return np.array(rows, dtype=np.float64)

    def to_bytes(self, value: NDArray[np.float32], suffix: str) -> bytes:
        """NumPy's .npy."""
        return _npy_bytes(value)

    def json_schema(self) -> dict[str, Any]:
        """A list per channel, or one list."""
        number: dict[str, Any] = {"type": ["number", "null"] if self.allow_missing else "number"}
        channel = {"type": "array", "items": number, "minItems": self.min_length}
        count = {"minItems": self.channels or 1} | ({} if self.channels is None else {"maxItems": self.channels})
        nested = {"type": "array", "items": channel, **count}
        return {"anyOf": [nested, channel]} if self.channels in (None, 1) else nested

    def widget(self) -> dict[str, Any]:
        """Numbers, typed or from a file."""
        limit = {"channels": self.channels, "min_length": self.min_length}
        return {"kind": self.kind, "input": "numbers", "accept": list(self.suffixes), **limit}

    def show(self, value: NDArray[np.float32], axes: Axes) -> None:
        """Value over position, one line per channel."""
        axes.plot(value.T, linewidth=0.8)
        axes.set_xlabel("position")

    def fits(self, other: Modality[Any]) -> bool:
        """Channel counts must agree where both are known; lengths and gaps are checked sample by sample."""
        return isinstance(other, Series) and (self.channels is None or other.channels in (None, self.channels))


@dataclass(frozen=True)
class Vector(Modality["NDArray[np.float32]"]):
    """Features, float32 [dim], all finite.

    Files hold one vector or many: .npy [dim] or [n, dim]; .csv, .tsv and .txt one vector per row, with the separators,
    header and comments that Series takes.
    """

    kind: ClassVar[str] = "vector"
    suffixes: ClassVar[tuple[str, ...]] = (".npy", ".csv", ".tsv", ".txt")
    writes: ClassVar[tuple[str, ...]] = (".npy",)

    dim: int | None = None

    def load(self, source: Path | bytes) -> NDArray[Any]:
        """The one vector of a file."""
        found = self._entries(source)[0]
        if len(found) != 1:
            raise InvalidSample(f"the file holds {len(found)} vectors where one is expected")
        return found[0][1]

    def read_all(self, path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Every vector of a file; ids are "name:row", rows from 1, where the file's form holds many."""
        with placed(Where(file=path)), decoding(self.kind):
            entries, many = self._entries(path)
        for row, (line, array) in enumerate(entries, 1):
            with placed(Where(file=path, line=line)):
                value = self.validate(array)
            yield (f"{path.name}:{row}" if many else path.name), value

    @staticmethod
    def _entries(source: Path | bytes) -> tuple[list[tuple[int | None, NDArray[Any]]], bool]:
        if not _is_npy(source):
            return list(_number_rows(utf8_text(source))), True
        array = _load_npy(source)
        if array.ndim not in (1, 2):
            raise InvalidSample(f"expected [n, dim] or [dim], got the shape {list(array.shape)}")
        return [(None, one) for one in np.atleast_2d(array)], array.ndim == 2

    def validate(self, value: object) -> NDArray[np.float32]:
        """float32 [dim], finite."""
        array = _float32(value)
        if array.ndim != 1 or not array.size:
            raise InvalidSample(f"expected [dim], got the shape {list(array.shape)}")
        if self.dim not in (None, array.size):
            raise InvalidSample(f"{array.size} values where {self.dim} are expected")
        if np.isnan(array).any():
            raise InvalidSample(f"the value at position {int(np.isnan(array).argmax())} is missing")
        return array

    def encode(self, value: NDArray[np.float32]) -> JSON:
        """A list of numbers."""
        return cast("list[Any]", value.tolist())

    def parse(self, data: JSON) -> NDArray[np.float64]:
        """A list of numbers."""
        if not isinstance(data, list):
            raise InvalidSample(f"expected a list of numbers, got {_typename(data)}")
        _require_json_values(len(data))
        return np.array(_json_numbers(data, "position "), dtype=np.float64)

    def to_bytes(self, value: NDArray[np.float32], suffix: str) -> bytes:
        """NumPy's .npy."""
        return _npy_bytes(value)

    def json_schema(self) -> dict[str, Any]:
        """A list of numbers."""
        count = {"minItems": self.dim or 1} | ({} if self.dim is None else {"maxItems": self.dim})
        return {"type": "array", "items": {"type": "number"}, **count}

    def widget(self) -> dict[str, Any]:
        """Numbers, typed or from a file."""
        return {"kind": self.kind, "input": "numbers", "accept": list(self.suffixes), "dim": self.dim}

    def show(self, value: NDArray[np.float32], axes: Axes) -> None:
        """A bar per dimension."""
        axes.bar(np.arange(value.size), value)
        axes.set_xlabel("dimension")

    def fits(self, other: Modality[Any]) -> bool:
        """Dimensions must agree where both are known."""
        return isinstance(other, Vector) and (self.dim is None or other.dim in (None, self.dim))


MODALITIES: dict[str, type[Modality[Any]]] = {
    modality.kind: modality for modality in (Image, Text, Audio, Series, Video, Vector, Label)
}


# --- media ------------------------------------------------------------------------------------------------------------


def _payload(media_type: str, raw: bytes) -> dict[str, Any]:
    return {"data": base64.b64encode(raw).decode("ascii"), "media_type": media_type}


def _payload_bytes(data: JSON) -> bytes:
    if not isinstance(data, dict) or not isinstance(data.get("data"), str):
        raise InvalidSample(f'expected {{"data": base64 text, "media_type": text}}, got {_typename(data)}')
    text: str = data["data"]
    if len(text) * 3 // 4 > MAX_MEDIA_BYTES:
        raise InvalidSample(f"about {len(text) * 3 // 4} bytes are more than the {MAX_MEDIA_BYTES} that are allowed")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidSample(f'"data" is not base64 ({error})') from error


def _media_schema(description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": {
            "data": {"type": "string", "contentEncoding": "base64", "minLength": 1},
            "media_type": {"type": "string"},
        },
        "required": ["data"],
    }


def _head(source: Path | bytes) -> bytes:
    """The first twelve bytes, where formats write their names; InvalidSample for an empty file."""
    if isinstance(source, bytes):
        head = source[:12]
    else:
        with source.open("rb") as file:
            head = file.read(12)
    if not head:
        raise InvalidSample("the file is empty")
    return head


def _plain(image: PillowImage.Image) -> PillowImage.Image:
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


def _as_mode(image: PillowImage.Image, mode: str) -> PillowImage.Image:
    """`image`, of a plain mode, as another plain mode."""
    if mode == "I;16":
        return PillowImage.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if image.mode == "I;16":
        image = PillowImage.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    return image.convert(mode)


def _image_of(array: NDArray[Any]) -> PillowImage.Image:
    grey, colour = array.ndim == 2, array.ndim == 3 and array.shape[2] == 3
    if not ((array.dtype == np.uint8 and (grey or colour)) or (array.dtype == np.uint16 and grey)):
        raise InvalidSample(
            f"expected uint8 [h, w] or [h, w, 3] or uint16 [h, w], got {array.dtype} {list(array.shape)}",
            remedy="Scale pixels to 0..255 and put the channels last.",
        )
    return PillowImage.fromarray(np.ascontiguousarray(array))


def _read_animation(source: Path | bytes) -> Frames:
    with PillowImage.open(source if isinstance(source, Path) else io.BytesIO(source)) as opened:
        frame_bytes = opened.width * opened.height * 3
        _require_video_bytes(getattr(opened, "n_frames", 1) * frame_bytes)
        frames, durations = [], []
        for frame in ImageSequence.Iterator(opened):
            frames.append(np.asarray(_plain(frame).convert("RGB")))
            # Browsers show a frame without a duration for a tenth of a second.
            durations.append(float(frame.info.get("duration", 0)) or 100.0)
    shortest = min(durations)
    repeats = [max(1, round(duration / shortest)) for duration in durations]
    _require_video_bytes(sum(repeats) * frame_bytes)
    return Frames(np.repeat(np.stack(frames), repeats, axis=0), 1000 * sum(repeats) / sum(durations))


def _require_video_bytes(size: int) -> None:
    if size > MAX_VIDEO_BYTES:
        raise InvalidSample(
            f"the video takes more than {MAX_VIDEO_BYTES} bytes in memory", remedy="Cut or scale it down."
        )


def _require_whole_riff(source: Path | bytes, head: bytes) -> None:
    """Decoders return what is left of a WAV file that was cut off; its header knows better."""
    announced = int.from_bytes(head[4:8], "little") + 8
    present = len(source) if isinstance(source, bytes) else source.stat().st_size
    # Streams announce no size, or the largest one; some writers count the eight bytes of the header twice.
    if announced - 8 > present and announced < 0x7FFFFF00:
        raise InvalidSample(f"the file is cut off: it announces {announced} bytes and holds {present}")


def _read_wav(source: Path | bytes) -> Waveform:
    from scipy.io import wavfile

    rate, samples = wavfile.read(str(source) if isinstance(source, Path) else io.BytesIO(source))
    samples = samples.reshape(len(samples), -1).T
    if samples.dtype.kind == "f":
        return Waveform(samples, rate)
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    offset = half if samples.dtype.kind == "u" else 0.0
    return Waveform(((samples - offset) / half).astype(np.float32), rate)


# --- text and numbers -------------------------------------------------------------------------------------------------

_MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "?"})
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")


def utf8_text(source: Path | bytes) -> str:
    """The content of a UTF-8 file without its byte-order mark; InvalidSample names the line of a byte that is not."""
    raw = source if isinstance(source, bytes) else source.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidSample(
            f"the byte 0x{raw[error.start]:02x} at offset {error.start} is not UTF-8",
            where=Where(line=line),
            remedy="Convert the file to UTF-8.",
        ) from error


def _text_rows(text: str, delimiter: str) -> Iterator[tuple[int, str]]:
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    for cells in reader:
        if len(cells) > 1:
            raise InvalidSample(
                f"{len(cells)} columns where one column of text is expected", where=Where(line=reader.line_num)
            )
        if cells:
            yield reader.line_num, cells[0]


def _number_rows(text: str) -> list[tuple[int, NDArray[np.float64]]]:
    """The rows of a table of numbers with their lines from 1; NaN where a cell is missing."""
    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    delimiter = _delimiter(line for _, line in lines[:20])
    table = [(number, _cells(line, delimiter)) for number, line in lines]
    if table and not any(_looks_numeric(cell) for cell in table[0][1]):
        del table[0]
    if not table:
        raise InvalidSample("the file holds no numbers")
    return [(line, _numbers(cells, line)) for line, cells in table]


def _delimiter(lines: Iterator[str]) -> str | None:
    """The separator that the lines use; None is white space."""
    text = "\n".join(lines)
    for delimiter in ("\t", ";"):
        if delimiter in text:
            return delimiter
    # "1,5 2,3": numbers with a decimal comma between blanks, so that the comma separates nothing.
    blank_separated = re.search(r"\d[ ]+[-+.\d]", text) and not re.search(r",(?!\d)", text)
    return "," if "," in text and not blank_separated else None


def _cells(line: str, delimiter: str | None) -> list[str]:
    if '"' in line:
        return next(csv.reader([line], delimiter=delimiter or " ", skipinitialspace=True))
    return line.split(delimiter)


def _looks_numeric(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return bool(_DECIMAL_COMMA.fullmatch(cell.strip()))
    return True


def _numbers(cells: list[str], line: int) -> NDArray[np.float64]:
    try:
        values = np.array([float(cell) for cell in cells])
    except ValueError:
        values = np.array([_number(cell, Where(line=line, column=column)) for column, cell in enumerate(cells, 1)])
    with np.errstate(over="ignore"):
        infinite = np.isinf(values.astype(np.float32))
    if infinite.any():
        column = int(infinite.argmax())
        raise InvalidSample(
            f"{cells[column].strip()!r} is infinite or too large for a 32-bit float",
            where=Where(line=line, column=column + 1),
        )
    return values


def _number(cell: str, where: Where) -> float:
    text = cell.strip()
    if text.lower() in _MISSING:
        return math.nan
    try:
        return float(text)
    except ValueError:
        pass
    if _DECIMAL_COMMA.fullmatch(text):
        raise InvalidSample(
            f"{text!r} has a decimal comma", where=where, remedy="Write numbers with a decimal point, such as 1.5."
        )
    raise InvalidSample(
        f"{text!r} is not a number", where=where, remedy="Empty cells, NaN, NA and ? stand for missing values."
    )


def _columns(rows: list[tuple[int, NDArray[np.float64]]], channels: int) -> NDArray[np.float64]:
    """Rows of one value per channel as [channels, length]."""
    for line, values in rows:
        if values.size != channels:
            raise InvalidSample(
                f"{values.size} columns where {channels} channels are expected, one per column", where=Where(line=line)
            )
    return np.stack([values for _, values in rows], axis=1)


def _unpadded(array: NDArray[Any]) -> NDArray[Any]:
    """[channels, length] up to the last position with a value in any channel."""
    present = np.flatnonzero(~np.isnan(array).all(axis=0))
    return array[:, : present[-1] + 1 if present.size else 0]


def _is_npy(source: Path | bytes) -> bool:
    return _head(source)[:6] == b"\x93NUMPY"


def _load_npy(source: Path | bytes) -> NDArray[Any]:
    """Numbers only; a file is mapped, not read, so that a header can't announce more than the file holds."""
    if isinstance(source, Path):
        array: NDArray[Any] = np.asarray(np.lib.format.open_memmap(source, mode="r"))
    else:
        array = np.lib.format.read_array(io.BytesIO(source), allow_pickle=False)
    if array.dtype.kind not in "fiu":
        raise InvalidSample(f"the array holds {array.dtype}, not numbers")
    return array


def _npy_bytes(value: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=False)
    return buffer.getvalue()


def _float32(value: object) -> NDArray[np.float32]:
    """An array or nested list of numbers as float32, NaN kept, infinite values refused."""
    if not isinstance(value, list | tuple | np.ndarray) and not hasattr(value, "__array__"):
        raise InvalidSample(f"expected an array of numbers, got {_typename(value)}")
    try:
        array: NDArray[Any] = np.asarray(value)
    except ValueError as error:
        raise InvalidSample("expected an array of numbers, got lists of unlike length") from error
    if array.dtype.kind not in "fiu":
        raise InvalidSample(f"expected an array of numbers, got {array.dtype}")
    with np.errstate(over="ignore"):
        small: NDArray[np.float32] = array.astype(np.float32, copy=False)
    if np.isinf(small).any():
        place = ", ".join(map(str, np.argwhere(np.isinf(small))[0]))
        raise InvalidSample(f"the value at [{place}] is infinite or too large for a 32-bit float")
    return small


def _json_numbers(values: list[Any], place: str) -> list[float]:
    numbers = []
    for position, value in enumerate(values):
        if value is None:
            numbers.append(math.nan)
            continue
        if not _is_number(value):
            raise InvalidSample(f"the value at {place}{position} is {_typename(value)}, not a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise InvalidSample(
                f"the value at {place}{position} is not a finite number", remedy="A missing value is null in JSON."
            )
        numbers.append(number)
    return numbers


def _json(text: str) -> JSON:
    try:
        return cast("JSON", json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InvalidSample(f"this is not JSON ({error})") from error


def _require_json_values(count: int) -> None:
    if count > MAX_JSON_VALUES:
        raise InvalidSample(f"{count} values are more than the {MAX_JSON_VALUES} that are allowed")


# --- words ------------------------------------------------------------------------------------------------------------


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _typename(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= 20 else f"{', '.join(names[:20])} and {len(names) - 20} more"


def _write_on(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, parse_math=False)
    axes.set_axis_off()
