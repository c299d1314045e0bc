"""A run's folder: its names, its lock, and that no reader ever meets half a file in it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from quire import registry
from quire.errors import PluginError, RunError
from quire.run import DataSource, Run, list_runs
from quire.training import MetricsFile, read_metrics

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("toy_plugin")


def create(root: Path, **options: Any) -> Run:
    return Run.create(root, model="toy", config={"hidden": 4}, **options)


def start(script: str, *arguments: Path | str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_new_run_says_what_it_is(tmp_path: Path) -> None:
    from quire.runtime import Runtime

    source = DataSource(dataset="toy-points", path=str(tmp_path), labels=("a", "b"), counts={"train": 2})
    run = create(tmp_path / "runs", data=source, runtime=Runtime(seed=7, device="cpu", precision="fp32"), name="first")
    content = json.loads((tmp_path / "runs" / "first" / "run.json").read_text())
    assert run.path == (tmp_path / "runs" / "first").resolve()
    assert content["model"] == "toy"
    assert content["distribution"] == "quire-toy"
    assert content["config"] == {"hidden": 4}
    assert content["seed"] == 7
    assert content["state"] == "new"
    assert content["data"]["labels"] == ["a", "b"]
    assert {"device": "cpu", "precision": "float32", "processes": 1}.items() <= content["runtime"].items()
    assert {"python", "quire-toy", "torch", "numpy"} <= content["versions"].keys()
    assert Run.open(run.path).info == run.info


def test_an_update_is_on_disk_at_once_and_keeps_the_rest(tmp_path: Path) -> None:
    run = create(tmp_path)
    before = run.info
    run.update(state="running", progress={"step": 3})
    opened = Run.open(run.path).info
    assert (opened.state, opened.progress, opened.config) == ("running", {"step": 3}, before.config)
    assert opened.created == before.created < opened.updated


def test_latest_is_the_newest_run(tmp_path: Path) -> None:
    for _ in range(3):
        run = create(tmp_path)
        assert Run.open(tmp_path / "latest").path == run.path
    assert not (tmp_path / "latest").readlink().is_absolute()
    assert len([path for path in tmp_path.iterdir() if not path.is_symlink()]) == 3


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-x", "a/b", "../a", "a b", "latest", "a\n"])
def test_names_that_are_no_folder_of_its_own_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="can't be a run's name"):
        create(tmp_path / "runs", name=name)
    assert not (tmp_path / "runs").exists()


def test_a_name_is_given_once(tmp_path: Path) -> None:
    create(tmp_path, name="a-1.b_c")
    with pytest.raises(RunError, match=r"there is a run of this name already.*--resume"):
        create(tmp_path, name="a-1.b_c")


def test_runs_without_a_name_find_one_of_their_own(tmp_path: Path) -> None:
    assert len({create(tmp_path).path for _ in range(12)}) == 12


def test_an_unknown_model_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="tooy"):
        Run.create(tmp_path, model="tooy", config={}, name="mine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"state": "asleep"}, "field state"),
        ({"config": 3}, "field config"),
        ({"data": {"dataset": "toy-points"}}, "field data.path"),
        ({"created": None}, "field created"),
        ({"format": 2}, "field format"),
    ],
)
def test_an_unreadable_field_is_named(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    file = create(tmp_path).path / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(RunError, match=named) as caught:
        Run.open(file.parent)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", ['{"model": "toy",', "", "[]", "\x00" * 40, "null"])
def test_a_damaged_run_is_a_run_error_and_left_out_of_lists(tmp_path: Path, content: str) -> None:
    damaged, sound = create(tmp_path), create(tmp_path)
    (damaged.path / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run\.json"):
        Run.open(damaged.path)
    assert [run.path for run in list_runs(tmp_path)] == [sound.path]


def test_a_folder_without_a_run_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run here"):
        Run.open(tmp_path)


def test_runs_are_listed_newest_first_each_once(tmp_path: Path) -> None:
    names = ["m", "z", "a", "k"]
    for name in names:
        create(tmp_path, name=name)
    (tmp_path / "notes").mkdir()
    assert [run.path.name for run in list_runs(tmp_path)] == names[::-1]
    assert list_runs(tmp_path / "nowhere") == []


HOLD = """
import sys
from pathlib import Path
from quire.run import Run
with Run.open(Path(sys.argv[1])).writing():
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("end", ["returns", "killed"])
def test_two_processes_can_not_write_the_same_run(tmp_path: Path, end: str) -> None:
    run = create(tmp_path)
    with start(HOLD, run.path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"in use by process {holder.pid}"), run.writing():
            pass
        assert Run.open(run.path).info == run.info  # reading is free
        if end == "killed":
            holder.kill()
        else:
            holder.communicate("\n")
        holder.wait()
    with run.writing():
        run.update(state="running")


