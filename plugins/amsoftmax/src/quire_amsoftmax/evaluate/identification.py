"""Who is this: ranks in a gallery, open-set identification and MegaFace's, in blocks (sec. 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from quire.errors import DataError
from quire_amsoftmax.evaluate.streams import COLUMNS, ROWS, label_numbers, unit_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from quire_amsoftmax.evaluate.streams import Floats, Ints

    Labels = NDArray[Any] | Sequence[Any]


@dataclass(frozen=True)
class Ranks:
    """Where each probe's mates stand in a gallery.

    best_mate: float32 [n], the best score with the same label; -inf where the gallery has none. rank: int64 [n], 1 + the
    number of scores with other labels strictly above it; 0 where there is no mate. best_other: the best score with another
    label, -inf where there is none. top: int64 [n], the gallery row with the best score of all; -1 where there is none.
    """

    best_mate: Floats
    rank: Ints
    best_other: Floats
    top: Ints

    @property
    def has_mate(self) -> NDArray[np.bool_]:
        """Which probes have a mate in the gallery."""
        return self.rank > 0

    @property
    def best(self) -> Floats:
        """The best score with any label."""
        return np.maximum(self.best_mate, self.best_other)

    def hit_rate(self, rank: int) -> float | None:
        """The share of probes with a mate whose rank is at most `rank`: the CMC curve; None without such a probe."""
        mated = self.rank[self.has_mate]
        return float((mated <= rank).mean()) if len(mated) else None


@dataclass(frozen=True)
class OpenSet:
    """Detection and identification at one false-accept rate of impostor probes."""

    far: float
    k: int
    threshold: float
    achieved_far: float
    rates: dict[int, float]


def rank_probes(probes: NDArray[Any], probe_labels: Labels, gallery: NDArray[Any], gallery_labels: Labels) -> Ranks:
    """The ranks of `probes` [n, dim] in `gallery` [m, dim], by cosine. DataError for an empty gallery."""
    if not len(gallery):
        raise DataError("the gallery is empty", remedy="Enrol at least one image.")
    numbers = label_numbers([*map(str, probe_labels), *map(str, gallery_labels)])
    return _ranks(unit_rows(probes), numbers[: len(probes)], unit_rows(gallery), numbers[len(probes) :], alone=False)


def leave_one_out(embeddings: NDArray[Any], labels: Labels) -> Ranks:
    """The ranks of each embedding among all the others."""
    vectors, numbers = unit_rows(embeddings), label_numbers(labels)
    return _ranks(vectors, numbers, vectors, numbers, alone=True)


def _ranks(probes: Floats, mine: Ints, gallery: Floats, theirs: Ints, *, alone: bool) -> Ranks:
    best_mate = np.full(len(probes), -np.inf, np.float32)
    best_other, above = best_mate.copy(), np.zeros(len(probes), np.int64)
    top_mate, top_other = (np.full(len(probes), -1, np.int64) for _ in range(2))
    for start in range(0, len(probes), ROWS):
        here = slice(start, min(start + ROWS, len(probes)))
        rows = np.arange(here.stop - start)
        for counting in (False, True):  # the best mate must be known before what is above it can be counted
            for left in range(0, len(gallery), COLUMNS):
                scores = probes[here] @ gallery[left : left + COLUMNS].T
                if alone:
                    own = np.arange(here.start, here.stop) - left
                    inside = (own >= 0) & (own < scores.shape[1])
                    scores[rows[inside], own[inside]] = -np.inf
                mates = mine[here, None] == theirs[None, left : left + COLUMNS]
                others = np.where(mates, np.float32(-np.inf), scores)
                if counting:
                    above[here] += (others > best_mate[here, None]).sum(axis=1)
                    continue
                _take_best(np.where(mates, scores, np.float32(-np.inf)), left, best_mate[here], top_mate[here])
                _take_best(others, left, best_other[here], top_other[here])
    rank = np.where(np.isfinite(best_mate), above + 1, 0)
    top = np.where(best_other > best_mate, top_other, np.where(np.isfinite(best_mate), top_mate, top_other))
    return Ranks(best_mate, rank, best_other, top)


def _take_best(scores: Floats, left: int, best: Floats, row: Ints) -> None:
    """Put into `best` and `row`, views, what is larger in this tile; of equal scores the first stays."""
    at = scores.argmax(axis=1)
    found = scores[np.arange(len(scores)), at]
    better = found > best
    best[better] = found[better]
    row[better] = at[better] + left


def open_set(genuine: Ranks, impostor_best: Floats, far: float, ranks: Sequence[int] = (1,)) -> OpenSet:
    """DIR at a false-accept rate: the threshold is the k-th largest of the impostor probes' best gallery scores.

    genuine: probes with a mate. k = round(far * impostor probes); 0 gives a threshold above all of them. DataError
    where there is no impostor probe or no genuine one.
    """
    n = len(impostor_best)
    mated = genuine.has_mate
    if not n or not mated.any():
        raise DataError(f"there is no {'impostor' if not n else 'genuine'} probe for open-set identification")
    k = round(far * n)
    ordered = np.sort(impostor_best)[::-1]
    threshold = ordered[k - 1] if k else _halfway(genuine.best_mate[mated], ordered[0])
    accepted = mated & (genuine.best_mate >= threshold)
    rates = {rank: float((accepted & (genuine.rank <= rank)).sum() / mated.sum()) for rank in ranks}
    return OpenSet(far, k, float(threshold), k / n, rates)


def _halfway(genuine: Floats, top: np.float32) -> np.float32:
    higher = genuine[genuine > top]
    threshold = np.float32((float(top) + float(higher.min())) / 2 if len(higher) else float(top) + 1e-8)
    return threshold if threshold > top else np.nextafter(top, np.float32(np.inf))


@dataclass(frozen=True)
class MegaFaceIdentification:
    """Number of distractors -> rank -> share of ordered (probe, mate) pairs with the mate at most there."""

    n_pairs: int
    rates: dict[int, dict[int, float]]


def megaface(
    probes: NDArray[Any],
    labels: Labels,
    distractors: NDArray[Any],
    *,
    sizes: Sequence[int] | None = None,
    ranks: Sequence[int] = (1, 10),
    seed: int = 0,
) -> MegaFaceIdentification:
    """MegaFace challenge 1: each ordered pair (probe, mate) of one person with a gallery of the mate and distractors.

    The mate's rank is 1 + the number of distractors that score at least as high: a tie is no hit. sizes: numbers of
    distractors, taken in an order drawn by `seed`; default: all. The distractors [m, dim] may be a memory map.
    """
    m = len(distractors)
    wanted = sorted({min(size, m) for size in sizes or (m,)})
    vectors, numbers = unit_rows(probes), label_numbers(labels)
    mates = (numbers[:, None] == numbers[None]) & ~np.eye(len(numbers), dtype=bool)
    n_pairs = int(mates.sum())
    if not n_pairs:
        raise DataError("no probe has a mate", remedy="MegaFace needs two images of a person.")
    scores = vectors @ vectors.T
    pair_probe, pair_mate = np.nonzero(mates)
    pair_scores = scores[pair_probe, pair_mate]
    deepest = max(ranks)
    order = np.random.default_rng(seed).permutation(m) if len(wanted) > 1 else np.arange(m)
    best = np.full((len(vectors), deepest), -np.inf, np.float32)  # of each probe, its largest distractor scores
    rates: dict[int, dict[int, float]] = {}
    done = 0
    for size in wanted:
        while done < size:
            stop = min(done + COLUMNS, size)
            columns = unit_rows(distractors[np.sort(order[done:stop])])
            for top in range(0, len(vectors), ROWS):
                found = vectors[top : top + ROWS] @ columns.T
                best[top : top + ROWS] = _largest_of(found, best[top : top + ROWS])
            done = stop
        above = (best[pair_probe] >= pair_scores[:, None]).sum(axis=1)
        rates[size] = {rank: float((above < rank).mean()) for rank in ranks}
    return MegaFaceIdentification(n_pairs, rates)


def _largest_of(found: Floats, best: Floats) -> Floats:
    """The k largest of each row of both, in any order."""
    k = best.shape[1]
    if k == 1:
        highest: Floats = np.maximum(best, found.max(axis=1, keepdims=True))
        return highest
    joined = np.concatenate([best, found], axis=1)
    return np.partition(joined, joined.shape[1] - k, axis=1)[:, -k:]


def retrieval(embeddings: NDArray[Any], labels: Labels, ks: Sequence[int] = (1, 10)) -> dict[str, float]:
    """`recall@k` and `map@r` of each embedding among all others; queries without another one of their label are left out.

    map@r: the mean over the R others of the label's number of precision at i where the i-th is right, else 0. {} where no
    query is left.
    """
    vectors, numbers = unit_rows(embeddings), label_numbers(labels)
    counts = np.bincount(numbers)[numbers] - 1 if len(numbers) else np.zeros(0, np.int64)
    if not (counts > 0).any():
        return {}
    depth = min(len(vectors) - 1, max(int(counts.max()), *ks))
    hits: dict[int, list[float]] = {k: [] for k in ks}
    precisions: list[float] = []
    for start in range(0, len(vectors), ROWS):
        scores = vectors[start : start + ROWS] @ vectors.T
        rows = np.arange(len(scores))
        scores[rows, rows + start] = -np.inf
        nearest = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
        right = numbers[nearest] == numbers[start : start + ROWS, None]
        for row in np.flatnonzero(counts[start : start + ROWS] > 0).tolist():
            for k in ks:
                hits[k].append(float(right[row, :k].any()))
            r = int(counts[start + row])
            among = right[row, :r]
            precisions.append(float((among * np.cumsum(among) / np.arange(1, r + 1)).sum() / r))
    return {f"recall@{k}": float(np.mean(values)) for k, values in hits.items()} | {"map@r": float(np.mean(precisions))}
