"""TWIESN: an echo state network with a ridge regression on its states."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import pinvh
from sklearn.model_selection import train_test_split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

Floats = np.ndarray[Any, np.dtype[np.float64]]
LEAK = 0.1
SPECTRAL_RADII = (0.55, 0.9, 2.0, 5.0)
CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Candidate:
    """One setting of the reservoir and of its ridge regression."""

    size: int
    density: float
    input_scale: float
    ridge: float
    spectral_radius: float


@dataclass(frozen=True)
class Reservoir:
    """x_0 = 0; x_t = (1 - a) x_{t-1} + a tanh(W_in u_t + W x_{t-1}), with the leak a = 0.1.

    inputs W_in float64 [size, channels]; recurrent W float64 [size, size].
    """

    inputs: Floats
    recurrent: Floats

    def states(self, x: NDArray[np.floating]) -> Iterator[Floats]:
        """States [n, size] after each time step of x [n, channels, length]."""
        state = np.zeros((len(x), len(self.recurrent)))
        # at the paper's densities a dense product is as fast as a sparse one
        for step in np.moveaxis(x, 2, 0):
            state = (1 - LEAK) * state + LEAK * np.tanh(step @ self.inputs.T + state @ self.recurrent.T)
            yield state


@dataclass(frozen=True)
class TWIESN:
    """A reservoir, and the ridge regression from [u_t, x_t] to one score per class: weights [d, classes]."""

    reservoir: Reservoir
    weights: Floats
    intercept: Floats

    def scores(self, x: NDArray[np.floating]) -> Floats:
        """Mean over time of the ridge outputs for x [n, channels, length], float64 [n, classes]."""
        # the ridge is linear: the mean of its outputs is its output for the mean features
        chunks = _chunks(x, self.reservoir, steps=1)
        means = np.concatenate([_mean_features(self.reservoir, part) for part in chunks])
        return np.asarray(means @ self.weights + self.intercept)

    def predict_proba(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Scores clipped at 0 and normalised, uniform where none is positive; float32 [n, classes]."""
        scores = np.clip(self.scores(x), 0.0, None)
        totals = scores.sum(axis=1, keepdims=True)
        uniform = np.full_like(scores, 1.0 / scores.shape[1])
        return np.asarray(np.divide(scores, totals, out=uniform, where=totals > 0), dtype=np.float32)

    def to_arrays(self) -> dict[str, Floats]:
        """Everything that `from_arrays` needs."""
        return {
            "inputs": self.reservoir.inputs,
            "recurrent": self.reservoir.recurrent,
            "weights": self.weights,
            "intercept": self.intercept,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats]) -> TWIESN:
        """The inverse of `to_arrays`."""
        reservoir = Reservoir(arrays["inputs"], arrays["recurrent"])
        return cls(reservoir, arrays["weights"], arrays["intercept"])


def paper_candidates(cases: int) -> tuple[Candidate, ...]:
    """The paper's 16 candidates; 12 of 100 units each when there are more than 1000 training series."""
    settings = [(250, 0.5, 1.0, 0.0), (250, 0.5, 2.0, 0.05), (500, 0.1, 2.0, 0.05), (800, 0.1, 2.0, 0.05)]
    if cases > 1000:
        settings = [(100, density, scale, ridge) for _, density, scale, ridge in settings[:3]]
    return tuple(Candidate(*setting, radius) for setting in settings for radius in SPECTRAL_RADII)


def draw_reservoir(candidate: Candidate, channels: int, rng: np.random.Generator) -> Reservoir:
    """Random weights: W_in ~ U(-1, 1) / (2 input_scale); W ~ U(-.5, .5) where connected.

    W is scaled so that its largest absolute eigenvalue is the candidate's spectral radius.
    """
    size = candidate.size
    inputs = rng.uniform(-1.0, 1.0, (size, channels)) / (2.0 * candidate.input_scale)
    recurrent, radius = np.zeros((size, size)), 0.0
    while radius == 0.0:
        connected = rng.random((size, size)) < candidate.density
        recurrent = np.where(connected, rng.uniform(-0.5, 0.5, (size, size)), 0.0)
        radius = float(np.abs(np.linalg.eigvals(recurrent)).max())  # 0 for an all but empty draw: draw again
    return Reservoir(inputs, recurrent * (candidate.spectral_radius / radius))


