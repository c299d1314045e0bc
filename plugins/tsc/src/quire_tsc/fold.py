"""Batch norms folded into the convolutions before them, for faster inference."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from quire_tsc.networks.inception import InceptionModule
from quire_tsc.networks.layers import BatchNorm, ConvNorm, ZeroOutside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quire_tsc.networks import Network

AnyNetwork = TypeVar("AnyNetwork", bound="Network")


def fold_batchnorm(network: AnyNetwork) -> AnyNetwork:
    """Copy of a network, in evaluation mode, that computes the same without batch norms behind convolutions.

    For inference only: what the copy computes in training mode has no batch statistics. The one batch norm without a
    convolution (ResNet's last shortcut) stays.
    """
    folded = deepcopy(network).eval()
    for module in folded.modules():
        match module:
            case ConvNorm(norm=BatchNorm() as norm):
                _fold([module.conv], norm)
                module.norm = ZeroOutside()
            case InceptionModule(norm=BatchNorm() as norm):
                _fold([*_convolutions(module.convolutions), module.pooled], norm)
                module.norm = ZeroOutside()
    return folded


@torch.no_grad()
def _fold(convolutions: Sequence[nn.Conv1d], norm: BatchNorm) -> None:
    """Scale and shift convolutions whose outputs, one after the other, are the channels of `norm`."""
    widths = [convolution.out_channels for convolution in convolutions]
    state = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    parts = zip(*(torch.split(value, widths) for value in state if value is not None), strict=True)
    for convolution, (mean, variance, weight, bias) in zip(convolutions, parts, strict=True):
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, mean, variance, norm.eps, weight, bias
        )


def _convolutions(modules: nn.ModuleList) -> list[nn.Conv1d]:
    return [module for module in modules if isinstance(module, nn.Conv1d)]
