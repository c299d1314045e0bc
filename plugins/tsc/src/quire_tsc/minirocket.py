"""MiniRocket: fixed convolutions, proportions of positive values, a linear classifier."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from quire.errors import DataError, Where
from quire_tsc.lengths import require_length

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

Head = Literal["ridge", "logistic"]
KERNEL_LENGTH = 9
KERNELS = 84
MAX_DILATIONS = 32
CHUNK_VALUES = 2**22


@dataclass(frozen=True)
class Dilation:
    """The part of the transform at one dilation: biases float32 [84, features], channels float32 [84, channels].

    A kernel looks at the sum of the channels whose entry in `channels` is 1.
    """

    dilation: int
    biases: Tensor
    channels: Tensor


@dataclass(frozen=True)
class MiniRocket:
    """MiniRocket's transform (Dempster, Schmidt and Webb, KDD 2021): a series becomes 9,996 proportions.

    Each of the 84 kernels of length 9 (six weights of -1, three of 2) is applied at every dilation; a feature is the
    share of outputs above a bias. length: of the series that it was fitted on, and of those that it takes.
    """

    length: int
    parts: tuple[Dilation, ...]

    def transform(self, x: Tensor) -> Tensor:
        """Features of x float32 [n, channels, length] on the transform's device, float32 [n, features] in 0..1.

        Raises DataError for another length.
        """
        if x.shape[2] != self.length:
            raise DataError(
                f"this MiniRocket was fitted on series of {self.length} time steps, and gets {x.shape[2]}",
                where=Where(field="series"),
                remedy=f"Resample the series to {self.length} time steps.",
            )
        rows = max(1, CHUNK_VALUES // (KERNELS * self.length))
        return torch.cat([self._transform(chunk) for chunk in torch.split(x, rows)])

    def _transform(self, x: Tensor) -> Tensor:
        return torch.cat([self._shares(x, part, index % 2) for index, part in enumerate(self.parts)], dim=1)

    def _shares(self, x: Tensor, part: Dilation, parity: int) -> Tensor:
        """Share of outputs above each bias; every other kernel leaves out the outputs that the padding reaches."""
        outputs = _convolve(torch.einsum("kc,ncl->nkl", part.channels, x), part.dilation)
        margin = part.dilation * (KERNEL_LENGTH - 1) // 2
        shares = torch.empty(len(x), *part.biases.shape, device=x.device)
        for start in (0, 1):
            inside = outputs[:, start::2]
            if (start + parity) % 2:
                inside = inside[..., margin : self.length - margin]
            for column, bias in enumerate(part.biases[start::2].T):
                shares[:, start::2, column] = (inside > bias[:, None]).float().mean(dim=2)
        return shares.flatten(1)

    def to(self, device: torch.device | str) -> MiniRocket:
        """The same transform on a device."""
        moved = (Dilation(part.dilation, part.biases.to(device), part.channels.to(device)) for part in self.parts)
        return MiniRocket(self.length, tuple(moved))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that `from_arrays` needs."""
        arrays: dict[str, NDArray[Any]] = {
            "length": np.array(self.length),
            "dilations": np.array([part.dilation for part in self.parts]),
        }
        for part in self.parts:
            arrays[f"biases.{part.dilation}"] = part.biases.numpy(force=True)
            arrays[f"channels.{part.dilation}"] = part.channels.numpy(force=True)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> MiniRocket:
        """The inverse of `to_arrays`, on the CPU."""
        parts = tuple(
            Dilation(
                int(dilation),
                torch.from_numpy(np.array(arrays[f"biases.{dilation}"])),
                torch.from_numpy(np.array(arrays[f"channels.{dilation}"])),
            )
            for dilation in arrays["dilations"]
        )
        return cls(int(arrays["length"]), parts)


@dataclass(frozen=True)
class LinearHead:
    """Scores (features / scale) @ weights.T + intercept; weights float32 [classes, features]."""

    scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    intercept: NDArray[np.float32]

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores float32 [n, classes]."""
        return np.asarray((features / self.scale) @ self.weights.T + self.intercept, dtype=np.float32)


@dataclass(frozen=True)
class MiniRocketModel:
    """The transform and its linear head."""

    transform: MiniRocket
    head: LinearHead

    def scores(self, x: Tensor) -> NDArray[np.float32]:
        """Scores of x float32 [n, channels, length], float32 [n, classes]; the highest is the prediction."""
        return self.head.scores(self.transform.transform(x).numpy(force=True))

    def predict_proba(self, x: Tensor) -> NDArray[np.float32]:
        """Softmax of the scores, float32 [n, classes]; a ridge head is not trained to make it calibrated."""
        return torch.from_numpy(self.scores(x)).softmax(dim=1).numpy()

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that `from_arrays` needs."""
        head = {"scale": self.head.scale, "weights": self.head.weights, "intercept": self.head.intercept}
        return {**self.transform.to_arrays(), **head}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> MiniRocketModel:
        """The inverse of `to_arrays`, on the CPU."""
        head = LinearHead(arrays["scale"], arrays["weights"], arrays["intercept"])
        return cls(MiniRocket.from_arrays(arrays), head)


