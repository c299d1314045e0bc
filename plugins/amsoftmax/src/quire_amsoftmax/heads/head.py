"""The head: class centres, a margin, and the loss of a batch of embeddings."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from quire.errors import ConfigError, Where, nearest
from quire.runtime.processes import sum_over_processes
from quire_amsoftmax.heads.checks import check_embeddings, check_labels
from quire_amsoftmax.heads.collective import Alone
from quire_amsoftmax.heads.fused import EPS, MarginCrossEntropy, Setting, by_class
from quire_amsoftmax.heads.kinds import MARGINS, make_margin
from quire_amsoftmax.heads.sampling import renumber, sample_classes, sampled_rows

if TYPE_CHECKING:
    from quire_amsoftmax.heads.margin import MarginSchedule

log = logging.getLogger(__name__)
Precision = Literal["fp32", "bf16"]
LEAST_AUTO_SCALE = 10.0
TARGET_PROBABILITY = 0.999
_WEAK = 0.9
"""A scale that can't give the true class more than this probability is worth a warning."""


class Judged(NamedTuple):
    """What a head says of a batch: a loss, the target's cosine and the hardest other cosine for each sample, all [n].

    `loss` is the mean of `losses`. Of a sharded head, the batch is that of all processes.
    """

    loss: Tensor
    losses: Tensor
    target_cosine: Tensor
    hardest_cosine: Tensor
    labels: Tensor
    norms: Tensor


