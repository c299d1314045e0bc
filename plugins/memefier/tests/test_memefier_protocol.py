"""The two protocols, the grid's numbering, the schedule and the rule for stopping."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quire.errors import ConfigError, DataError
from quire.hooks import StopPhase
from quire_memefier.config import LrDropOptions, MemeFierConfig
from quire_memefier.presets import GRID_SIZE, PRESETS, grid_options
from quire_memefier.protocol import RunLog, summarize
from quire_memefier.training import ReferenceStopping, falls_for, lr_schedule

LOGS = [
    RunLog({"name": "a"}, {"f1": [0.5, 0.7], "acc": [0.9, 0.6]}, {"f1": 0.61, "acc": 0.62}),
    RunLog({"name": "b"}, {"f1": [0.6, 0.65], "acc": [0.8, 0.95]}, {"f1": 0.9, "acc": 0.91}),
]


def test_honest_figures_are_one_runs_on_the_test_split() -> None:
    found = summarize(LOGS, ["f1", "acc"])
    assert found.figures == {"f1": 0.61, "acc": 0.62}
    assert found.chosen == 0
    assert found.protocol == "honest"


def test_reference_figures_are_maxima_on_the_validation_split() -> None:
    assert summarize(LOGS, ["f1", "acc"], protocol="reference").figures == {"f1": 0.7, "acc": 0.95}
    assert summarize(LOGS, ["f1", "acc"], protocol="reference", within="run").figures == {"f1": 0.7, "acc": 0.9}
    assert summarize(LOGS, ["f1", "acc"], protocol="reference", within="epoch").figures == {"f1": 0.7, "acc": 0.6}


def test_runs_without_figures_are_refused() -> None:
    with pytest.raises(ConfigError, match="no runs"):
        summarize([], ["f1"])
    with pytest.raises(DataError, match="no validation figures of 'auc'"):
        summarize(LOGS, ["auc"])


def test_every_grid_point_is_another_one() -> None:
    points = [str(grid_options(index)) for index in range(GRID_SIZE)]
    assert len(set(points)) == 64
    assert grid_options(38) == {
        "lr": 1e-4, "epochs": 16, "alpha": 0.2, "d_model": 1024,
        "encoder": {"heads": 16, "ffn": 2048, "layers": 3}, "decoder": {"d": 64, "heads": 4, "ffn": 64, "layers": 1},
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"0\.\.63"):
        grid_options(64)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_fills_in_what_is_not_given(preset: str) -> None:
    config = MemeFierConfig.parse({"preset": preset, "epochs": 3, "encoder": {"dropout": 0.25}}, owner="memefier")
    assert config.epochs == 3
    assert config.encoder.dropout == 0.25
    assert config.encoder.ffn == PRESETS[preset]["encoder"]["ffn"]
    assert MemeFierConfig.parse(config.model_dump(mode="json"), owner="memefier") == config


def test_published_recipes() -> None:
    best = MemeFierConfig(preset="paper-fbhm")
    assert (best.lr, best.epochs, best.alpha, best.d_model, best.encoder.layers, best.decoder.d) == (
        1e-4, 16, 0.2, 1024, 3, 64,
    )  # fmt: skip
    assert best.components == "EC12"
    assert not best.mask_padding
    assert MemeFierConfig(preset="paper-memotion-c").early_stop.patience is None
    assert MemeFierConfig(preset="paper-multioff").early_stop.metric == "f1"


@pytest.mark.parametrize(("epochs", "first_low"), [(16, 8), (5, 2), (1, 0)])
def test_the_rate_drops_at_half_the_epochs(epochs: int, first_low: int) -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    schedule = lr_schedule(optimizer, epochs, LrDropOptions())
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1e-4] * first_low + [1e-5] * (epochs - first_low))


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3]), max_size=8), st.integers(1, 4))
def test_the_rule_for_stopping(values: list[float], patience: int) -> None:
    enough = len(values) >= patience + 1
    expected = enough and max(values[len(values) - patience :]) < values[len(values) - patience - 1]
    assert falls_for(values, patience) == expected


def test_stopping_continues_from_a_checkpoint() -> None:
    observer = ReferenceStopping("val_auc", 2)
    for value in (0.5, 0.9, 0.8):
        observer.quire_epoch_finished(metrics={"val_auc": value})
    resumed = ReferenceStopping("val_auc", 2)
    resumed.load_state_dict(observer.state_dict())
    with pytest.raises(StopPhase):
        resumed.quire_epoch_finished(metrics={"val_auc": 0.85})
