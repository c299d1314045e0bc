"""Deep time-series classification: nine networks, InceptionTime and MiniRocket under one protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire.lazy import attach

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

__getattr__, __dir__ = attach(__name__, _HOMES)
