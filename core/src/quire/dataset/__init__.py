"""Read-only sequences of samples: the interface of every reader, views on data sets, and how to split them."""

from quire.dataset.base import (
    SPLITS,
    Dataset,
    Indices,
    InMemory,
    OnError,
    Rows,
    canonical_split,
    new_release,
    require_known_labels,
    skipping,
    sort_labels,
)
from quire.dataset.splitting import partition, split, stratified_split
from quire.dataset.views import Concatenation, Subset, common_task

__all__ = [
    "SPLITS",
    "Concatenation",
    "Dataset",
    "InMemory",
    "Indices",
    "OnError",
    "Rows",
    "Subset",
    "canonical_split",
    "common_task",
    "new_release",
    "partition",
    "require_known_labels",
    "skipping",
    "sort_labels",
    "split",
    "stratified_split",
]
