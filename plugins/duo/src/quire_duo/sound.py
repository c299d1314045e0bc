"""Sound as numbers: levels, mixing, joining, and what a channel does to speech.

All functions take and give mono `Waveform`s (float32 [1, frames]) unless they say otherwise; levels are root mean
squares in dB relative to full scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import signal

from quire.modality import Waveform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PEAK = 0.99
"""The highest absolute sample that a case may hold (V3)."""
SILENCE = -120.0
"""The level that stands for silence, in dB: below what 16 bits can say."""
TELEPHONE_BAND, TELEPHONE_RATE = (300.0, 3400.0), 8000
"""Hz; ITU-T G.712's band and G.711's rate."""
MU = 255.0


def mono(sound: Waveform) -> Waveform:
    """The mean of the channels."""
    return Waveform(np.atleast_2d(sound.samples).mean(axis=0, keepdims=True, dtype=np.float32), sound.rate)


def resampled(sound: Waveform, rate: int) -> Waveform:
    """The same sound at `rate` Hz: round(frames * rate / sound.rate) frames, at least one."""
    if rate == sound.rate:
        return sound
    common = math.gcd(rate, sound.rate)
    samples = signal.resample_poly(sound.samples, rate // common, sound.rate // common, axis=1)
    frames = max(1, round(sound.samples.shape[1] * rate / sound.rate))
    return Waveform(_of_length(samples, frames), rate)


def level(samples: NDArray[np.float32]) -> float:
    """Root mean square in dB relative to full scale, SILENCE at the least."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if samples.size else 0.0
    return max(SILENCE, 10 * math.log10(power)) if power > 0 else SILENCE


def amplified(sound: Waveform, decibels: float) -> Waveform:
    """`sound`, louder by `decibels`."""
    return Waveform((sound.samples * 10 ** (decibels / 20)).astype(np.float32), sound.rate)


def limited(sound: Waveform, peak: float = PEAK) -> Waveform:
    """`sound` made quieter as a whole until no sample exceeds `peak`: ratios within it stay what they are."""
    highest = float(np.abs(sound.samples).max(initial=0.0))
    # A hair below, so that rounding to 16 bits doesn't exceed it.
    return sound if highest <= peak else Waveform((sound.samples * ((peak - 1e-4) / highest)), sound.rate)


def trimmed(sound: Waveform, threshold: float = 1e-3) -> Waveform:
    """Without what is quieter than `threshold` at both ends; unchanged if all of it is."""
    heard = np.flatnonzero(np.abs(sound.samples[0]) > threshold)
    return sound if not heard.size else Waveform(sound.samples[:, heard[0] : heard[-1] + 1], sound.rate)


def silence(seconds: float, rate: int) -> Waveform:
    """Nothing, for `seconds`."""
    return Waveform(np.zeros((1, round(seconds * rate)), np.float32), rate)


def repeated(sound: Waveform, frames: int, start: int = 0) -> Waveform:
    """`frames` frames of the sound played over and over, from frame `start` on."""
    positions = (start + np.arange(frames)) % sound.samples.shape[1]
    return Waveform(sound.samples[:, positions], sound.rate)


@dataclass(frozen=True)
class Mix:
    """Speech over a bed: the sound, and the levels that both have in it."""

    sound: Waveform
    speech_level: float
    bed_level: float


def mixed(speech: Waveform, bed: Waveform, ratio: float) -> Mix:
    """`speech` over as many frames of `bed` at a speech-to-bed ratio of `ratio` dB, with a peak of at most PEAK.

    Both have one rate and length and are not silent; ValueError otherwise.
    """
    if speech.rate != bed.rate or speech.samples.shape != bed.samples.shape:
        raise ValueError("speech and bed differ in rate or length")
    speech_level, bed_level = level(speech.samples), level(bed.samples)
    if SILENCE in (speech_level, bed_level):
        raise ValueError("speech or bed is silent")
    bed = amplified(bed, speech_level - bed_level - ratio)
    both = Waveform(speech.samples + bed.samples, speech.rate)
    quiet = limited(both)
    # One gain for both, so that the ratio stays.
    highest = float(np.abs(both.samples).max())
    gain = 20 * math.log10(float(np.abs(quiet.samples).max()) / highest) if highest else 0.0
    return Mix(quiet, level(speech.samples) + gain, level(bed.samples) + gain)


def joined(parts: Sequence[Waveform], gaps: Sequence[float] = ()) -> tuple[Waveform, list[tuple[float, float]]]:
    """Parts of one rate after one another, `gaps[i]` seconds of silence after part i; the seconds of each part."""
    rate = parts[0].rate
    pieces: list[NDArray[np.float32]] = []
    places: list[tuple[float, float]] = []
    position = 0
    for index, part in enumerate(parts):
        if part.rate != rate:
            raise ValueError(f"{part.rate} Hz beside {rate} Hz")
        frames = part.samples.shape[1]
        pieces.append(part.samples)
        places.append((position / rate, (position + frames) / rate))
        gap = silence(gaps[index] if index < len(gaps) else 0.0, rate).samples
        pieces.append(gap)
        position += frames + gap.shape[1]
    return Waveform(np.concatenate(pieces, axis=1), rate), places


# --- channels ---------------------------------------------------------------------------------------------------------