def fit_twiesn(
    x: NDArray[np.floating],
    y: NDArray[np.integer],
    classes: int,
    *,
    seed: int = 0,
    refit: bool = True,
    candidates: Sequence[Candidate] | None = None,
    validation_size: float = 0.2,
) -> TWIESN:
    """Fit every candidate on one part of the series and keep the first of those most accurate on the other.

    x [n, channels, length], finite; y in 0..classes-1, [n], n >= 2. The validation part is random, with every class
    where the numbers allow it. refit: the kept reservoir's regression is fitted again on all series, which the paper
    does not do. candidates: by default `paper_candidates` of the training part.
    """
    rng = np.random.default_rng(seed)
    train, validation = _split(y, validation_size, seed)
    targets = np.eye(classes)[y]
    best, best_accuracy, best_ridge = None, -1.0, 0.0
    for candidate in candidates if candidates is not None else paper_candidates(len(train)):
        reservoir = draw_reservoir(candidate, x.shape[1], rng)
        model = _fit_readout(reservoir, x[train], targets[train], candidate.ridge)
        accuracy = float(np.mean(model.scores(x[validation]).argmax(axis=1) == y[validation]))
        if accuracy > best_accuracy:
            best, best_accuracy, best_ridge = model, accuracy, candidate.ridge
    if best is None:
        raise ValueError("fit_twiesn needs at least one candidate")
    return _fit_readout(best.reservoir, x, targets, best_ridge) if refit else best


def fit_ridge(parts: Iterable[tuple[Floats, Floats]], ridge: float) -> tuple[Floats, Floats]:
    """Weights [d, k] and intercept [k] that minimise |X w + b - Y|^2 + ridge |w|^2 over parts (X [m, d], Y [m, k]).

    The normal equations are accumulated part by part; where they are singular, the smallest weights are taken.
    """
    gram: Floats | float = 0.0
    cross: Floats | float = 0.0
    sums: Floats | float = 0.0
    target_sums: Floats | float = 0.0
    count = 0
    shift: Floats | None = None
    for features, targets in parts:
        if shift is None:
            shift = features.mean(axis=0)  # near the mean, so that centring afterwards cancels few digits
        shifted = features - shift
        gram = gram + shifted.T @ shifted
        cross = cross + shifted.T @ targets
        sums = sums + shifted.sum(axis=0)
        target_sums = target_sums + targets.sum(axis=0)
        count += len(features)
    if shift is None:
        raise ValueError("fit_ridge needs at least one part")
    centred = gram - np.outer(sums, sums) / count + ridge * np.eye(len(shift))
    weights = pinvh(centred) @ (cross - np.outer(sums, target_sums) / count)
    return weights, target_sums / count - (shift + sums / count) @ weights


def _fit_readout(reservoir: Reservoir, x: NDArray[np.floating], targets: Floats, ridge: float) -> TWIESN:
    return TWIESN(reservoir, *fit_ridge(_feature_parts(reservoir, x, targets), ridge))


def _feature_parts(reservoir: Reservoir, x: NDArray[np.floating], targets: Floats) -> Iterator[tuple[Floats, Floats]]:
    """[u_t, x_t] and the targets of every time step of every series, in parts of CHUNK_BYTES at most."""
    for rows in _chunks(np.arange(len(x)), reservoir, steps=x.shape[2]):
        steps_at_once = max(1, CHUNK_BYTES // (len(rows) * _feature_bytes(reservoir)))
        inputs = np.moveaxis(x[rows], 2, 0)
        features = (np.hstack(pair) for pair in zip(inputs, reservoir.states(x[rows]), strict=True))
        while some := list(islice(features, steps_at_once)):
            yield np.concatenate(some, dtype=np.float64), np.tile(targets[rows], (len(some), 1))


def _mean_features(reservoir: Reservoir, x: NDArray[np.floating]) -> Floats:
    """Mean of [u_t, x_t] over time: [n, channels + size]."""
    total = np.zeros((len(x), len(reservoir.recurrent)))
    for state in reservoir.states(x):
        total += state
    return np.concatenate([x.mean(axis=2, dtype=np.float64), total / x.shape[2]], axis=1)


def _chunks(rows: NDArray[Any], reservoir: Reservoir, *, steps: int) -> Iterator[NDArray[Any]]:
    """Runs of rows whose features for `steps` time steps stay within CHUNK_BYTES, or single rows."""
    count = max(1, CHUNK_BYTES // (steps * _feature_bytes(reservoir)))
    return (rows[start : start + count] for start in range(0, len(rows), count))


def _feature_bytes(reservoir: Reservoir) -> int:
    """Bytes of [u_t, x_t] of one series at one time step."""
    return 8 * sum(reservoir.inputs.shape)


def _split(y: NDArray[np.integer], validation_size: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    counts = np.unique_counts(y).counts
    held_out = max(1, int(validation_size * len(y)))
    fits = counts.min() > 1 and held_out >= len(counts) and len(y) - held_out >= len(counts)
    train, validation = train_test_split(
        np.arange(len(y)), test_size=held_out, random_state=seed, stratify=y if fits else None
    )
    return train, validation
