"""Every head written out from its formula, with angles and full matrices: slow, and independent of the package's code."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def arc(theta: Tensor, m: Any) -> Tensor:
    return torch.where(
        theta + m <= math.pi,
        torch.cos(theta + m),
        torch.cos(theta) - m * math.sin(m) if isinstance(m, float) else torch.cos(theta) - m * torch.sin(m),
    )


def continued(angle: Tensor) -> Tensor:
    k = torch.floor(angle / math.pi)
    return (-1) ** k * torch.cos(angle) - 2 * k


def target(kind: str, theta: Tensor, norm: Tensor, options: dict[str, Any]) -> Tensor:
    """f(theta) [n]."""
    m = options.get("margin")
    match kind:
        case "softmax" | "normface":
            return torch.cos(theta)
        case "amsoftmax" | "elastic":
            return torch.cos(theta) - (0.35 if m is None else m)
        case "sphereface":
            lam = options.get("lam", 1000.0)
            return (lam * torch.cos(theta) + continued(4 * theta)) / (1 + lam)
        case "arcface" | "subcenter" | "curricularface":
            return arc(theta, 0.5 if m is None else m)
        case "combined":
            m1, m2, m3 = options.get("margins", (1.0, 0.5, 0.0))
            return continued(m1 * theta + m2) - m3
        case "adaface":
            z = (0.333 * (norm.detach() - 20) / (100 + 1e-3)).clamp(-1, 1)
            return continued((theta - 0.4 * z).clamp_min(0)) - (0.4 + 0.4 * z)
        case "magface":
            a = norm.clamp(10, 110)
            return arc(theta, 0.45 + 0.35 * (a - 10) / 100)
    raise AssertionError(kind)


def losses(
    kind: str,
    x: Tensor,
    w: Tensor,
    y: Tensor,
    *,
    scale: float,
    bias: Tensor | None = None,
    feature_norm: bool = True,
    centers: int = 1,
    threshold: float | None = None,
    t: float = 0.0,
    **options: Any,
) -> Tensor:
    """The loss of every sample [n]; x [n, dim], w [classes * centers, dim]."""
    if kind == "softmax":
        logits = (x @ w.T + (0 if bias is None else bias)).view(len(x), -1, centers).amax(2)
        return F.cross_entropy(logits, y, reduction="none")
    norm = x.norm(dim=1)
    cosines = (F.normalize(x, dim=1) @ F.normalize(w, dim=1).T).view(len(x), -1, centers).amax(2)
    own = cosines.gather(1, y[:, None]).squeeze(1)
    hot = F.one_hot(y, cosines.shape[1]).bool()
    f = target(kind, torch.acos(own), norm, options)
    if kind == "curricularface":
        hard = cosines > torch.cos(torch.acos(own) + 0.5)[:, None]
        others = torch.where(hard, cosines * (t + cosines), cosines)
    else:
        others = cosines
    by_norm = kind == "sphereface" or not feature_norm
    logits = torch.where(hot, f[:, None], others) * (norm[:, None] if by_norm else scale)
    if threshold is not None:
        logits = logits.masked_fill((cosines > threshold) & ~hot, float("-inf"))
    result = F.cross_entropy(logits, y, reduction="none")
    if kind == "magface":
        a = norm.clamp(10, 110)
        result = result + 35 * (1 / a + a / 110**2)
    return result
