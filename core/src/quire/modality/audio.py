"""Sound."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from quire.errors import InvalidSample, MissingExtra, require
from quire.modality.base import Modality, decoding, typename
from quire.modality.media import first_bytes, media_bytes, media_payload, media_schema
from quire.modality.numbers import float32

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from quire.storage import JSON


MAX_RATE, MAX_CHANNELS = 2**22, 255
"""The highest rate in Hz and the most channels of sound; a WAV header has room for their product."""


@dataclass(frozen=True, eq=False)
class Waveform:
    """Sound: `samples` float32 [channels, frames], nominally in [-1, 1]; `rate` frames per second."""

    samples: NDArray[np.float32]
    rate: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return float(self.samples.shape[-1] / self.rate)


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
        head = first_bytes(source)
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
            raise InvalidSample(f"expected a Waveform(samples, rate), got {typename(value)}")
        whole = isinstance(value.rate, int | np.integer) and not isinstance(value.rate, bool)
        if not whole or not 1 <= value.rate <= MAX_RATE:
            raise InvalidSample(f"the rate must be a whole number of Hz in 1..{MAX_RATE}, not {value.rate!r}")
        if np.asarray(value.samples).dtype.kind != "f":
            raise InvalidSample(
                f"samples must be floats, not {np.asarray(value.samples).dtype}",
                remedy="Divide integer samples by half their range, such as 32768 for 16 bits.",
            )
        samples = float32(value.samples)
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
        return media_payload("audio/wav", self.to_bytes(value, ".wav"))

    def parse(self, data: JSON) -> Waveform:
        """A sound file of any format that `read` takes."""
        raw = media_bytes(data)
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
        return media_schema("A sound file (WAV; FLAC, OGG, MP3 and more with the extra [audio])")

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
