"""Partial FC (An et al., 2022): a step with the classes of the batch and a random share of the others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_classes(labels: Tensor, classes: int, rate: float) -> Tensor:
    """Which of `classes` take part in a step: all positive ones, filled up with random others to int(rate * classes).

    labels: int64, -1 for what is not among them. Returns int64, rising; more than int(rate * classes) if the positives are.
    Drawn from torch's global generator.
    """
    positive = labels[labels >= 0]
    draw = torch.rand(classes, device=labels.device)
    draw[positive] = 2.0
    present = int((draw == 2.0).sum())
    kept = max(present, int(rate * classes))
    return draw.topk(kept).indices.sort().values


def renumber(labels: Tensor, chosen: Tensor) -> Tensor:
    """Labels as positions in `chosen`, in which all of them (but -1) are."""
    return torch.where(labels >= 0, torch.searchsorted(chosen, labels), labels)


def sampled_rows(weight: Tensor, chosen: Tensor, centers: int, *, sparse: bool) -> Tensor:
    """The rows of the chosen classes; differentiable, with a sparse gradient of those rows alone if asked for."""
    rows = (
        chosen if centers == 1 else (chosen[:, None] * centers + torch.arange(centers, device=chosen.device)).flatten()
    )
    return F.embedding(rows, weight, sparse=sparse)


class RowSGD(torch.optim.Optimizer):
    """SGD with momentum and weight decay; of a sparse gradient, only its rows are decayed, moved and remembered.

    For a dense gradient it is torch's SGD (dampening 0). A row that is not sampled keeps its weight and its momentum, bit by
    bit. Sparse gradients are what MarginHead(sample_rate < 1, sparse_update=True) gives its weight.
    """

    def __init__(
        self, params: object, lr: float = 0.1, momentum: float = 0.9, weight_decay: float = 0.0, nesterov: bool = False
    ) -> None:
        super().__init__(
            params,  # type: ignore[arg-type]
            {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov},
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step for every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._one(parameter, parameter.grad, group)

    def _one(self, parameter: Tensor, gradient: Tensor, group: dict[str, float]) -> None:
        momentum = group["momentum"]
        state = self.state[parameter]
        if momentum and "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        memory = state.get("momentum_buffer")
        rows = None
        weight = parameter
        if gradient.is_sparse:
            gradient = gradient.coalesce()
            rows, gradient = gradient.indices()[0], gradient.values()
            weight = parameter[rows]
        if group["weight_decay"]:
            gradient = gradient.add(weight, alpha=group["weight_decay"])
        if memory is not None:
            moved = memory if rows is None else memory[rows]
            moved.mul_(momentum).add_(gradient)
            if rows is not None:
                memory[rows] = moved
            gradient = gradient.add(moved, alpha=momentum) if group["nesterov"] else moved
        if rows is None:
            parameter.add_(gradient, alpha=-group["lr"])
        else:
            parameter[rows] = weight.add_(gradient, alpha=-group["lr"])
