"""Studies: cells, costs, results by hand, YAML files, worker processes, and drivers that are killed."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd
import psutil
import pytest
from typer.testing import CliRunner

from quire import registry
from quire.cli import app
from quire.cli.study import seconds_of
from quire.errors import ConfigError, DataError, PluginError, QuireError, RunError
from quire.study import Cell, Method, Outcome, Published, Results, Row, Source
from quire.study.cells import expand, selection
from quire.study.driver import Observer, drive
from quire.study.estimate import Estimator, estimate
from quire.study.execute import run_cell, run_cells
from quire.study.file import read_study
from quire.study.local import LocalEngine
from quire.study.plan import make_plan, report_plan, run_plan
from quire.study.results import TIMES
from quire.study.store import FILE, Store
from quire.study.together import MOST, bundles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quire.study.together import Bundle

A, B = Method("a", "toy"), Method("b", "toy", {"hidden": 4})
SMALL, LARGE = Source("small", Path("small"), size=10.0), Source("large", Path("large"), size=1000.0)


def cell(method: Method = A, source: Source = SMALL, seed: int = 0) -> Cell:
    return Cell(method, source, seed)


def row(model: str, dataset: str, seed: int, accuracy: float | None = 0.5, **more: Any) -> Row:
    values: dict[str, Any] = {
        "status": "done" if accuracy is not None else "failed",
        "metrics": {"accuracy": accuracy} if accuracy is not None else {},
        "fit_seconds": 1.0,
        "cpu_seconds": 1.0,
        "device": "cpu",
    }
    return Row(**{**values, **more}, model=model, dataset=dataset, seed=seed)


# ---------------------------------------------------------------------------------------------------------- cells


def test_cells_are_every_combination() -> None:
    cells = expand([A, B], [SMALL, LARGE], [0, 5])
    assert {each.key for each in cells} == {(m, d, s) for m in "ab" for d in ("small", "large") for s in (0, 5)}
    assert len(cells) == 8


@pytest.mark.parametrize(("methods", "sources", "name"), [([A, A], [SMALL], "'a'"), ([A], [LARGE, LARGE], "'large'")])
def test_a_name_that_stands_twice_is_refused(methods: list[Method], sources: list[Source], name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        expand(methods, sources, [0])


def test_a_cell_survives_its_way_to_another_process() -> None:
    sent = Cell(B, Source("x", Path("/data/x"), "reader", {"label": 3}, 2.5), 7)
    assert Cell.from_json(json.loads(json.dumps(sent.to_json()))) == sent
    absent = Cell(A, Source("y", None), 0)
    assert Cell.from_json(absent.to_json()) == absent


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], {"fcn/Coffee", "fcn/CBF", "mlp/Coffee", "mlp/CBF"}),
        (["fcn"], {"fcn/Coffee", "fcn/CBF"}),
        (["C*"], {"fcn/Coffee", "fcn/CBF", "mlp/Coffee", "mlp/CBF"}),
        (["fcn", "CBF"], {"fcn/CBF"}),
        (["fcn", "mlp", "CBF"], {"fcn/CBF", "mlp/CBF"}),
        (["mlp/Coffee"], {"mlp/Coffee"}),
        (["mlp/Coffee", "fcn", "CBF"], {"mlp/Coffee", "fcn/CBF"}),
        (["*/Cof*"], {"fcn/Coffee", "mlp/Coffee"}),
    ],
)
def test_patterns_choose_models_data_sets_and_pairs(patterns: list[str], expected: set[str]) -> None:
    models, datasets = ["fcn", "mlp"], ["Coffee", "CBF"]
    chosen = selection(patterns, models, datasets)
    assert {f"{m}/{d}" for m in models for d in datasets if chosen(m, d)} == expected


@pytest.mark.parametrize("pattern", ["Cofee", "fcn/Cofee", "fnc/*"])
def test_a_pattern_that_chooses_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="neither a model nor a data set"):
        selection([pattern], ["fcn"], ["Coffee"])


# ---------------------------------------------------------------------------------------------------------- costs


def test_expected_seconds_come_from_the_nearest_measurement() -> None:
    published = {("b", "small"): Published(0.9, seconds=30.0), ("b", "large"): Published(0.9, seconds=500.0)}
    cells = expand([A, B, Method("c", "toy")], [SMALL, LARGE, Source("unsized", None)], [0, 1])
    estimator = Estimator([], cells, published)
    assert estimator.explained(cell(A, LARGE)) == (None, "unknown")
    estimator.learn("a", "small", 2.0)
    estimator.learn("a", "small", 4.0)
    assert estimator.explained(cell(A, SMALL, 9)) == (3.0, "measured")
    assert estimator.explained(cell(A, LARGE)) == (300.0, "measured, by size")  # 6 s for 20 units
    assert estimator.explained(cell(A, Source("unsized", None))) == (3.0, "mean of the model")
    assert estimator.explained(cell(Method("c", "toy"), LARGE)) == (300.0, "other models, by size")
    assert estimator.explained(cell(B, LARGE)) == (300.0, "other models, by size")  # its published time says less
    assert estimator.explained(cell(B, Source("unsized", None))) == (None, "unknown")


def test_published_times_are_scaled_by_what_was_measured_of_them() -> None:
    known = [Source("x", None), Source("y", None)]
    published = {("a", "x"): Published(0.9, seconds=100.0), ("a", "y"): Published(None, seconds=40.0)}
    estimator = Estimator([row("a", "x", 0, cpu_seconds=10.0)], expand([A], known, [0]), published)
    assert estimator.explained(cell(A, known[1])) == (4.0, "published, scaled")


def test_a_failed_cell_tells_nothing_of_the_cost() -> None:
    estimator = Estimator([row("a", "small", 0, None, cpu_seconds=999.0)], [cell()], {})
    assert estimator.seconds(cell()) is None


def test_processor_time_counts_on_a_cpu_and_wall_time_on_a_gpu() -> None:
    outcome = {"status": "done", "fit_seconds": 5.0, "predict_seconds": 1.0, "cpu_seconds": 3.0}
    assert Outcome(**outcome, device="cpu").cost == 3.0  # type: ignore[arg-type]
    assert Outcome(**outcome, device="cuda").cost == 6.0  # type: ignore[arg-type]


def test_longest_cells_come_first() -> None:
    cells = expand([A, B], [SMALL, LARGE], [0])
    by_size = [each for (each,) in Estimator([], cells, {}).longest_first(one_by_one(cells))]
    assert [each.source.name for each in by_size] == ["large", "large", "small", "small"]
    slow_b = Estimator([row("a", "small", 1, cpu_seconds=1.0), row("b", "small", 1, cpu_seconds=500.0)], cells, {})
    assert [each.key[:2] for (each,) in slow_b.longest_first(one_by_one(cells))] == [
        ("b", "large"),  # 50,000 s
        ("b", "small"),  # 500 s
        ("a", "large"),  # 100 s
        ("a", "small"),
    ]
    bundled = [tuple(expand([A], [SMALL], range(200))), (cell(A, LARGE),), (cell(B, SMALL),)]  # 200, 100, 500 s
    assert [each[0].key[:2] for each in slow_b.longest_first(bundled)] == [
        ("b", "small"),
        ("a", "small"),
        ("a", "large"),
    ]
    published = {("a", "small"): Published(None, seconds=50.0), ("b", "large"): Published(None, seconds=20.0)}
    order = [each.key[:2] for (each,) in Estimator([], cells, published).longest_first(one_by_one(cells))]
    assert order.index(("a", "small")) < order.index(("b", "large"))


def test_the_estimate_of_a_study_by_hand() -> None:
    cells = expand([A, B], [SMALL, LARGE], [0, 1])
    rows = [row("a", "small", 0, cpu_seconds=36.0), row("a", "small", 1, cpu_seconds=36.0)]
    found = estimate(cells, rows, {("a", "large"): Published(0.9, seconds=7200.0)})
    assert (found.cells, found.done, found.unknown) == (8, 2, 0)
    assert (found.guessed, found.unmeasured) == (4, ("b",))
    assert found.spent == pytest.approx(0.02)
    # a on large: 2 cells of 3,600 s; b by the rate of a: 2 x 36 s and 2 x 3,600 s
    assert found.hours == pytest.approx(0.02 + 2 + 0.02 + 2)
    assert found.published_hours == pytest.approx(4.0)
    assert found.days(2) == pytest.approx(4.02 / 48)
    assert found.table.rows[0][:5] == ["a", 4, 2, pytest.approx(0.02), pytest.approx(2.0)]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("2h", 7200), ("1h30m", 5400), ("45", 45), ("0.5d", 43200)])
def test_times_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text, "--budget") == seconds


@pytest.mark.parametrize("text", ["", "2 hours", "h", "1h30", "-5m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--budget"):
        seconds_of(text, "--budget")


# ----------------------------------------------------------------------------------------------------- the driver


def one_by_one(cells: Sequence[Cell]) -> list[Bundle]:
    return [(each,) for each in cells]


class Immediate:
    """An engine that finishes its oldest bundle whenever it is asked; `refuses` bundles of several cells."""

    def __init__(self, slots: int = 2, *, refuses: bool = False) -> None:
        self.slots = slots
        self.refuses = refuses
        self.begun: list[tuple[str, str, int]] = []
        self.sizes: list[int] = []
        self.most = 0
        self.closed = False
        self._running: list[Bundle] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.closed = True

    def submit(self, bundle: Bundle) -> None:
        self.begun += [each.key for each in bundle]
        self.sizes.append(len(bundle))
        self._running.append(bundle)
        self.most = max(self.most, len(self._running))

    def wait(self, timeout: float | None) -> list[tuple[Bundle, Sequence[Outcome]]]:
        done = self._running.pop(0)
        if self.refuses and len(done) > 1:
            return [(done, [])]
        outcome = Outcome("done", metrics={"accuracy": 1.0}, cpu_seconds=3.0, fit_seconds=3.0, device="cpu")
        return [(done, [outcome] * len(done))]


def test_the_driver_keeps_the_engine_full_and_every_outcome(tmp_path: Path) -> None:
    cells = expand([A, B], [SMALL, LARGE], [0, 1, 2])
    engine = Immediate()
    with Store.writing(tmp_path, purpose="the study") as store:
        store.register([A, B])
        ending = drive(
            one_by_one(cells), engine=engine, store=store, estimator=Estimator([], cells, {}), observer=Observer()
        )
        assert {(r.model, r.dataset, r.seed) for r in store.rows()} == {each.key for each in cells}
    assert ending == "finished"
    assert engine.most == 2
    assert engine.closed
    assert [key[1] for key in engine.begun] == ["large"] * 6 + ["small"] * 6


def test_a_budget_begins_only_what_fits(tmp_path: Path) -> None:
    cells = expand([A], [SMALL, LARGE], [0, 1])
    estimator = Estimator([row("a", "small", 9, cpu_seconds=3.0), row("a", "large", 9, cpu_seconds=900.0)], cells, {})
    engine = Immediate(slots=1)
    with Store.writing(tmp_path, purpose="the study") as store:
        store.register([A])
        ending = drive(
            one_by_one(cells), engine=engine, store=store, estimator=estimator, observer=Observer(), budget=60
        )
    assert ending == "budget"
    assert [key[1] for key in engine.begun] == ["small", "small"]
    assert engine.closed


def test_a_bundle_that_fails_is_run_cell_by_cell(tmp_path: Path) -> None:
    cells = expand([A], [SMALL, LARGE], range(3))
    engine = Immediate(refuses=True)
    work: list[Bundle] = [tuple(cells[:3]), tuple(cells[3:])]
    with Store.writing(tmp_path, purpose="the study") as store:
        store.register([A])
        drive(work, engine=engine, store=store, estimator=Estimator([], cells, {}), observer=Observer())
        assert {(r.model, r.dataset, r.seed) for r in store.rows()} == {each.key for each in cells}
    assert engine.sizes == [3, 3, 1, 1, 1, 1, 1, 1]


def test_a_budget_begins_as_much_of_a_bundle_as_fits(tmp_path: Path) -> None:
    cells = expand([A], [SMALL], range(5))
    estimator = Estimator([row("a", "small", 9, cpu_seconds=25.0)], cells, {})
    engine = Immediate(slots=1)
    with Store.writing(tmp_path, purpose="the study") as store:
        store.register([A])
        work = [tuple(cells)]
        assert (
            drive(work, engine=engine, store=store, estimator=estimator, observer=Observer(), budget=60) == "finished"
        )
    assert engine.sizes[0] == 2


def test_the_rows_of_a_bundle_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    good = Outcome("done", metrics={"accuracy": 1.0})
    with Store.writing(tmp_path, purpose="the study") as store:
        store.register([A])
        with pytest.raises(sqlite3.IntegrityError):
            store.add_all([cell(), cell(seed=1)], [good, replace(good, status="odd")])  # type: ignore[arg-type]
        assert store.rows() == []
        store.add_all([cell(), cell(seed=1)], [good, good])
        assert [each.seed for each in store.rows()] == [0, 1]


# ------------------------------------------------------------------------------------------------------ the store


def test_rows_come_back_as_they_went(tmp_path: Path) -> None:
    outcome = Outcome(
        "done",
        metrics={"accuracy": 1 / 3, "auroc": None},
        fit_seconds=1.5,
        predict_seconds=0.25,
        cpu_seconds=1.75,
        n_params=12,
        device="cpu",
        fingerprint="f",
        version="0.1.0",
    )
    with Store.writing(tmp_path, purpose="the study") as store:
        store.register([B])
        store.add(cell(B), Outcome("failed", error="it broke"))
        store.add(cell(B), outcome)
        store.add(cell(B, LARGE), Outcome("failed", error="it broke"))
    with Store.reading(tmp_path) as store:
        failed, done = store.rows()
        assert store.methods() == [B]
    assert vars(done) == {**vars(outcome), "model": "b", "dataset": "small", "seed": 0}
    assert (failed.status, failed.error, failed.metrics) == ("failed", "it broke", {})


def test_a_folder_holds_one_meaning_of_a_name(tmp_path: Path) -> None:
    with Store.writing(tmp_path, purpose="the study") as store:
        store.register([A, B])
        store.register([A, Method("c", "toy")])
        with pytest.raises(RunError, match=r"b = toy hidden=4, not of toy hidden=5.*--out"):
            store.register([Method("b", "toy", {"hidden": 5})])


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    with Store.writing(tmp_path, purpose="the study in s"):
        with pytest.raises(RunError, match=f"the study in s is in use by process {os.getpid()}"):
            Store.writing(tmp_path, purpose="the study in s").__enter__()
        with Store.reading(tmp_path) as store:  # readers are not kept out
            assert store.rows() == []


def test_files_that_are_no_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there are no results here"):
        Store.reading(tmp_path).__enter__()
    (tmp_path / FILE).write_bytes(b"no database at all, but long enough to look like one" * 20)
    with pytest.raises(RunError, match=r"results\.sqlite.*can't be read"):
        Store.reading(tmp_path).__enter__()
    (tmp_path / FILE).unlink()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(RunError, match="format 9"):
        Store.reading(tmp_path).__enter__()


# ---------------------------------------------------------------------------------------------------- the results


def by_hand() -> Results:
    rows = [
        row("b", "x", 0, 0.70, n_params=7),
        row("a", "y", 3, None, error="it broke"),
        row("a", "x", 3, 0.90),
        row("a", "x", 0, 0.80),
        row("a", "x", 7, 0.82),
    ]
    published = {
        ("a", "x"): Published(0.80, 0.02, 10),
        ("b", "x"): Published(0.75, 0.0, 10),
        ("a", "y"): Published(0.5),
    }
    return Results(rows, metric="accuracy", published=published, models=["b", "a"])


def test_a_summary_by_hand() -> None:
    b, a, failed = by_hand().summary.to_dict("records")
    assert (a["model"], a["dataset"], a["n"], a["failed"]) == ("a", "x", 3, 0)
    assert a["mean"] == pytest.approx(0.84)
    assert a["std"] == pytest.approx(math.sqrt((0.06**2 + 0.04**2 + 0.02**2) / 2))
    assert a["difference"] == pytest.approx(0.04)
    assert a["difference_std"] == pytest.approx(2.0)
    assert (b["model"], b["n"], b["published_n"]) == ("b", 1, 10)
    assert math.isnan(b["std"])
    assert math.isnan(b["difference_std"])  # no spread was published
    assert b["difference"] == pytest.approx(-0.05)
    assert (failed["dataset"], failed["n"], failed["failed"], failed["published_mean"]) == ("y", 0, 1, 0.5)
    assert math.isnan(failed["mean"])
    assert math.isnan(failed["difference"])


def test_one_row_per_run_in_the_order_of_the_study() -> None:
    frame = by_hand().frame
    assert list(frame.columns[:5]) == ["model", "dataset", "run", "seed", "accuracy"]
    assert list(frame.columns[-3:]) == ["n_params", "status", "error"]
    assert frame[["model", "dataset", "run", "seed"]].values.tolist() == [
        ["b", "x", 0, 0],
        ["a", "x", 0, 0],
        ["a", "x", 1, 3],
        ["a", "x", 2, 7],
        ["a", "y", 1, 3],
    ]


def test_tables_of_means_are_aligned() -> None:
    means = by_hand().means()
    assert list(means.columns) == ["b", "a"]
    assert list(means.index) == ["x", "y"]
    assert means.loc["x", "a"] == pytest.approx(0.84)
    assert by_hand().published_means().loc["y", "a"] == 0.5


def test_files_hold_the_same_as_the_tables(tmp_path: Path) -> None:
    results = by_hand()
    results.write(tmp_path)
    for name, frame in (("results", results.frame), ("summary", results.summary)):
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / f"{name}.parquet"), frame)
        again = pd.read_csv(tmp_path / f"{name}.csv").astype(frame.dtypes.to_dict())
        pd.testing.assert_frame_equal(again, frame)


def test_a_metric_that_nobody_measured_is_named() -> None:
    with pytest.raises(ConfigError, match="'acuracy' \\(did you mean 'accuracy'"):
        Results([row("a", "x", 0)], metric="acuracy", published={})


# ----------------------------------------------------------------------------------------------------- YAML files


def study_file(folder: Path, text: str) -> Path:
    path = folder / "grid.yaml"
    path.write_text(text)
    return path


@pytest.mark.usefixtures("toy_plugin")
def test_a_file_describes_a_study(tmp_path: Path) -> None:
    for name in ("p2", "p1", "q"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "file").write_bytes(b"x" * 100)
    (tmp_path / "figures.csv").write_text("method,dataset,mean,sd\nwide,p1,0.9,0.01\nwide,other,0.8,\n")
    study = read_study(
        study_file(
            tmp_path,
            """
            title: Two widths
            models: {toy: {model: toy, options: {n_epochs: 2, hidden: 1}}}
            configs:
              narrow: {hidden: 2}
              wide: {hidden: 16}
            datasets:
              - p*
              - {path: q, name: third, reader: toy-points, options: {dimensions: 2}}
              - nowhere
            seeds: 3
            reference: {file: figures.csv, model: method, std: sd}
            """,
        )
    )
    assert study.methods() == [
        Method("narrow", "toy", {"n_epochs": 2, "hidden": 2}),
        Method("wide", "toy", {"n_epochs": 2, "hidden": 16}),
    ]
    found = study.sources(tmp_path / "data")
    assert [each.name for each in found] == ["p1", "p2", "third", "nowhere"]
    assert found[0] == Source("p1", tmp_path / "data" / "p1", size=100)
    assert (found[2].reader, found[2].options) == ("toy-points", {"dimensions": 2})
    assert found[3].path is None
    assert study.seeds == (0, 1, 2)
    assert study.published() == {("wide", "p1"): Published(0.9, 0.01), ("wide", "other"): Published(0.8)}


@pytest.mark.usefixtures("toy_plugin")
def test_short_forms(tmp_path: Path) -> None:
    study = read_study(study_file(tmp_path, "models: [toy]\ndatasets: [x]\nseeds: [4, 2]\n"))
    assert study.methods() == [Method("toy", "toy", {})]
    assert study.seeds == (4, 2)
    both = read_study(
        study_file(tmp_path, "models: {a: {model: toy}, b: {model: toy}}\nconfigs: {w: {hidden: 3}}\ndatasets: [x]\n")
    )
    assert [method.name for method in both.methods()] == ["a-w", "b-w"]


@pytest.mark.usefixtures("toy_plugin")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [toy]\ndatasts: [x]\n", r"line 2, field datasts: .*no key 'datasts' \(did you mean 'datasets'"),
        ("models: [toy]\n", "the key 'datasets' is missing"),
        ("models: [toy]\ndatasets:\n- path: x\n  nam: y\n", r"line 4, field datasets\.0\.nam: .*did you mean 'name'"),
        ("models:\n  a: {options: {}}\ndatasets: [x]\n", r"line 2, field models\.a\.model: the key 'model' is missing"),
        ("models: [toy]\ndatasets: [x]\nseeds: many\n", r"line 3, field seeds: .*list.*not 'many'"),
        ("models: [toy]\ndatasets: [x]\nseeds: 0\n", "field seeds"),
        ("models: [toy]\ndatasets: []\n", "line 2, field datasets"),
        ("models: [tyo]\ndatasets: [x]\n", r"field models\.tyo: there is no model named 'tyo' \(did you mean 'toy'"),
        ("models: [toy\n", "line 2"),
        ("- models\n", "a study is a mapping"),
        ("models: [toy]\ndatasets: [x]\nreference: {fil: y}\n", r"field reference\.fil: .*did you mean 'file'"),
    ],
)
def test_faults_of_a_file_name_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(QuireError, match=message) as caught:
        read_study(study_file(tmp_path, text))
    assert caught.value.where is not None
    assert caught.value.where.file == tmp_path / "grid.yaml"


@pytest.mark.usefixtures("toy_plugin")
@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ("model,dataset,mean\na,x,high\n", "line 2, column mean: 'high' is not a number"),
        ("model,dataset,mean\na,x,\n", "line 2: there is no value in the column 'mean'"),
        ("model,data,mean\na,x,1\n", "no column 'dataset'"),
        ("model,dataset,mean\na,x,1\na,x,1\n", "line 3: a second figure for a on x"),
        ("model,dataset,mean\na,x\n", "line 2"),
        (None, "there is no such file"),
    ],
)
def test_faults_of_published_figures_name_the_line(tmp_path: Path, figures: str | None, message: str) -> None:
    if figures is not None:
        (tmp_path / "figures.csv").write_text(figures)
    study = read_study(study_file(tmp_path, "models: [toy]\ndatasets: [x]\nreference: figures.csv\n"))
    with pytest.raises(DataError, match=message):
        study.published()


@pytest.mark.usefixtures("toy_plugin")
def test_wildcards_that_match_nothing_are_named(tmp_path: Path) -> None:
    study = read_study(study_file(tmp_path, "models: [toy]\ndatasets: [x, 'y*']\n"))
    with pytest.raises(DataError, match=r"field datasets\.1: nothing matches 'y\*'"):
        study.sources(None)


@pytest.mark.usefixtures("toy_plugin")
def test_options_for_every_model_are_checked_before_work(tmp_path: Path) -> None:
    path = study_file(tmp_path, "models: {a: {model: toy, options: {hidden: 3}}}\ndatasets: [x]\n")
    plan = make_plan(str(path), options={"n_epochs": 1})
    assert plan.methods == [Method("a", "toy", {"hidden": 3, "n_epochs": 1})]
    with pytest.raises(ConfigError, match="did you mean 'n_epochs'"):
        make_plan(str(path), options={"n_epoch": 1})
    with pytest.raises(PluginError, match="there is no study named 'grid'"):
        make_plan("grid")
    with pytest.raises(DataError, match="there is no such file"):
        make_plan(str(tmp_path / "other.yaml"))


# ------------------------------------------------------------------------------------------------ worker processes


@pytest.fixture
def points(toy_plugin: Path, tmp_path: Path) -> Path:
    """Two data sets, and one whose test split is missing."""
    toy_points = registry.get("toy-points", "dataset")
    for number, name in enumerate(("one", "two", "half")):
        toy_points.sample(tmp_path / "data" / name, seed=number)
    (tmp_path / "data" / "half" / "points_test.csv").unlink()
    return tmp_path / "data"


QUICK = Method("quick", "toy", {"n_epochs": 2})
ENDLESS = Method("endless", "toy", {"n_epochs": 10_000_000})


def test_a_cell_gives_the_same_figures_whatever_ran_before(points: Path) -> None:
    one, two = (Cell(QUICK, Source(name, points / name), 3) for name in ("one", "two"))
    first = run_cell(one, device="cpu")
    run_cell(two, device="cpu")
    again = run_cell(one, device="cpu")
    assert first.status == "done"
    assert first.metrics == again.metrics
    assert first.metrics["accuracy"] == pytest.approx(1.0, abs=0.8)
    assert first.n_params == 3 * 8 + 8 + 8 * 3 + 3
    assert first.fingerprint == again.fingerprint
    assert run_cell(Cell(QUICK, one.source, 4), device="cpu").metrics != first.metrics


def test_whatever_goes_wrong_in_a_cell_is_its_error(points: Path) -> None:
    half = run_cell(Cell(QUICK, Source("half", points / "half"), 0), device="cpu")
    assert (half.status, half.metrics) == ("failed", {})
    assert half.error is not None
    assert "there is no split 'test'" in half.error
    assert run_cell(Cell(QUICK, Source("gone", None), 0)).error == "the data set gone is not at hand"
    assert "no evaluator named" in str(run_cell(cell(QUICK, Source("one", points / "one")), evaluators=["x"]).error)


def outcomes_of(engine: LocalEngine, count: int) -> dict[tuple[str, str, int], Outcome]:
    found: dict[tuple[str, str, int], Outcome] = {}
    end = time.monotonic() + 120
    while len(found) < count and time.monotonic() < end:
        for bundle, outcomes in engine.wait(5):
            found.update((each.key, outcome) for each, outcome in zip(bundle, outcomes, strict=True))
    return found


def worker_processes(folder: Path) -> list[psutil.Process]:
    """The workers that write to the folder's log."""
    log = folder / "workers.log"
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            if (
                "quire.study.worker" in (process.info["cmdline"] or ())
                and Path(f"/proc/{process.pid}/fd/2").readlink() == log
            ):
                found.append(process)
        except OSError:
            continue
    return found


