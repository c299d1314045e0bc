"""tsai's networks in a plain loop with Adam: the learner that it is used with needs torchvision.

fastai imports two names of torchvision that these networks don't use; an empty module gives them.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from tsc_peers.watch import Enough, Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tsc_peers.task import Task


class EmptyTorchvision(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds torchvision and everything in it: modules whose every name is an empty class."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None: ...


class _Empty(types.ModuleType):
    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


sys.meta_path.insert(0, EmptyTorchvision())

from tsai.models.FCN import FCN  # noqa: E402
from tsai.models.ResNet import ResNet  # noqa: E402

VERSIONS = ("tsai", "fastai", "torch", "numpy")
SEEDS = 1
NETWORKS = {"fcn": FCN, "resnet": ResNet}
BATCH, LEARNING_RATE = 64, 1e-3  # the defaults of its TSClassifier


def fit(task: Task, watch: Watch, facts: dict[str, Any]) -> None:
    torch.manual_seed(task.seed)
    network = NETWORKS[task.architecture](1, task.classes).train()
    facts["parameters"] = sum(p.numel() for p in network.parameters())
    optimizer = torch.optim.Adam(network.parameters(), lr=task.learning_rate or LEARNING_RATE)
    x, y = torch.from_numpy(task.x), torch.from_numpy(task.y)

    def predictor(series: np.ndarray) -> tuple[np.ndarray, float, float]:
        network.eval()
        with torch.inference_mode():
            classes = torch.cat([network(part).argmax(dim=1) for part in torch.from_numpy(series).split(256)])
        network.train()
        return classes.numpy(), 0.0, 0.0

    for _ in range(task.epochs):
        watch.begin()
        for batch in torch.randperm(len(x)).split(task.batch or BATCH):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(x[batch]), y[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if watch.end(len(x), lambda: predictor):
            raise Enough
