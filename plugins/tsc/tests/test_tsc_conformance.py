"""The rules that every plugin keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quire.conformance import parametrize

if TYPE_CHECKING:
    from quire.conformance import Check


@pytest.mark.slow
@parametrize("tsc", kind="model")
def test_the_model_conforms(check: Check) -> None:
    check()


@parametrize("time-series")
def test_the_data_set_conforms(check: Check) -> None:
    check()
