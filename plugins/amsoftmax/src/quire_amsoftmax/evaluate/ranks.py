"""Order statistics of streamed scores: exactly those of a full sort, in memory that does not grow with the number of pairs.

The k largest are kept in a buffer that is partitioned when it is full (one pass). Where k is large, the scores are
counted by the upper 16 of their 32 bits, put in an order that is that of the numbers, and then, within the counts that
hold a wanted rank, by the lower 16 (two passes): the two counts together are the number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from quire_amsoftmax.evaluate.streams import Floats, Ints, PairStream

MOST_KEPT = 1 << 20  # scores in a buffer of the largest: 8 MiB when it is full
_CHUNK = 1 << 17
_BINS = 1 << 16


class Largest:
    """The k largest of all scores that are added; -inf counts as nothing."""

    def __init__(self, k: int) -> None:
        self.k = k
        self._parts: list[Floats] = []
        self._held = 0
        self._floor = np.float32(-np.inf)

    def add(self, scores: Floats) -> None:
        """Take in scores of any shape."""
        if not self.k:
            return
        above = scores[scores > self._floor]
        if not above.size:
            return
        self._parts.append(above)
        self._held += above.size
        if self._held > 2 * self.k:
            self._shrink()

    def _shrink(self) -> None:
        held = np.concatenate(self._parts)
        if len(held) > self.k:
            held = np.partition(held, len(held) - self.k)[len(held) - self.k :].copy()
            self._floor = held.min()
        self._parts, self._held = [held], len(held)

    def values(self) -> Floats:
        """At most k scores, the largest first."""
        if not self._parts:
            return np.zeros(0, np.float32)
        self._shrink()
        return np.sort(self._parts[0])[::-1]


class RankCounter:
    """Counts of scores by the upper half of their bits: the first of two passes."""

    def __init__(self) -> None:
        self.counts: Ints = np.zeros(_BINS, np.int64)

    def add(self, scores: Floats) -> None:
        """Count scores of any shape; -inf falls below all others."""
        for chunk in _chunks(scores):
            self.counts += np.bincount(_upper(_ordered(chunk)), minlength=_BINS)

    def values_at(self, ranks: Sequence[int], again: Iterable[Floats]) -> dict[int, float]:
        """Rank (1 is the largest) -> score, by a second pass over the same scores."""
        from_top = np.cumsum(self.counts[::-1])
        bins = {rank: _BINS - 1 - int(np.searchsorted(from_top, rank)) for rank in set(ranks)}
        slots = {bin_: slot for slot, bin_ in enumerate(sorted(set(bins.values())))}
        fine = self._fine_counts(slots, again)
        found = {}
        for rank, bin_ in bins.items():
            above = int(from_top[_BINS - 2 - bin_]) if bin_ < _BINS - 1 else 0
            low = _BINS - 1 - int(np.searchsorted(np.cumsum(fine[slots[bin_]][::-1]), rank - above))
            found[rank] = _score(bin_, low)
        return found

    @staticmethod
    def _fine_counts(slots: dict[int, int], again: Iterable[Floats]) -> Ints:
        slot_of = np.full(_BINS, -1, np.int32)
        slot_of[list(slots)] = list(slots.values())
        fine = np.zeros(len(slots) * _BINS, np.int64)
        waiting: list[NDArray[Any]] = []
        n_waiting = 0
        for scores in again:
            for chunk in _chunks(scores):
                bits = _ordered(chunk)
                slot = slot_of[_upper(bits)]
                inside = slot >= 0
                waiting.append((slot[inside] << 16) | (bits[inside] & 0xFFFF))
                n_waiting += len(waiting[-1])
            if n_waiting > len(fine):
                fine += np.bincount(np.concatenate(waiting), minlength=len(fine))
                waiting, n_waiting = [], 0
        if waiting:
            fine += np.bincount(np.concatenate(waiting), minlength=len(fine))
        return fine.reshape(len(slots), _BINS)


def scores_at(stream: PairStream, ranks: Iterable[int], *, most_kept: int = MOST_KEPT) -> dict[int, float]:
    """Rank (1 is the largest) -> impostor score, for ranks from 1 to the number of impostor pairs."""
    wanted = sorted(set(ranks))
    if not wanted:
        return {}
    if wanted[0] < 1 or wanted[-1] > stream.n_impostor:
        raise ValueError(f"ranks {wanted[0]}..{wanted[-1]} of {stream.n_impostor} scores")
    if wanted[-1] <= most_kept:
        largest = Largest(wanted[-1])
        for block in stream.impostor_blocks():
            largest.add(block)
        values = largest.values()
        return {rank: float(values[rank - 1]) for rank in wanted}
    counter = RankCounter()
    for block in stream.impostor_blocks():
        counter.add(block)
    return counter.values_at(wanted, stream.impostor_blocks())


def _chunks(scores: Floats) -> Iterator[Floats]:
    flat = scores.reshape(-1)
    return (flat[start : start + _CHUNK] for start in range(0, len(flat), _CHUNK))


def _ordered(scores: Floats) -> NDArray[np.int32]:
    """The bits as whole numbers in the order of the scores: those of negative numbers are turned round."""
    bits = np.ascontiguousarray(scores, np.float32).view(np.int32)
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))


def _upper(bits: NDArray[np.int32]) -> NDArray[np.int32]:
    return (bits >> 16) + np.int32(_BINS // 2)


def _score(upper: int, lower: int) -> float:
    """The number whose ordered bits these are."""
    bits = np.array([((upper - _BINS // 2) << 16) | lower], np.int64).astype(np.int32)
    return float((bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))).view(np.float32)[0])
