"""Recipes by name."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "face-2026": {
        "backbone": "iresnet50",
        "input_size": [112, 112],
        "pixel_mean": 127.5,
        "pixel_std": 127.5,
        "head": "amsoftmax",
        "scale": 64.0,
        "margin": 0.4,
        "batch_size": 1024,
        "lr": 0.1,
        "epochs": 20,
        "schedule": "polynomial",
        "warmup": 0.1,
        "bias_lr_mult": 1.0,
        "bias_decay": True,
        "grad_clip": 5.0,
    },
    "toy": {
        "backbone": "sphere4",
        "width": 0.25,
        "input_size": [32, 32],
        "resize": "area",
        "embedding_dim": 32,
        "scale": "auto",
        "batch_size": 32,
        "epochs": 20,
        "lr": 0.05,
        "schedule": "one_cycle",
        "grad_clip": 5.0,
        "shift": 2,
    },
}
"""paper: sphere20 at 112 x 96 for 30,000 steps, which are the defaults. face-2026: what is usual today (lr for 1,024 images a
step). toy: seconds on a CPU, for a demo and for tests."""


def with_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` on top of those of the preset that they name, if they name one."""
    return {**deepcopy(PRESETS.get(values.get("preset") or "", {})), **values}
