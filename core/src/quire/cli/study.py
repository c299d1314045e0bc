"""`quire study NAME --data DIR`: a grid of runs, with the published figures beside them."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import Json
from quire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from quire.study import Cell, Outcome
    from quire.study.driver import Engine, Observer
    from quire.study.plan import Plan

_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_SHOWN = 7  # columns of the report's table of models
_NAMED = 10  # at most so many data sets are named when they are not at hand


def command(
    name: Annotated[str, typer.Argument(help="A study, as `quire list study` shows it, or a YAML file.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Options of every model of the study, as option=value.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The folder that holds the data sets.")] = None,
    out: Annotated[Path | None, typer.Option(help="The study's folder; default: studies/NAME.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="A model, a data set or model/dataset; wildcards, commas, several times.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs of each model on each data set.")] = None,
    engine: Annotated[str, typer.Option(help="local: processes of this machine; ray: a Ray cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="The Ray cluster, such as auto; default: one that is started here.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Cells at once; default: as many as there is room.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps or xpu.")] = "auto",
    per_gpu: Annotated[int, typer.Option(min=1, help="Cells that share a GPU.")] = 4,
    budget: Annotated[str | None, typer.Option(help="Stop after this time: 90s, 30m, 2h, 1h30m.")] = None,
    timeout: Annotated[str | None, typer.Option(help="Give a cell up after this time.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run failed cells again.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Write tables and report of what there is.")] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Print what the study costs.")] = False,
    price: Annotated[float | None, typer.Option(min=0, help="With --estimate: of an hour of one worker.")] = None,
    as_json: Json = False,
) -> None:
    """Run the missing cells of a study, longest first, and write its tables and its report.

    With --report or --estimate nothing is run.
    """
    from quire.cli.options import overrides
    from quire.study.plan import make_plan, run_plan

    plan = make_plan(
        name,
        data=data,
        out=out,
        only=[pattern for each in only or () for pattern in each.split(",") if pattern],
        seeds=seeds,
        options=overrides(settings or []),
    )
    if estimate:
        _print_estimate(plan, workers, price, as_json)
        return
    ending = None
    if not report:
        limit, end = seconds_of(timeout, "--timeout"), seconds_of(budget, "--budget")
        chosen = _engine(plan, engine, address, workers, device, per_gpu, limit)
        _say_what_is_absent(plan)
        began = time.monotonic()
        ending = run_plan(plan, chosen, budget=end, retry=retry, observer=_progress())
        _say_end(ending, time.monotonic() - began)
    if _print_report(plan, ending, as_json):
        raise typer.Exit(1)


def seconds_of(text: str | None, option: str) -> float | None:
    """The seconds in "90s", "30m", "2h", "1h30m" or "1d"; a bare number counts seconds. ConfigError for other text."""
    if text is None:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text or (len(parts) > 1 and not parts[-1][1]):
        raise ConfigError(f"{option} is {text!r}, which is no time", remedy="Write 90s, 30m, 2h or 1h30m.")
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)


def time_text(seconds: float) -> str:
    """Seconds as a reader says them: "40 s", "12 min", "3.5 h", "9 days"."""
    for limit, size, unit in ((90, 1, "s"), (90 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.{0 if size < 3600 else 1}f} {unit}"
    return f"{seconds / 86_400:.1f} days"


def _engine(
    plan: Plan,
    name: str,
    address: str | None,
    workers: int | None,
    device: str,
    per_gpu: int,
    timeout: float | None,
) -> Engine:
    if name == "ray":
        from quire.study.ray import RayEngine

        return RayEngine(
            address=address,
            workers=workers,
            device=device,
            per_gpu=per_gpu,
            evaluators=plan.study.evaluators,
            timeout=timeout,
        )
    if name != "local":
        raise ConfigError(f"there is no engine {name!r}", remedy="Use local or ray.")
    if address is not None:
        raise ConfigError("--address is that of a Ray cluster", remedy="Add --engine ray.")
    from quire.study.plan import local_engine

    return local_engine(plan, workers=workers, device=device, per_gpu=per_gpu, timeout=timeout)


def _say_what_is_absent(plan: Plan) -> None:
    from quire.cli.output import note

    absent = plan.absent
    if absent:
        total = len({cell.source.name for cell in plan.cells})
        more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
        note(f"{len(absent)} of {total} data sets are not at hand: {', '.join(absent[:_NAMED])}{more}")


def _say_end(ending: str, seconds: float) -> None:
    from quire.cli.output import note

    if ending == "budget":
        note(f"the budget is spent ({time_text(seconds)}); repeat the command to go on")


def _progress() -> Observer:
    """A line on stderr for every failure, and for other cells now and then."""
    from quire.cli.output import note
    from quire.study.driver import Observer

    class Lines(Observer):
        quiet_seconds = 0.5 if sys.stderr.isatty() else 10.0

        def begin(self, total: int, todo: int) -> None:
            self.total = self.todo = todo
            self.said = 0.0
            note(f"{total} cells, {total - todo} of them have a result; to do: {todo}")

        def finished(self, cell: Cell, outcome: Outcome, left: Callable[[], float | None]) -> None:
            self.todo -= 1
            now = time.monotonic()
            if outcome.status == "done" and self.todo and now - self.said < self.quiet_seconds:
                return
            self.said = now
            model, dataset, seed = cell.key
            what = outcome.error if outcome.status == "failed" else f"{outcome.fit_seconds or 0:.3g} s"
            expected = left()
            rest = f"; about {time_text(expected)} left" if expected and self.todo else ""
            note(f"{self.total - self.todo}/{self.total} {model} on {dataset}, seed {seed}: {what}{rest}")

    return Lines()


def _print_report(plan: Plan, ending: str | None, as_json: bool) -> int:
    """Write and show the report; the number of failed cells."""
    from quire.cli.output import print_json, print_table
    from quire.study.plan import report_plan

    results, report = report_plan(plan)
    counts = {name: score.value for name, score in report.metrics.items()}
    if as_json:
        print_json(
            {
                "study": plan.name,
                "folder": str(plan.folder),
                "ended": ending,
                **{name.replace("cells ", ""): int(value or 0) for name, value in counts.items()},
                "absent": plan.absent,
                "summary": [_plain(record) for record in results.summary.to_dict("records")],
            }
        )
        return len(results.failed)
    if report.tables:
        table = report.tables[0]
        print_table(table.columns[:_SHOWN], [row[:_SHOWN] for row in table.rows])
    print(", ".join(f"{value or 0:.0f} {name}" for name, value in counts.items()))
    print(plan.folder / "report.html")
    return len(results.failed)


def _print_estimate(plan: Plan, workers: int | None, price: float | None, as_json: bool) -> None:
    from dataclasses import asdict

    from quire.cli.output import print_json, print_table
    from quire.study.plan import estimate_plan, processors

    found = estimate_plan(plan)
    count = workers or processors()
    if as_json:
        cost = {} if price is None else {"cost": found.hours * price}
        print_json({**asdict(found), "workers": count, "days_left": found.days(count), **cost})
        return
    print_table(found.table.columns, found.table.rows)
    print(f"{found.cells} cells, {found.done} done; {found.unknown} of the others can't be estimated yet")
    if found.guessed:
        print(
            f"{found.guessed} cells are guesses, easily wrong by a factor of ten: no cell of {', '.join(found.unmeasured)} "
            "was measured; run one of each on a small data set first (--only MODEL/DATA --seeds 1)"
        )
    print(
        f"{found.hours:.1f} worker hours, {found.spent:.1f} of them spent; published: {found.published_hours:.1f} hours"
    )
    print(f"the rest takes {time_text(found.days(count) * 86_400)} on {count} workers")
    if price is not None:
        print(f"all of it costs {found.hours * price:,.2f}, at {price:g} an hour of one worker")


def _plain(record: dict[Any, Any]) -> dict[str, Any]:
    """Cells of a data frame as JSON values; what is missing is null."""
    import pandas as pd

    return {str(name): None if pd.isna(value) else value for name, value in record.items()}
