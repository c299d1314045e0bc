"""What users get wrong with a head, and what they are told."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from quire.errors import ConfigError, QuireError
from quire_amsoftmax.heads import MarginHead

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 5, 3]), r"sample 2: the label 5 is outside 0\.\.4"),
        (torch.tensor([0, -1, 2, 3]), r"sample 1: the label -1 is outside 0\.\.4"),
        (torch.tensor([0.0, 1, 2, 3]), "the labels are float32, not whole numbers"),
        (torch.tensor([True, False, True, True]), "the labels are bool"),
        (torch.tensor([0, 1]), r"shape \[2\] for 4 embeddings"),
        (Y[:, None], r"shape \[4, 1\] for 4 embeddings"),
    ],
)
def test_labels(labels: torch.Tensor, message: str) -> None:
    """A ValueError as well, with index and value."""
    with pytest.raises(ValueError, match=message) as raised:
        MarginHead(3, 5)(X, labels)
    assert isinstance(raised.value, QuireError)


def broken(row: int, value: float) -> torch.Tensor:
    x = X.clone()
    x[row] = value
    return x


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (broken(2, float("nan")), "sample 2: an embedding is not finite"),
        (broken(1, float("inf")), "sample 1: an embedding is not finite"),
        (broken(3, 0.0), "sample 3: an embedding is all zero"),
        (X[:, :2], r"shape \[4, 2\], the head takes \[samples, 3\]"),
        (X[0], r"shape \[3\]"),
        (X.long(), "int64, not floating-point"),
        (X[:0], "no embeddings"),
    ],
)
def test_embeddings(embeddings: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MarginHead(3, 5)(embeddings, Y[: len(embeddings)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, "margin of amsoftmax is -0.1, but can't be negative"),
        ({"margin": 1.25}, r"margin of amsoftmax can't be reached by 5 classes.*below C/\(C-1\) = 1\.25"),
        ({"margin": float("nan")}, "margin of amsoftmax is nan"),
        ({"kind": "arcface", "margin": 4.0}, "angle from 0 to pi"),
        ({"kind": "sphereface", "margin": 1.5}, "whole number from 1 on"),
        ({"scale": 0.0}, "the scale is 0.0, but must be positive"),
        ({"scale": -3.0}, "must be positive"),
        ({"kind": "arcfase"}, r"no head 'arcfase' \(did you mean 'arcface'\?\)"),
        ({"margin_gat": "none"}, r"no option 'margin_gat' \(did you mean 'margin_gate'\?\)"),
        ({"kind": "combined", "margin": 0.3}, "combined has three margins"),
        ({"kind": "magface", "margins": (0.8, 0.4)}, "must rise"),
        ({"kind": "curricularface", "feature_norm": False}, "feature_norm"),
        ({"bias": True}, "amsoftmax has no bias"),
        ({"kind": "softmax", "interclass_threshold": 0.4}, "softmax has no cosines"),
        ({"sample_rate": 0.0}, "outside 0..1"),
        ({"sub_centers": 0}, "less than one"),
        ({"num_classes": 1}, "1 class leaves nothing to tell apart"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MarginHead(**{"dim": 3, "num_classes": 5, **options})


def test_a_scale_that_is_too_small_is_told(caplog: pytest.LogCaptureFixture) -> None:
    MarginHead(8, 10_000, scale=10.0)
    assert "a scale of 10 is small for 10000 classes" in caplog.text
    assert "scale=auto would be 24.8" in caplog.text
    caplog.clear()
    MarginHead(8, 10_000, scale=30.0)
    assert not caplog.text


def test_scale_auto_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        MarginHead(8, 10, scale="auto")
    assert "scale 12.0 for 10 classes" in caplog.text


def test_a_head_on_a_relu_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    head = MarginHead(3, 5)
    for _ in range(2):
        head(X.abs(), Y)
    assert caplog.text.count("final ReLU") == 1


def test_a_saved_head_of_other_classes_names_both_and_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"has 5 classes of 3 numbers, this one 6 classes of 3 numbers.*fine_tune"):
        MarginHead(3, 6).load_state_dict(MarginHead(3, 5).state_dict())
