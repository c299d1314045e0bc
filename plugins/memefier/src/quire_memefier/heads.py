"""Heads: what is asked of a meme, from logits to losses, probabilities and decisions (sec. 3.7 of the method)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, PositiveFloat, field_validator, model_validator
from torch import Tensor
from torch.nn import functional as F

from quire.config import Config
from quire.errors import ConfigError, InvalidSample, Where, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Kind = Literal["binary", "multiclass", "ordinal", "multilabel"]
MISSING = -1  # the target of a sample that nobody labelled for a head


class Head(Config):
    """One question about a meme.

    binary: labels (negative, positive), one logit. multiclass: K labels, K logits, softmax. ordinal: K labels from
    least to most, K - 1 logits of "more than this, given at least this" (continuation ratio). multilabel: K labels that
    don't exclude each other, K logits, sigmoid each.
    """

    name: str = Field("target", description="the head's name, under which a sample's `heads` hold its label")
    kind: Kind = Field("binary", description="binary, multiclass, ordinal (labels in order) or multilabel")
    labels: tuple[str, ...] = Field(
        ("0", "1"), min_length=1, description="the labels; of a binary head (negative, positive)"
    )
    weight: PositiveFloat = Field(1.0, description="the head's weight in the mean of the heads' losses")
    class_weight: Literal["none", "balanced"] = Field(
        "none", description="balanced: weigh classes by inverse frequency in the training data"
    )
    toxic: tuple[str, ...] = Field((), description="the labels that count as toxic, for testers and filters")

    @field_validator("labels", "toxic", mode="before")
    @classmethod
    def _texts(cls, values: Any) -> Any:
        """YAML reads the labels 0 and 1 as numbers."""
        return [str(each) if type(each) is int else each for each in values] if isinstance(values, list) else values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"head {self.name!r} names a label twice")
        if self.kind == "binary" and len(self.labels) != 2:
            raise ValueError(f"head {self.name!r} is binary and needs two labels")
        if self.kind in ("multiclass", "ordinal") and len(self.labels) < 2:
            raise ValueError(f"head {self.name!r} needs at least two labels")
        strange = set(self.toxic) - set(self.labels)
        if strange:
            raise ValueError(f"head {self.name!r} has no label {sorted(strange)[0]!r} that could be toxic")
        return self

    @property
    def logits(self) -> int:
        """How many logits the head reads."""
        return {"binary": 1, "ordinal": len(self.labels) - 1}.get(self.kind, len(self.labels))

    @property
    def targets(self) -> int:
        """How many numbers its target takes: a class's position, or 0 or 1 for each label of a multilabel head."""
        return len(self.labels) if self.kind == "multilabel" else 1

    def encode(self, value: Any, where: Where | None = None) -> list[int]:
        """The target as numbers; MISSING for a value of None. InvalidSample for a label that is not one of ours."""
        if value is None:
            return [MISSING] * self.targets
        if self.kind != "multilabel":
            return [self._position(value, where)]
        given = [part.strip() for part in value.split("|") if part.strip()] if isinstance(value, str) else list(value)
        chosen = {self._position(label, where) for label in given}
        return [int(position in chosen) for position in range(len(self.labels))]

    def _position(self, value: Any, where: Where | None) -> int:
        if str(value) not in self.labels:
            raise InvalidSample(
                f"unknown label {str(value)!r} of head {self.name!r}{nearest(str(value), self.labels)}",
                where=where,
                remedy=f"Known are: {', '.join(self.labels)}.",
            )
        return self.labels.index(str(value))

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """The mean loss over the samples that have a target; 0 if none has.

        logits [n, logits], targets int64 [n, targets] (MISSING where there is none); weights [labels] of the classes.
        """
        known = targets[:, 0] != MISSING
        logits, targets = logits[known].float(), targets[known]
        if not len(logits):
            return logits.sum()
        if self.kind == "multiclass":
            return F.cross_entropy(logits, targets[:, 0], weight=weights)
        per_sample = self._binary_losses(logits, targets)
        if weights is None or self.kind == "multilabel":
            return per_sample.mean()
        chosen = weights[targets[:, 0]]
        return (per_sample * chosen).sum() / chosen.sum()

    def _binary_losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy, the mean over a sample's logits [n]; of an ordinal head over the steps it reaches."""
        if self.kind != "ordinal":
            return F.binary_cross_entropy_with_logits(logits, targets.float(), reduction="none").mean(dim=1)
        steps = torch.arange(self.logits, device=logits.device)
        losses = F.binary_cross_entropy_with_logits(logits, (targets > steps).float(), reduction="none")
        return (losses * (targets >= steps)).sum(dim=1)

    def probabilities(self, logits: NDArray[np.float64], temperature: float = 1.0) -> NDArray[np.float64]:
        """logits [n, logits] -> probabilities of the labels [n, labels], in the labels' order.

        Rows sum to one, but for a multilabel head, whose columns stand for themselves.
        """
        scaled = logits / temperature
        if self.kind == "multiclass":
            shifted = np.exp(scaled - scaled.max(axis=1, keepdims=True))
            return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
        positive = _sigmoid(scaled)
        if self.kind == "binary":
            return np.concatenate([1 - positive, positive], axis=1)
        if self.kind == "multilabel":
            return positive
        at_least = np.cumprod(np.concatenate([np.ones((len(positive), 1)), positive], axis=1), axis=1)
        return np.asarray(at_least - np.concatenate([at_least[:, 1:], np.zeros((len(positive), 1))], axis=1))


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import expit

    return np.asarray(expit(values))


def derive_head(labels: Sequence[str], toxic: Sequence[str]) -> Head:
    """The head of data that declare none: binary for two labels, the toxic one (else the last) being positive."""
    known = tuple(label for label in labels if label in toxic)
    if len(labels) != 2:
        return Head(kind="multiclass", labels=tuple(labels), toxic=known)
    positive = known[0] if len(known) == 1 else labels[-1]
    return Head(labels=(next(label for label in labels if label != positive), positive), toxic=known)


def check_heads(heads: Sequence[Head]) -> None:
    """ConfigError for two heads of one name, and for a first head that gives no distribution over labels."""
    names = [head.name for head in heads]
    if len(set(names)) != len(names):
        raise ConfigError(f"two heads share a name: {', '.join(names)}", where=Where(field="heads"))
    if heads and heads[0].kind == "multilabel":
        raise ConfigError(
            f"the first head, {heads[0].name!r}, is the classifier's own and can't be multilabel",
            where=Where(field="heads"),
            remedy="Put a binary, multiclass or ordinal head first, or make each label a binary head.",
        )


def split_logits(heads: Sequence[Head], logits: Any) -> list[Any]:
    """The columns of each head, of an array or a tensor [n, all logits]."""
    ends = np.cumsum([head.logits for head in heads]).tolist()
    return [logits[:, end - head.logits : end] for head, end in zip(heads, ends, strict=True)]


def split_targets(heads: Sequence[Head], targets: Any) -> list[Any]:
    """The columns of each head, of an array or a tensor [n, all targets]."""
    ends = np.cumsum([head.targets for head in heads]).tolist()
    return [targets[:, end - head.targets : end] for head, end in zip(heads, ends, strict=True)]
