from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from quire.runtime import Runtime
from quire.training import Selection
from quire_tsc.config import FAST, PAPER, Recipe, TSCConfig, batch_size, recipe_of
from quire_tsc.model import mcnn_batch
from quire_tsc.training import UpdatePatience, decay_schedule, optimization, plateau_schedule

CPU = Runtime(device="cpu")


def keras_plateau(losses: list[float], lr: float, patience: int, min_lr: float) -> list[float]:
    """Keras's ReduceLROnPlateau with factor .5 and min_delta 1e-4: the rate after each epoch."""
    best, waited, rates = float("inf"), 0, []
    for loss in losses:
        if loss < best - 1e-4:
            best, waited = loss, 0
        else:
            waited += 1
            if waited >= patience:
                lr, waited = max(0.5 * lr, min_lr), 0
        rates.append(lr)
    return rates


@settings(max_examples=200, deadline=None)
@given(
    losses=st.lists(st.sampled_from([1.0, 0.99995, 0.9999, 0.99985, 0.5, 0.49995, 0.3]), min_size=1, max_size=60),
    patience=st.integers(1, 6),
)
def test_the_rate_is_halved_at_plateaus_as_keras_does(losses: list[float], patience: int) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = plateau_schedule(optimizer, patience, 1e-4)
    rates = []
    for loss in losses:
        schedule.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx(keras_plateau(losses, 1e-3, patience, 1e-4), rel=1e-12)


def test_after_t_updates_a_decaying_rate_is_lr_over_one_plus_d_t() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.01)
    schedule = decay_schedule(optimizer, 0.005)
    for updates in range(500):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01 / (1 + 0.005 * updates), rel=1e-12)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(
    ("cases", "batch"), [(1, 1), (6, 1), (19, 1), (20, 2), (50, 5), (159, 15), (160, 16), (5000, 16)]
)
def test_a_batch_is_a_tenth_of_the_cases_at_least_one_and_at_most_sixteen(cases: int, batch: int) -> None:
    assert batch_size(PAPER["fcn"], cases) == batch
    assert batch_size(PAPER["time_cnn"], cases) == 16


@pytest.mark.parametrize(("slices", "batch"), [(1, 1), (9, 1), (1000, 100), (2569, 256), (2570, 257), (5000, 263)])
def test_mcnn_makes_ten_batches_or_batches_of_about_256(slices: int, batch: int) -> None:
    batches = int(slices / 256) if int(slices / 10) > 256 else 10
    assert mcnn_batch(slices) == max(1, int(slices / batches)) == batch


def test_the_paper_s_table() -> None:
    plateau = (50, 1e-4)
    assert {
        "mlp": Recipe("adadelta", 5000, None, 1.0, plateau=(200, 0.1)),
        "fcn": Recipe("adam", 2000, None, 1e-3, plateau=plateau),
        "resnet": Recipe("adam", 1500, None, 1e-3, plateau=plateau),
        "encoder": Recipe("adam", 100, 12, 1e-5),
        "mcnn": Recipe("adam", 200, None, 0.1, select="val_loss", held_out=0.2),
        "tlenet": Recipe("adam", 1000, 256, 0.01, decay=0.005),
        "mcdcnn": Recipe("sgd", 120, 16, 0.01, decay=0.0005, select="val_loss", held_out=0.33),
        "time_cnn": Recipe("adam", 2000, 16, 1e-3),
        "inception": Recipe("adam", 1500, 64, 1e-3, plateau=plateau),
        "inception_time": Recipe("adam", 1500, 64, 1e-3, plateau=plateau),
    } == PAPER
    assert FAST.keys() == PAPER.keys()
    assert all(recipe.epochs <= 300 for recipe in FAST.values())


def test_what_the_user_sets_replaces_the_recipe_and_nothing_else_does() -> None:
    assert recipe_of(TSCConfig(architecture="mcdcnn", recipe="paper")) == PAPER["mcdcnn"]
    chosen = TSCConfig(
        architecture="mcdcnn",
        recipe="paper",
        n_epochs=7,
        batch_size=3,
        learning_rate=0.5,
        optimizer="adam",
        select="last",
        validation_size=0.25,
        lr_schedule="none",
    )
    assert recipe_of(chosen) == Recipe("adam", 7, 3, 0.5, select="last", held_out=0.25)
    reloaded = TSCConfig.parse(TSCConfig(architecture="mcdcnn", recipe="paper").model_dump(mode="json"), owner="tsc")
    assert recipe_of(reloaded) == PAPER["mcdcnn"]


def test_optimisers_have_keras_s_constants() -> None:
    made = {name: optimization(PAPER[name], nn.Linear(2, 2), CPU) for name in ("fcn", "mlp", "mcdcnn", "tlenet")}
    adam, adadelta, sgd = (made[name].optimizer for name in ("fcn", "mlp", "mcdcnn"))
    assert isinstance(adam, torch.optim.Adam)
    assert adam.defaults["eps"] == 1e-7
    assert adam.defaults["betas"] == (0.9, 0.999)
    assert isinstance(adadelta, torch.optim.Adadelta)
    assert (adadelta.defaults["rho"], adadelta.defaults["eps"], adadelta.defaults["lr"]) == (0.95, 1e-7, 1.0)
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.defaults["momentum"] == 0.9
    assert (made["fcn"].monitor, made["tlenet"].interval) == ("loss", "step")
    assert optimization(PAPER["time_cnn"], nn.Linear(2, 2), CPU).schedule is None


def test_weights_are_kept_only_when_strictly_better() -> None:
    kept = Selection("loss")
    assert [kept.better(value, 0.5) for value in (0.5, 0.5 - 1e-12, 0.6)] == [False, True, False]
    assert kept.better(0.5, None)


def test_mcnn_s_patience_doubles_where_the_error_falls_by_half_a_percent() -> None:
    from quire.hooks import StopPhase

    patience = UpdatePatience("network 1")

    def finish(step: int, error: float, loss: float = 1.0) -> bool:
        try:
            patience.quire_epoch_finished("network 1", step, {"val_loss": error, "loss": loss})
        except StopPhase:
            return True
        return False

    assert not finish(4_000, 0.5)
    assert patience.allowed == 10_000
    assert not finish(9_000, 0.499)  # less than half a percent: no more time
    assert patience.allowed == 10_000
    assert not finish(9_500, 0.4)
    assert patience.allowed == 19_000
    assert not finish(18_999, 0.4)
    assert finish(19_000, 0.4)
    assert finish(100, 0.1, loss=0.0)
    patience.quire_epoch_finished("network 2", 10**6, {"val_loss": 1.0, "loss": 0.0})  # another phase's
    again = UpdatePatience("network 1")
    again.load_state_dict(patience.state_dict())
    assert vars(again) == vars(patience)
