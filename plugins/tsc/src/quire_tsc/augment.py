"""Slices, warps and scales of a series, and how the answers for its slices become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F

from quire_tsc.lengths import require_length

if TYPE_CHECKING:
    from torch import Tensor

Aggregate = Literal["vote", "mean_proba"]
MOVING_AVERAGE = 5
SHORTEST_TLENET_SLICE = 8


@dataclass(frozen=True)
class Slices:
    """Every window of every (warped) copy of every series, addressed by one index; nothing is copied until `take`.

    values [n, channels, steps]: the copies of each series, end to end; starts int64 [per series]; size: of a window.
    Slice i belongs to series i // per_series.
    """

    values: Tensor
    starts: Tensor
    size: int

    @property
    def per_series(self) -> int:
        """Number of slices of one series."""
        return len(self.starts)

    def __len__(self) -> int:
        return len(self.values) * self.per_series

    def series(self, index: Tensor) -> Tensor:
        """Series to which each slice of index [b] belongs, int64 [b]."""
        return index // self.per_series

    def take(self, index: Tensor) -> Tensor:
        """Slices of index int64 [b] -> [b, channels, size]."""
        windows = self.values.unfold(2, self.size, 1)  # a view: [n, channels, steps - size + 1, size]
        return windows[self.series(index), :, self.starts[index % self.per_series]]

    def all(self) -> Tensor:
        """Every slice, [n * per_series, channels, size]; for few series, or where an index can't be used."""
        windows = self.values.unfold(2, self.size, 1)[:, :, self.starts]
        return windows.transpose(1, 2).flatten(0, 1)


@dataclass(frozen=True)
class Slicing:
    """How series are sliced: the slice's size, and the warps from whose copies slices are taken."""

    size: int
    warps: tuple[float, ...] = (1.0,)

    def slices(self, x: Tensor) -> Slices:
        """Slices of x [n, channels, length], warp by warp, at every offset; copies shorter than a slice give none."""
        copies = [copy for copy in (window_warp(x, warp) for warp in self.warps) if copy.shape[2] >= self.size]
        starts = []
        begin = 0
        for copy in copies:
            starts.append(torch.arange(begin, begin + copy.shape[2] - self.size + 1, device=x.device))
            begin += copy.shape[2]
        values = copies[0] if len(copies) == 1 else torch.cat(copies, dim=2)
        return Slices(values, torch.cat(starts), self.size)


def mcnn_slicing(length: int) -> Slicing:
    """MCNN's window slicing: 90 % of the length, 98 % above 500 time steps, 70 % under 16."""
    ratio = 0.98 if length > 500 else 0.7 if length < 16 else 0.9
    return Slicing(max(1, int(ratio * length)))


def tlenet_slicing(length: int, cases: int) -> Slicing:
    """t-LeNet's slices of 10 % of three warped copies; of 90 % of the series alone when it is long or they are many.

    cases: number of training series. Raises DataError for series of fewer than 8 time steps.
    """
    require_length("TLeNet", length, SHORTEST_TLENET_SLICE)
    large = length > 500 or cases > 2000
    size = max(SHORTEST_TLENET_SLICE, int((0.9 if large else 0.1) * length))
    return Slicing(size, (1.0,) if large else (0.5, 1.0, 2.0))


def window_warp(x: Tensor, factor: float) -> Tensor:
    """Linear resampling of x [..., length] at 0, factor, 2 factor, ... < length: [..., ceil(length / factor)].

    Positions between the last value and the end repeat the last value.
    """
    if factor == 1:
        return x
    length = x.shape[-1]
    positions = torch.arange(0, length, factor, dtype=torch.float64, device=x.device)
    left = positions.long()
    right = (left + 1).clamp_max(length - 1)
    return torch.lerp(x[..., left], x[..., right], (positions - left).to(x.dtype))


def moving_average(x: Tensor, window: int = MOVING_AVERAGE) -> Tensor:
    """Mean of each `window` consecutive values: [n, channels, length] -> [n, channels, length - window + 1]."""
    return F.avg_pool1d(x, window, stride=1)


def branch_inputs(x: Tensor, pool_factor: int) -> list[Tensor]:
    """MCNN's scales of slices x [n, channels, length]: the slice, its down-sampled copies, its moving average.

    Scales of fewer than pool_factor time steps are left out.
    """
    scales = [x[..., ::step] for step in _down_sampling(x.shape[2], pool_factor)]
    if x.shape[2] - MOVING_AVERAGE + 1 >= pool_factor:
        scales.append(moving_average(x))
    return scales


def branch_lengths(length: int, pool_factor: int) -> list[int]:
    """Lengths of `branch_inputs` for slices of `length`."""
    lengths = [-(-length // step) for step in _down_sampling(length, pool_factor)]
    averaged = length - MOVING_AVERAGE + 1
    return [*lengths, averaged] if averaged >= pool_factor else lengths


def aggregate(probabilities: Tensor, rule: Aggregate) -> Tensor:
    """One distribution per series from those of its slices: [n, slices, classes] -> [n, classes].

    "vote": the share of slices that give a class the highest probability; "mean_proba": the mean over slices. Ties,
    within a slice and between classes, go to the lowest class: take `lead` of the result.
    """
    if rule == "mean_proba":
        return probabilities.mean(dim=1)
    votes = F.one_hot(lead(probabilities), probabilities.shape[2])
    return votes.to(probabilities.dtype).mean(dim=1)


def lead(scores: Tensor) -> Tensor:
    """Lowest class among those with the highest score: [..., classes] -> int64 [...]."""
    # argmax promises no order among equals on every device; the first of the maxima does not depend on it
    classes = torch.arange(scores.shape[-1], 0, -1, device=scores.device)
    first = ((scores == scores.amax(dim=-1, keepdim=True)) * classes).amax(dim=-1)
    return scores.shape[-1] - first


def vote_error(shares: Tensor, target: Tensor) -> float:
    """MCNN's validation error: mean over series of 0 if the true class leads alone, .5 if it ties, 1 otherwise.

    shares [n, classes] from `aggregate(..., "vote")`; target int64 [n].
    """
    leading = shares == shares.amax(dim=1, keepdim=True)
    true_leads = leading.gather(1, target[:, None])[:, 0]
    errors = torch.where(true_leads, torch.where(leading.sum(dim=1) > 1, 0.5, 0.0), 1.0)
    return float(errors.mean())


def _down_sampling(length: int, pool_factor: int) -> list[int]:
    window = max(1, int(0.2 * length))
    copies = int(min(4.0, length / (pool_factor * window)))
    return [step for step in range(1, copies + 2) if -(-length // step) >= pool_factor]
