"""Several images of a person as one vector, as IJB-B and IJB-C compare them (sec. 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from quire.errors import DataError
from quire_amsoftmax.evaluate.streams import unit_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from quire_amsoftmax.evaluate.streams import Floats, Ints


def pool_templates(
    embeddings: NDArray[Any],
    templates: Sequence[int] | Ints,
    media: Sequence[int] | Ints,
    *,
    detector_scores: Sequence[float] | NDArray[Any] | None = None,
    norm: Literal["remove", "keep"] = "remove",
) -> tuple[Ints, Floats]:
    """(template ids ascending, unit vectors float32 [t, dim]): the mean of each medium, summed over a template's media.

    embeddings [n, dim] are of images, each of a template and of a medium (the frames of one video share a medium).
    detector_scores: weights of the images. norm: whether an image's own length is made 1 first, or kept as its weight.
    """
    vectors = unit_rows(embeddings) if norm == "remove" else np.array(embeddings, np.float32)
    template, medium = np.asarray(templates, np.int64), np.asarray(media, np.int64)
    if not len(vectors) == len(template) == len(medium):
        raise DataError(f"{len(vectors)} embeddings, {len(template)} templates and {len(medium)} media")
    if detector_scores is not None:
        vectors = vectors * np.asarray(detector_scores, np.float32)[:, None]
    pairs, which = np.unique(np.column_stack([template, medium]), axis=0, return_inverse=True)
    which = which.reshape(-1)
    sums = np.zeros((len(pairs), vectors.shape[1]), np.float64)
    np.add.at(sums, which, vectors)
    means = sums / np.bincount(which, minlength=len(pairs))[:, None]
    ids, owner = np.unique(pairs[:, 0], return_inverse=True)
    pooled = np.zeros((len(ids), vectors.shape[1]), np.float64)
    np.add.at(pooled, owner.reshape(-1), means)
    return ids, unit_rows(pooled)


def paired_scores(vectors: NDArray[Any], ids: Ints, left: Ints, right: Ints, *, block: int = 65536) -> Floats:
    """The cosines of rows named by id: float32 [pairs]. DataError naming an id that is not there."""
    rows = unit_rows(vectors)
    order = np.argsort(ids)
    places = []
    for side in (left, right):
        at = np.searchsorted(ids, side, sorter=order).clip(0, max(0, len(ids) - 1))
        found = order[at]
        missing = np.flatnonzero(ids[found] != side)
        if len(missing):
            raise DataError(f"template {side[missing[0]]} of the pairs has no image")
        places.append(found)
    scores = np.empty(len(left), np.float32)
    for start in range(0, len(left), block):
        one, other = (place[start : start + block] for place in places)
        scores[start : start + block] = np.einsum("ij,ij->i", rows[one], rows[other])
    return scores
