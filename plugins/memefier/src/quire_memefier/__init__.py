"""MemeFier: image-meme classification by dual-stage fusion of frozen CLIP features."""

from __future__ import annotations

from quire.lazy import attach

_HOMES = {
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

__getattr__, __dir__ = attach(__name__, _HOMES)
