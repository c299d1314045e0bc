"""aeon's classifiers in their own `fit`: Keras's loop over a TensorFlow graph, the checkpoint of the lowest loss on disk.

Writing that checkpoint lies between epochs and does not count in their seconds; it does in the time to an accuracy.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from aeon.classification.deep_learning import FCNClassifier, ResNetClassifier

from tsc_peers.watch import Enough, Predictor, Watch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tsc_peers.task import Task

VERSIONS = ("aeon", "tensorflow-cpu", "keras", "numpy")
SEEDS = 1
CLASSIFIERS = {"fcn": FCNClassifier, "resnet": ResNetClassifier}
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)


class Watched(tf.keras.callbacks.Callback):  # type: ignore[misc, name-defined]
    """Predicts by the weights of the lowest training loss, as its classifier does after `fit`."""

    def __init__(self, classifier: Any, task: Task, watch: Watch, facts: dict[str, Any]) -> None:
        super().__init__()
        self.classifier, self.task, self.watch, self.facts = classifier, task, watch, facts
        self.best = float("inf")
        self.weights: list[np.ndarray] = []

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.facts["parameters"] = sum(int(np.prod(w.shape)) for w in self.model.trainable_weights)
        self.watch.begin()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        loss = float((logs or {})["loss"])
        if self.watch.end(len(self.task.x), lambda: self.predictor(loss)):
            raise Enough

    def predictor(self, loss: float) -> Predictor:
        if loss < self.best:
            self.best, self.weights = loss, self.model.get_weights()
        if self.classifier.model_ is None:
            self.classifier.model_ = tf.keras.models.clone_model(self.model)
        self.classifier.model_.set_weights(self.weights)
        return lambda x: (self.classifier._predict(x), 0.0, 0.0)


def fit(task: Task, watch: Watch, facts: dict[str, Any]) -> None:
    options = task.options(batch="batch_size", learning_rate="learning_rate")
    rate = options.pop("learning_rate", None)
    optimizer = tf.keras.optimizers.Adam(rate) if rate is not None else None
    with tempfile.TemporaryDirectory() as folder:
        classifier = CLASSIFIERS[task.architecture](
            n_epochs=task.epochs, random_state=task.seed, optimizer=optimizer, file_path=f"{folder}/", **options
        )
        plateau = tf.keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=50, min_lr=1e-4)
        classifier.callbacks = [Watched(classifier, task, watch, facts), plateau]
        classifier.fit(task.x, task.y)
