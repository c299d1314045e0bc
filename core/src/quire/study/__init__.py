"""Studies: a grid of runs with the published figures beside them; resumable, on one machine or a Ray cluster."""

from __future__ import annotations

from quire.study.cells import Cell, Method, Outcome, Published, Row, Source
from quire.study.definition import Study, open_study
from quire.study.results import Results

__all__ = ["Cell", "Method", "Outcome", "Published", "Results", "Row", "Source", "Study", "open_study"]