class MarginHead(nn.Module):
    """A classifier whose cosines are embeddings' training: (embeddings [n, dim], labels int64 [n]) -> mean loss.

    kind: softmax, normface, amsoftmax (= cosface), sphereface, arcface, combined, subcenter, curricularface, adaface,
    magface, elastic. margin, scale: None for the kind's own; scale "auto" is what the number of classes needs (`auto_scale`).
    schedule: a margin that is annealed over optimiser steps, which `step_to` tells. feature_norm: False lets the feature's
    norm stand for the scale. sub_centers: centres a class, of which the nearest counts. head_precision: bf16 multiplies the
    operands in bf16; margin, scale and logarithms are float32 all the same. logit_chunk: the most logits held at once.
    sample_rate: share of the classes that take part in a step; with sparse_update only their rows get a gradient (see
    RowSGD). interclass_threshold: negatives with a greater cosine are taken for mislabelled and left out. Further options
    are those of the kind's class.

    The weight [num_classes * sub_centers, dim] holds one centre a row and never changes its dtype. Its gradient and that of
    the embeddings are exact. Raises ConfigError for options that don't go together, InvalidBatch for what a batch has wrong.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        kind: str = "amsoftmax",
        *,
        margin: float | None = None,
        scale: float | Literal["auto"] | None = None,
        schedule: MarginSchedule | None = None,
        feature_norm: bool | None = None,
        sub_centers: int | None = None,
        bias: bool = False,
        head_precision: Precision = "fp32",
        logit_chunk: int = 2**27,
        sample_rate: float = 1.0,
        sparse_update: bool = True,
        interclass_threshold: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.kind = make_kind(kind)
        self.dim, self.num_classes = dim, num_classes
        self.margin = make_margin(self.kind, margin, schedule, options)
        self.feature_norm = self.margin.feature_norm if feature_norm is None else feature_norm
        self.sub_centers = self.margin.centers if sub_centers is None else sub_centers
        self.head_precision, self.logit_chunk = head_precision, logit_chunk
        self.sample_rate, self.sparse_update = sample_rate, sparse_update
        self.interclass_threshold = interclass_threshold
        self.processes = self._join()
        self._check_options(bias)
        self.scale = self._choose_scale(scale)
        self._warned = False
        self.weight = nn.Parameter(self._initial())
        self.bias = nn.Parameter(self.weight.new_zeros(len(self.weight))) if bias else None

    # -- what it is made of

    def _join(self) -> Alone:
        return Alone()

    def _initial(self) -> Tensor:
        """Uniform in (-a, a), a = sqrt(3 / dim)."""
        bound = math.sqrt(3 / self.dim)
        return torch.empty(self.num_classes * self.sub_centers, self.dim).uniform_(-bound, bound)

    def _check_options(self, bias: bool) -> None:
        wrong = [
            ("dim", self.dim < 1, f"an embedding of {self.dim} numbers is none"),
            ("num_classes", self.num_classes < 2, f"{self.num_classes} class leaves nothing to tell apart"),
            ("sub_centers", self.sub_centers < 1, f"{self.sub_centers} sub-centres are less than one"),
            ("sample_rate", not 0 < self.sample_rate <= 1, f"a sample rate of {self.sample_rate} is outside 0..1"),
            ("logit_chunk", self.logit_chunk < 1, f"{self.logit_chunk} logits are less than one"),
            ("bias", bias and self.margin.weight_norm, f"{self.kind} has no bias: its logits are cosines"),
            ("bias", bias and self.sample_rate < 1, "sampled classes can't have a bias"),
            (
                "interclass_threshold",
                self.interclass_threshold is not None and not self.margin.weight_norm,
                f"{self.kind} has no cosines by which negatives could be left out",
            ),
            (
                "feature_norm",
                self.feature_norm != self.margin.feature_norm and self.kind not in ("amsoftmax", "normface", "arcface"),
                f"{self.kind} has feature_norm={str(self.margin.feature_norm).lower()}, and no other",
            ),
        ]
        for field, holds, message in wrong:
            if holds:
                raise ConfigError(message, where=Where(field=field))

    def _gap(self) -> float:
        """f(1) minus the others' cosine when all centres are as far apart as can be."""
        return self.margin.best(self.num_classes) + 1 / (self.num_classes - 1)

    def _choose_scale(self, scale: float | Literal["auto"] | None) -> float:
        if not self.margin.weight_norm:
            return 1.0
        gap = self._gap()
        if gap <= 0:
            classes = self.num_classes
            raise ConfigError(
                f"the margin of {self.kind} can't be reached by {classes} classes: the true class stays "
                f"{-gap:.3g} below the others even at its centre",
                where=Where(field="margin"),
                remedy=f"An additive margin must be below C/(C-1) = {classes / (classes - 1):.4g}.",
            )
        if not self.feature_norm:
            return 1.0
        needed = needed_scale(self.num_classes, gap, TARGET_PROBABILITY)
        if scale == "auto":
            chosen = max(LEAST_AUTO_SCALE, needed)
            log.info("scale %.1f for %d classes and %s", chosen, self.num_classes, self.kind)
            return chosen
        chosen = self.margin.scale if scale is None else float(scale)
        if not (math.isfinite(chosen) and chosen > 0):
            raise ConfigError(f"the scale is {scale}, but must be positive", where=Where(field="scale"))
        if chosen < needed_scale(self.num_classes, gap, _WEAK):
            log.warning(
                "a scale of %g is small for %d classes: no sample can get a probability of %g; scale=auto would be %.1f",
                chosen,
                self.num_classes,
                _WEAK,
                max(LEAST_AUTO_SCALE, needed),
            )
        return chosen

    def step_to(self, step: int) -> None:
        """Say how many optimiser steps were made, for what is annealed (a schedule, SphereFace's lambda)."""
        self.margin.step = step

    def get_extra_state(self) -> Tensor:
        """The step."""
        return torch.tensor(self.margin.step)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the step over."""
        self.margin.step = int(state)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        saved = state.get(f"{prefix}weight")
        if saved is not None and saved.shape != self.weight.shape:
            there, here = (
                f"{shape[0] // self.sub_centers} classes of {shape[1]} numbers"
                for shape in (saved.shape, self.weight.shape)
            )
            raise ConfigError(
                f"the saved head has {there}, this one {here}",
                where=Where(field="num_classes"),
                remedy="To go on with other identities, set init_from=MODEL and fine_tune=extend (keeps the old centres) "
                "or fine_tune=backbone.",
            )
        super()._load_from_state_dict(state, prefix, *rest)

    # -- what it computes

    def check(self, embeddings: Tensor, labels: Tensor) -> None:
        """InvalidBatch for what can't be used; a warning, once, for features that can't meet the margin."""
        check_embeddings(embeddings, self.dim, empty=self.processes.size > 1)
        check_labels(labels, len(embeddings), self.num_classes)
        if not self._warned and len(embeddings) > 1 and bool((embeddings.detach() >= 0).all()):
            self._warned = True
            log.warning(
                "no embedding has a negative number: a final ReLU confines them to one orthant, where no class can be "
                "further than 90 degrees from another; take the activation away"
            )

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The mean loss."""
        return self.judge(embeddings, labels).loss

    def judge(self, embeddings: Tensor, labels: Tensor) -> Judged:
        """The loss with what is worth watching; see Judged. Labels are not changed."""
        self.check(embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            features, labels = self._gather(embeddings.to(self._compute_dtype), labels.to(torch.int64))
            local = self._local(labels)
            weight, bias, local = self._take_part(local)
            noise = self.margin.noise(features[:, 0].detach()) if self.training else None
            if noise is not None:
                noise = self.processes.first(noise)
            if self.training and self.margin.observes:
                self._observe(features, local, weight)
            losses, cosine, hardest = MarginCrossEntropy.apply(  # type: ignore[no-untyped-call]
                features, weight, bias, local, noise, self._setting()
            )
            norms = torch.linalg.vector_norm(features.detach(), dim=1)
            return Judged(losses.mean(), losses, cosine, hardest, labels, norms)

    def logits(self, embeddings: Tensor) -> Tensor:
        """[n, classes] without any margin, for accuracy: s cos, or |x| cos, or W x + b."""
        check_embeddings(embeddings, self.dim)
        with torch.autocast(embeddings.device.type, enabled=False):
            x, weight = embeddings.to(self._compute_dtype), self.weight.to(self._compute_dtype)
            if self.feature_norm:
                x = x / torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(EPS) * self.scale
            logits = x @ weight.T
            if self.margin.weight_norm:
                logits = logits / torch.linalg.vector_norm(weight, dim=1).clamp_min(EPS)
            if self.bias is not None:
                logits = logits + self.bias
            return logits if self.sub_centers == 1 else by_class(logits, self.sub_centers).amax(dim=2)

    @property
    def _compute_dtype(self) -> torch.dtype:
        return torch.promote_types(self.weight.dtype, torch.float32)

    def _setting(self) -> Setting:
        return Setting(
            self.margin,
            self.scale,
            self.feature_norm,
            self.sub_centers,
            self.interclass_threshold,
            torch.bfloat16 if self.head_precision == "bf16" else None,
            self.logit_chunk,
            self.processes,
        )

    def _gather(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return embeddings, labels

    def _local(self, labels: Tensor) -> Tensor:
        """The labels among this process's classes, -1 for others."""
        return labels

    def _take_part(self, labels: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """The rows of the weight that take part in this step, their bias, and the labels among them."""
        weight, bias = self.weight.to(self._compute_dtype), self.bias
        if self.sample_rate == 1 or not self.training:
            return weight, bias, labels
        chosen = sample_classes(labels, len(weight) // self.sub_centers, self.sample_rate)
        rows = sampled_rows(weight, chosen, self.sub_centers, sparse=self.sparse_update)
        return rows, bias, renumber(labels, chosen)

    @torch.no_grad()
    def _observe(self, features: Tensor, labels: Tensor, weight: Tensor) -> None:
        """Show the margin the batch's target cosines and norms before it is used."""
        own = (labels >= 0).nonzero().squeeze(1)
        norms = torch.linalg.vector_norm(features, dim=1).clamp_min(EPS)
        centers = weight.detach().view(-1, self.sub_centers, self.dim)[labels[own]]
        products = torch.einsum("nkd,nd->nk", centers, features[own])
        cosine = torch.zeros_like(norms)
        cosine[own] = (products / torch.linalg.vector_norm(centers, dim=2).clamp_min(EPS)).amax(dim=1) / norms[own]
        cosine = self.processes.total(cosine)
        self.margin.observe(cosine, norms, self._total)

    def _total(self, values: Tensor) -> Tensor:
        """Sums of a batch's statistics over the processes that each have a part of the batch."""
        return sum_over_processes(values)

    @torch.no_grad()
    def watch(self, judged: Judged) -> dict[str, Tensor]:
        """Means over the batch: target_cosine, hardest_cosine, margin_satisfied (share whose target beats all others with its
        margin), accuracy (without the margin), feature_norm."""
        with_margin = self.margin.target(judged.target_cosine, judged.norms)
        means = {
            "target_cosine": judged.target_cosine,
            "hardest_cosine": judged.hardest_cosine,
            "margin_satisfied": (with_margin >= judged.hardest_cosine).float(),
            "accuracy": (judged.target_cosine > judged.hardest_cosine).float(),
            "feature_norm": judged.norms,
        }
        return {name: values.float().mean() for name, values in means.items()}

    def extra_repr(self) -> str:
        """Kind, size, scale and margin."""
        return f"{self.kind}, dim={self.dim}, num_classes={self.num_classes}, scale={self.scale:g}, margin={self.margin.m:g}"


def make_kind(name: str) -> str:
    """The canonical name of a kind of head; ConfigError for one that there is not."""
    name = "amsoftmax" if name == "cosface" else name
    if name not in MARGINS:
        raise ConfigError(
            f"there is no head {name!r}{nearest(name, MARGINS)}",
            where=Where(field="head"),
            remedy=f"Heads are: {', '.join(MARGINS)}.",
        )
    return name


def needed_scale(num_classes: int, gap: float, probability: float) -> float:
    """The scale at which the true class can get `probability`: ln((C-1) P / (1-P)) / gap.

    gap: between the logits of the true and of any other class, over the scale; C/(C-1) - m for an additive margin.
    """
    return math.log((num_classes - 1) * probability / (1 - probability)) / gap


def auto_scale(num_classes: int, margin: float = 0.35) -> float:
    """The scale of an additive margin for so many classes (P = .999), never below 10."""
    gap = num_classes / (num_classes - 1) - margin
    return max(LEAST_AUTO_SCALE, needed_scale(num_classes, gap, TARGET_PROBABILITY))
