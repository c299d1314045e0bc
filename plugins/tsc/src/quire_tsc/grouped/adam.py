"""The optimisers of a group: one per member, with a rate of its own, and Adam's step for all of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.optim import Optimizer

    from quire_tsc.grouped.stack import GroupedNetwork


class GroupedStep:
    """Steps the optimisers of a group's members, `optimizers[k]` being that of member k's parameters.

    Where all are torch.optim.Adam in its fused form, their moments become blocks of the group's, and members of one
    learning rate take one step together: what the optimisers would do, without their work in Python for every tensor.
    The state stays in the optimisers, so that they can be saved and loaded as ever.
    """

    def __init__(self, group: GroupedNetwork, optimizers: Sequence[Optimizer]) -> None:
        self._group, self._optimizers = group, optimizers
        self._parameters: list[Tensor] = [parameter for parameter in group.parameters() if parameter.requires_grad]
        self._fused = all(_is_plain_fused_adam(optimizer) for optimizer in optimizers)
        self._moments: tuple[list[Tensor], list[Tensor]] | None = None
        self._steps: Tensor

    def step(self) -> None:
        """One update of every member by its optimiser, from the gradients of the group."""
        if not self._fused:
            self._group.share_gradients()
            for optimizer in self._optimizers:
                optimizer.step()
            return
        if self._moments is None:
            self._moments = self._adopt_state()
        self._steps += 1
        rates = [float(optimizer.param_groups[0]["lr"]) for optimizer in self._optimizers]
        tensors = (self._parameters, [_gradient(p) for p in self._parameters], *self._moments)
        if len(set(rates)) == 1:
            self._update(tensors, rates[0])
            return
        blocks = [[each.detach().chunk(self._group.count) for each in some] for some in tensors]
        for rate in set(rates):
            members = [number for number, each in enumerate(rates) if each == rate]
            self._update([[each[number] for number in members for each in some] for some in blocks], rate)

    @torch.no_grad()
    def _update(self, tensors: Sequence[list[Tensor]], rate: float) -> None:
        parameters, gradients, first, second = tensors
        options = self._optimizers[0].param_groups[0]
        torch._fused_adam_(
            parameters,
            gradients,
            first,
            second,
            [],
            [self._steps] * len(parameters),
            lr=rate,
            beta1=options["betas"][0],
            beta2=options["betas"][1],
            weight_decay=0.0,
            eps=options["eps"],
            amsgrad=False,
            maximize=False,
        )

    def _adopt_state(self) -> tuple[list[Tensor], list[Tensor]]:
        """The moments of the whole group, of which the optimisers' are blocks from now on; theirs if they have any."""
        states = [
            [optimizer.state[parameter] for parameter in optimizer.param_groups[0]["params"]]
            for optimizer in self._optimizers
        ]
        begun = next((state["step"] for rows in states for state in rows if state), None)
        device = self._parameters[0].device
        self._steps = begun.clone() if begun is not None else torch.zeros((), dtype=torch.float32, device=device)
        return (self._adopt_moment("exp_avg", states), self._adopt_moment("exp_avg_sq", states))

    def _adopt_moment(self, name: str, states: Sequence[Sequence[dict[str, Any]]]) -> list[Tensor]:
        whole = []
        for number, parameter in enumerate(self._parameters):
            rows = [member[number] for member in states]
            moment = torch.cat([row[name] for row in rows]) if name in rows[0] else torch.zeros_like(parameter)
            for row, block in zip(rows, moment.chunk(self._group.count), strict=True):
                row.update({"step": self._steps, name: block})
            whole.append(moment)
        return whole


def _is_plain_fused_adam(optimizer: Optimizer) -> bool:
    options = optimizer.param_groups[0]
    plain = not (options.get("amsgrad") or options.get("maximize") or options.get("weight_decay"))
    return type(optimizer) is torch.optim.Adam and bool(options.get("fused")) and plain


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise RuntimeError("a parameter of the group has no gradient")
    return parameter.grad
