"""The base of a model whose heart is one torch network trained by gradient steps."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from quire.dataset import require_known_labels
from quire.errors import DataError, RunError
from quire.model import Model
from quire.runtime import Runtime, in_batches_that_fit
from quire.training.loop import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

    from quire.config import Config
    from quire.dataset import Dataset
    from quire.modality import Sample
    from quire.run import Run
    from quire.training.phase import Phase
    from quire.training.step import Part, StepContext

Batch = Any  # any nesting of dicts, lists and tuples of CPU tensors


class NeuralModel(Model):
    """Says what is particular of a method; the loop, devices, precision, checkpoints and resume come from core.

    The road of a sample: `collate` makes a batch, `step` gives losses in training, `forward` gives outputs in prediction.
    `facts` are JSON values that the network's shape or the labels depend on, found in the training data by `study`.
    """

    prediction_batch = 256

    def __init__(self, config: Config | None = None, *, runtime: Runtime | None = None) -> None:
        super().__init__(config, runtime=runtime)
        self.facts: dict[str, Any] = {}
        self._network: nn.Module | None = None
        self.training_only = nn.ModuleDict()

    @property
    def network(self) -> nn.Module:
        """The network; RunError before `fit` or `load`."""
        if self._network is None:
            raise RunError(f"this {type(self).__name__} has not been trained yet", remedy="Call fit, or load a model.")
        return self._network

    def fact(self, name: str) -> Any:
        """One of `facts`; RunError before `fit` or `load`."""
        if name not in self.facts:
            raise RunError(f"this {type(self).__name__} has not been trained yet", remedy="Call fit, or load a model.")
        return self.facts[name]

    def place(self) -> None:
        """Move the network to the runtime's device."""
        if self._network is not None:
            self._network = self.runtime.place(self._network)

    def study(self, train: Dataset) -> dict[str, Any]:
        """The facts of the training data that the model needs for good (labels, channels, fitted preprocessing)."""
        return {"labels": list(train.labels)}

    @abstractmethod
    def build(self) -> nn.Module:
        """A freshly initialised network for `self.config` and `self.facts`."""

    def build_training_only(self) -> dict[str, nn.Module]:
        """Modules that are trained and checkpointed, but not saved with the model (a margin head, a caption decoder)."""
        return {}

    @abstractmethod
    def collate(self, samples: Sequence[Sample], rng: np.random.Generator | None = None) -> Batch:
        """A batch of CPU tensors; `rng` is given in training only, for augmentation."""

    @abstractmethod
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch as means over its samples; "loss" is the one that is minimised."""

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """The network's outputs for a batch without targets, [samples, ...]."""

    @abstractmethod
    def phases(self, train: Dataset) -> list[Phase]:
        """The phases of a training on `train`."""

    def loader(
        self, dataset: Dataset, *, training: bool
    ) -> Callable[[Sequence[int], np.random.Generator | None], Batch]:
        """How batches of `dataset` are made from indices; a model that can hold the whole set in memory overrides it.

        In training the indices are those of the phase's sampler, otherwise they number the data set's samples.
        """
        return partial(_collated, self.collate, dataset)

    def training_step(self, parts: Sequence[Part], context: StepContext) -> dict[str, Tensor]:
        """One optimiser step on the parts of a batch; override to own it entirely (inner loops, alternation).

        The default sums the parts' weighted gradients, clips, and steps every optimiser of the phase. The losses that
        are returned are weighted by the parts too: their sum over all processes is the batch's.
        """
        return context.descend(parts)

    def validate(self, phase: Phase, batches: Iterator[tuple[Batch, int]]) -> dict[str, float]:
        """Metrics over batches (with their sample counts) of the validation set, the network in evaluation mode.

        The default is the sample-weighted mean of what the phase's step returns.
        """
        step = phase.step or self.step
        totals: dict[str, Tensor] = {}
        samples = 0
        for batch, count in batches:
            for name, value in step(batch).items():
                totals[name] = totals.get(name, torch.zeros((), device=value.device)) + value.detach().float() * count
            samples += count
        return {name: float(total) / samples for name, total in totals.items()}

    def settle(self, phase: Phase, batches: Callable[[], Iterator[Batch]]) -> None:
        """Called before weights are judged by validation, and when a phase has chosen its weights.

        `batches()` goes through the training set once, in order, on the device (to recalibrate batch norm, say).
        """

    def fit(
        self,
        train: Dataset,
        validation: Dataset | None = None,
        *,
        runtime: Runtime | None = None,
        run: Run | None = None,
    ) -> Self:
        """Train through all phases, from the run's checkpoint if it has one; see Model.fit.

        DataError for a training set without samples, and for labels of `validation` that `train` lacks.
        """
        if len(train) == 0:
            raise DataError(f"{train.name} has no samples to train on")
        if validation is not None:
            require_known_labels(train, validation)
        self.runtime = runtime or self.runtime
        self.facts = self.study(train)
        self.runtime.seed_everything()
        self._network = self.runtime.place(self.build())
        self.training_only = self.runtime.place(nn.ModuleDict(self.build_training_only()))
        Trainer(self, train, validation, run).train()
        self.training_only = nn.ModuleDict()
        self.network.eval()
        return self

    def outputs(self, samples: Sequence[Sample]) -> Tensor:
        """`forward` of all samples in batches that fit into memory, float32 on the CPU [samples, ...].

        Raises InvalidSample naming the field of the first sample that the task does not admit.
        """
        samples = [self.task.check(sample, index=index) for index, sample in enumerate(samples)]

        def work(batch: Sequence[Sample]) -> Tensor:
            moved = self.runtime.move(self.collate(batch))
            with torch.inference_mode(), self.runtime.autocast():
                return self.forward(moved).float().cpu()

        self.network.eval()
        results = list(in_batches_that_fit(samples, self.prediction_batch, work))
        if not results:
            raise DataError("there are no samples to predict")
        return torch.cat([result for result in results if isinstance(result, Tensor)])

    def state(self) -> dict[str, Any]:
        """The facts and the network's tensors."""
        return {"facts": self.facts, "network": self.network.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Build the network for the saved facts and give it the saved tensors."""
        self.facts = state["facts"]
        network = self.build()
        network.load_state_dict(state["network"])
        self._network = self.runtime.place(network).eval()


def _collated(
    collate: Callable[..., Batch], dataset: Dataset, indices: Sequence[int], rng: np.random.Generator | None
) -> Batch:
    """A batch of some of a data set's samples; a function of the module, so that worker processes can be given it."""
    return collate([dataset[index] for index in indices], rng)