def fit_minirocket(x: Tensor, *, features: int = 10_000, seed: int = 0) -> MiniRocket:
    """Choose dilations, channels and biases for series x float32 [n, channels, length].

    features is rounded down to a multiple of 84. Biases are quantiles of the outputs for one random series per kernel
    and dilation; with several channels each kernel and dilation sums a random few of them. Raises DataError for
    series of fewer than 9 time steps.
    """
    cases, channels, length = x.shape
    require_length("MiniRocket", length, KERNEL_LENGTH)
    rng = np.random.default_rng(seed)
    dilations, counts = plan_dilations(length, max(1, features // KERNELS))
    quantiles = torch.from_numpy(_low_discrepancy(KERNELS * int(counts.sum()))).to(x.device)
    parts = []
    for dilation, count in zip(dilations.tolist(), counts.tolist(), strict=True):
        chosen = torch.from_numpy(_choose_channels(channels, rng)).to(x.device)
        examples = x[torch.from_numpy(rng.integers(cases, size=KERNELS)).to(x.device)]
        outputs = _convolve(torch.einsum("kc,kcl->kl", chosen, examples)[None], dilation)[0]
        used, quantiles = quantiles[: KERNELS * count], quantiles[KERNELS * count :]
        parts.append(Dilation(dilation, _row_quantiles(outputs, used.view(KERNELS, count)), chosen))
    return MiniRocket(length, tuple(parts))


def fit_minirocket_model(
    x: Tensor, y: NDArray[np.integer], classes: int, *, head: Head = "ridge", features: int = 10_000, seed: int = 0
) -> MiniRocketModel:
    """Fit the transform and its head on x float32 [n, channels, length], y in 0..classes-1 [n].

    head: "ridge" with the strength chosen by leave-one-out cross-validation among 10 from 1e-3 to 1e3, the authors'
    choice for up to 10,000 series; or "logistic", whose probabilities are calibrated better.
    """
    transform = fit_minirocket(x, features=features, seed=seed)
    return MiniRocketModel(transform, fit_head(transform.transform(x).numpy(force=True), y, classes, head))


def fit_head(features: NDArray[np.float32], y: NDArray[np.integer], classes: int, head: Head) -> LinearHead:
    """Linear classifier of features [n, d] divided by their standard deviation; at least two classes in y."""
    from sklearn.linear_model import LogisticRegression, RidgeClassifierCV

    deviation = features.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0).astype(np.float32)
    ridge, logistic = RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)), LogisticRegression(max_iter=1000)
    classifier = (ridge if head == "ridge" else logistic).fit(features / scale, y)
    weights, intercept = np.atleast_2d(classifier.coef_), np.atleast_1d(classifier.intercept_)
    if len(weights) == 1:
        # scikit-learn keeps one score for two classes; halves of it, of opposite sign, make the logistic softmax exact
        weights, intercept = np.vstack([-weights, weights]) / 2, np.append(-intercept, intercept) / 2
    full_weights = np.zeros((classes, features.shape[1]), dtype=np.float32)
    full_intercept = np.full(classes, np.finfo(np.float32).min, dtype=np.float32)  # never the class that y lacks
    full_weights[classifier.classes_], full_intercept[classifier.classes_] = weights, intercept
    return LinearHead(scale, full_weights, full_intercept)


def plan_dilations(length: int, features: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Dilations from 1 to (length - 1) / 8, exponentially spaced, and how many of a kernel's features each gets."""
    count = min(features, MAX_DILATIONS)
    largest = np.log2((length - 1) / (KERNEL_LENGTH - 1))
    spaced = np.logspace(0, largest, count, base=2).astype(np.int64)
    dilations, repeats = np.unique(spaced, return_counts=True)
    shares = (repeats * (features / count)).astype(np.int64)
    left = features - int(shares.sum())
    shares += left // len(shares)
    shares[: left % len(shares)] += 1
    return dilations, shares


def _kernels(device: torch.device) -> Tensor:
    """The 84 kernels [84, 1, 9]: -1, but 2 at three of the nine places."""
    weights = torch.full((KERNELS, 1, KERNEL_LENGTH), -1.0, device=device)
    for row, places in enumerate(combinations(range(KERNEL_LENGTH), 3)):
        weights[row, 0, list(places)] = 2.0
    return weights


def _convolve(x: Tensor, dilation: int) -> Tensor:
    """Output of each kernel on its own input, zero-padded to the same length: [n, 84, length] -> [n, 84, length]."""
    padding = dilation * (KERNEL_LENGTH - 1) // 2
    return F.conv1d(x, _kernels(x.device), dilation=dilation, padding=padding, groups=KERNELS)


def _choose_channels(channels: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """1 for the channels that a kernel sums, one to nine and rather few than many: [84, channels]."""
    chosen = np.zeros((KERNELS, channels), dtype=np.float32)
    counts = (2 ** rng.uniform(0, np.log2(min(channels, KERNEL_LENGTH) + 1), KERNELS)).astype(np.int64)
    for row, count in zip(chosen, counts, strict=True):
        row[rng.choice(channels, count, replace=False)] = 1.0
    return chosen


def _low_discrepancy(count: int) -> NDArray[np.float32]:
    """Multiples of the golden ratio modulo 1: quantiles that are evenly spread however many are used."""
    return np.asarray(np.arange(1, count + 1) * ((np.sqrt(5) + 1) / 2) % 1, dtype=np.float32)


def _row_quantiles(values: Tensor, quantiles: Tensor) -> Tensor:
    """Linearly interpolated quantiles [rows, q], in 0..1, of each row of values [rows, length]: [rows, q]."""
    ordered = values.sort(dim=1).values
    position = quantiles * (values.shape[1] - 1)
    low = position.long()
    high = (low + 1).clamp_max(values.shape[1] - 1)
    return torch.lerp(ordered.gather(1, low), ordered.gather(1, high), position - low)
