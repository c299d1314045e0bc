"""AM-Softmax: embeddings for face verification, from a folder of faces to a million identities."""

from __future__ import annotations

from quire.lazy import attach

_HOMES = {
    "AMSoftmax": "model",
    "AMSoftmaxConfig": "config",
    "IResNet": "networks",
    "LeNetPP": "networks",
    "MarginHead": "heads",
    "MarginSchedule": "heads",
    "RowSGD": "heads",
    "ShardedMarginHead": "heads",
    "SphereNet": "networks",
    "auto_scale": "heads",
    "build_backbone": "networks",
    "draw_geometry": "geometry",
    "drop_noisy": "heads",
    "load_sharded": "heads",
    "measure_geometry": "geometry",
    "save_sharded": "heads",
}
__all__ = [
    "AMSoftmax",
    "AMSoftmaxConfig",
    "IResNet",
    "LeNetPP",
    "MarginHead",
    "MarginSchedule",
    "RowSGD",
    "ShardedMarginHead",
    "SphereNet",
    "auto_scale",
    "build_backbone",
    "draw_geometry",
    "drop_noisy",
    "load_sharded",
    "measure_geometry",
    "save_sharded",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
