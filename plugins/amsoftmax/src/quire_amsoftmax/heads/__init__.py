"""Margin heads: one file a formula, one head for all of them, on one process or sharded over many."""

from quire_amsoftmax.heads.head import Judged, MarginHead, auto_scale
from quire_amsoftmax.heads.kinds import MARGINS
from quire_amsoftmax.heads.margin import Margin, MarginSchedule
from quire_amsoftmax.heads.sampling import RowSGD
from quire_amsoftmax.heads.sharded import ShardedMarginHead, load_sharded, save_sharded
from quire_amsoftmax.heads.subcenter import dominant_centers, drop_noisy

__all__ = [
    "MARGINS",
    "Judged",
    "Margin",
    "MarginHead",
    "MarginSchedule",
    "RowSGD",
    "ShardedMarginHead",
    "auto_scale",
    "dominant_centers",
    "drop_noisy",
    "load_sharded",
    "save_sharded",
]
