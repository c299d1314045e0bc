"""Several networks of one architecture trained as one, each with its own seed."""

from __future__ import annotations

from quire_tsc.grouped.adam import GroupedStep
from quire_tsc.grouped.stack import GroupedNetwork, detach_member

__all__ = ["GroupedNetwork", "GroupedStep", "detach_member"]
