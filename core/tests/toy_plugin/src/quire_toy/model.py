"""A perceptron with one hidden layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from quire.config import Config
from quire.errors import InvalidSample, Where
from quire.model import Classifier, Demo
from quire.task import VECTOR_CLASSIFICATION
from quire.training import ByCount, NeuralModel, Optimization, Phase, Selection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from quire.dataset import Dataset
    from quire.modality import Sample
    from quire.runtime import Runtime


class ToyConfig(Config):
    """The options of Toy."""

    hidden: PositiveInt = Field(8, description="units of the hidden layer")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of hidden units that a training step leaves out")
    noise: float = Field(0.05, ge=0, description="standard deviation of what training adds to every coordinate")
    learning_rate: PositiveFloat = Field(0.01, description="of Adam")
    n_epochs: PositiveInt = Field(60, description="times that training goes through the data")
    batch_size: PositiveInt = Field(8, description="samples of a training step")


class Toy(NeuralModel, Classifier):
    """One hidden layer with dropout; the weights of the epoch with the lowest training loss are kept."""

    Config = ToyConfig
    task = VECTOR_CLASSIFICATION
    demo = Demo(
        dataset="toy-points",
        inputs=lambda data: [data / "points_test.csv"],
        quick={"n_epochs": 4},
    )
    config: ToyConfig

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the training data."""
        return tuple(self.facts["labels"])

    def study(self, train: Dataset) -> dict[str, Any]:
        """The labels and the number of coordinates."""
        return {**super().study(train), "dim": len(train[0]["vector"])}

    def build(self) -> nn.Module:
        """[n, dim] -> logits [n, classes]."""
        return nn.Sequential(
            nn.Linear(self.facts["dim"], self.config.hidden),
            nn.ReLU(),
            nn.Dropout(self.config.dropout),
            nn.Linear(self.config.hidden, len(self.labels)),
        )

    def collate(self, samples: Sequence[Sample], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """vector [n, dim] and, where every target is known, target [n]."""
        vectors = np.stack([self._vector(sample, index) for index, sample in enumerate(samples)])
        if rng is not None:
            vectors = vectors + rng.normal(0, self.config.noise, vectors.shape).astype(np.float32)
        batch = {"vector": torch.from_numpy(vectors)}
        columns = {label: column for column, label in enumerate(self.labels)}
        if all(sample.get("target") in columns for sample in samples):
            batch["target"] = torch.tensor([columns[sample["target"]] for sample in samples])
        return batch

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy."""
        return {"loss": functional.cross_entropy(self.network(batch["vector"]), batch["target"])}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits [n, classes]."""
        logits: Tensor = self.network(batch["vector"])
        return logits

    def phases(self, train: Dataset) -> list[Phase]:
        """One phase of Adam."""

        def optimizers(modules: Mapping[str, nn.Module], runtime: Runtime) -> list[Optimization]:
            parameters = modules["network"].parameters()
            return [Optimization(runtime.optimizer(torch.optim.Adam, parameters, lr=self.config.learning_rate))]

        sampler = ByCount(len(train), self.config.batch_size, seed=self.runtime.seed)
        return [Phase(optimizers, sampler, epochs=self.config.n_epochs, select=Selection("loss"))]

    def predict_proba(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """The softmax of the logits, float32 [n, classes]."""
        probabilities: NDArray[np.float32] = self.outputs(samples).softmax(dim=1).numpy()
        return probabilities

    def _vector(self, sample: Sample, index: int) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = sample["vector"]
        if len(vector) != self.facts["dim"]:
            raise InvalidSample(
                f"{len(vector)} values, but the model was trained on {self.facts['dim']}",
                where=Where(sample=sample.get("id", index), field="vector"),
            )
        return vector
