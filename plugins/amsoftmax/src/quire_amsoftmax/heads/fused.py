"""Cross-entropy over margin logits in one buffer, for one process or for a class-sharded weight.

The weight is never normalised in memory: the product x W^T is scaled by 1/|W_j| per column. One buffer [n, rows] holds
first logits, then exponentials, then the derivatives by the products, and is what the two products of the backward pass
read. The true class's formula is differentiated by autograd on vectors [n], so every margin has its true gradient.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from quire_amsoftmax.heads.collective import Alone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quire_amsoftmax.heads.margin import Margin

EPS = 1e-12
"""Norms below it count as it: a zero row stays a zero row, with a finite gradient."""
_CACHE = 2**18
"""Elements of the buffer that a CPU works on at once, about a megabyte: they stay in its cache."""
_PROJECTED = 2**16
"""Elements of the weight's gradient that are projected at once."""


@dataclass(frozen=True)
class Setting:
    """What does not change from step to step.

    scale: s. feature_norm: whether features are normalised. centers: sub-centres a class. threshold: negatives with a
    greater cosine are left out. product: the dtype in which operands are multiplied, None for their own. chunk: the most
    elements of the buffer; larger batches are computed in parts, and once more in the backward pass.
    """

    margin: Margin
    scale: float
    feature_norm: bool
    centers: int = 1
    threshold: float | None = None
    product: torch.dtype | None = None
    chunk: int = 2**27
    processes: Alone = field(default_factory=Alone)


class _Target(NamedTuple):
    """The true class's cosine, logit and the derivatives of the logit and of the penalty; all [n]."""

    cosine: Tensor
    logit: Tensor
    by_product: Tensor
    by_norm: Tensor
    penalty: Tensor | None
    penalty_by_norm: Tensor | None


class _Part(NamedTuple):
    """A chunk of the batch: its results [n], and, where a gradient is due, the buffer Q [n, rows] and its row factors.

    The derivative of a sample's loss by its product with row j of the weight is factor * Q_j, by its norm `by_norm`.
    """

    losses: Tensor
    cosine: Tensor
    hardest: Tensor
    buffer: Tensor
    factor: Tensor
    by_norm: Tensor


