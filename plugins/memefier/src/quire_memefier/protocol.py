"""The honest protocol and the reference's, over the logs of many runs (sec. 5 of the method)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from quire.errors import ConfigError, DataError, Where
from quire.storage import read_json

if TYPE_CHECKING:
    from pathlib import Path

Protocol = Literal["honest", "reference"]
Within = Literal["grid", "run", "epoch"]


@dataclass(frozen=True)
class RunLog:
    """One run: its configuration, the validation metrics of every epoch, and the test metrics of the chosen one."""

    config: Mapping[str, Any]
    validation: Mapping[str, Sequence[float]]
    test: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """What a set of runs comes to: metric -> figure, and how the figures came about."""

    protocol: Protocol
    figures: Mapping[str, float]
    chosen: int | None
    note: str


def summarize(
    logs: Sequence[RunLog], metrics: Sequence[str], *, protocol: Protocol = "honest", within: Within = "grid"
) -> Summary:
    """The figures of a grid.

    "reference": the maximum of `metrics[0]` over all runs and epochs of the validation split; the other metrics' own
    maxima `within` the whole grid (as published for MemeFier), within the run of that first maximum (baselines on Hateful
    Memes), or their values in its very epoch (baselines on MultiOFF).
    "honest": the run with the best validation value of `metrics[0]`, and that run's figures on the test split.
    Raises ConfigError for no runs, DataError if that run has no test figures or a metric was not measured.
    """
    if not logs:
        raise ConfigError("there are no runs to summarize")
    for log in logs:
        lacking = [name for name in metrics if name not in log.validation]
        if lacking:
            raise DataError(f"a run has no validation figures of {lacking[0]!r}: {dict(log.config)}")
    best = {name: [max(log.validation[name]) for log in logs] for name in metrics}
    if protocol == "reference":
        return _published_way(logs, best, metrics, within)
    chosen = int(np.argmax(best[metrics[0]]))
    lacking = [name for name in metrics if name not in logs[chosen].test]
    if lacking:
        raise DataError(
            f"the run that validation chooses has no test figure of {lacking[0]!r}",
            remedy="Evaluate it on the test split once.",
        )
    note = f"the run of {len(logs)} with the best validation {metrics[0]}, once on the test split"
    return Summary("honest", {name: logs[chosen].test[name] for name in metrics}, chosen, note)


def _published_way(
    logs: Sequence[RunLog], best: Mapping[str, Sequence[float]], metrics: Sequence[str], within: Within
) -> Summary:
    if within == "grid":
        note = f"maxima over {len(logs)} runs and their epochs on the validation split, each metric's on its own"
        return Summary("reference", {name: max(values) for name, values in best.items()}, None, note)
    chosen = int(np.argmax(best[metrics[0]]))
    series = logs[chosen].validation
    if within == "run":
        note = f"maxima over the epochs of the run of {len(logs)} with the best {metrics[0]} on the validation split"
        return Summary("reference", {name: max(series[name]) for name in metrics}, chosen, note)
    epoch = int(np.argmax(series[metrics[0]]))
    note = f"the epoch and the run of {len(logs)} with the best {metrics[0]} on the validation split, which is what is told"
    return Summary("reference", {name: series[name][epoch] for name in metrics}, chosen, note)


def read_reference_logs(path: Path) -> list[RunLog]:
    """The reference's published result logs (JSON); figures of several heads become their mean.

    Their "test" figures are of the validation split: they are left out.
    """
    entries = read_json(path)
    if not isinstance(entries, list):
        raise DataError("these are not the reference's result logs", where=Where(file=path))
    return [_reference_log(entry) for entry in entries]


def _reference_log(entry: Mapping[str, Any]) -> RunLog:
    if "config" in entry:
        metrics, config = entry.get("val_metrics", entry.get("metrics", {})), entry["config"]
    else:  # a baseline's
        metrics = {name.removeprefix("val_"): values for name, values in entry.items() if name.startswith("val_")}
        config = {name: value for name, value in entry.items() if not isinstance(value, list | dict)}
    series = {name: [_mean(value) for value in values] for name, values in metrics.items() if isinstance(values, list)}
    return RunLog(config, series)


def _mean(value: Any) -> float:
    return float(np.mean(list(value.values()))) if isinstance(value, Mapping) else float(value)
