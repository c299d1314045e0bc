"""Which identities a training is of, and a validation set whose people it has never seen."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from quire.dataset import Subset, sort_labels
from quire.errors import DataError, Where, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quire.dataset import Dataset
    from quire.modality import Sample

log = logging.getLogger(__name__)


def chosen_identities(train: Dataset, exclude: Sequence[str], least: int) -> Dataset:
    """`train` without the identities in `exclude` and those with fewer than `least` images; what was left out is told.

    DataError for an excluded identity that there is not, and unless two identities are left.
    """
    counts = Counter(str(train.target(index)) for index in range(len(train)))
    for name in exclude:
        if name not in counts:
            raise DataError(
                f"{train.name} has no identity {name!r}{nearest(name, counts)}", where=Where(field="exclude_ids")
            )
    kept = {name for name, count in counts.items() if count >= least and name not in set(exclude)}
    if len(kept) < 2:
        raise DataError(
            f"{train.name} has {len(kept)} of {len(counts)} identities to train on, and at least 2 are needed",
            remedy="Give a folder for each person, with images in it.",
        )
    left_out = sum(count for name, count in counts.items() if name not in kept)
    if left_out:
        log.warning("%d of %d identities are left out, with %d images", len(counts) - len(kept), len(counts), left_out)
    single = sum(counts[name] == 1 for name in kept)
    if single:
        log.warning("%d of %d identities have a single image: min_images_per_id=2 leaves them out", single, len(kept))
    log.info("%d identities, %d images", len(kept), len(train) - left_out)
    if not left_out:
        return train
    indices = [index for index in range(len(train)) if str(train.target(index)) in kept]
    subset = Subset(train, indices)
    subset.labels = sort_labels(kept)
    return subset


def open_set(validation: Dataset) -> Dataset:
    """`validation`, whose identities need not be those of the training. DataError without a pair of each kind."""
    counts = Counter(str(validation.target(index)) for index in range(len(validation)))
    if len(counts) < 2 or max(counts.values()) < 2:
        raise DataError(
            f"the {validation.split} split has {len(counts)} identities and at most {max(counts.values())} images of one: "
            "no pairs to verify",
            remedy="It needs two identities, and two images of one of them.",
        )
    view = Subset(validation, range(len(validation)))
    view.labels = ()
    return view


def identity_numbers(samples: Sequence[Sample]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """A number for each sample's target that depends on its name alone, int64 [n] (known and unknown identities alike)."""
    digests = [hashlib.blake2b(str(sample["target"]).encode(), digest_size=8).digest() for sample in samples]
    return np.array([int.from_bytes(digest, "big") >> 1 for digest in digests], dtype=np.int64)
