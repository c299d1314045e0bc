"""K networks of one architecture as one network, and back."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from quire_tsc.grouped.layers import GroupedDropout, grouped_twin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quire_tsc.networks import Network


class GroupedNetwork(nn.Module):
    """K networks of one architecture, computed at once; the members' weights and statistics are views of its own.

    The first dimension of every parameter and buffer is that of a member times K, member k's being block k. From the
    construction on, the members share this memory: what trains the group trains them, and what is loaded into a member
    is loaded into the group. `detach_member` gives one memory of its own again. TypeError for a layer without a grouped
    form. Series without masks only.
    """

    def __init__(self, members: Sequence[Network]) -> None:
        super().__init__()
        self.count = len(members)
        self.network = cast("Network", grouped_twin(deepcopy(members[0]), self.count))
        self.network.to(next(members[0].parameters()))  # the device and dtype of the members
        self._rows: list[tuple[nn.Parameter, list[nn.Parameter]]] = []
        states = [member.state_dict() for member in members]
        for name, tensor in self.network.state_dict().items():
            tensor.copy_(torch.cat([s[name] for s in states]) if tensor.ndim else states[0][name])
        for member in members:
            member.train(members[0].training)
        self.train(members[0].training)
        self._share(members)

    def _share(self, members: Sequence[Network]) -> None:
        for name, parameter in self.network.named_parameters():
            rows = [member.get_parameter(name) for member in members]
            for row, block in zip(rows, parameter.detach().chunk(self.count), strict=True):
                row.data = block
            self._rows.append((parameter, rows))
        for name, buffer in self.network.named_buffers():
            blocks = buffer.chunk(self.count) if buffer.ndim else [buffer] * self.count  # a count of batches is common
            for member, block in zip(members, blocks, strict=True):
                member.get_buffer(name).data = block

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits [n, K, classes] of x [n, K, channels, length], or of x [n, channels, length] that all members see."""
        if x.ndim == 3:
            x = x.unsqueeze(1).expand(-1, self.count, -1, -1)
        logits: Tensor = self.network(x.flatten(1, 2), mask)
        return logits.view(len(logits), self.count, -1)

    def losses(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Each member's loss [K] on logits [n, K, classes]; target int64 [n, K], weight one factor per class."""
        pairs = zip(logits.unbind(1), target.unbind(1), strict=True)
        return torch.stack([self.network.loss(each, wanted, weight) for each, wanted in pairs])

    def share_gradients(self) -> None:
        """Give the members' parameters their blocks of the gradients."""
        for parameter, rows in self._rows:
            if parameter.grad is not None:
                for row, block in zip(rows, parameter.grad.chunk(self.count), strict=True):
                    row.grad = block

    def seed_dropout(self, seeds: Sequence[int]) -> None:
        """Begin every member's stream of random numbers where torch.manual_seed(seed) does."""
        device = next(self.parameters()).device
        generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        for module in self.modules():
            if isinstance(module, GroupedDropout):
                module.generators = generators


def detach_member(member: nn.Module) -> None:
    """Give a member of a group memory of its own."""
    for tensor in [*member.parameters(), *member.buffers()]:
        tensor.data = tensor.detach().clone()
        tensor.grad = None
