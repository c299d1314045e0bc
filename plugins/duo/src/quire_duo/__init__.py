"""DUO: a tester of classifiers by semantic fusion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire.lazy import attach

if TYPE_CHECKING:
    from quire_duo.adapters import AsrText, Concat, FrameSampler, OcrText, SpeechTrack
    from quire_duo.case import Case, Check
    from quire_duo.ensemble import OrEnsemble
    from quire_duo.options import DuoOptions
    from quire_duo.report import EfrReport
    from quire_duo.rule import Fused, FusionRule, Parameter, Slot, find_rules
    from quire_duo.seed_files import SeedFile
    from quire_duo.seeds import Lexicon, NotApplicable, Seed
    from quire_duo.tester import Duo
    from quire_duo.witness import (
        AudioInterval,
        ImageRegion,
        Place,
        SeriesInterval,
        TextSpan,
        Unit,
        VideoInterval,
        Witness,
    )
    from quire_duo.workshop import Workshop

__all__ = [
    "AsrText",
    "AudioInterval",
    "Case",
    "Check",
    "Concat",
    "Duo",
    "DuoOptions",
    "EfrReport",
    "FrameSampler",
    "Fused",
    "FusionRule",
    "ImageRegion",
    "Lexicon",
    "NotApplicable",
    "OcrText",
    "OrEnsemble",
    "Parameter",
    "Place",
    "Seed",
    "SeedFile",
    "SeriesInterval",
    "Slot",
    "SpeechTrack",
    "TextSpan",
    "Unit",
    "VideoInterval",
    "Witness",
    "Workshop",
    "find_rules",
]

_HOMES = {
    **dict.fromkeys(("AsrText", "Concat", "FrameSampler", "OcrText", "SpeechTrack"), "adapters"),
    **dict.fromkeys(("Case", "Check"), "case"),
    **dict.fromkeys(("Fused", "FusionRule", "Parameter", "Slot", "find_rules"), "rule"),
    **dict.fromkeys(("Lexicon", "NotApplicable", "Seed"), "seeds"),
    **dict.fromkeys(
        (
            "AudioInterval",
            "ImageRegion",
            "Place",
            "SeriesInterval",
            "TextSpan",
            "Unit",
            "VideoInterval",
            "Witness",
        ),
        "witness",
    ),
    "Duo": "tester",
    "DuoOptions": "options",
    "EfrReport": "report",
    "OrEnsemble": "ensemble",
    "SeedFile": "seed_files",
    "Workshop": "workshop",
}

__getattr__, __dir__ = attach(__name__, _HOMES)
