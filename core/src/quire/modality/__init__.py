"""What one field of a sample is: how it is read, checked, carried as JSON, written and drawn."""

from __future__ import annotations

from typing import Any

from quire.modality.audio import Audio, Waveform
from quire.modality.base import Modality, Sample, decoding, path_inside, placed
from quire.modality.image import Image
from quire.modality.series import Series
from quire.modality.text import Label, Text, utf8_text
from quire.modality.vector import Vector
from quire.modality.video import Frames, Video

__all__ = [
    "MODALITIES",
    "Audio",
    "Frames",
    "Image",
    "Label",
    "Modality",
    "Sample",
    "Series",
    "Text",
    "Vector",
    "Video",
    "Waveform",
    "decoding",
    "path_inside",
    "placed",
    "utf8_text",
]

MODALITIES: dict[str, type[Modality[Any]]] = {
    modality.kind: modality for modality in (Image, Text, Audio, Series, Video, Vector, Label)
}
