"""Sub-centre ArcFace (Deng et al., 2020): several centres a class, so that noisy samples gather around a spare one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from quire.errors import ConfigError, Where
from quire_amsoftmax.heads.arcface import ArcFace
from quire_amsoftmax.heads.margin import sine

if TYPE_CHECKING:
    from torch import Tensor

    from quire_amsoftmax.heads.head import MarginHead


class SubCenter(ArcFace):
    """ArcFace on cos_j = max_k cos(W_jk, x). Any other margin takes sub-centres too: MarginHead(sub_centers=3)."""

    kind = "subcenter"
    centers = 3


@torch.no_grad()
def dominant_centers(head: MarginHead, embeddings: Tensor, labels: Tensor) -> Tensor:
    """Which sub-centre of each class is nearest to most of its samples, int64 [classes]; the first one of a tie.

    embeddings [n, dim], labels int64 [n]. A class without a sample has centre 0.
    """
    nearest = _own_cosines(head, embeddings, labels).argmax(dim=1)
    counts = torch.zeros(head.num_classes, head.sub_centers, dtype=torch.int64, device=labels.device)
    counts.index_put_((labels, nearest), torch.ones_like(labels), accumulate=True)
    return counts.argmax(dim=1)


@torch.no_grad()
def drop_noisy(head: MarginHead, embeddings: Tensor, labels: Tensor, threshold_deg: float = 75.0) -> Tensor:
    """The positions of samples further than `threshold_deg` from their class's dominant centre, int64 [m], rising.

    With one centre a class, that is the centre. embeddings [n, dim], labels int64 [n]. ConfigError outside 0..180 degrees.
    """
    if not 0 <= threshold_deg <= 180:
        raise ConfigError(f"{threshold_deg} degrees are outside 0..180", where=Where(field="threshold_deg"))
    cosines = _own_cosines(head, embeddings, labels)
    dominant = dominant_centers(head, embeddings, labels)[labels]
    own = cosines.gather(1, dominant[:, None]).squeeze(1)
    degrees = torch.atan2(sine(own), own) * (180 / math.pi)
    return (degrees > threshold_deg).nonzero().squeeze(1)


def _own_cosines(head: MarginHead, embeddings: Tensor, labels: Tensor) -> Tensor:
    """Cosines with the centres of the sample's own class, [n, centres]."""
    head.check(embeddings, labels)
    centers = head.weight.view(head.num_classes, head.sub_centers, head.dim)[labels]
    unit = torch.nn.functional.normalize(embeddings.to(centers.dtype), dim=1)
    return torch.einsum("nkd,nd->nk", torch.nn.functional.normalize(centers, dim=2), unit)
