"""Multi-scale convolutional network."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from quire_tsc.augment import branch_inputs, branch_lengths
from quire_tsc.networks.layers import SameConv1d, reset_parameters
from quire_tsc.networks.network import Network

if TYPE_CHECKING:
    from torch import Tensor


class MCNN(Network):
    """One convolution per scale of a slice, pooled to the same length and joined (Ismail Fawaz et al., 2019).

    length: of a slice (augment.mcnn_slicing); series_length: of the whole series, which the kernel width
    int(filter_size * series_length) follows. A slice must have at least pool_factor time steps.
    """

    minimum_length: ClassVar[int] = 2

    def __init__(
        self,
        channels: int,
        length: int,
        classes: int,
        *,
        pool_factor: int = 2,
        filter_size: float = 0.1,
        series_length: int | None = None,
        filters: int = 256,
    ) -> None:
        super().__init__(channels, length, classes, minimum=pool_factor)
        self.pool_factor = pool_factor
        kernel = max(1, int(filter_size * (series_length or length)))
        scales = len(branch_lengths(length, pool_factor))
        self.branches = nn.ModuleList(SameConv1d(channels, filters, kernel) for _ in range(scales))
        self.joint = SameConv1d(scales * filters, filters, min(kernel, pool_factor))
        self.hidden = nn.Linear(pool_factor * filters, filters)
        self.head = nn.Linear(filters, classes)
        reset_parameters(self)

    def embed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Last hidden layer, [n, filters]."""
        inputs = branch_inputs(x, self.pool_factor)
        pooled = [self._pool(branch(part).sigmoid()) for branch, part in zip(self.branches, inputs, strict=True)]
        joined = self.joint(torch.cat(pooled, dim=1)).sigmoid()  # [n, filters, pool_factor]
        hidden: Tensor = self.hidden(joined.flatten(1)).sigmoid()
        return hidden

    def _pool(self, x: Tensor) -> Tensor:
        # a length that pool_factor does not divide gives more windows than pool_factor; branches must agree
        return F.max_pool1d(x, x.shape[2] // self.pool_factor)[..., : self.pool_factor]
