"""Deep time-series classification: nine networks, InceptionTime and MiniRocket under one protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quire_tsc.cam import class_activation_map
    from quire_tsc.catalogue import catalogue
    from quire_tsc.config import TSCConfig
    from quire_tsc.data import TimeSeriesDataset
    from quire_tsc.estimators import (
        EncoderClassifier,
        FCNClassifier,
        InceptionClassifier,
        InceptionTimeClassifier,
        MCDCNNClassifier,
        MCNNClassifier,
        MiniRocketClassifier,
        MLPClassifier,
        ResNetClassifier,
        TimeCNNClassifier,
        TLeNetClassifier,
        TWIESNClassifier,
    )
    from quire_tsc.formats import load_arff, load_long_table, load_mts_mat, load_ts, load_ucr_tsv, save_ts
    from quire_tsc.model import TSC
    from quire_tsc.preprocess import Preprocessing

__all__ = [
    "TSC",
    "EncoderClassifier",
    "FCNClassifier",
    "InceptionClassifier",
    "InceptionTimeClassifier",
    "MCDCNNClassifier",
    "MCNNClassifier",
    "MLPClassifier",
    "MiniRocketClassifier",
    "Preprocessing",
    "ResNetClassifier",
    "TLeNetClassifier",
    "TSCConfig",
    "TWIESNClassifier",
    "TimeCNNClassifier",
    "TimeSeriesDataset",
    "catalogue",
    "class_activation_map",
    "load_arff",
    "load_long_table",
    "load_mts_mat",
    "load_ts",
    "load_ucr_tsv",
    "save_ts",
]

_HOMES = {
    "TSC": "model",
    "TSCConfig": "config",
    "TimeSeriesDataset": "data",
    "Preprocessing": "preprocess",
    "catalogue": "catalogue",
    "class_activation_map": "cam",
    **{name: "formats" for name in __all__ if name.startswith(("load_", "save_"))},
    **{name: "estimators" for name in __all__ if name.endswith("Classifier")},
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for, so that listing the plugin imports no torch."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
