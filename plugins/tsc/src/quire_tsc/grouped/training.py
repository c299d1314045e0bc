"""The training of a group in core's loop: orders, rates and best epochs of each member are its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch

from quire.hooks import hookimpl
from quire.training import Every, Phase, Selection
from quire.training.sampling import Batches, BatchSampler
from quire_tsc.grouped.adam import GroupedStep
from quire_tsc.grouped.stack import GroupedNetwork
from quire_tsc.training import optimization

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from quire.runtime import Runtime
    from quire.training import Optimization, Part, StepContext
    from quire_tsc.config import Recipe
    from quire_tsc.networks import Network


@dataclass(frozen=True)
class Orders(BatchSampler):
    """The batches of several samplers side by side: an entry of a batch holds one index for each of them."""

    samplers: tuple[BatchSampler, ...]

    def batches(self, epoch: int) -> Batches:
        """Batches of tuples of indices."""
        each = [sampler.batches(epoch) for sampler in self.samplers]
        batches = [list(zip(*batch, strict=True)) for batch in zip(*each, strict=True)]
        return cast("Batches", batches)


class BestEpochs:
    """Keeps, for every member of a group, its weights and statistics at the end of its epoch of least loss."""

    def __init__(self, phase: str, group: GroupedNetwork) -> None:
        self.phase, self.group = phase, group
        self.best: list[float | None] = [None] * group.count
        self.weights: dict[str, Tensor] = {}

    @hookimpl
    def quire_epoch_finished(self, phase: str, metrics: Mapping[str, float]) -> None:
        """Take over the members whose loss became less."""
        if phase != self.phase:
            return
        selection = Selection("loss")
        better = [k for k, best in enumerate(self.best) if selection.better(metrics[loss_name(k)], best)]
        if not self.weights:
            self.weights = {name: tensor.detach().clone() for name, tensor in self.group.network.state_dict().items()}
        for k in better:
            self.best[k] = metrics[loss_name(k)]
        self._copy(self.group.network.state_dict(), self.weights, better)

    def restore(self) -> None:
        """Give the members their best weights; none if no epoch was finished."""
        if self.weights:
            members = [k for k, best in enumerate(self.best) if best is not None]
            self._copy(self.weights, self.group.network.state_dict(), members)

    def _copy(self, source: Mapping[str, Tensor], target: Mapping[str, Tensor], members: Sequence[int]) -> None:
        if len(members) == self.group.count:
            for name, tensor in source.items():
                target[name].copy_(tensor)
            return
        for name, tensor in source.items():
            if tensor.ndim:
                blocks, kept = tensor.chunk(self.group.count), target[name].chunk(self.group.count)
                for k in members:
                    kept[k].copy_(blocks[k])

    def state_dict(self) -> dict[str, Any]:
        """The losses and weights of the best epochs."""
        return {"best": self.best, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue."""
        self.best, device = state["best"], next(self.group.parameters()).device
        self.weights = {name: tensor.to(device) for name, tensor in state["weights"].items()}


class GroupTraining:
    """What the loop needs to train `members` as one: a phase, a step, and the choice of every member's weights.

    samplers, runtimes: one per member. weight: a factor per class of the loss, or None.
    """

    def __init__(
        self,
        members: Sequence[Network],
        recipe: Recipe,
        *,
        samplers: Sequence[BatchSampler],
        runtimes: Sequence[Runtime],
        weight: Tensor | None,
    ) -> None:
        self.network = GroupedNetwork(members)
        self.network.seed_dropout([_seed_of_first_phase(runtime) for runtime in runtimes])
        self._members, self._recipe, self._samplers, self._weight = members, recipe, tuple(samplers), weight
        self._best = BestEpochs("train", self.network)
        self._step: GroupedStep

    def phase(self) -> Phase:
        """The one phase of the training, of all members."""
        chooses = self._recipe.select != "last"
        return Phase(
            name="train",
            trains="network",
            optimizers=self._optimizers,
            sampler=Orders(self._samplers),
            step=self.losses,
            epochs=self._recipe.epochs,
            observers={"best-epochs": self._best} if chooses else {},
            report=Every(epochs=1),
        )

    def _optimizers(self, modules: Mapping[str, nn.Module], runtime: Runtime) -> list[Optimization]:
        """One per member, its schedule led by its own loss."""
        each = [optimization(self._recipe, member, runtime) for member in self._members]
        self._step = GroupedStep(self.network, [one.optimizer for one in each])
        return [replace(one, monitor=loss_name(k)) if one.monitor else one for k, one in enumerate(each)]

    def losses(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The mean of the members' losses and accuracies, and the loss of each.

        x [n, K, channels, length], or [n, channels, length] for all; y int64 [n, K], or [n].
        """
        training = self._members[0].training
        if self.network.training != training:
            self.network.train(training)
        logits = self.network(batch["x"])
        target = batch["y"] if batch["y"].ndim == 2 else batch["y"].unsqueeze(1).expand(-1, self.network.count)
        each = self.network.losses(logits, target, self._weight)
        correct = (logits.detach().argmax(dim=2) == target).float().mean()
        return {
            "loss": each.mean(),
            "accuracy": correct,
            **{loss_name(k): loss for k, loss in enumerate(each.unbind())},
        }

    def training_step(self, parts: Sequence[Part], context: StepContext) -> dict[str, Tensor]:
        """One step of every member on its part of the batch."""
        self.network.zero_grad(set_to_none=True)
        totals: dict[str, Tensor] = {}
        for part in parts:
            batch = context.runtime.move(part.batch)
            with context.runtime.autocast():
                losses = self.losses(batch)
            (losses["loss"] * (part.weight * self.network.count)).backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + value.detach().float() * part.weight
        self._step.step()
        return totals

    def choose(self) -> None:
        """Give every member the weights of its best epoch, if the recipe asks for that."""
        with torch.no_grad():
            self._best.restore()


def loss_name(member: int) -> str:
    """What the loss of a member is called among the metrics."""
    return f"loss_{member + 1}"


def _seed_of_first_phase(runtime: Runtime) -> int:
    """What the loop seeds torch with when a training alone begins its one phase."""
    runtime.seed_everything(0, 0)
    return torch.initial_seed()
