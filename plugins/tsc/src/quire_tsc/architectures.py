"""The names of the architectures, without what builds them."""

from __future__ import annotations

from typing import Literal, get_args

Architecture = Literal[
    "fcn",
    "resnet",
    "mlp",
    "encoder",
    "mcnn",
    "tlenet",
    "mcdcnn",
    "time_cnn",
    "twiesn",
    "inception",
    "inception_time",
    "minirocket",
]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
POOLED = ("fcn", "resnet", "inception", "inception_time")
"""Those that end in global average pooling."""
SLICED = ("mcnn", "tlenet")
"""Those that classify slices of a series and join the answers."""
CLOSED_FORM = ("twiesn", "minirocket")
"""Those that are fitted without gradient steps."""
