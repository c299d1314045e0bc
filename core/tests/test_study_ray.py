"""The Ray engine on a real cluster of two nodes on this machine, of which workers and a node are killed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from quire import registry
from quire.errors import MissingExtra, RunError
from quire.study import Cell, Method, Outcome, Source
from quire.study.driver import Observer, drive
from quire.study.estimate import Estimator
from quire.study.execute import run_cell
from quire.study.ray import RETRIES, RayEngine
from quire.study.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from quire.study.together import Bundle

QUICK = Method("quick", "toy", {"n_epochs": 150})
ENDLESS = Method("endless", "toy", {"n_epochs": 10_000_000})


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'quire-core\[ray\]'"):
        RayEngine()


@pytest.fixture
def cluster(toy_plugin: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without room for cells and two nodes of one CPU each."""
    pytest.importorskip("ray", reason="needs the extra ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    sources = Path(__file__).parents[1] / "src"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(toy_plugin), str(sources)]))
    made: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.fixture
def points(toy_plugin: Path, tmp_path: Path) -> Source:
    return Source("one", registry.get("toy-points", "dataset").sample(tmp_path / "one"), size=1.0)


def busy_workers() -> list[psutil.Process]:
    """Ray's worker processes that run a cell now."""
    return [each for each in psutil.process_iter(["cmdline"]) if (each.info["cmdline"] or [""])[0] == "ray::_run"]


def wait_for(condition: Callable[[], Any], seconds: float = 90) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


@pytest.mark.slow
def test_lost_workers_and_a_lost_node_cost_no_cell(cluster: Any, points: Source, tmp_path: Path) -> None:
    cells = [Cell(QUICK, points, seed) for seed in range(10)]
    engine = RayEngine(address=cluster.address, timeout=60)
    killed = []

    class Saboteur(Observer):
        """Kills a worker after the second cell and a whole node after the fourth."""

        def begin(self, total: int, todo: int) -> None: ...

        def finished(self, cell: Cell, outcome: Outcome, left: Callable[[], float | None]) -> None:
            done.append(cell)
            if len(done) == 2:
                threading.Thread(target=self.kill_worker).start()
            if len(done) == 4:
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
                killed.append("node")

        def kill_worker(self) -> None:
            for process in wait_for(busy_workers)[:1]:
                os.kill(process.pid, signal.SIGKILL)
                killed.append("worker")

    done: list[Cell] = []
    with Store.writing(tmp_path / "study", purpose="the study") as store:
        store.register([QUICK])
        ending = drive(
            [(each,) for each in cells],
            engine=engine,
            store=store,
            estimator=Estimator([], cells, {}),
            observer=Saboteur(),
            budget=None,
        )
        rows = store.rows()
    assert ending == "finished"
    assert sorted(killed) == ["node", "worker"]
    assert [row.seed for row in rows] == list(range(10))
    assert {row.status for row in rows} == {"done"}
    here = run_cell(cells[7], device="cpu")
    assert rows[7].metrics == here.metrics  # the same cell, the same figures, wherever it runs
    assert rows[7].fingerprint == here.fingerprint


@pytest.mark.slow
def test_failing_and_endless_cells_are_rows_and_a_budget_ends_the_rest(cluster: Any, points: Source) -> None:
    with RayEngine(address=cluster.address, timeout=2.0, workers=2) as engine:
        assert engine.slots == 2
        engine.submit((Cell(ENDLESS, points, 0),))
        engine.submit((Cell(QUICK, Source("gone", None), 0),))
        found: dict[str, Outcome] = {}
        end = time.monotonic() + 90
        while len(found) < 2 and time.monotonic() < end:
            found.update((cell.source.name, outcome) for (cell,), (outcome,) in engine.wait(5))
        assert found["one"].error == "it was stopped after 2 seconds (--timeout)"
        assert found["gone"].error == "the data set gone is not at hand"
    with RayEngine(address=cluster.address) as engine:
        engine.submit((Cell(ENDLESS, points, 0),))
        wait_for(busy_workers)
        assert engine.wait(0.1) == []
    wait_for(lambda: not busy_workers())  # leaving ends what still runs


@pytest.mark.slow
def test_a_cell_that_kills_every_worker_fails(cluster: Any, points: Source) -> None:
    with RayEngine(address=cluster.address) as engine:
        engine.submit((Cell(ENDLESS, points, 0),))
        finished: list[tuple[Bundle, Sequence[Outcome]]] = []
        deaths: set[int] = set()
        end = time.monotonic() + 150
        while not finished and time.monotonic() < end:
            for process in busy_workers():
                deaths.add(process.pid)
                os.kill(process.pid, signal.SIGKILL)
            finished = engine.wait(0.2)
    ((_, (outcome,)),) = finished
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.startswith(f"Ray lost it {RETRIES + 1} times")
    assert len(deaths) == RETRIES + 1


@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:1", "auto"])
def test_a_cluster_that_is_not_there_is_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="needs the extra ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(RunError, match=f"there is no Ray cluster at {address}"), RayEngine(address=address):
        pass
