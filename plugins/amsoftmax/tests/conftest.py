"""What the tests of quire-amsoftmax share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def released() -> Path:
    """The public data that some tests read."""
    root = os.environ.get("QUIRE_DATA")
    if not root:
        pytest.skip("QUIRE_DATA is not set: the public faces are not at hand")
    return Path(root) / "amsoftmax"
