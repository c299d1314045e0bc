"""Cases as folders of ordinary files, and the mark that every one of them carries."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from quire.modality import Frames, Waveform
from quire.storage import atomic_file
from quire.tester import FindingStore

if TYPE_CHECKING:
    from pathlib import Path

    from quire.modality import Modality
    from quire_duo.case import Case

MARK = "synthetic moderation test case"
"""In the metadata of every file that has room for it, and in case.json."""


def write_case(case: Case, folder: Path, modalities: dict[str, Modality[Any]], **more: Any) -> Path:
    """`folder`/<id>/ with case.json and a file for each content: PNG, WAV (16 bits), MP4 or GIF, UTF-8 text, else what
    the modality writes.

    `modalities`: kind of content -> the modality of the target's field. `more` goes into case.json. Sound that belongs
    to a film stands in the MP4 too.
    """
    place = folder / case.id
    place.mkdir(parents=True, exist_ok=True)
    files = {}
    for kind, value in case.content.items():
        suffix, data = encoded(value, modalities[kind], case.content.get("audio") if kind == "video" else None)
        files[kind] = f"{kind}{suffix}"
        (place / files[kind]).write_bytes(data)
    described = {"mark": MARK, "quire-duo": version("quire-duo"), **case.to_json(), "files": files, **more}
    text = json.dumps(described, indent=2, allow_nan=False, ensure_ascii=False)
    (place / "case.json").write_text(
        text + "\n", encoding="utf-8"
    )  # a crash of the machine costs what can be made again
    return place


def encoded(value: Any, modality: Modality[Any], sound: Waveform | None = None) -> tuple[str, bytes]:
    """The suffix and the bytes of a marked file that any program opens."""
    if isinstance(value, Waveform):
        return ".wav", marked(_pcm(value), ".wav")
    if isinstance(value, Frames):
        return _film(value, sound)
    suffix = modality.writes[0]
    return suffix, marked(modality.to_bytes(value, suffix), suffix)


def marked(data: bytes, suffix: str) -> bytes:
    """A PNG (also an animated one) or a WAV with the mark in its metadata; other files as they are."""
    if suffix in (".png", ".apng") and data[:8] == b"\x89PNG\r\n\x1a\n":
        body = b"tEXt" + f"Comment\0{MARK}".encode("latin-1")
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        header = 8 + 25  # signature and IHDR
        return data[:header] + chunk + data[header:]
    if suffix == ".wav" and data[:4] == b"RIFF":
        text = MARK.encode() + b"\0" * (2 - len(MARK) % 2)
        info = b"INFOICMT" + struct.pack("<I", len(text)) + text
        data += b"\0" * (len(data) % 2) + b"LIST" + struct.pack("<I", len(info)) + info
        return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    return data


def mark_of(path: Path) -> str | None:
    """The mark in a file's metadata; None if it has none or is of a kind without metadata."""
    data = path.read_bytes()
    return MARK if MARK.encode() in data and path.suffix != ".txt" else None


class MarkedStore(FindingStore):
    """Findings whose media files are marked."""

    def _cell(self, name: str, value: Any) -> str:
        cell = super()._cell(name, value)
        path = self.folder / cell
        if "/" in cell and path.suffix in (".png", ".apng", ".wav") and path.is_file():
            with atomic_file(path) as file:
                file.write(marked(path.read_bytes(), path.suffix))
        return cell


def _pcm(value: Waveform) -> bytes:
    """WAV of 16 bits, [channels, frames] clipped to [-1, 1]."""
    from scipy.io import wavfile

    samples = np.clip(np.round(value.samples.astype(np.float64) * 32767), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    wavfile.write(buffer, value.rate, samples.T)
    return buffer.getvalue()


def _film(value: Frames, sound: Waveform | None) -> tuple[str, bytes]:
    """MP4 where PyAV is installed, else an animated GIF without sound."""
    try:
        import av
    except ModuleNotFoundError:
        return ".gif", _gif(value)
    return ".mp4", _mp4(av, value, sound)


def _gif(value: Frames) -> bytes:
    from PIL import Image

    first, *rest = [Image.fromarray(frame) for frame in value.frames]
    buffer = io.BytesIO()
    duration = round(1000 / value.fps)
    first.save(
        buffer, format="GIF", save_all=True, append_images=rest, duration=duration, loop=0, comment=MARK.encode()
    )
    return buffer.getvalue()


def _mp4(av: Any, value: Frames, sound: Waveform | None) -> bytes:
    """H.264 and AAC. The codec needs even sizes: an odd one gains a row or column of its edge."""
    from fractions import Fraction

    frames = np.pad(
        value.frames, ((0, 0), (0, value.frames.shape[1] % 2), (0, value.frames.shape[2] % 2), (0, 0)), "edge"
    )
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        container.metadata["comment"] = MARK
        pictures = container.add_stream("libx264", rate=Fraction(value.fps).limit_denominator(1001))
        pictures.height, pictures.width, pictures.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        speech = None if sound is None else container.add_stream("aac", rate=sound.rate)
        for frame in frames:
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(pictures.encode())
        if speech is not None and sound is not None:
            mono = np.ascontiguousarray(sound.samples.mean(axis=0, keepdims=True), dtype=np.float32)
            wave = av.AudioFrame.from_ndarray(mono, format="fltp", layout="mono")
            wave.sample_rate = sound.rate
            container.mux(speech.encode(wave))
            container.mux(speech.encode())
    return buffer.getvalue()


def as_data(path: Path) -> tuple[str, str]:
    """How a page shows a case's file with nothing from outside: (text, image, audio or video; the text or a data URI)."""
    types = {
        ".png": ("image", "image/png"),
        ".apng": ("image", "image/png"),
        ".gif": ("image", "image/gif"),
        ".wav": ("audio", "audio/wav"),
        ".mp4": ("video", "video/mp4"),
    }
    if path.suffix == ".txt":
        return "text", path.read_text(encoding="utf-8").removesuffix("\n")
    if path.suffix in types:
        shown_as, media_type = types[path.suffix]
        return shown_as, f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode()}"
    return "text", f"(a file of {path.suffix}: {path.name}, beside the run's case)"
