"""What the fusion is for: memes of which neither image nor text alone tells anything (sec. 10 A)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from quire.dataset import InMemory
from quire.runtime import Runtime
from quire_memefier.config import MemeFierConfig
from quire_memefier.data.confounders import confounder_memes
from quire_memefier.data.rows import declared_heads
from quire_memefier.model import MemeFierClassifier
from quire_memefier.task import MEME_CLASSIFICATION

if TYPE_CHECKING:
    from quire.dataset import Dataset

TOXIC = "toxic"


def memes(count: int, seed: int, *, without: str | None = None) -> Dataset:
    rng = np.random.default_rng(seed)
    samples = [
        {"image": meme.image, "text": meme.text, "target": TOXIC if meme.label else "fine"}
        for meme in confounder_memes(count, rng)
    ]
    for sample in samples if without else ():
        del sample[without]
    return InMemory(samples, task=MEME_CLASSIFICATION)


def auc(options: dict[str, Any], *, without: str | None = None, train: int = 600) -> float:
    """On 300 memes that were neither trained nor selected on."""
    runtime = Runtime(device="cpu", precision="fp32", threads=1)
    model = MemeFierClassifier(MemeFierConfig(**{"preset": "tiny", "cache": "ram", **options}), runtime=runtime)
    model.fit(memes(train, 0, without=without))
    test = memes(300, 1, without=without)
    scores = model.predict_proba(list(test))[:, model.labels.index(TOXIC)]
    return float(roc_auc_score([sample["target"] == TOXIC for sample in test], scores))


def test_each_modality_alone_is_at_chance() -> None:
    drawn = list(confounder_memes(400, np.random.default_rng(0)))
    for factor in ("shape", "mood"):
        for value in (0, 1):
            labels = [meme.label for meme in drawn if getattr(meme, factor) == value]
            assert len(labels) == 200
            assert sum(labels) == 100
    assert declared_heads(memes(8, 0))[0].labels == ("fine", TOXIC)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"components": "12"}, {"components": "12", "stage1_scale": "sqrt_d"}, {"components": "1"}, {"components": "2"}],
    ids=["both stages", "both stages, scaled", "first stage", "second stage"],
)
def test_any_fusion_stage_learns_them(options: dict[str, Any]) -> None:
    assert auc(options) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "without"),
    [({"components": ""}, None), ({"components": "12"}, "text"), ({"components": "12"}, "image")],
    ids=["no fusion", "image alone", "text alone"],
)
def test_without_fusion_or_a_modality_they_can_not_be_learned(options: dict[str, Any], without: str | None) -> None:
    assert auc({**options, "epochs": 10}, without=without) <= 0.65


BASELINE = {"widths": [8, 16], "image_size": 28, "hidden": 16, "min_count": 1}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["image", "text"])
def test_neither_can_the_unimodal_baselines(architecture: str) -> None:
    options = {"architecture": architecture, "baseline": BASELINE, "epochs": 5}
    assert auc(options, train=300) <= 0.65
