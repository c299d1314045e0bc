"""Moving pictures."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageSequence

from quire.errors import InvalidSample, require
from quire.modality.base import Modality, decoding, is_number, typename
from quire.modality.image import plain_image
from quire.modality.media import first_bytes, media_bytes, media_payload, media_schema

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from quire.storage import JSON


MAX_VIDEO_BYTES = 2**32
"""The most bytes that one video may take in memory, decoded."""
LONGEST_FRAME = 65_535  # milliseconds, the most that an animated PNG can say


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
        head = first_bytes(source)
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
            raise InvalidSample(f"expected Frames(frames, fps), got {typename(value)}")
        frames = np.asarray(value.frames)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
            raise InvalidSample(
                f"expected frames uint8 [n, height, width, 3], got {frames.dtype} {list(frames.shape)}",
                remedy="Scale pixels to 0..255 and put the channels last.",
            )
        if not is_number(value.fps) or not math.isfinite(value.fps) or value.fps <= 0:
            raise InvalidSample(f"frames per second must be a number above 0, not {value.fps!r}")
        checked = Frames(frames, float(value.fps))
        self._require_seconds(checked.seconds)
        return checked

    def _require_seconds(self, seconds: float) -> None:
        if self.max_seconds is not None and seconds > self.max_seconds:
            raise InvalidSample(f"{seconds:.2f} s are longer than the {self.max_seconds:g} s that are allowed")

    def encode(self, value: Frames) -> JSON:
        """Animated PNG, with the exact rate beside it."""
        return {**media_payload("image/apng", self.to_bytes(value, ".png")), "fps": value.fps}

    def parse(self, data: JSON) -> Frames:
        """A video file of any format that `read` takes; "fps", where given, overrules the file's."""
        raw = media_bytes(data)
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
        schema = media_schema("A video file (GIF, WebP, PNG; MP4, MKV, WebM and more with the extra [video])")
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


def _read_animation(source: Path | bytes) -> Frames:
    with PillowImage.open(source if isinstance(source, Path) else io.BytesIO(source)) as opened:
        frame_bytes = opened.width * opened.height * 3
        _require_video_bytes(getattr(opened, "n_frames", 1) * frame_bytes)
        frames, durations = [], []
        for frame in ImageSequence.Iterator(opened):
            frames.append(np.asarray(plain_image(frame).convert("RGB")))
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