WRITE = """
import sys
from pathlib import Path
from quire.run import Run
run = Run.open(Path(sys.argv[1]))
first = run.info.progress.get("number", -1) + 1
print("ready", flush=True)
for number in range(first, first + 10_000):
    run.update(progress={"number": number, "much": "x" * (number % 7) * 3000})
"""


def test_run_json_is_whole_at_every_moment(tmp_path: Path) -> None:
    run, rng = create(tmp_path), random.Random(0)
    for _ in range(3):
        with start(WRITE, run.path) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            seen: set[int] = set()
            while len(seen) < rng.randrange(15, 60):
                progress = Run.open(run.path).info.progress
                if progress:
                    assert len(progress["much"]) == progress["number"] % 7 * 3000
                    seen.add(progress["number"])
            writer.kill()
        assert Run.open(run.path).info.progress["number"] >= max(seen)


def report(file: MetricsFile, step: int, **metrics: float) -> None:
    file.quire_epoch_finished(phase="train", epoch=1, step=step, metrics=metrics)


def test_metrics_are_one_line_of_json_each(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    assert read_metrics(file.path) == []
    report(file, 1, loss=0.1 + 0.2)
    report(file, 2, loss=1e-300, val_loss=float("nan"), val_gap=float("inf"))
    lines = file.path.read_text().splitlines()
    assert json.loads(lines[0]) == {"phase": "train", "epoch": 1, "step": 1, "loss": 0.1 + 0.2}
    assert json.loads(lines[1], parse_constant=pytest.fail)["val_loss"] is None
    assert [line["loss"] for line in read_metrics(file.path)] == [0.1 + 0.2, 1e-300]


def test_a_line_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    report(file, 1, loss=1.0)
    report(file, 2, loss=2.0)
    whole = file.path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(len(whole) + 1):
        file.path.write_bytes(whole[:length])
        assert len(read_metrics(file.path)) == (length >= first) + (length == len(whole))


def test_metrics_after_the_checkpoint_are_cut_off(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.quire_run_started()
    report(file, 1, loss=1.0)
    state = file.state_dict()
    report(file, 2, loss=2.0)
    with file.path.open("ab") as torn:
        torn.write(b'{"phase": "tr')
    resumed = MetricsFile(file.path)
    resumed.load_state_dict(state)
    resumed.quire_run_started()
    report(resumed, 2, loss=2.5)
    assert [line["loss"] for line in read_metrics(file.path)] == [1.0, 2.5]


def test_metrics_that_somebody_removed_begin_anew(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    report(file, 1, loss=1.0)
    file.path.unlink()
    resumed = MetricsFile(file.path)
    resumed.load_state_dict(file.state_dict())
    resumed.quire_run_started()
    report(resumed, 2, loss=2.0)
    report(resumed, 3, loss=3.0)
    assert [line["step"] for line in read_metrics(file.path)] == [2, 3]
    assert resumed.length == file.path.stat().st_size


def test_a_run_gives_its_data_and_its_model_back(tmp_path: Path) -> None:
    points: Any = registry.get("toy-points")
    path = points.sample(tmp_path / "points")
    run = create(tmp_path / "runs", data=DataSource(dataset="toy-points", path=str(path), options={"dimensions": 2}))
    assert run.info.data is not None
    train, test = run.info.data.open(), run.info.data.open("test")
    assert (len(train), len(test), len(train[0]["vector"])) == (24, 12, 2)
    with pytest.raises(RunError, match=r"has no model yet.*--resume"):
        run.load_model()
    model = registry.create("toy", n_epochs=1)
    model.fit(train, run=run)
    model.save(run.model_path)
    inputs = [test[index] for index in range(len(test))]
    assert (Run.open(run.path).load_model().predict_proba(inputs) == model.predict_proba(inputs)).all()  # type: ignore[attr-defined]


def test_a_model_whose_replacement_was_interrupted_is_found(tmp_path: Path) -> None:
    points: Any = registry.get("toy-points")
    run = create(tmp_path / "runs")
    model = registry.create("toy", n_epochs=1)
    model.fit(points.open(points.sample(tmp_path / "points")), run=run)
    model.save(run.model_path)
    model.save(run.path / ".model.new")
    run.model_path.rename(run.path / ".model.old")  # killed before the new one took its place
    assert Run.open(run.path).load_model().config == model.config
