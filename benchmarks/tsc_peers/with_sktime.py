"""sktime's torch classifiers in their own `fit`: DataLoader in fixed order, plateau schedule, no selection of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sktime.classification.deep_learning.fcn import FCNClassifierTorch
from sktime.classification.deep_learning.resnet import ResNetClassifierTorch

from tsc_peers.watch import Enough, Watch

if TYPE_CHECKING:
    from tsc_peers.task import Task

VERSIONS = ("sktime", "torch", "numpy")
SEEDS = 1
CLASSIFIERS = {"fcn": FCNClassifierTorch, "resnet": ResNetClassifierTorch}


def fit(task: Task, watch: Watch, facts: dict[str, Any]) -> None:
    class Watched(CLASSIFIERS[task.architecture]):  # type: ignore[name-defined, misc]
        def _run_epoch(self, epoch: int, dataloader: Any) -> None:
            facts["parameters"] = sum(p.numel() for p in self.network.parameters())
            watch.begin()
            super()._run_epoch(epoch, dataloader)
            if watch.end(len(task.x), lambda: self.predictor):
                raise Enough

        def predictor(self, x: np.ndarray) -> tuple[np.ndarray, float, float]:
            classes = self._predict(x)
            self.network.train()  # which `_predict` leaves in evaluation mode
            return classes, 0.0, 0.0

    options = task.options(batch="batch_size", learning_rate="lr")
    # its ResNet has RMSprop by default: all contenders have Adam
    classifier = Watched(num_epochs=task.epochs, optimizer="Adam", random_state=task.seed, **options)
    classifier.fit(task.x.astype(np.float64), task.y)
