"""Sampled classes: what takes part, what is touched, and that a rate of one changes nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from quire_amsoftmax.heads import MarginHead, RowSGD
from quire_amsoftmax.heads.sampling import renumber, sample_classes

DIM, CLASSES = 6, 40


def head(rate: float, *, sparse: bool = True, centers: int = 1) -> MarginHead:
    torch.manual_seed(1)
    return MarginHead(DIM, CLASSES, scale=10.0, sample_rate=rate, sparse_update=sparse, sub_centers=centers)


def batch(step: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(9, DIM, generator=generator), torch.randint(CLASSES, (9,), generator=generator)


def test_all_positive_classes_take_part_filled_up_with_others() -> None:
    labels = torch.tensor([3, 7, 3, -1, 39])
    chosen = sample_classes(labels, CLASSES, 0.25)
    assert len(chosen) == 10
    assert {3, 7, 39} <= set(chosen.tolist())
    assert torch.equal(chosen, chosen.unique())
    assert torch.equal(chosen[renumber(labels, chosen)[labels >= 0]], labels[labels >= 0])
    assert renumber(labels, chosen)[3] == -1
    assert sample_classes(labels, CLASSES, 0.01).tolist() == [3, 7, 39]  # more positives than the rate allows
    drawn = {tuple(sample_classes(labels, CLASSES, 0.25).tolist()) for _ in range(10)}
    assert len(drawn) > 1


@pytest.mark.parametrize("centers", [1, 2])
def test_loss_and_gradient_are_those_of_the_chosen_classes(centers: int) -> None:
    sampled = head(0.3, centers=centers)
    x, y = batch()
    torch.manual_seed(5)
    loss = sampled(x, y)
    loss.backward()
    torch.manual_seed(5)
    chosen = sample_classes(y, CLASSES, 0.3)
    weight = sampled.weight.detach().clone().requires_grad_()
    cosines = (F.normalize(x, dim=1) @ F.normalize(weight, dim=1).T).view(len(x), CLASSES, centers).amax(2)
    logits = 10 * (cosines - 0.35 * F.one_hot(y, CLASSES))[:, chosen]
    expected = F.cross_entropy(logits, renumber(y, chosen))
    expected.backward()
    torch.testing.assert_close(loss, expected)
    assert sampled.weight.grad.is_sparse
    torch.testing.assert_close(sampled.weight.grad.to_dense(), weight.grad)


def test_rows_that_are_not_sampled_keep_weight_and_momentum_to_the_bit() -> None:
    """insightface's dense gradient moves and decays them."""
    sampled = head(0.2)
    optimizer = RowSGD(sampled.parameters(), lr=0.5, momentum=0.9, weight_decay=0.1)
    sampled(*batch()).backward()
    optimizer.step()
    optimizer.zero_grad()
    before = sampled.weight.detach().clone()
    memory = optimizer.state[sampled.weight]["momentum_buffer"].clone()
    sampled(*batch(1)).backward()
    touched = sampled.weight.grad.coalesce().indices()[0]
    optimizer.step()
    others = torch.ones(CLASSES, dtype=torch.bool)
    others[touched] = False
    assert 0 < len(touched) < CLASSES
    assert torch.equal(sampled.weight[others], before[others])
    assert torch.equal(optimizer.state[sampled.weight]["momentum_buffer"][others], memory[others])
    assert (sampled.weight[~others] != before[~others]).any(dim=1).all()


def test_a_dense_update_moves_all_rows() -> None:
    sampled = head(0.2, sparse=False)
    optimizer = RowSGD(sampled.parameters(), lr=0.5, momentum=0.9, weight_decay=0.1)
    before = sampled.weight.detach().clone()
    sampled(*batch()).backward()
    assert not sampled.weight.grad.is_sparse
    optimizer.step()
    assert (sampled.weight != before).any(dim=1).all()


def test_a_rate_of_one_is_the_unsampled_head_to_the_bit_and_evaluation_is_never_sampled() -> None:
    one, plain = head(1.0), head(1.0)
    optimizers = [
        RowSGD(one.parameters(), lr=0.3, momentum=0.9, weight_decay=0.01),
        torch.optim.SGD(plain.parameters(), lr=0.3, momentum=0.9, weight_decay=0.01, foreach=False),
    ]
    for step in range(4):
        for each, optimizer in zip((one, plain), optimizers, strict=True):
            optimizer.zero_grad()
            each(*batch(step)).backward()
            optimizer.step()
    assert torch.equal(one.weight, plain.weight)
    some = head(0.2)
    some.weight.data = one.weight.data
    assert torch.equal(some.eval()(*batch()), one.eval()(*batch()))


def test_nearly_all_classes_give_nearly_the_unsampled_loss() -> None:
    """A sample of all classes takes the other path through the code, with the same result."""
    sampled, plain = head(0.9999999), head(1.0)
    sampled.sample_rate = 1 - 1e-12  # int() keeps 39 of 40; every class is positive here
    x = torch.randn(CLASSES, DIM)
    y = torch.arange(CLASSES)
    a, b = sampled(x, y), plain(x, y)
    torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("nesterov", [False, True])
def test_row_sgd_is_sgd_for_dense_gradients(nesterov: bool) -> None:
    ours, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, 12).view(4, 3)) for _ in range(2))
    options = {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.05, "nesterov": nesterov}
    optimizers = RowSGD([ours], **options), torch.optim.SGD([theirs], **options, foreach=False)
    for step in range(5):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = torch.full_like(parameter, 0.3 * (step - 1)) + parameter.detach().square()
            optimizer.step()
    assert torch.equal(ours, theirs)