def band_passed(sound: Waveform, low: float, high: float) -> Waveform:
    """Between `low` and `high` Hz by a Butterworth filter of order 4, forwards and backwards, so without delay.

    A band that ends above nine tenths of half the rate is open there.
    """
    ceiling = 0.45 * sound.rate
    kind, edges = ("bandpass", [low, high]) if high < ceiling else ("highpass", low)
    sections = signal.butter(4, edges, kind, fs=sound.rate, output="sos")
    # The filter's own default padding is longer than the shortest sounds.
    padding = min(3 * (2 * len(sections) + 1), sound.samples.shape[1] - 1)
    filtered = signal.sosfiltfilt(sections, sound.samples.astype(np.float64), axis=1, padlen=padding)
    return Waveform(filtered.astype(np.float32), sound.rate)


def telephoned(sound: Waveform) -> Waveform:
    """As heard through a telephone: 300 to 3400 Hz at 8 kHz."""
    return band_passed(resampled(sound, TELEPHONE_RATE), *TELEPHONE_BAND)


def companded(sound: Waveform) -> Waveform:
    """Through 8-bit mu-law and back (ITU-T G.711's curve, continuous, mu = 255)."""
    clipped = np.clip(sound.samples.astype(np.float64), -1, 1)
    code = np.round((np.sign(clipped) * np.log1p(MU * np.abs(clipped)) / np.log1p(MU) + 1) / 2 * 255)
    back = 2 * code / 255 - 1
    return Waveform((np.sign(back) * np.expm1(np.abs(back) * np.log1p(MU)) / MU).astype(np.float32), sound.rate)


def faster(sound: Waveform, factor: float) -> Waveform:
    """Played `factor` times as fast, as a tape is: round(frames / factor) frames, and higher by the same factor."""
    frames = sound.samples.shape[1]
    count = max(1, round(frames / factor))
    if factor == 1 or count == frames:
        return sound
    rational = _ratio(factor)
    samples = signal.resample_poly(sound.samples, rational[1], rational[0], axis=1)
    return Waveform(_of_length(samples, count), sound.rate)


def transposed(sound: Waveform, semitones: float) -> Waveform:
    """Higher by `semitones`, as long as before."""
    if semitones == 0:
        return sound
    factor = 2 ** (semitones / 12)
    stretched = _stretched(sound, factor)
    return Waveform(_of_length(faster(stretched, factor).samples, sound.samples.shape[1]), sound.rate)


def reverberated(sound: Waveform, seconds: float, rng: np.random.Generator, wet: float = 0.4) -> Waveform:
    """In a room whose echo falls by 60 dB in `seconds`, as long as before; `wet` is the echo's share of the power.

    The room is decaying noise (Moorer 1979), drawn from `rng`.
    """
    frames = max(1, round(seconds * sound.rate))
    if seconds <= 0:
        return sound
    decay = np.exp(-math.log(1000) * np.arange(frames) / frames)
    room = rng.standard_normal(frames) * decay
    echo = signal.fftconvolve(sound.samples[0].astype(np.float64), room)[: sound.samples.shape[1]]
    dry = sound.samples[0].astype(np.float64)
    energy = float(np.sum(echo**2))
    if energy == 0:
        return sound
    echo *= math.sqrt(wet * float(np.sum(dry**2)) / energy)
    return Waveform((math.sqrt(1 - wet) * dry + echo)[None].astype(np.float32), sound.rate)


def _stretched(sound: Waveform, factor: float) -> Waveform:
    """`factor` times as long at the same pitch: a phase vocoder (Flanagan and Golden 1966) of 1/16 s windows."""
    size = 2 ** max(4, round(math.log2(sound.rate / 16)))
    hop = size // 4
    transform = signal.ShortTimeFFT(signal.windows.hann(size, sym=False), hop, fs=sound.rate)
    samples = sound.samples[0].astype(np.float64)
    # The transform needs at least half a window.
    padded = np.pad(samples, (0, max(0, size - len(samples))))
    spectrum = transform.stft(padded)
    steps = np.arange(0, spectrum.shape[1] - 1, 1 / factor)
    before = steps.astype(int)
    share = steps - before
    magnitude = (1 - share) * np.abs(spectrum[:, before]) + share * np.abs(spectrum[:, before + 1])
    expected = 2 * np.pi * hop * np.arange(spectrum.shape[0])[:, None] / size
    turn = np.angle(spectrum[:, before + 1]) - np.angle(spectrum[:, before]) - expected
    turn = expected + turn - 2 * np.pi * np.round(turn / (2 * np.pi))
    phase = np.angle(spectrum[:, :1]) + np.concatenate(
        [np.zeros_like(turn[:, :1]), turn[:, :-1].cumsum(axis=1)], axis=1
    )
    stretched = transform.istft(magnitude * np.exp(1j * phase))
    return Waveform(_of_length(stretched[None], max(1, round(len(samples) * factor))), sound.rate)


def _ratio(factor: float) -> tuple[int, int]:
    from fractions import Fraction

    nearest = Fraction(factor).limit_denominator(200)
    return nearest.numerator, nearest.denominator


def _of_length(samples: NDArray[np.float64] | NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Cut or padded with silence to `frames`."""
    short = samples[:, :frames].astype(np.float32)
    return np.pad(short, ((0, 0), (0, frames - short.shape[1])))
