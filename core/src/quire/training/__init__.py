"""NeuralModel and the training loop that most models share."""

from quire.training.neural import Batch, NeuralModel
from quire.training.observers import EarlyStopping, MetricsFile, TensorBoard, read_metrics
from quire.training.phase import Every, Optimization, Phase, Selection
from quire.training.sampling import Balanced, BatchSampler, ByCount, ByTotalSize, Mixture
from quire.training.step import Part, StepContext

__all__ = [
    "Balanced",
    "Batch",
    "BatchSampler",
    "ByCount",
    "ByTotalSize",
    "EarlyStopping",
    "Every",
    "MetricsFile",
    "Mixture",
    "NeuralModel",
    "Optimization",
    "Part",
    "Phase",
    "Selection",
    "StepContext",
    "TensorBoard",
    "read_metrics",
]
