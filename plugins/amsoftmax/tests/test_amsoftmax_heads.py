"""Every head equals its formula, and its gradient is that formula's."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from margin_formulas import losses as naive_losses
from torch import Tensor

from quire_amsoftmax.heads import MARGINS, MarginHead, MarginSchedule, auto_scale, dominant_centers, drop_noisy

KINDS = tuple(MARGINS)
CLASSES, DIM = 7, 5
SCALE = 9.0


def batch(n: int = 11) -> tuple[Tensor, Tensor]:
    """Norms from about 1 to 30, on both sides of MagFace's bound and never on it; every class, some of them twice."""
    x = (
        F.normalize(torch.randn(n, DIM, dtype=torch.float64), dim=1)
        * torch.linspace(1.3, 31, n, dtype=torch.float64)[:, None]
    )
    return x, torch.arange(n) % CLASSES


def make(kind: str, **options: Any) -> MarginHead:
    scale = None if kind in ("softmax", "sphereface") or options.get("feature_norm") is False else SCALE
    return MarginHead(DIM, CLASSES, kind, **{"scale": scale, **options}).double().eval()


VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"sub_centers": 2},
    {"logit_chunk": 3 * CLASSES},
    {"interclass_threshold": 0.2},
)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_those_of_the_formula(kind: str, variant: dict[str, Any]) -> None:
    if kind == "softmax" and "interclass_threshold" in variant:
        variant = {"bias": True}  # it has no cosine to filter by
    head = make(kind, **variant)
    x, y = batch()
    w, x = head.weight.detach().clone().requires_grad_(), x.requires_grad_()
    if head.bias is not None:
        head.bias.data.uniform_()
    expected = naive_losses(
        kind, x, w, y, scale=SCALE, bias=head.bias, centers=head.sub_centers, threshold=head.interclass_threshold
    )
    upstream = torch.rand(len(x), dtype=torch.float64)
    due = torch.autograd.grad((expected * upstream).sum(), (x, w))
    judged = head.judge(x, y)
    given = torch.autograd.grad((judged.losses * upstream).sum(), (x, head.weight))
    torch.testing.assert_close(judged.losses, expected, rtol=1e-11, atol=1e-12)
    for one, other in zip(given, due, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind: str) -> None:
    head = make(kind, **({"bias": True} if kind == "softmax" else {}))
    x, y = batch(6)
    if kind == "adaface":
        x = F.normalize(x, dim=1) * 1000  # z is clipped at 1: by the formula it has no gradient, numerically it would
    names = [name for name, _ in head.named_parameters()]

    def loss(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(head, dict(zip(names, parameters, strict=True)), (x, y))

    inputs = (x.requires_grad_(), *(p.detach().requires_grad_() for p in head.parameters()))
    assert torch.autograd.gradcheck(loss, inputs, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("gate", ["none", "positive"])
@pytest.mark.parametrize("feature_norm", [True, False])
def test_margin_gate_and_features_that_are_not_normalised(gate: str, feature_norm: bool) -> None:
    head = make("amsoftmax", margin_gate=gate, feature_norm=feature_norm, margin=0.2)
    x, y = batch()
    x, w = x.requires_grad_(), head.weight.detach().clone().requires_grad_()
    cosines = F.normalize(x, dim=1) @ F.normalize(w, dim=1).T
    harder = cosines - 0.2 if gate == "none" else torch.where(cosines > 0.2, cosines - 0.2, cosines)
    logits = torch.where(F.one_hot(y, CLASSES).bool(), harder, cosines)
    logits = logits * (SCALE if feature_norm else x.norm(dim=1, keepdim=True))
    expected = F.cross_entropy(logits, y)
    given = head(x, y)
    torch.testing.assert_close(given, expected)
    due = torch.autograd.grad(expected, (x, w))
    for one, other in zip(torch.autograd.grad(given, (x, head.weight)), due, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gradients_are_finite_at_both_ends_of_the_cosine(kind: str, sign: float) -> None:
    for dtype in (torch.float32, torch.float64):
        head = make(kind).to(dtype)
        x = (sign * head.weight[:4].detach() * 5).requires_grad_()
        loss = head(x, torch.arange(4))
        loss.backward()
        assert torch.isfinite(loss)
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()
        assert head.weight.grad is not None
        assert torch.isfinite(head.weight.grad).all()


def test_a_zero_centre_has_a_finite_gradient() -> None:
    head = make("amsoftmax")
    with torch.no_grad():
        head.weight[2] = 0
    x, y = batch()
    head(x, y).backward()
    assert head.weight.grad is not None
    assert torch.isfinite(head.weight.grad).all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "softmax"])
def test_targets_decrease_with_the_angle(kind: str) -> None:
    """No sample is rewarded for being worse (insightface's ArcFace turns back where theta + m > pi)."""
    head = make(kind)
    head.step_to(10**6)
    theta = torch.linspace(0, math.pi, 1001, dtype=torch.float64)
    for norm in (0.5, 20.0, 500.0):
        f = head.margin.target(theta.cos(), torch.full_like(theta, norm))
        assert (f.diff() <= 1e-12).all()


@pytest.mark.parametrize("kind", ["normface", "amsoftmax", "arcface", "combined", "curricularface", "elastic"])
def test_length_does_not_count(kind: str) -> None:
    head = make(kind)
    x, y = batch()
    loss = float(head(x, y).detach())
    assert float(head(7.5 * x, y).detach()) == pytest.approx(loss, rel=1e-12)
    with torch.no_grad():
        head.weight.mul_(torch.rand(CLASSES, 1, dtype=torch.float64) + 0.1)
    assert float(head(x, y).detach()) == pytest.approx(loss, rel=1e-12)
    x.requires_grad_()
    head(x, y).backward()
    assert x.grad is not None
    assert head.weight.grad is not None
    assert (x * x.grad).sum(1).abs().max() < 1e-12
    assert (head.weight * head.weight.grad).sum(1).abs().max() < 1e-12


def test_the_gradient_is_inversely_proportional_to_the_norm() -> None:
    head = make("amsoftmax")
    x, y = batch()
    small, large = x.clone().requires_grad_(), (4 * x).requires_grad_()
    head(small, y).backward()
    head(large, y).backward()
    assert small.grad is not None
    assert large.grad is not None
    torch.testing.assert_close(small.grad, 4 * large.grad)


def test_kinds_that_are_special_cases_of_each_other() -> None:
    x, y = batch()
    weight = make("amsoftmax").state_dict()["weight"]

    def loss(kind: str, x: Tensor = x, **options: Any) -> float:
        head = make(kind, **options)
        head.load_state_dict({**head.state_dict(), "weight": weight})
        for name, value in {"mu": options.get("mu")}.items():
            if value is not None:
                getattr(head.margin, name).fill_(value)
        return float(head(x, y).detach())

    assert loss("cosface") == loss("amsoftmax")
    assert loss("amsoftmax", margin=0.0) == pytest.approx(loss("normface"), rel=1e-14)
    assert loss("combined", margins=(1.0, 0.0, 0.35)) == pytest.approx(loss("amsoftmax"), rel=1e-12)
    assert loss("combined", margins=(1.0, 0.2, 0.0)) == pytest.approx(loss("arcface", margin=0.2), rel=1e-9)
    assert loss("elastic") == pytest.approx(loss("amsoftmax"), rel=1e-14)
    assert loss("curricularface", margin=0.0) != loss("normface")
    unit = F.normalize(x, dim=1) * 20
    assert loss("adaface", x=unit) == pytest.approx(loss("amsoftmax", margin=0.4), rel=1e-12)  # z = 0


def test_adaface_at_low_quality_is_arcface() -> None:
    head, other = make("adaface"), make("arcface", margin=0.4)
    head.margin.sigma.fill_(1.0)
    other.load_state_dict({**other.state_dict(), "weight": head.weight.detach()})
    x = F.normalize(batch()[0], dim=1) * 0.5  # far below mu: z = -1
    theta = torch.acos((F.normalize(x, dim=1) * F.normalize(head.weight, dim=1)[:1]).sum(1))
    y = torch.zeros(len(x), dtype=torch.int64)
    keep = theta + 0.4 < math.pi
    torch.testing.assert_close(head(x[keep], y[keep]), other(x[keep], y[keep]))


def test_all_three_margins_act() -> None:
    """insightface drops m2 in (1, .3, .2), and ends with an error at m1 != 1, m3 = 0."""
    theta = torch.tensor([0.4, 1.1], dtype=torch.float64)
    for m1, m2, m3 in ((1.0, 0.3, 0.2), (0.9, 0.4, 0.15), (1.2, 0.1, 0.0)):
        f = make("combined", margins=(m1, m2, m3)).margin.target(theta.cos(), theta)
        torch.testing.assert_close(f, torch.cos(m1 * theta + m2) - m3)


def test_loss_of_a_new_head_is_what_is_expected_and_no_fault() -> None:
    """s m + ln(C-1) + s^2 / 2D: about 20.6 here, which users take for a bug."""
    classes, dim, s, m = 10_000, 512, 30.0, 0.35
    head = MarginHead(dim, classes, scale=s, margin=m)
    loss = float(head(torch.randn(128, dim), torch.randint(classes, (128,))).detach())
    assert loss == pytest.approx(s * m + math.log(classes - 1) + s * s / (2 * dim), abs=0.2)


def test_best_possible_loss() -> None:
    classes, s, m = 10, 10.0, 0.35
    head = MarginHead(classes, classes, scale=s, margin=m).double()
    with torch.no_grad():
        head.weight.copy_(torch.eye(classes) - 1 / classes)  # a regular simplex
    loss = float(head(head.weight.detach(), torch.arange(classes)).detach())
    assert loss == pytest.approx(math.log(1 + (classes - 1) * math.exp(-s * (classes / (classes - 1) - m))), rel=1e-12)
    assert loss == pytest.approx(0.0044444, abs=1e-7)


@pytest.mark.parametrize(
    ("classes", "margin", "scale"), [(10, 0.35, 12.0), (10_516, 0.35, 24.9), (1_000, 0.4, 23.0), (2, 0.1, 10.0)]
)
def test_auto_scale(classes: int, margin: float, scale: float) -> None:
    assert auto_scale(classes, margin) == pytest.approx(scale, abs=0.05)
    assert MarginHead(4, classes, margin=margin, scale="auto").scale == pytest.approx(scale, abs=0.05)


def test_accuracy_is_without_the_margin() -> None:
    head = make("amsoftmax")
    x, y = batch()
    cosines = F.normalize(x, dim=1) @ F.normalize(head.weight.detach(), dim=1).T
    torch.testing.assert_close(head.logits(x).detach(), SCALE * cosines)
    watched = head.watch(head.judge(x, y))
    assert float(watched["accuracy"]) == pytest.approx(float((cosines.argmax(1) == y).float().mean()))
    own = cosines.gather(1, y[:, None]).squeeze(1)
    hardest = cosines.scatter(1, y[:, None], -2).amax(1)
    assert float(watched["target_cosine"]) == pytest.approx(float(own.mean().detach()))
    assert float(watched["hardest_cosine"]) == pytest.approx(float(hardest.mean()))
    assert float(watched["margin_satisfied"]) == pytest.approx(float((own - 0.35 >= hardest).float().mean()))
    assert float(watched["feature_norm"]) == pytest.approx(float(x.norm(dim=1).mean()))


def test_annealing_counts_optimiser_steps() -> None:
    """However many forward passes a step takes; a state dict carries the step."""
    head = make("sphereface")
    for _ in range(3):
        head.train()(*batch())
    assert head.margin.annealing == 1000
    head.step_to(1000)
    assert head.margin.annealing == pytest.approx(1000 / 121)
    head.step_to(10**6)
    assert head.margin.annealing == 5
    other = make("sphereface")
    other.load_state_dict(head.state_dict())
    assert other.margin.annealing == 5
    scheduled = make("amsoftmax", feature_norm=False, schedule=MarginSchedule(0, 0.4, 8000))
    for step, margin in ((0, 0.0), (4000, 0.2), (8000, 0.4), (30_000, 0.4)):
        scheduled.step_to(step)
        assert scheduled.margin.m == pytest.approx(margin)


def test_running_statistics_are_those_of_the_formula_and_are_saved() -> None:
    head = make("curricularface").train()
    x, y = batch()
    own = (F.normalize(x, dim=1) * F.normalize(head.weight, dim=1)[y]).sum(1)
    head(x, y)
    assert float(head.margin.t) == pytest.approx(0.01 * float(own.mean().detach()), rel=1e-6)
    expected = naive_losses("curricularface", x, head.weight, y, scale=SCALE, t=float(head.margin.t))
    torch.testing.assert_close(head.eval().judge(x, y).losses, expected)
    assert "margin.t" in head.state_dict()
    ada = make("adaface").train()
    ada(x, y)
    assert float(ada.margin.mu) == pytest.approx(0.99 * 20 + 0.01 * float(x.norm(dim=1).mean()), rel=1e-6)
    assert float(ada.margin.sigma) == pytest.approx(0.99 * 100 + 0.01 * float(x.norm(dim=1).std()), rel=1e-6)
    before = float(ada.margin.mu)
    ada.eval()(x, y)
    assert float(ada.margin.mu) == before


def test_chunks_use_the_statistics_of_their_own_forward_pass() -> None:
    whole, parts = make("curricularface").train(), make("curricularface", logit_chunk=2 * CLASSES).train()
    parts.load_state_dict(whole.state_dict())
    x, y = batch()
    grads = []
    for head in (whole, parts):
        losses = [head(x, y), head(-x, y)]  # the second pass moves t before the first is differentiated
        (losses[0] + losses[1]).backward()
        grads.append(head.weight.grad)
    torch.testing.assert_close(grads[0], grads[1])


def test_elastic_draws_a_margin_a_sample_in_training() -> None:
    head = make("elastic").train()
    x, y = batch()
    torch.manual_seed(3)
    given = head.judge(x, y).losses
    torch.manual_seed(3)
    drawn = 0.35 + 0.05 * torch.randn_like(x[:, 0])
    cosines = F.normalize(x, dim=1) @ F.normalize(head.weight, dim=1).T
    expected = F.cross_entropy(SCALE * (cosines - F.one_hot(y, CLASSES) * drawn[:, None]), y, reduction="none")
    torch.testing.assert_close(given, expected)


def test_noisy_samples_are_far_from_their_dominant_centre() -> None:
    head = MarginHead(3, 2, "subcenter", sub_centers=2).double()
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1]]))
    x = torch.tensor(
        [[5.0, 0.1, 0], [3, 0.3, 0], [0.1, 2, 0], [0, 0.1, 1], [0, 0.2, 4], [0.9, 0, -1]], dtype=torch.float64
    )
    y = torch.tensor([0, 0, 0, 1, 1, 1])
    assert dominant_centers(head, x, y).tolist() == [0, 0]
    assert drop_noisy(head, x, y).tolist() == [2, 5]
    assert drop_noisy(head, x, y, threshold_deg=180).tolist() == []


