"""Speech synthesis: texts as sound."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
import threading
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from quire.errors import ConfigError, Where
from quire.modality import Audio, Waveform
from quire.storage import FeatureCache, content_hash
from quire_duo.seeds import NotApplicable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quire_duo.workshop import Speech, Workshop

PROGRAM = "espeak-ng"
INSTALL = f"install {PROGRAM}: apt-get install {PROGRAM}"
_CACHE_LOCK = threading.Lock()  # the cache is safe between processes, not between threads


class SpeechSynthesizer(Protocol):
    """What speaks. The same text, voice, rate and pitch give the same samples."""

    def unavailable(self) -> str | None:
        """What to install before it can speak; None if it can."""

    def speak(self, text: str, *, voice: str, rate: int, pitch: int) -> Waveform:
        """`text` as mono sound, with the pauses of the voice. rate: words a minute; pitch: 0..99, 50 the voice's own.

        NotApplicable for a text of which nothing can be spoken, ConfigError for a voice that there is not.
        """


@dataclass(frozen=True)
class EspeakSynthesizer:
    """espeak-ng in a process of its own: 22,050 Hz, byte-identical between runs.

    cache: a folder in which what was spoken is kept; None keeps nothing but single letters, in memory.
    """

    cache: Path | None = None

    def unavailable(self) -> str | None:
        """Whether the program is there."""
        return None if shutil.which(PROGRAM) else INSTALL

    def speak(self, text: str, *, voice: str, rate: int, pitch: int) -> Waveform:
        """`text` as mono sound, with the pauses of the voice. Errors: see SpeechSynthesizer."""
        spoken = speakable(text)
        if not any(character.isalnum() for character in spoken):
            raise NotApplicable(f"nothing of a text of {len(text)} characters can be spoken")
        if len(spoken) == 1:
            return _letter(spoken, voice, rate, pitch)
        if self.cache is None:
            return _run(spoken, voice, rate, pitch)
        store = _store(self.cache, _version())
        key = content_hash(spoken, voice, rate, pitch)
        with _CACHE_LOCK:
            kept = store.get(key) if key in store else None
        if kept is not None:
            return Waveform(kept["samples"], int(kept["rate"]))
        fresh = _run(spoken, voice, rate, pitch)
        with _CACHE_LOCK:
            store.put(key, {"samples": fresh.samples, "rate": np.array(fresh.rate)})
        return fresh


def synthesizer(workshop: Workshop) -> SpeechSynthesizer:
    """The one that the workshop's settings name."""
    return EspeakSynthesizer(workshop.cache)


def unavailable(workshop: Workshop) -> str | None:
    """Why nothing can be spoken here, for `FusionRule.unavailable`."""
    return synthesizer(workshop).unavailable()


def voice_for(language: str | None, settings: Speech) -> str:
    """The voice of the settings, or that of a seed's language (BCP-47) where this is another one."""
    primary = (language or settings.voice).partition("-")[0].casefold()
    return settings.voice if settings.voice.partition("-")[0].casefold() == primary else primary


def speakable(text: str) -> str:
    """`text` without control characters, and with brackets apart that would begin phonemes ([[...]])."""
    plain = "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
    return " ".join(plain.replace("[[", "[ [").split())


def _run(text: str, voice: str, rate: int, pitch: int) -> Waveform:
    """What the program writes. By a file, as the header of what it writes to stdout claims a day of sound."""
    with tempfile.TemporaryDirectory(prefix="quire-speech-") as folder:
        written = Path(folder) / "speech.wav"
        options = ["-b", "1", "-v", voice, "-s", str(rate), "-p", str(pitch), "-w", str(written), "--stdin"]
        _call(options, text, voice)
        sound = Audio(channels=1).read(written) if written.is_file() else None
    if sound is None or not np.any(sound.samples):
        raise NotApplicable(f"the voice {voice} says nothing of a text of {len(text)} characters")
    return sound


@functools.lru_cache(maxsize=1024)
def _letter(letter: str, voice: str, rate: int, pitch: int) -> Waveform:
    """Letters are kept in memory: there are few, and spelling takes many."""
    sound = _run(letter, voice, rate, pitch)
    sound.samples.flags.writeable = False
    return sound


def _call(options: Sequence[str], text: str, voice: str) -> None:
    try:
        subprocess.run(
            [PROGRAM, *options], input=text.encode(), capture_output=True, check=True, timeout=60 + len(text) / 50
        )
    except FileNotFoundError:
        raise ConfigError("nothing can be spoken here", remedy=f"{INSTALL[0].upper()}{INSTALL[1:]}.") from None
    except subprocess.TimeoutExpired:
        raise NotApplicable(f"speaking {len(text)} characters takes too long") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise ConfigError(
            f"{PROGRAM} can't speak with the voice {voice!r} ({said[-1] if said else f'exit code {error.returncode}'})",
            where=Where(field="speech.voice"),
            remedy=f"`{PROGRAM} --voices` lists those that are there; those named mb- need mbrola too.",
        ) from None


@functools.cache
def _version() -> str:
    """What the program says of itself: another version speaks otherwise."""
    try:
        asked = subprocess.run([PROGRAM, "--version"], capture_output=True, check=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return asked.stdout.partition("  ")[0].strip()


@functools.cache
def _store(folder: Path, version: str) -> FeatureCache:
    return FeatureCache({"speech": version}, root=folder / "speech")
