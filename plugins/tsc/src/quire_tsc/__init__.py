"""Deep time-series classification: nine networks, InceptionTime and MiniRocket under one protocol."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "TSC": "model",
    "TSCConfig": "config",
    "TimeSeriesDataset": "data",
    "Preprocessing": "preprocess",
    "catalogue": "catalogue",
    "class_activation_map": "cam",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