class MarginCrossEntropy(torch.autograd.Function):
    """(features [n, dim], weight [classes * centers, dim], bias or None, labels, noise or None, setting) -> vectors [n].

    labels: int64, the class among those of `weight`, -1 for a class that another process has. Returns the losses, the
    cosine of the true class and the greatest of the others'; the last two without a gradient. Cosines are plain products
    where neither side is normalised, and <W_j, x>/|W_j| / |x| where the features are not.
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        noise: Tensor | None,
        setting: Setting,
    ) -> tuple[Tensor, Tensor, Tensor]:
        gradient = any(ctx.needs_input_grad)
        norms = torch.linalg.vector_norm(features, dim=1)
        inverse = None
        if setting.margin.weight_norm:
            inverse = torch.linalg.vector_norm(weight, dim=1).clamp_min_(EPS).reciprocal_()
        slices = list(_slices(len(features), _chunk_rows(weight, setting)))
        keep = gradient and len(slices) == 1
        parts = [
            _part(features[rows], norms[rows], weight, inverse, bias, labels[rows], _rows(noise, rows), setting, keep)
            for rows in slices
        ]
        if gradient:
            kept = (parts[0].buffer, parts[0].factor, parts[0].by_norm) if keep else (None, None, None)
            ctx.save_for_backward(features, weight, bias, labels, noise, norms, inverse, *kept)
            ctx.slices = slices
            # what is computed once more must be computed with the statistics of now
            ctx.setting = setting if keep else _frozen(setting)
        results = [torch.cat([part[k] for part in parts]) if len(parts) > 1 else parts[0][k] for k in range(3)]
        ctx.mark_non_differentiable(results[1], results[2])
        ctx.set_materialize_grads(True)
        return results[0], results[1], results[2]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        features, weight, bias, labels, noise, norms, inverse, *kept = ctx.saved_tensors
        setting: Setting = ctx.setting
        wants_features, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        by_features = torch.empty_like(features) if wants_features else None
        by_weight = torch.zeros_like(weight) if wants_weight and len(ctx.slices) > 1 else None
        by_bias = torch.zeros_like(bias) if wants_bias and bias is not None else None
        for rows in ctx.slices:
            x, norm = features[rows], norms[rows].clamp_min(EPS)[:, None]
            if len(ctx.slices) == 1:
                buffer, factor, by_norm = kept
            else:
                part = _part(x, norms[rows], weight, inverse, bias, labels[rows], _rows(noise, rows), setting, True)
                buffer, factor, by_norm = part.buffer, part.factor, part.by_norm
            weights = (upstream[0][rows] * factor)[:, None]
            unit = x / norm
            if by_features is not None:
                direction = _product(buffer, weight, setting.product).mul_(weights)
                if setting.feature_norm:
                    direction -= unit * torch.linalg.vecdot(unit, direction)[:, None]
                    direction /= norm
                by_features[rows] = direction.addcmul_(unit, (upstream[0][rows] * by_norm)[:, None])
            if wants_weight:
                operand = (unit if setting.feature_norm else x) * weights
                if by_weight is None:
                    by_weight = _product(buffer.T, operand, setting.product)
                else:
                    by_weight += _product(buffer.T, operand, setting.product)
            if by_bias is not None:
                by_bias += buffer.T @ weights[:, 0]
        if by_weight is not None and inverse is not None:
            _project(by_weight, weight, inverse)
        return by_features, by_weight, by_bias, None, None, None


def _frozen(setting: Setting) -> Setting:
    return replace(setting, margin=deepcopy(setting.margin))


def _rows(values: Tensor | None, rows: slice) -> Tensor | None:
    return None if values is None else values[rows]


def _slices(total: int, size: int) -> Iterator[slice]:
    for start in range(0, max(total, 1), size):
        yield slice(start, min(start + size, total))


def _chunk_rows(weight: Tensor, setting: Setting) -> int:
    """Samples whose logits fit into the budget: the same for all processes, whose shards differ by their last rows."""
    widest = int(setting.processes.largest(torch.tensor([len(weight)], device=weight.device)))
    return max(1, setting.chunk // max(1, widest))


def _product(left: Tensor, right: Tensor, dtype: torch.dtype | None) -> Tensor:
    return left @ right if dtype is None else (left.to(dtype) @ right.to(dtype)).to(left.dtype)


def _project(gradient: Tensor, weight: Tensor, inverse: Tensor) -> None:
    """Take the radial part out of each row, in place; in blocks, for a copy of the weight is what we don't want."""
    size = max(1, _PROJECTED // max(1, weight.shape[1]))
    for rows in _slices(len(weight), size):
        radial = torch.linalg.vecdot(gradient[rows], weight[rows]) * inverse[rows].square()
        gradient[rows].addcmul_(weight[rows], radial[:, None], value=-1)


def _part(
    features: Tensor,
    norms: Tensor,
    weight: Tensor,
    inverse: Tensor | None,
    bias: Tensor | None,
    labels: Tensor,
    noise: Tensor | None,
    setting: Setting,
    gradient: bool,
) -> _Part:
    """Losses of a chunk, and the derivatives by its products with the weight."""
    scaled = features * (setting.scale / norms.clamp_min(EPS))[:, None] if setting.feature_norm else features
    buffer = _product(scaled, weight.T, setting.product)
    target = _target(buffer, norms, inverse, bias, labels, noise, setting, gradient)
    factor, hardest, losses = (torch.empty_like(target.logit) for _ in range(3))
    size = len(buffer) if setting.processes.size > 1 or buffer.device.type != "cpu" else _CACHE // max(1, len(weight))
    for rows in _slices(len(buffer), max(1, size)):
        losses[rows], hardest[rows], factor[rows] = _softmax(
            buffer[rows], norms[rows], inverse, bias, labels[rows], _target_rows(target, rows), setting, gradient
        )
    # p - 1 without the cancellation
    missing = torch.expm1(-losses)
    by_norm = missing * target.by_norm
    if target.penalty is not None:
        losses = losses + target.penalty
    if target.penalty_by_norm is not None:
        by_norm = by_norm + target.penalty_by_norm
    # each sample's norm and penalty are counted by the one process that owns its class
    by_norm = torch.where(labels >= 0, by_norm, 0.0)
    return _Part(losses, target.cosine, hardest, buffer, factor, by_norm)


def _target_rows(target: _Target, rows: slice) -> _Target:
    return _Target(*(_rows(values, rows) for values in target))  # type: ignore[arg-type]


def _target(
    products: Tensor,
    norms: Tensor,
    inverse: Tensor | None,
    bias: Tensor | None,
    labels: Tensor,
    noise: Tensor | None,
    setting: Setting,
    gradient: bool,
) -> _Target:
    """The true class's logit by the margin's formula, known to all processes, and its derivatives."""
    margin, centers = setting.margin, setting.centers
    own = (labels >= 0).nonzero().squeeze(1)
    classes = labels[own]
    values = by_class(products, centers)[own, classes]
    if inverse is not None:
        values = values * inverse.view(-1, centers)[classes]
    if bias is not None:
        values = values + bias.view(-1, centers)[classes]
    product = torch.zeros_like(norms)
    product[own] = values.amax(dim=1) / setting.scale
    product = setting.processes.total(product)
    with torch.set_grad_enabled(gradient):
        u, norm = product.detach().requires_grad_(gradient), norms.clamp_min(EPS).requires_grad_(gradient)
        if setting.feature_norm or not margin.weight_norm:
            cosine, logit = u, margin.target(u, norm, noise) * setting.scale
        else:
            cosine = u / norm
            logit = norm * margin.target(cosine, norm, noise)
        penalty = margin.penalty(norm)
        sums = logit.sum(), None if penalty is None else penalty.sum()
    zero = torch.zeros_like(norms)
    by_product, by_norm, penalty_by_norm = zero, zero, None
    if gradient:
        grads = torch.autograd.grad(sums[0], (u, norm), allow_unused=True)
        by_product, by_norm = (zero if each is None else each for each in grads)
        if sums[1] is not None:
            (penalty_by_norm,) = torch.autograd.grad(sums[1], (norm,))
    detached = penalty.detach() if penalty is not None else None
    return _Target(cosine.detach(), logit.detach(), by_product, by_norm, detached, penalty_by_norm)


def _softmax(
    products: Tensor,
    norms: Tensor,
    inverse: Tensor | None,
    bias: Tensor | None,
    labels: Tensor,
    target: _Target,
    setting: Setting,
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses, hardest cosines and row factors of some rows, whose products become derivatives in place."""
    processes, centers = setting.processes, setting.centers
    own = (labels >= 0).nonzero().squeeze(1)
    classes = labels[own]
    if inverse is not None:
        products.mul_(inverse)
    if bias is not None:
        products.add_(bias)
    values, nearest = products, None
    if centers > 1:
        values, nearest = by_class(products, centers).max(dim=2)
    unit = _unit(norms, setting)
    harder = setting.margin.harden(values / unit, target.cosine) if setting.margin.hardens else None
    if setting.threshold is not None:
        values.masked_fill_(values > setting.threshold * unit, float("-inf"))
    values[own, classes] = float("-inf")
    hardest = processes.largest(_row_maximum(values))
    top = torch.maximum(hardest, target.logit)
    if harder is not None:
        values = torch.where(values > float("-inf"), harder.cosines * unit, values)
        top = torch.maximum(processes.largest(_row_maximum(values)), target.logit)
    values[own, classes] = target.logit[own]
    values.sub_(top[:, None]).exp_()
    total = processes.total(values.sum(dim=1))
    losses = total.log() + (top - target.logit)
    factor = setting.scale / total
    if gradient:
        if harder is not None:
            values.mul_(harder.derivative)
        values[own, classes] = (torch.expm1(-losses) * target.by_product / factor)[own]
        if nearest is not None:
            by_class(products.zero_(), centers).scatter_(2, nearest[..., None], values[..., None])
        elif harder is not None:
            products.copy_(values)
        if inverse is not None:
            products.mul_(inverse)
    return losses, hardest / unit[:, 0], factor


def by_class(values: Tensor, centers: int) -> Tensor:
    """[n, classes * centers] as [n, classes, centers], the same memory."""
    return values.view(len(values), values.shape[1] // centers, centers)


def _unit(norms: Tensor, setting: Setting) -> Tensor:
    """The logit of cosine one, [n, 1]."""
    if setting.feature_norm:
        return torch.full_like(norms, setting.scale)[:, None]
    return (norms.clamp_min(EPS) if setting.margin.weight_norm else torch.ones_like(norms))[:, None]


def _row_maximum(values: Tensor) -> Tensor:
    """The greatest value of each row; minus infinity for a shard without classes."""
    if values.shape[1] == 0:
        return values.new_full((len(values),), float("-inf"))
    return values.amax(dim=1)
