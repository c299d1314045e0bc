"""A study as a user asks for it: with which options, data, seeds, into which folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quire.errors import DataError, Where
from quire.study.cells import expand, selection
from quire.study.definition import open_study, with_options
from quire.study.driver import Ending, Engine, Observer, drive
from quire.study.estimate import Estimate, Estimator, estimate
from quire.study.report import make_report
from quire.study.results import Results
from quire.study.store import FILE, Store
from quire.study.together import bundles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quire.report import Report
    from quire.study.cells import Cell, Method
    from quire.study.definition import Study

ROOT = Path("studies")


@dataclass(frozen=True)
class Plan:
    """What is to be done: `cells` are all that were asked for, also those whose data is not at hand."""

    name: str
    study: Study
    methods: Sequence[Method]
    cells: Sequence[Cell]
    data: Path | None
    folder: Path

    @property
    def absent(self) -> list[str]:
        """The data sets that were asked for and are not at hand."""
        return list(dict.fromkeys(cell.source.name for cell in self.cells if cell.source.path is None))


def make_plan(
    name: str,
    *,
    data: Path | None = None,
    out: Path | None = None,
    only: Sequence[str] = (),
    seeds: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Plan:
    """The study `name` (installed, or a YAML file) with `options` for every model; `only` as in `cells.selection`.

    Raises ConfigError for options and patterns that do not fit, DataError for a folder that is not there.
    """
    if data is not None and not data.exists():
        raise DataError("there is no such folder", where=Where(file=data))
    name, study = open_study(name)
    data = data.resolve() if data is not None else None
    methods = with_options(study.methods(), options or {})
    sources = study.sources(data)
    chosen = selection(only, [method.name for method in methods], [source.name for source in sources])
    cells = expand(methods, sources, range(seeds) if seeds is not None else study.seeds)
    return Plan(
        name,
        study,
        methods,
        [cell for cell in cells if chosen(cell.method.name, cell.source.name)],
        data,
        out if out is not None else ROOT / name,
    )


def run_plan(
    plan: Plan, engine: Engine, *, budget: float | None = None, retry: bool = False, observer: Observer | None = None
) -> Ending:
    """Run the cells that have no result yet (with `retry`, no good one), as `drive` does.

    Raises RunError while another process runs the study, DataError if none of the data is at hand.
    """
    observer = observer or Observer()
    present = [cell for cell in plan.cells if cell.source.path is not None]
    if not present:
        raise DataError("none of the study's data sets is here", where=Where(file=plan.data))
    with Store.writing(plan.folder, purpose=f"the study in {plan.folder}") as store:
        store.register(plan.methods)
        rows = store.rows()
        kept = {(row.model, row.dataset, row.seed) for row in rows if row.status == "done" or not retry}
        todo = [cell for cell in present if cell.key not in kept]
        observer.begin(len(present), len(todo))
        if not todo:
            return "finished"
        estimator = Estimator(rows, plan.cells, plan.study.published())
        work = bundles(present, todo)
        return drive(work, engine=engine, store=store, estimator=estimator, budget=budget, observer=observer)


def local_engine(
    plan: Plan, *, workers: int | None = None, device: str = "auto", per_gpu: int = 4, timeout: float | None = None
) -> Engine:
    """Worker processes on this machine: one per processor or, on GPUs, `per_gpu` on each. ConfigError as Runtime's."""
    import torch

    from quire.runtime.device import choose_device
    from quire.study.local import LocalEngine

    chosen = choose_device(device)
    devices = [str(chosen)]
    if chosen.type == "cpu":
        usual = processors()
    else:
        if chosen.index is None and chosen.type != "mps":
            devices = [f"{chosen.type}:{index}" for index in range(torch.accelerator.device_count())]
        usual = min(processors(), per_gpu * len(devices))
    return LocalEngine(
        plan.folder, workers=workers or usual, devices=devices, evaluators=plan.study.evaluators, timeout=timeout
    )


def processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def estimate_plan(plan: Plan) -> Estimate:
    """What all cells of the plan cost, from those that are measured; RunError if these had other options."""
    rows = []
    if (plan.folder / FILE).is_file():
        with Store.reading(plan.folder) as store:
            store.check(plan.methods)
            rows = store.rows()
    return estimate(plan.cells, rows, plan.study.published())


def report_plan(plan: Plan) -> tuple[Results, Report]:
    """Write the tables and the report on everything that the study's folder holds; RunError if that is nothing."""
    with Store.reading(plan.folder) as store:
        rows, methods = store.rows(), store.methods()
    results = Results(
        rows,
        metric=plan.study.metric,
        published=plan.study.published(),
        models=[method.name for method in plan.methods],
    )
    known = {(row.model, row.dataset, row.seed) for row in rows}
    missing = sum(cell.key not in known for cell in plan.cells)
    report = make_report(plan.study, results, title=f"Study {plan.name}", missing=missing)
    report.provenance = {
        "study": plan.name,
        "metric": plan.study.metric,
        "methods": {method.name: {"model": method.model, **method.config} for method in methods},
    }
    results.write(plan.folder)
    report.write(plan.folder)
    return results, report
