"""The rules that every plugin must keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quire import registry
from quire.conformance import parametrize

if TYPE_CHECKING:
    from collections.abc import Callable


if "memefier" not in registry.names("model"):
    pytest.skip("quire-memefier is not installed, only on the path", allow_module_level=True)


@parametrize("memefier", "model")
def test_model(check: Callable[[], None]) -> None:
    check()


@parametrize("hateful-memes", "dataset")
def test_hateful_memes(check: Callable[[], None]) -> None:
    check()


@parametrize("memotion7k", "dataset")
def test_memotion(check: Callable[[], None]) -> None:
    check()


@parametrize("multioff", "dataset")
def test_multioff(check: Callable[[], None]) -> None:
    check()


@parametrize("meme-table", "dataset")
def test_table(check: Callable[[], None]) -> None:
    check()


@parametrize("memes", "evaluator")
def test_evaluator(check: Callable[[], None]) -> None:
    check()
