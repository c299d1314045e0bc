"""From a network's outputs to the answer for a series: means over networks, votes of slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from quire_tsc.augment import Aggregate, Slices, Slicing, aggregate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quire_tsc.networks import Network

TIME_STEPS_AT_ONCE = 2**17  # of slices: 128 MiB for each of mcnn's scales


class Probabilities(nn.Module):
    """The whole of a prediction on preprocessed series [n, channels, length]: probabilities [n, classes]."""

    def __init__(self, networks: Sequence[Network], slicing: Slicing | None, rule: Aggregate) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.slicing, self.rule = slicing, rule

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The mean over the networks, or one network's answers for a series' slices joined into one."""
        networks = [cast("Network", network) for network in self.networks]
        if self.slicing is None:
            return torch.stack([network.probabilities(network(x, mask)) for network in networks]).mean(dim=0)
        slices = self.slicing.slices(x)
        answers = networks[0].probabilities(networks[0](slices.all()))
        return aggregate(answers.view(-1, slices.per_series, answers.shape[1]), self.rule)


def sliced_probabilities(network: Network, slicing: Slicing, x: Tensor, rule: Aggregate) -> Tensor:
    """One distribution per series [n, classes] from those of its slices, computed in pieces that fit."""
    slices = slicing.slices(x)
    with torch.no_grad():
        parts = [network.probabilities(network(slices.take(index))) for index in _pieces(slices)]
    return aggregate(torch.cat(parts).view(len(x), slices.per_series, -1), rule)


def sliced_embedding(network: Network, slicing: Slicing, x: Tensor) -> Tensor:
    """The mean over a series' slices of the vector before the last layer, [n, dim]."""
    slices = slicing.slices(x)
    parts = [network.embed(slices.take(index)) for index in _pieces(slices)]
    return torch.cat(parts).view(len(x), slices.per_series, -1).mean(dim=1)


def _pieces(slices: Slices) -> tuple[Tensor, ...]:
    """The indices of all slices, in pieces of TIME_STEPS_AT_ONCE."""
    index = torch.arange(len(slices), device=slices.values.device)
    return torch.split(index, max(1, TIME_STEPS_AT_ONCE // slices.size))
