"""What learns how fast: parameter groups, and learning rates that are counted in optimiser steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from quire.training import Optimization
from quire_amsoftmax.heads import RowSGD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

    from quire.runtime import Runtime
    from quire_amsoftmax.config import AMSoftmaxConfig

ONE_CYCLE_RISE, ONE_CYCLE_START, ONE_CYCLE_END = 0.3, 1 / 25, 1e-5


def optimizations(
    config: AMSoftmaxConfig, steps: int, head: nn.Module, modules: Mapping[str, nn.Module], runtime: Runtime
) -> list[Optimization]:
    """SGD over the backbone's weights, its biases and the class centres, all on one schedule of `steps` steps."""
    groups = _groups(config, modules["network"])
    options: dict[str, Any] = {"lr": config.lr, "momentum": config.momentum, "weight_decay": config.weight_decay}
    centres = {"params": list(head.parameters()), "lr": config.lr * config.head_lr_mult}
    factor = rate_factor(config, steps)
    if config.sample_rate < 1 and config.sparse_update:
        optimizers = [runtime.optimizer(torch.optim.SGD, groups, **options), RowSGD([centres], **options)]
    else:
        optimizers = [runtime.optimizer(torch.optim.SGD, [*groups, centres], **options)]
    return [Optimization(each, LambdaLR(each, factor), interval="step") for each in optimizers]


def _groups(config: AMSoftmaxConfig, network: nn.Module) -> list[dict[str, Any]]:
    weights: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            (biases if name.endswith("bias") else weights).append(parameter)
    decay = config.weight_decay if config.bias_decay else 0.0
    groups: list[dict[str, Any]] = [
        {"params": weights},
        {"params": biases, "lr": config.lr * config.bias_lr_mult, "weight_decay": decay},
    ]
    return [group for group in groups if group["params"]]


def rate_factor(config: AMSoftmaxConfig, steps: int) -> Callable[[int], float]:
    """The factor on the learning rate before optimiser step number `step` (from 0) of `steps`."""
    warm = round(config.warmup * steps)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        if config.schedule == "multistep":
            return config.gamma ** sum(step >= milestone for milestone in config.milestones)
        if config.schedule == "polynomial":
            return max(0.0, (steps - step) / max(1, steps - warm))
        return _one_cycle(step / max(1, steps - 1)) if config.schedule == "one_cycle" else 1.0

    return factor


def _one_cycle(progress: float) -> float:
    """Half a cosine up to 1 in the first 30 %, half a cosine down to almost nothing."""
    if progress < ONE_CYCLE_RISE:
        return _between(ONE_CYCLE_START, 1.0, progress / ONE_CYCLE_RISE)
    return _between(1.0, ONE_CYCLE_END, (min(progress, 1.0) - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))


def _between(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
