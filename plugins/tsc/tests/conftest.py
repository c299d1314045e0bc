"""What the tests of quire-tsc share: the real releases, found through QUIRE_DATA."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def release() -> Path:
    """The folder of the archives' real files: ucr_tsv/, ts/, arff/."""
    root = os.environ.get("QUIRE_DATA")
    if not root:
        pytest.skip("QUIRE_DATA is not set: the archives' real files are not at hand")
    return Path(root) / "tsc"
