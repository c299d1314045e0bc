"""AM-Softmax: embeddings for face verification, from a folder of faces to a million identities."""

from __future__ import annotations

from quire.lazy import attach

_HOMES = {
    "MarginHead": "heads",
    "MarginSchedule": "heads",
    "RowSGD": "heads",
    "ShardedMarginHead": "heads",
    "auto_scale": "heads",
    "drop_noisy": "heads",
    "load_sharded": "heads",
    "save_sharded": "heads",
}
__all__ = [
    "MarginHead",
    "MarginSchedule",
    "RowSGD",
    "ShardedMarginHead",
    "auto_scale",
    "drop_noisy",
    "load_sharded",
    "save_sharded",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
