"""When networks are trained as a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from quire_tsc.config import batch_size, recipe_of

if TYPE_CHECKING:
    from quire.runtime import Runtime
    from quire_tsc.config import TSCConfig

GROUPED = ("fcn", "resnet", "inception", "inception_time", "mlp", "time_cnn", "mcdcnn")
"""The architectures whose layers have grouped forms, and whose batches are series and not slices of them."""
WORTH_STEPS = 1000
"""Time steps of a batch up to which a group is clearly faster on a CPU: the convolutions of larger ones fill it anyway."""


def can_group(config: TSCConfig) -> bool:
    """Whether the configuration allows it: members must have the same number of steps, and series no masks."""
    if config.group_seeds is False or config.architecture not in GROUPED:
        return False
    one_length = config.early_stopping_patience is None and config.max_seconds is None
    return one_length and config.unequal != "pad" and recipe_of(config).select != "val_loss"


def is_worth_grouping(config: TSCConfig, *, cases: int, length: int, runtime: Runtime) -> bool:
    """Whether to train as a group where the configuration allows it, on `cases` series of `length`.

    group_seeds="auto": on an accelerator always, on a CPU where a batch has few time steps. A group is one process's
    work, not compiled and without loss scaling.
    """
    if runtime.processes > 1 or runtime.compile or runtime.autocast_dtype is torch.float16:
        return False
    if config.group_seeds != "auto" or runtime.torch_device.type != "cpu":
        return True
    return min(batch_size(recipe_of(config), cases), cases) * length <= WORTH_STEPS
