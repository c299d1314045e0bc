"""MemeFier: image-meme classification by dual-stage fusion of frozen CLIP features."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "CaptionDecoder": "network",
    "ClipBackbone": "backbone",
    "DualStageFusion": "network",
    "Head": "heads",
    "HatefulMemes": "data.hateful_memes",
    "MemeEvaluator": "evaluate",
    "MemeFier": "network",
    "MemeFierClassifier": "model",
    "MemeFierConfig": "config",
    "MemeTable": "data.table",
    "Memotion7k": "data.memotion",
    "MultiOFF": "data.multioff",
    "grid_options": "presets",
    "run_grid": "grid",
    "summarize": "protocol",
}
__all__ = [
    "CaptionDecoder",
    "ClipBackbone",
    "DualStageFusion",
    "HatefulMemes",
    "Head",
    "MemeEvaluator",
    "MemeFier",
    "MemeFierClassifier",
    "MemeFierConfig",
    "MemeTable",
    "Memotion7k",
    "MultiOFF",
    "grid_options",
    "run_grid",
    "summarize",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
