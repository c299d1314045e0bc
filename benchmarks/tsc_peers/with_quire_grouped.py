"""Ours: five seeds trained as one network by `TSC.fit_seeds`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quire.runtime import Runtime
from tsc_peers.with_quire import VERSIONS, Watched, Watcher, configured, data_set

if TYPE_CHECKING:
    from tsc_peers.task import Task
    from tsc_peers.watch import Watch

__all__ = ["SEEDS", "VERSIONS", "fit"]
SEEDS = 5


def fit(task: Task, watch: Watch, facts: dict[str, Any]) -> None:
    """Watches rounds only: a group predicts nothing before its members are apart."""
    train = data_set(task)

    class Group(Watched):
        """The model that leads the group is made by `fit_seeds`, which knows its class and nothing of a watch."""

        @property
        def watcher(self) -> Watcher:  # type: ignore[override]
            return Watcher(self, train, watch, facts, seeds=SEEDS)

    runtimes = [Runtime(device="cpu", threads=1, seed=task.seed + number) for number in range(SEEDS)]
    models = [Group(configured(task), runtime=runtime) for runtime in runtimes]
    Group.fit_seeds(models, train, runtimes)
