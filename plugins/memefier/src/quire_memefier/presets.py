"""The published recipes by name, and the grid of 64 configurations (sec. 3.8 of the method)."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from quire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

GRID_SIZE = 64
ENCODERS: tuple[dict[str, int], ...] = (
    {"heads": 4, "ffn": 512, "layers": 1},
    {"heads": 16, "ffn": 2048, "layers": 3},
)
DECODERS: tuple[dict[str, int], ...] = (
    {"d": 64, "heads": 4, "ffn": 64, "layers": 1},
    {"d": 256, "heads": 16, "ffn": 256, "layers": 3},
)
REFERENCE: dict[str, Any] = {
    "components": "EC12",
    "text_cleaning": "paper",
    "pad_mode": "reference",
    "mask_padding": False,
    "absent_embedding": False,
    "caption_reduction": "reference",
    "calibrate": False,
}
"""How the reference's network differs from our defaults."""


def grid_options(index: int) -> dict[str, Any]:
    """The options of grid point `index` = 32 a + 16 b + 8 c + 4 e + 2 f + g, each a bit: learning rate, epochs, alpha,
    width, encoder, decoder. ConfigError outside 0..63.
    """
    if not 0 <= index < GRID_SIZE:
        raise ConfigError(f"the grid has the points 0..{GRID_SIZE - 1}, not {index}")
    a, b, c, e, f, g = (index >> shift & 1 for shift in (5, 4, 3, 2, 1, 0))
    return {
        "lr": (1e-5, 1e-4)[a],
        "epochs": (16, 32)[b],
        "alpha": (0.2, 0.8)[c],
        "d_model": (512, 1024)[e],
        "encoder": dict(ENCODERS[f]),
        "decoder": dict(DECODERS[g]),
    }


def _published(index: int, metric: str, patience: int | None) -> dict[str, Any]:
    return {**REFERENCE, **grid_options(index), "early_stop": {"metric": metric, "patience": patience}}


PRESETS: dict[str, dict[str, Any]] = {
    "paper-fbhm": _published(38, "auc", 4),
    "paper-memotion-a": _published(42, "f1", None),
    "paper-memotion-b": _published(42, "f1", None),
    "paper-memotion-c": _published(52, "f1", None),
    "paper-multioff": _published(34, "f1", 4),
    "tiny": {
        "backbone": "tiny-random",
        "feature_dtype": "float32",
        "d_model": 64,
        "encoder": {"heads": 4, "ffn": 128, "layers": 1, "dropout": 0.0},
        "decoder": {"d": 32, "heads": 4, "ffn": 64, "layers": 1, "dropout": 0.0},
        "proj_dropout": 0.0,
        "ext_dropout": 0.0,
        "head_dropout": 0.0,
        "lr": 3e-3,
        "batch_size": 50,
        "epochs": 15,
        "lr_drop": {"factor": 1.0},
    },
}
"""paper-*: the published best runs. tiny: a network of seconds on a random backbone, for a demo and for tests."""


def with_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` on top of those of the preset that they name, if they name one."""
    return _merged(deepcopy(PRESETS.get(values.get("preset") or "", {})), values)


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in over.items():
        below = base.get(name)
        base[name] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return base
