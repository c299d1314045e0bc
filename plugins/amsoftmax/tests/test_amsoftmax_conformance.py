"""The rules that every plugin must keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quire import registry
from quire.conformance import parametrize

if TYPE_CHECKING:
    from collections.abc import Callable


if "amsoftmax" not in registry.names("model"):
    pytest.skip("quire-amsoftmax is not installed, only on the path", allow_module_level=True)


@parametrize("amsoftmax", "model")
def test_model(check: Callable[[], None]) -> None:
    check()
