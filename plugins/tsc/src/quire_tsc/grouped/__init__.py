"""Several networks of one architecture trained as one, each with its own seed.

`TSC.fit_seeds` trains models of several seeds so, `GroupedNetwork` and `GroupedStep` are the parts for a loop of one's own.
"""

from __future__ import annotations

from quire_tsc.grouped.adam import GroupedStep
from quire_tsc.grouped.rule import can_group, is_worth_grouping
from quire_tsc.grouped.seeds import fit_seeds
from quire_tsc.grouped.stack import GroupedNetwork, detach_member
from quire_tsc.grouped.training import GroupTraining

__all__ = [
    "GroupTraining",
    "GroupedNetwork",
    "GroupedStep",
    "can_group",
    "detach_member",
    "fit_seeds",
    "is_worth_grouping",
]
