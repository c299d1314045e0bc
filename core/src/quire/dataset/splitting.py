"""How to divide samples, so that every part has its share of every class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from quire.dataset.views import Subset
from quire.errors import ConfigError, DataError
from quire.modality import Label

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    from quire.dataset.base import Dataset, Indices


def split(
    dataset: Dataset, fractions: Mapping[str, float], *, seed: int = 0, stratify: bool = True
) -> dict[str, Subset]:
    """Disjoint parts of `dataset` that together are all of it, by `partition`; keeps the classes' shares if `stratify`.

    Targets that are not a Label have no classes: then all samples are one stratum.
    Raises ConfigError for fractions that are not shares, DataError if a part would be empty.
    """
    classes = stratify and isinstance(dataset.task.target, Label)
    targets = [dataset.target(index) if classes else "" for index in range(len(dataset))]
    parts = partition(targets, fractions, seed=seed)
    empty = [name for name, indices in parts.items() if not len(indices)]
    if empty:
        raise DataError(
            f"{len(dataset)} samples are too few for the parts {', '.join(fractions)}: {empty[0]!r} would be empty",
            remedy="Give more samples of each class, or split without stratification." if classes else None,
        )
    return {name: Subset(dataset, indices.tolist(), split=name) for name, indices in parts.items()}


def partition(targets: Sequence[Hashable], fractions: Mapping[str, float], *, seed: int = 0) -> dict[str, Indices]:
    """Ascending int64 indices for each named share, stratified by target: every index is in exactly one part.

    A class of n gives a part of fraction f either floor(n f) or ceil(n f) samples, chosen so that whole parts keep to f
    too; then every part gets at least one where n suffices, and a class that is too small serves the largest parts.
    The outcome depends on targets, seed and fractions alone (not on the fractions' order).

    Raises ConfigError if fractions are not positive or do not sum to 1, or `seed` is negative.
    """
    if not fractions or min(fractions.values()) <= 0 or not math.isclose(sum(fractions.values()), 1, abs_tol=1e-6):
        given = ", ".join(f"{name}={fraction}" for name, fraction in fractions.items())
        raise ConfigError(f"the parts' fractions must be positive and sum to 1, not {given or 'none'}")
    if seed < 0:
        raise ConfigError(f"the seed must not be negative, not {seed}")
    strata: dict[Hashable, list[int]] = {}
    for index in np.random.default_rng(seed).permutation(len(targets)).tolist():
        strata.setdefault(targets[index], []).append(index)

    names = sorted(fractions, key=lambda name: (-fractions[name], name))
    shares = np.array([fractions[name] for name in names])
    owed = np.zeros(len(names))
    parts: dict[str, list[int]] = {name: [] for name in fractions}
    for target in sorted(strata, key=str):
        counts, owed = _apportion(len(strata[target]), shares, owed)
        ends = np.cumsum(counts).tolist()
        for name, start, end in zip(names, [0, *ends], ends, strict=False):
            parts[name] += strata[target][start:end]
    return {name: np.array(sorted(indices), dtype=np.int64) for name, indices in parts.items()}


def stratified_split(targets: Sequence[Hashable], fraction: float, seed: int = 0) -> tuple[Indices, Indices]:
    """(kept, held out): ascending int64 indices, of which `fraction` (0 < fraction < 1) is held out by `partition`."""
    if not 0 < fraction < 1:
        raise ConfigError(f"the held-out fraction must be between 0 and 1, not {fraction}")
    parts = partition(targets, {"kept": 1 - fraction, "held out": fraction}, seed=seed)
    return parts["kept"], parts["held out"]


def _apportion(
    size: int, shares: NDArray[np.float64], owed: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How many of a class of `size` each part gets, and what rounding owes the parts from now on.

    shares float64 [parts], descending; owed float64 [parts] -> counts int64 [parts], owed float64 [parts]
    """
    exact = size * shares
    counts = np.floor(exact + 1e-9).astype(np.int64)  # 100 * 0.29 is 28.999999999999996
    claims = np.where(exact - counts > 1e-9, exact - counts + owed, -np.inf)
    counts[np.argsort(-claims, kind="stable")[: size - counts.sum()]] += 1
    owed = owed + exact - counts
    for part in range(min(size, len(counts))):
        if counts[part] == 0:
            donor = len(counts) - 1 - int(np.argmax(counts[::-1]))
            counts[donor] -= 1
            counts[part] = 1
    return counts, owed
