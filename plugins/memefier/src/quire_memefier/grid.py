"""The published grid of 64 runs on shared features: one pass of the backbone, resumable, one folder for each run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quire.errors import RunError, Where
from quire.storage import content_hash, read_json, write_json
from quire_memefier.config import MemeFierConfig
from quire_memefier.evaluate import MemeEvaluator
from quire_memefier.model import MemeFierClassifier
from quire_memefier.presets import GRID_SIZE, grid_options, with_preset
from quire_memefier.protocol import RunLog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from quire.dataset import Dataset
    from quire.runtime import Runtime

log = logging.getLogger(__name__)
TEST_NAMES = {"accuracy": "accuracy", "f1": "f1_macro", "auc": "auroc"}


def run_grid(
    train: Dataset,
    validation: Dataset,
    test: Dataset | None,
    folder: Path,
    *,
    options: Mapping[str, Any] | None = None,
    indices: Sequence[int] = tuple(range(GRID_SIZE)),
    overrides: Mapping[str, Any] | None = None,
    runtime: Runtime | None = None,
) -> list[RunLog]:
    """Train the grid points `indices` and keep each in folder/NN: log.json and model/.

    `options` hold for all runs and stand below the point's own, `overrides` above them (to shrink the grid). A point
    that is finished is not trained again; RunError if the folder's runs are of other options or data. The features of
    all three splits are computed once. The test split is evaluated once per run; which run counts is for
    `protocol.summarize` to say, by validation alone.
    """
    folder = Path(folder)
    what = content_hash(
        {"options": dict(options or {}), "overrides": dict(overrides or {})},
        [None if part is None else part.fingerprint() for part in (train, validation, test)],
    )
    return [
        _finished(folder / f"{index:02}", what)
        or _run_point(index, (train, validation, test), folder, what, options, overrides, runtime)
        for index in indices
    ]


def _finished(folder: Path, what: str) -> RunLog | None:
    if not (folder / "log.json").is_file():
        return None
    data = read_json(folder / "log.json")
    if data["what"] != what:
        raise RunError(
            "the run there is of other options or data",
            where=Where(file=folder),
            remedy="Name a new folder for this grid.",
        )
    return RunLog(data["config"], data["validation"], data["test"])


def _run_point(
    index: int,
    parts: tuple[Dataset, Dataset, Dataset | None],
    folder: Path,
    what: str,
    options: Mapping[str, Any] | None,
    overrides: Mapping[str, Any] | None,
    runtime: Runtime | None,
) -> RunLog:
    train, validation, test = parts
    point = with_preset({**(options or {})})
    values = {**point, **grid_options(index), **(overrides or {})}
    model = MemeFierClassifier(MemeFierConfig.parse(values, owner="memefier"), runtime=runtime)
    log.info("grid point %d", index)
    model.fit(train, validation, runtime=runtime)
    figures: dict[str, float] = {}
    if test is not None:
        model.encode(test)
        metrics = MemeEvaluator(bootstrap=0).evaluate(model, test).metrics
        figures = dict(_values(metrics))
    history = model.artefacts["history"]
    series = {
        name: [epoch[f"val_{name}"] for epoch in history]
        for name in ("accuracy", "f1", "auc", "loss")
        if all(f"val_{name}" in epoch for epoch in history)
    }
    point_folder = folder / f"{index:02}"
    model.save(point_folder / "model")
    config = {"index": index, **grid_options(index)}
    write_json(
        point_folder / "log.json", {"what": what, "config": config, "validation": series, "test": figures}
    )  # last: a folder with a log is finished
    return RunLog(config, series, figures)


def _values(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for ours, theirs in TEST_NAMES.items():
        value = metrics[theirs].value
        if value is not None:
            yield ours, float(value)