def wait_until(condition: Callable[[], object], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.slow
def test_a_worker_that_is_killed_fails_its_cell_and_is_replaced(points: Path, tmp_path: Path) -> None:
    source = Source("one", points / "one")
    with LocalEngine(tmp_path, workers=2, devices=["cpu"]) as engine:
        engine.submit((Cell(QUICK, source, 0),))
        outcomes_of(engine, 1)
        (worker,) = worker_processes(tmp_path)
        engine.submit((Cell(ENDLESS, source, 0),))
        assert engine.wait(0.5) == []
        worker.send_signal(signal.SIGKILL)
        killed = outcomes_of(engine, 1)["endless", "one", 0]
        assert killed.status == "failed"
        assert killed.error == "its worker was ended by SIGKILL, as the system does when memory runs out"
        engine.submit((Cell(QUICK, source, 1),))
        assert outcomes_of(engine, 1)["quick", "one", 1].status == "done"
        (replacement,) = worker_processes(tmp_path)
        assert replacement.pid != worker.pid
    assert not replacement.is_running()


@pytest.mark.slow
def test_a_cell_that_takes_too_long_is_stopped(points: Path, tmp_path: Path) -> None:
    source = Source("one", points / "one")
    with LocalEngine(tmp_path, workers=1, devices=["cpu"], timeout=0.5) as engine:
        for seed in (0, 1):  # the second one in a new worker
            engine.submit((Cell(ENDLESS, source, seed),))
            outcome = outcomes_of(engine, 1)["endless", "one", seed]
            assert outcome.error == "it was stopped after 0.5 seconds (--timeout)"


def test_workers_that_cannot_start_end_the_study(points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nsleep 5 &\necho no module named quire >&2\nexit 7\n")  # sleep holds its pipes open
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    monkeypatch.setattr("quire.study.local.GRACE_SECONDS", 0.2)
    with LocalEngine(tmp_path, workers=1) as engine:
        engine.submit((Cell(QUICK, Source("one", points / "one"), 0),))
        with pytest.raises(RunError, match="no worker can start: its worker ended with exit code 7"):
            engine.wait(60)
    assert "no module named quire" in (tmp_path / "workers.log").read_text()


# ------------------------------------------------------------------------------------------- seeds trained together


TOGETHER = """

    @property
    def can_group_seeds(self):
        return self.config.hidden != 3

    def should_group_seeds(self, train, runtime):
        return self.config.hidden != 5

    @classmethod
    def fit_seeds(cls, models, train, runtimes):
        import os, pathlib, signal
        with pathlib.Path(__file__).with_name("groups").open("a") as file:
            file.write(" ".join(str(runtime.seed) for runtime in runtimes) + "\\n")
        if models[0].config.hidden == 6:
            raise RuntimeError("they do not get on")
        if models[0].config.hidden == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        for model, runtime in zip(models, runtimes):
            runtime.seed_everything()
            model.fit(train, runtime=runtime)
"""


@pytest.fixture
def together(installed_variant: Callable[[Callable[[Path], None]], str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Installs the model "variant", which trains its seeds together; the file that lists them, group by group."""

    def able(project: Path) -> None:
        with (project / "src" / "quire_variant" / "model.py").open("a") as file:
            file.write(TOGETHER)

    installed_variant(able)
    package = Path(str(importlib.util.find_spec("quire_variant").origin)).parent  # type: ignore[union-attr]
    monkeypatch.setenv("PYTHONPATH", str(package.parent), prepend=os.pathsep)
    return package / "groups"


def groups(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.is_file() else []


VARIANT = Method("v", "variant", {"n_epochs": 2})


@pytest.mark.usefixtures("together")
def test_bundles_follow_from_the_whole_study() -> None:
    alone = Method("w", "variant", {"hidden": 3})
    cells = expand([VARIANT, alone], [SMALL, LARGE], range(7))
    whole = bundles(cells, cells)
    assert [[each.seed for each in bundle] for bundle in whole if bundle[0].key[:2] == ("v", "small")] == [
        [0, 1, 2, 3, 4],
        [5, 6],
    ]
    assert [len(bundle) for bundle in whole if bundle[0].method == alone] == [1] * 14
    assert max(map(len, whole)) == MOST
    later = bundles(cells, [each for each in cells if each.key not in {("v", "small", 1), ("v", "small", 6)}])
    assert [[each.seed for each in bundle] for bundle in later if bundle[0].key[:2] == ("v", "small")] == [
        [0, 2, 3, 4],
        [5],
    ]


def test_cells_trained_together_have_figures_of_their_own_and_share_the_costs(points: Path, together: Path) -> None:
    cells = [Cell(VARIANT, Source("one", points / "one", reader="variant-points"), seed) for seed in range(3)]
    found = run_cells(cells, device="cpu")
    assert groups(together) == ["0 1 2"]
    for each, outcome in zip(cells, found, strict=True):
        assert outcome.metrics == run_cell(each, device="cpu").metrics
    assert found[0].metrics != found[1].metrics
    assert {outcome.fit_seconds for outcome in found} == {found[0].fit_seconds}
    assert all(outcome.cost for outcome in found)
    for hidden in (5, 6):  # the model declines, the model fails
        refused = [replace(each, method=Method("w", "variant", {"hidden": hidden, "n_epochs": 1})) for each in cells]
        assert run_cells(refused, device="cpu") == []


@pytest.mark.slow
def test_a_study_of_seeds_together_has_the_rows_of_one_without(points: Path, tmp_path: Path, together: Path) -> None:
    """Also where the model declines (5), fails (6) or brings its worker down (7); and when drivers are killed."""
    text = """
    models: [variant]
    configs:
      fine: {hidden: 8, n_epochs: 10}
      declines: {hidden: 5, n_epochs: 10}
      fails: {hidden: 6, n_epochs: 10}
      dies: {hidden: 7, n_epochs: 10}
    datasets: [{path: one, reader: variant-points}]
    seeds: 6
    """
    grid(tmp_path, text)
    out = tmp_path / "together"
    assert driver(tmp_path, out, points).wait() == 0
    assert groups(together) == ["0 1 2 3 4"] * 3  # the sixth seed is alone
    with Store.reading(out) as store:
        rows = {(each.model, each.dataset, each.seed): each for each in store.rows()}
    assert len(rows) == 4 * 6
    plan = make_plan(str(tmp_path / "grid.yaml"), data=points)
    for each in plan.cells[::5]:
        assert rows[each.key].metrics == run_cell(each, device="cpu").metrics

    chance = random.Random(5)
    broken = tmp_path / "broken"
    for _ in range(3):
        running = driver(tmp_path, broken, points)
        time.sleep(chance.uniform(2.0, 8.0))
        running.kill()
        running.wait()
        assert wait_until(lambda: not worker_processes(broken))
    assert driver(tmp_path, broken, points).wait() == 0
    assert figures(broken) == figures(out)


# ------------------------------------------------------------------------------------------------ the command line


GRID = """
title: A small grid
models: [toy]
configs:
  narrow: {hidden: 2, n_epochs: 3}
  wide: {hidden: 8, n_epochs: 3}
datasets: [one, half, elsewhere]
seeds: 2
reference: figures.csv
"""


def quire(*arguments: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout


def grid(folder: Path, text: str = GRID) -> Path:
    (folder / "figures.csv").write_text("model,dataset,mean,std,n,seconds\nwide,one,0.5,0.1,10,60\n")
    return study_file(folder, text)


@pytest.mark.slow
def test_a_study_from_the_command_line(points: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    common = ("study", grid(tmp_path), "--data", points, "--out", out, "--workers", "1")
    answer = json.loads(quire(*common, "--device", "cpu", "--json", code=1))
    assert answer["ended"] == "finished"
    assert (answer["done"], answer["failed"], answer["missing"]) == (4, 4, 4)
    assert answer["absent"] == ["elsewhere"]
    frame = pd.read_csv(out / "results.csv")
    assert frame[["model", "dataset", "run", "status"]].values.tolist() == [
        [model, dataset, run, status]
        for model in ("narrow", "wide")
        for dataset, status in (("half", "failed"), ("one", "done"))
        for run in (0, 1)
    ]
    assert frame.loc[frame["status"] == "failed", "error"].str.contains("there is no split 'test'").all()
    wide = next(each for each in answer["summary"] if each["model"] == "wide" and each["dataset"] == "one")
    mine = frame[(frame["model"] == "wide") & (frame["dataset"] == "one")]["accuracy"]
    assert wide["mean"] == pytest.approx(mine.mean())
    assert wide["difference_std"] == pytest.approx((mine.mean() - 0.5) / 0.1)
    page = (out / "report.html").read_text()
    assert "A small grid" in page
    assert "Ours and the published" in page

    before = (out / "results.csv").read_bytes()
    assert json.loads(quire(*common, "--json", code=1))["done"] == 4  # nothing was left to do
    assert (out / "results.csv").read_bytes() == before
    (points / "half" / "points_test.csv").write_bytes((points / "one" / "points_test.csv").read_bytes())
    repaired = json.loads(quire(*common, "--retry", "--only", "wide/half", "--device", "cpu", "--json", code=1))
    assert (repaired["done"], repaired["failed"]) == (6, 2)

    (out / "report.html").unlink()
    assert "6 cells done, 2 cells failed" in quire("study", grid(tmp_path), "--out", out, "--report", code=1)
    assert (out / "report.html").is_file()
    costs = json.loads(quire(*common, "--estimate", "--price", "2", "--json"))
    assert (costs["cells"], costs["done"], costs["unknown"]) == (12, 8, 0)
    assert costs["published_hours"] == pytest.approx(2 * 60 / 3600)
    assert costs["cost"] == pytest.approx(2 * costs["hours"])
    assert "worker hours" in quire(*common, "--estimate")


@pytest.mark.usefixtures("toy_plugin")
def test_mistakes_on_the_command_line(points: Path, tmp_path: Path) -> None:
    path = str(grid(tmp_path))
    for arguments, message in (
        (("--engine", "slurm"), "no engine 'slurm'"),
        (("--address", "auto"), "--address is that of a Ray cluster"),
        (("--only", "norrow"), "did you mean 'narrow'"),
        (("--budget", "soon"), "--budget is 'soon'"),
        (("hiden=3",), "did you mean 'hidden'"),
        (("--data", str(tmp_path / "gone")), "there is no such folder"),
        (("--data", str(tmp_path)), "none of the study's data sets is here"),
        (("--report",), "there are no results here"),
        (("--device", "warp"), "there is no device 'warp'"),
    ):
        with pytest.raises(QuireError, match=message):
            quire("study", path, "--data", points, "--out", tmp_path / "out", *arguments)


def test_a_study_that_a_plugin_offers(
    installed_variant: Callable[[Callable[[Path], None]], str], tmp_path: Path
) -> None:
    def offer(project: Path) -> None:
        (project / "src" / "quire_variant" / "grid.py").write_text(
            "from quire.report import Table\n"
            "from quire.study import Method, Source, Study\n"
            "class Grid(Study):\n"
            "    def methods(self):\n"
            "        return [Method('m', 'variant', {'n_epochs': 1})]\n"
            "    def sources(self, data):\n"
            "        return [Source('x', data)]\n"
            "    def tables(self, results):\n"
            "        return [Table('Of its own', ['mean'], [[float(results.means().loc['x', 'm'])]])]\n"
        )
        with (project / "pyproject.toml").open("a") as file:
            file.write('\n[project.entry-points."quire.studies"]\nvariant-grid = "quire_variant.grid:Grid"\n')

    name = installed_variant(offer)
    plan = make_plan(f"{name}-grid", data=tmp_path, out=tmp_path / "out", seeds=2)
    assert [each.key for each in plan.cells] == [("m", "x", 0), ("m", "x", 1)]
    assert run_plan(plan, Immediate()) == "finished"
    _, report = report_plan(plan)
    assert report.tables[-1].title == "Of its own"
    assert report.tables[-1].rows == [[1.0]]


# --------------------------------------------------------------------------------------------- drivers that are killed


DRIVER = "import sys; from quire.cli import main; sys.argv[0] = 'quire'; main()"
LONGER = """
models: [toy]
configs:
  narrow: {hidden: 2, n_epochs: 120}
  wide: {hidden: 8, n_epochs: 120}
datasets: [one, two, half]
seeds: 4
"""


def driver(folder: Path, out: Path, points: Path) -> subprocess.Popen[bytes]:
    arguments = ["study", folder / "grid.yaml", "--data", points, "--out", out, "--workers", "2", "--device", "cpu"]
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def figures(out: Path) -> list[str]:
    """results.csv without the columns of times."""
    return pd.read_csv(out / "results.csv", dtype=str).drop(columns=list(TIMES)).to_csv().splitlines()


@pytest.mark.slow
def test_a_study_killed_twenty_times_ends_like_an_unbroken_one(points: Path, tmp_path: Path) -> None:
    grid(tmp_path, LONGER)
    began = time.monotonic()
    assert driver(tmp_path, tmp_path / "unbroken", points).wait() == 1  # the data set "half" fails
    whole = time.monotonic() - began
    chance = random.Random(3)
    broken = tmp_path / "broken"
    for _ in range(20):
        running = driver(tmp_path, broken, points)
        time.sleep(chance.uniform(0.0, 0.6 * whole))
        running.kill()
        running.wait()
        assert wait_until(lambda: not worker_processes(broken))  # workers do not outlive their driver
    assert driver(tmp_path, broken, points).wait() == 1
    assert figures(broken) == figures(tmp_path / "unbroken")
    assert len(figures(broken)) == 1 + 2 * 3 * 4


@pytest.mark.slow
def test_what_was_finished_before_a_kill_is_not_done_again(points: Path, tmp_path: Path) -> None:
    grid(tmp_path, LONGER)
    out = tmp_path / "out"

    def rows() -> Sequence[Row]:
        if not (out / FILE).is_file():
            return []
        with Store.reading(out) as store:
            return store.rows()

    running = driver(tmp_path, out, points)
    assert wait_until(lambda: len(rows()) >= 3)
    second = driver(tmp_path, out, points)
    assert second.wait() == 2  # it is refused while the first one runs
    running.kill()
    running.wait()
    before = {(each.model, each.dataset, each.seed): each for each in rows()}
    assert driver(tmp_path, out, points).wait() == 1
    after = {(each.model, each.dataset, each.seed): each for each in rows()}
    assert len(after) == 24
    assert {key: after[key] for key in before} == before  # the very same rows, with their times
