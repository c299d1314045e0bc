"""Beside pytorch-metric-learning and transformers: equal where they are right, and what they do that ours does not."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from quire_amsoftmax.heads import MarginHead

pml = pytest.importorskip("pytorch_metric_learning.losses")
CLASSES, DIM, N = 300, 32, 24


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    return torch.randn(N, DIM, dtype=dtype) * 3, torch.randint(CLASSES, (N,))


@pytest.mark.parametrize(
    ("kind", "peer", "options"),
    [
        ("amsoftmax", "CosFaceLoss", {"margin": 0.35, "scale": 30}),
        ("normface", "NormalizedSoftmaxLoss", {"temperature": 1 / 30}),
        ("subcenter", "SubCenterArcFaceLoss", {"margin": math.degrees(0.5), "scale": 30, "sub_centers": 3}),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_loss_and_gradient_of_pytorch_metric_learning(kind: str, peer: str, options: dict, dtype: torch.dtype) -> None:
    x, y = batch(dtype)
    head = MarginHead(DIM, CLASSES, kind, scale=30.0).to(dtype)
    other = getattr(pml, peer)(num_classes=CLASSES, embedding_size=DIM, **options).to(dtype)
    other.W.data = head.weight.detach().T.clone()
    if peer == "SubCenterArcFaceLoss":  # its columns are grouped by class too
        assert other.W.shape == (DIM, 3 * CLASSES)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    loss, due = head(ours, y), other(theirs, y)
    loss.backward()
    due.backward()
    tolerance = {"rtol": 1e-10, "atol": 1e-12} if dtype is torch.float64 else {"rtol": 2e-5, "atol": 1e-6}
    torch.testing.assert_close(loss, due, **tolerance)
    torch.testing.assert_close(ours.grad, theirs.grad, **tolerance)
    torch.testing.assert_close(head.weight.grad, other.W.grad.T, **tolerance)


def test_loss_and_gradient_of_transformers() -> None:
    from transformers.models.wav2vec2.modeling_wav2vec2 import AMSoftmaxLoss

    x, y = batch()
    head = MarginHead(DIM, CLASSES, scale=30.0, margin=0.4).double()
    other = AMSoftmaxLoss(DIM, CLASSES, scale=30.0, margin=0.4).double()
    other.weight.data = head.weight.detach().T.clone()
    loss, due = head(x, y), other(x, y)
    loss.backward()
    due.backward()
    torch.testing.assert_close(loss, due, rtol=1e-12, atol=0)
    torch.testing.assert_close(head.weight.grad, other.weight.grad.T)


def test_arcface_of_pytorch_metric_learning_where_its_angle_stays_below_pi() -> None:
    x, y = batch()
    head = MarginHead(DIM, CLASSES, "arcface", scale=30.0, margin=0.3).double()
    other = pml.ArcFaceLoss(CLASSES, DIM, margin=math.degrees(0.3), scale=30).double()
    other.W.data = head.weight.detach().T.clone()
    torch.testing.assert_close(head(x, y), other(x, y), rtol=1e-10, atol=0)


@pytest.mark.parametrize("head_precision", ["fp32", "bf16"])
def test_bf16_keeps_the_weight_and_the_loss(head_precision: str) -> None:
    """pytorch-metric-learning turns its weight into bf16 for good, and gave 0.0 for a loss of 2e-4."""
    weight = torch.linalg.qr(torch.randn(DIM, DIM))[0][:10]
    x, y = (weight + 0.05 * torch.randn_like(weight)).bfloat16(), torch.arange(10)
    head = MarginHead(DIM, 10, scale=20.0, head_precision=head_precision)
    head.weight.data = weight.clone()
    exact = head.double()(x.double(), y)
    head.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = head(x.requires_grad_(), y)
    loss.backward()
    assert torch.equal(head.weight, weight)
    assert head.weight.dtype is torch.float32
    assert head.weight.grad.dtype is torch.float32
    assert loss.dtype is torch.float32
    assert x.grad.dtype is torch.bfloat16
    assert 0 < float(exact.detach()) < 1e-3
    assert float((loss - exact).detach().abs()) < 5e-6


def test_bf16_of_pytorch_metric_learning_changes_its_weight() -> None:
    """The defect that the test above holds ours to lack."""
    other = pml.CosFaceLoss(CLASSES, DIM)
    x, y = batch(torch.float32)
    other(x.bfloat16(), y)
    assert other.W.dtype is torch.bfloat16


def test_arcface_of_insightface_has_another_gradient() -> None:
    """It edits the target logit without a gradient, so that of cos(theta + m) is missing: about a tenth of the gradient."""
    x, y = torch.randn(64, DIM, dtype=torch.float64), torch.randint(CLASSES, (64,))
    head = MarginHead(DIM, CLASSES, "arcface").double()
    ours = torch.autograd.grad(head(x.requires_grad_(), y), x)[0]
    cosines = F.normalize(x, dim=1) @ F.normalize(head.weight.detach(), dim=1).T
    with torch.no_grad():
        hot = F.one_hot(y, CLASSES).bool()
        difference = torch.where(hot, torch.cos(torch.acos(cosines) + 0.5) - cosines, 0.0)
    theirs = torch.autograd.grad(F.cross_entropy(64 * (cosines + difference), y), x)[0]
    error = float((ours - theirs).norm() / ours.norm())
    assert 0.02 < error < 0.5


def test_nan_and_labels_pass_silently_elsewhere() -> None:
    other = pml.CosFaceLoss(CLASSES, DIM)
    x, y = batch(torch.float32)
    x[3] = float("nan")
    assert torch.isnan(other(x, y))
    with pytest.raises(ValueError, match="sample 3"):
        MarginHead(DIM, CLASSES)(x, y)
