"""Models that differ in nothing but their seeds, trained as one network."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, cast

from quire.errors import ConfigError
from quire.training.loop import Trainer
from quire_tsc.grouped.stack import detach_member

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quire.dataset import Dataset
    from quire.runtime import Runtime
    from quire_tsc.model import TSC
    from quire_tsc.networks import Network


def fit_seeds(models: Sequence[TSC], train: Dataset, runtimes: Sequence[Runtime]) -> None:
    """Train models[k] as `models[k].fit(train, runtime=runtimes[k])` would, all at once; see `TSC.fit_seeds`."""
    if not models or len(models) != len(runtimes) or any(model.config != models[0].config for model in models):
        raise ConfigError("a group is of models of one configuration, with a runtime each")
    if not models[0].can_group_seeds or models[0].config.architecture == "inception_time":
        raise ConfigError(
            f"seeds of {models[0].config.architecture} can't be trained together with these options",
            remedy="Train one after the other, or leave out early stopping, max_seconds, select=val_loss and unequal=pad.",
        )
    facts = models[0].study(train)
    members: list[Network] = []
    for model, runtime in zip(models, runtimes, strict=True):
        model.runtime = runtime
        model.facts = deepcopy(facts)
        runtime.seed_everything()
        members.append(cast("Network", runtime.place(model.build())))
    leader = type(models[0])(models[0].config, runtime=runtimes[0])
    leader.lead(members, facts, runtimes)
    Trainer(leader, train, None, None).train()
    for model, member in zip(models, members, strict=True):
        detach_member(member)
        model.adopt(member)