def test_filtered_negatives_are_out_of_the_sum() -> None:
    """insightface sets their logit to 0, which stays in the sum."""
    head = MarginHead(2, 3, scale=10.0, margin=0.0, interclass_threshold=0.4).double()
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0], [0.8, 0.6], [-1, 0]]))
    loss = head(torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([0]))
    assert float(loss.detach()) == pytest.approx(math.log(1 + math.exp(-20)), rel=1e-9)


def test_labels_are_left_as_they_are_and_batches_may_change_size() -> None:
    """insightface squeezes the caller's labels in place, and asserts that every batch has one size."""
    head = make("amsoftmax")
    x, y = batch()
    before = y.clone()
    for n in (11, 3, 1):
        head(x[:n], y[:n])
    assert torch.equal(y, before)
    assert y.shape == (11,)


def test_a_loss_is_not_capped() -> None:
    """insightface clamps the probability at 1e-30: no loss above 69."""
    head = MarginHead(2, 2, scale=64.0, margin=0.4)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0], [-1, 0]]))
    loss = head(torch.tensor([[-1.0, 0]]), torch.tensor([0]))
    assert float(loss.detach()) == pytest.approx(64 * 2.4, rel=1e-6)
    assert torch.isfinite(torch.autograd.grad(loss, head.weight)[0]).all()
