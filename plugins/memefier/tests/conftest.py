"""What the tests of quire-memefier share: a cache of their own, the tiny CLIP, sampled memes, the published logs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from quire.runtime import Runtime
from quire_memefier.backbone import ClipBackbone, load_backbone, write_tiny_backbone
from quire_memefier.config import MemeFierConfig
from quire_memefier.data.hateful_memes import HatefulMemes
from quire_memefier.model import MemeFierClassifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quire.dataset import Dataset


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A feature cache that ends with the tests."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("QUIRE_CACHE")
    os.environ["QUIRE_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["QUIRE_CACHE"]
    else:
        os.environ["QUIRE_CACHE"] = before


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    return Runtime(device="cpu", precision="fp32", threads=1)


@pytest.fixture(scope="session")
def backbone(cache: Path) -> ClipBackbone:
    return load_backbone("tiny-random")


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP that save_pretrained wrote, other weights than tiny-random's."""
    folder = tmp_path_factory.mktemp("clip")
    write_tiny_backbone(folder, seed=7)
    return folder


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Confounder memes in the Hateful Memes layout, with captions."""
    return HatefulMemes.sample(tmp_path_factory.mktemp("data") / "memes", seed=0, train=32, validation=16, test=16)


@pytest.fixture(scope="session")
def memes(release: Path) -> Dataset:
    return HatefulMemes.open(release, split="train")


@pytest.fixture(scope="session")
def make(runtime: Runtime) -> Callable[..., MemeFierClassifier]:
    """An untrained tiny model with options on top."""

    def build(**options: Any) -> MemeFierClassifier:
        return MemeFierClassifier(MemeFierConfig(**{"preset": "tiny", "epochs": 1, **options}), runtime=runtime)

    return build


@pytest.fixture(scope="session")
def trained(make: Callable[..., MemeFierClassifier], memes: Dataset) -> MemeFierClassifier:
    return make().fit(memes)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def published() -> Path:
    """The files published with the reference: captions, attributes, result logs."""
    root = os.environ.get("QUIRE_DATA")
    if not root:
        pytest.skip("QUIRE_DATA is not set: the published captions, attributes and logs are not at hand")
    return Path(root) / "memefier"
