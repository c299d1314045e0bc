"""Every verb as a user types it: what it prints and writes, its exit code, and one line for every mistake."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quire import registry
from quire.cli import VERBS, run_command_line
from quire.cli.options import overrides
from quire.cli.schemas import SCHEMAS
from quire.conformance.command_line import Answer, run_command
from quire.errors import ConfigError, DataError
from quire.run import Run
from quire.values import read_value

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK = "n_epochs=2"
SOURCE = str(Path(registry.__file__).parents[1])


@pytest.fixture
def quire(toy_plugin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Answer]:
    """A function that runs a command line in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return run_command


@pytest.fixture(scope="module")
def points(toy_plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """toy-points as its `sample` writes them; no test changes them."""
    path: Path = registry.get("toy-points", "dataset").sample(tmp_path_factory.mktemp("data") / "points")
    return path


@pytest.fixture(scope="module")
def trained(points: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is done; a test that changes it takes `copied`."""
    root = tmp_path_factory.mktemp("trained")
    assert run_command_line(["train", "toy", "--data", str(points), "--runs", str(root), "--name", "base", QUICK]) == 0
    return root / "base"


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A copy of `trained`."""
    return shutil.copytree(trained, tmp_path / "copied" / "base")


@pytest.fixture
def own_points(points: Path, tmp_path: Path) -> Path:
    """A copy of the data, to be spoiled."""
    return shutil.copytree(points, tmp_path / "own")


def append(file: Path, line: str) -> None:
    file.write_text(f"{file.read_text()}{line}\n")


def only_line(text: str) -> str:
    (line,) = text.splitlines()
    return line


# --- mistakes ---------------------------------------------------------------------------------------------------------

TRAIN = "train toy --data {points}"
MISTAKES = [
    ("trian", "there is no command 'trian' (did you mean 'train'?). `quire --help`"),
    ("train", "a training needs a model and --data. Write: quire train NAME --data PATH"),
    ("train toy", "a training needs a model and --data"),
    ("train tyo --data {points}", "there is no model named 'tyo' (did you mean 'toy'?)"),
    ("train toy --data nowhere", "nowhere: there is no such file or folder"),
    (f"{TRAIN} hiden=3", "toy has no option 'hiden' (did you mean 'hidden'?). `quire show toy` lists"),
    (f"{TRAIN} hidden=x", "hidden: input should be a valid integer"),
    (f"{TRAIN} hidden=0", "hidden: input should be greater than 0, not 0"),
    (f"{TRAIN} hidden", "'hidden' is not of the form option=value"),
    (f"{TRAIN} =3", "'=3' is not of the form option=value"),
    (f"{TRAIN} hidden=3 hidden=4", "the option 'hidden' is given twice"),
    (f"{TRAIN} --dataset toypoints", "there is no dataset named 'toypoints' (did you mean 'toy-points'?)"),
    (f"{TRAIN} --split tran", "there is no split 'tran' (did you mean 'train'?). Its splits are: train, test"),
    (f"{TRAIN} --data-option dimension=2", "toy-points has no option 'dimension' (did you mean 'dimensions'?)"),
    (f"{TRAIN} --data-option dimensions=9", "dimensions: input should be less than or equal to 3, not 9"),
    (f"{TRAIN} --data-option dimensions", "'dimensions' is not of the form option=value"),
    (f"{TRAIN} --validation 1.5", "--validation is 1.5, but a share lies between 0 and 1. Write 0.2"),
    (f"{TRAIN} --validation 0", "--validation is 0, but a share lies between 0 and 1"),
    (f"{TRAIN} --validation nan", "--validation is nan, but a share lies between 0 and 1"),
    (f"{TRAIN} --validation held-out", "there is no split 'held-out'"),
    (f"{TRAIN} --device cude", "there is no device 'cude'. Use auto, cpu"),
    (f"{TRAIN} --precision fp8", "--precision is 'fp8'. Use auto, fp32, bf16 or fp16"),
    (f"{TRAIN} --threads x", "--threads is 'x'. Use auto, or a number"),
    (f"{TRAIN} --threads 0", "--threads is '0'"),
    (f"{TRAIN} --workers -1", "'--workers'"),
    (f"{TRAIN} --seed x", "'--seed'"),
    (f"{TRAIN} --on-error ignore", "--on-error is 'ignore'. Use raise or skip"),
    (f"{TRAIN} --config options.yaml", "options.yaml: no such file or directory"),
    (f"{TRAIN} --config {{points}}", "is a directory"),
    (f"{TRAIN} --name a/b", "'a/b' can't be a run's name"),
    (f"{TRAIN} --runs {{points}}/points_test.csv", "not a directory"),
    (f"{TRAIN} --dta", "no such option: --dta"),
    ("train --resume nowhere", "nowhere: there is no run here"),
    ("train --resume {run} --seed 3", "--seed can't be given with --resume"),
    ("train --resume {run} hidden=3", "can't be given with --resume: a run goes on as it began"),
    ("evaluate", "missing argument 'RUN'. `quire evaluate --help`"),
    ("evaluate {points}", "there is no run here. `quire runs` lists the runs"),
    ("evaluate {run} --data nowhere", "nowhere: there is no such file or folder"),
    ("evaluate {run} --split tset", "there is no split 'tset' (did you mean 'test'?)"),
    ("evaluate {run} --evaluator accuracy", "there is no evaluator named 'accuracy'"),
    ("evaluate {run} --option bin=3", "classification has no option 'bin' (did you mean 'bins'?)"),
    ("evaluate {run} --option bins", "'bins' is not of the form option=value"),
    ("evaluate {run} --explain -1", "'--explain'"),
    ("evaluate {run} --on-error ignore", "--on-error is 'ignore'"),
    ("evaluate {run} --predictions {points}/points_test.csv", "points_test.csv: is damaged"),
    ("predict {run}", "missing argument"),
    ("predict {run} nowhere.csv", "nowhere.csv"),
    ("predict {run} {points}", "points"),
    ("predict {run} {points}/points_test.csv -o table.xls", "table.xls. Use .csv, .jsonl or a folder"),
    ("predict {run} {points}/points_test.csv -o {points}", "there is something here already"),
    ("predict {run} {points}/points_test.csv --explain why", "Toy can't explain its predictions"),
    ("export {run} net.onnx", "toy can't be exported as 'onnx'. It offers: nothing"),
    ("import toy weights.pth", "toy knows no checkpoints of its authors"),
    ("list modle", "there is no kind 'modle' (did you mean 'model'?)"),
    ("show toyy", "there is no plugin named 'toyy' (did you mean 'toy'?)"),
    ("show toy --kind dataset", "there is no dataset named 'toy'; it is the name of a model"),
    ("sample toy-pionts new", "there is no dataset named 'toy-pionts' (did you mean 'toy-points'?)"),
    ("sample toy-points {points}", "is not an empty folder"),
    ("sample toy-points new size=3", "the sample of toy-points has no option 'size'. It takes none"),
    ("sample toy-points", "missing argument 'folder'"),
    ("demo toyy", "there is no model named 'toyy'"),
    ("runs one two", "unexpected extra argument"),
    ("doctor now", "unexpected extra argument"),
]


@pytest.mark.parametrize(("line", "message"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_one_line_and_nothing_is_written(
    quire: Callable[..., Answer], points: Path, trained: Path, line: str, message: str
) -> None:
    answer = quire(*(part.format(points=points, run=trained) for part in line.split()))
    assert answer.code == 2
    assert answer.out == ""
    assert only_line(answer.err).startswith("error: ")
    assert message.lower() in answer.err.lower()
    assert list(Path().iterdir()) == []
    assert sorted(path.name for path in points.iterdir()) == ["points_test.csv", "points_train.csv"]


def test_debug_shows_where_it_was_raised(quire: Callable[..., Answer]) -> None:
    for line in (["--debug", "show", "toyy"], ["show", "toyy", "--debug"]):
        answer = quire(*line)
        assert answer.code == 2
        assert answer.err.startswith("Traceback")
        assert answer.err.splitlines()[-1].startswith("error: there is no plugin named 'toyy'")


def test_an_error_in_the_code_keeps_its_traceback(
    quire: Callable[..., Answer], points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(registry.get("toy", "model"), "step", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        quire("train", "toy", "--data", points, "--name", "x", QUICK)
    assert Run.open(Path("runs/x")).info.state == "failed"


def test_without_a_verb_there_is_help(quire: Callable[..., Answer]) -> None:
    for line in ([], ["--help"], ["-h"]):
        answer = quire(*line)
        assert answer.code == 0
        assert all(re.search(rf"\b{verb}\b", answer.out) for verb in VERBS)
    assert quire("--version").out.strip() != ""


# --- data -------------------------------------------------------------------------------------------------------------


def test_a_layout_that_no_reader_knows(quire: Callable[..., Answer], points: Path) -> None:
    Path("notes").mkdir()
    Path("notes/a.txt").write_text("a")
    answer = quire("train", "toy", "--data", "notes")
    assert answer.code == 2
    message = only_line(answer.err)
    assert message.startswith(
        "error: notes: no reader recognises this layout for the task vector-classification (asked"
    )
    assert message.endswith(". Name one with --dataset; `quire sample NAME FOLDER` writes an example of its layout.")
    answer = quire("train", "toy", "--data", points.parent)
    assert answer.code == 2
    assert f"There is one inside: give {points}" in answer.err
    assert not Path("runs").exists()


def test_places_below_the_current_folder_are_told_as_typed(quire: Callable[..., Answer], points: Path) -> None:
    append(shutil.copytree(points, Path("own")) / "points_train.csv", "x,1,2,,low")
    answer = quire("train", "toy", "--data", "own", QUICK)
    assert only_line(answer.err).startswith("error: own/points_train.csv, line 26: a coordinate is not a number")


def test_bad_samples_can_be_left_out(quire: Callable[..., Answer], own_points: Path) -> None:
    append(own_points / "points_train.csv", "bad,1,2,x,low")
    answer = quire("train", "toy", "--data", own_points, "--on-error", "skip", "--name", "s", "--json", QUICK)
    assert answer.code == 0
    info = answer.json("train")
    assert info["data"]["counts"] == {"train": 24}
    assert info["data"]["on_error"] == "skip"
    assert answer.err.startswith("1 bad sample of train left out; the first: ")
    append(own_points / "points_test.csv", "bad,1,2,x,low")
    assert quire("evaluate", "runs/s").code == 2
    answer = quire("evaluate", "runs/s", "--on-error", "skip")
    assert answer.code == 0
    assert "12 samples used, 1 left out" in answer.out


def test_a_run_that_skips_bad_samples_does_so_when_it_is_resumed(
    quire: Callable[..., Answer], own_points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(own_points / "points_train.csv", "bad,1,2,x,low")
    with monkeypatch.context() as pressed:
        interrupt_training(pressed, after=1)
        assert quire("train", "toy", "--data", own_points, "--on-error", "skip", "--name", "s", QUICK).code == 130
    assert quire("train", "--resume", "runs/s").code == 0


def test_training_data_without_test_data(quire: Callable[..., Answer], own_points: Path) -> None:
    (own_points / "points_test.csv").unlink()
    assert quire("train", "toy", "--data", own_points, "--name", "x", QUICK).code == 0
    answer = quire("evaluate", "runs/x")
    assert answer.code == 2
    assert "there is no split 'test'. Its splits are: train." in only_line(answer.err)


@pytest.mark.parametrize(("validation", "counts"), [("0.25", (18, 6)), ("test", (24, 12))])
def test_validation(quire: Callable[..., Answer], points: Path, validation: str, counts: tuple[int, int]) -> None:
    answer = quire("train", "toy", "--data", points, "--validation", validation, "--json", QUICK)
    assert answer.json("train")["data"]["counts"] == {"train": counts[0], "validation": counts[1]}


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-2", -2),
        ("0x1f", 31),
        ("true", True),
        ("null", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("010", "010"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("[1, 2e-1, x]", [1, 0.2, "x"]),
        ("{a: 1}", {"a": 1}),
        ("a: [", "a: ["),
        (".inf", float("inf")),
    ],
)
def test_values_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert read_value(text) == value
    assert type(read_value(text)) is type(value)


@given(st.one_of(st.floats(allow_nan=False), st.integers(), st.booleans(), st.none()))
def test_every_json_scalar_is_read_as_itself(value: object) -> None:
    text = json.dumps(value).replace("Infinity", ".inf")
    assert read_value(text) == value
    assert type(read_value(text)) is type(value)


@given(st.dictionaries(st.from_regex(r"[a-z]\w{0,5}(\.[A-Z]\w{0,5})?", fullmatch=True), st.integers(), max_size=5))
def test_overrides_nest_by_dots(values: dict[str, int]) -> None:
    groups = {name.partition(".")[0] for name in values if "." in name}
    plain = {name: value for name, value in values.items() if name not in groups}
    nested = overrides(f"{name}={value}" for name, value in plain.items())
    flat = {
        f"{name}.{inner}" if inner else name: value
        for name, below in nested.items()
        for inner, value in (below.items() if isinstance(below, dict) else [("", below)])
    }
    assert flat == plain


def test_overrides_do_not_put_a_group_into_a_value() -> None:
    with pytest.raises(ConfigError, match="'a' is a value, not a group of options"):
        overrides(["a=1", "a.b=2"])


def test_arguments_override_the_configuration_file(quire: Callable[..., Answer], points: Path) -> None:
    Path("c.yaml").write_text("hidden: 3\nlearning_rate: 2e-3\nn_epochs: 50\n")
    config = quire("train", "toy", "--data", points, "--config", "c.yaml", QUICK, "--json").json("train")["config"]
    assert (config["hidden"], config["learning_rate"], config["n_epochs"]) == (3, 0.002, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"hiden: 3\n", "toy has no option 'hiden' (did you mean 'hidden'?)"),
        (b"hidden: 3\nhidden: 4\n", "c.yaml, line 2: can't be read as YAML: 'hidden' stands twice"),
        (b"hidden: [\n", "c.yaml, line 2: can't be read as YAML: "),
        (b"- hidden\n", "c.yaml: this is no mapping of options to values"),
        (b"3: 4\n", "c.yaml: this is no mapping of options to values"),
        (b"hidden: \xff\n", "c.yaml: the text is not UTF-8"),
        (b"hidden: \x00\n", "c.yaml: can't be read as YAML"),
    ],
)
def test_a_faulty_configuration_file(quire: Callable[..., Answer], points: Path, text: bytes, message: str) -> None:
    Path("c.yaml").write_bytes(text)
    answer = quire("train", "toy", "--data", points, "--config", "c.yaml")
    assert answer.code == 2
    assert message in only_line(answer.err)
    assert not Path("runs").exists()


# --- train and resume -------------------------------------------------------------------------------------------------


def interrupt_training(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Let Ctrl-C be pressed while training step number `after` is computed."""
    model = registry.get("toy", "model")
    step, steps = model.step, []

    def stepping(self: object, batch: object) -> object:
        steps.append(batch)
        if len(steps) == after:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch)

    monkeypatch.setattr(model, "step", stepping)


def test_train_says_what_it_does(quire: Callable[..., Answer], points: Path) -> None:
    answer = quire("train", "toy", "--data", points, "--name", "first", QUICK)
    assert answer.code == 0
    assert re.fullmatch(r"runs/first  \(done, \d+ samples/s\)\n", answer.out)
    assert answer.err.splitlines()[0] == "training toy on points: 24 samples, run runs/first"
    assert answer.err.splitlines()[-1].startswith("train: 2/2 epochs  loss ")
    assert sorted(path.name for path in Path("runs/first").iterdir() if path.name != "run.lock") == [
        "metrics.jsonl",
        "model",
        "run.json",
    ]
    assert Path("runs/latest").resolve() == Path("runs/first").resolve()


def test_a_name_is_used_once(quire: Callable[..., Answer], points: Path) -> None:
    line = ("train", "toy", "--data", points, "--name", "x", QUICK)
    assert quire(*line).code == 0
    before = Path("runs/x/run.json").read_bytes()
    answer = quire(*line)
    assert answer.code == 2
    assert only_line(answer.err) == (
        "error: runs/x: there is a run of this name already."
        " Choose another name, or continue it with: quire train --resume runs/x"
    )
    assert Path("runs/x/run.json").read_bytes() == before


def test_what_the_model_refuses_before_it_trains_leaves_no_run(
    quire: Callable[..., Answer], points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise DataError("the points are too few")

    line = ("train", "toy", "--data", points, QUICK, "--name")
    assert quire(*line, "first").code == 0
    with monkeypatch.context() as patched:
        patched.setattr(registry.get("toy", "model"), "study", refuse)
        answer = quire(*line, "second")
        assert answer.code == 2
        assert answer.err.splitlines()[-1] == "error: the points are too few"
        assert quire(*line, "only", "--runs", "others").code == 2
    assert sorted(path.name for path in Path("runs").iterdir()) == ["first", "latest"]
    assert Path("runs/latest").resolve() == Path("runs/first").resolve()
    assert list(Path("others").iterdir()) == []
    assert quire(*line, "second").code == 0


def test_ctrl_c_and_resume_end_where_an_undisturbed_training_ends(
    quire: Callable[..., Answer], points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("train", "toy", "--data", points, "--validation", "0.25", "--seed", 5, "n_epochs=4", "--device", "cpu")
    assert quire(*line, "--name", "whole").code == 0
    with monkeypatch.context() as pressed:
        interrupt_training(pressed, after=5)
        answer = quire(*line, "--name", "cut")
    assert answer.code == 130
    assert answer.out == ""
    assert answer.err.splitlines()[-1] == "interrupted; continue with: quire train --resume runs/cut"
    assert "Traceback" not in answer.err
    assert Run.open(Path("runs/cut")).info.state == "interrupted"
    answer = quire("evaluate", "runs/cut")
    assert answer.code == 2
    assert "the run is interrupted and has no model yet. Continue it with: quire train --resume" in answer.err

    assert quire("train", "--resume", "runs/cut").code == 0
    weights = Path("model/model.safetensors")
    assert (Path("runs/cut") / weights).read_bytes() == (Path("runs/whole") / weights).read_bytes()
    assert not Path("runs/cut/checkpoint").exists()

    before = Path("runs/cut/run.json").read_bytes()
    answer = quire("train", "--resume", "runs/cut", "--json")
    assert answer.code == 0
    assert answer.json("train")["state"] == "done"
    assert answer.err == "runs/cut is finished already\n"
    assert Path("runs/cut/run.json").read_bytes() == before


def test_resume_refuses_data_that_changed(
    quire: Callable[..., Answer], own_points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as pressed:
        interrupt_training(pressed, after=1)
        assert quire("train", "toy", "--data", own_points, "--name", "x", QUICK).code == 130
    append(own_points / "points_train.csv", "more,1,2,3,low")
    answer = quire("train", "--resume", "runs/x")
    assert answer.code == 2
    assert "the training data changed since the run began. Put the data back" in only_line(answer.err)
    assert Run.open(Path("runs/x")).info.state == "interrupted"


def test_two_trainings_of_one_run(quire: Callable[..., Answer], points: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as pressed:
        interrupt_training(pressed, after=1)
        assert quire("train", "toy", "--data", points, "--name", "x", QUICK).code == 130
    before = Path("runs/x/run.json").read_bytes()
    with Run.open(Path("runs/x")).writing():
        answer = quire("train", "--resume", "runs/x")
    assert answer.code == 2
    assert str(os.getpid()) in only_line(answer.err)
    assert Path("runs/x/run.json").read_bytes() == before


def test_a_training_that_fails_has_exit_code_1(quire: Callable[..., Answer], points: Path) -> None:
    answer = quire("train", "toy", "--data", points, "--name", "x", "learning_rate=1e38", "n_epochs=20")
    assert answer.code == 1
    assert answer.err.splitlines()[-1].startswith("error: ")
    assert "loss is nan" in answer.err
    info = Run.open(Path("runs/x")).info
    assert info.state == "failed"
    assert "loss is nan" in info.reason


def test_a_full_disk_is_told_and_resume_ends_the_training(
    quire: Callable[..., Answer], points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object, folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "model.safetensors"))

    with monkeypatch.context() as patched:
        patched.setattr(registry.get("toy", "model"), "save", full)
        answer = quire("train", "toy", "--data", points, "--name", "x", QUICK)
    assert answer.code == 2
    assert answer.err.splitlines()[-1].startswith(
        "error: runs/x/model/model.safetensors: no space left on device. Make room on the disk"
    )
    assert Run.open(Path("runs/x")).info.state == "failed"
    assert quire("train", "--resume", "runs/x").code == 0
    assert quire("evaluate", "runs/x").code == 0


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_can_not_be_written_to(
    quire: Callable[..., Answer], points: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    answer = quire("train", "toy", "--data", points, "--name", "x", QUICK)
    assert answer.code == 2
    assert only_line(answer.err).startswith(f"error: runs/x: {os.strerror(number).lower()}. Choose a place that")


# --- evaluate ---------------------------------------------------------------------------------------------------------


def test_evaluate_writes_the_report_into_the_run(quire: Callable[..., Answer], copied: Path) -> None:
    answer = quire("evaluate", copied)
    assert answer.code == 0
    assert re.search(r"^accuracy +[01]\.\d{4}  95 % interval ", answer.out, flags=re.MULTILINE)
    assert answer.out.splitlines()[-2:] == ["12 samples used, 0 left out", f"{copied / 'report.html'}"]
    stored = json.loads((copied / "report.json").read_text())
    assert Run.open(copied).info.results["accuracy"] == stored["metrics"]["accuracy"]["value"]
    assert quire("evaluate", copied, "--json").json("evaluate")["classification"]["metrics"] == stored["metrics"]


def test_other_data_does_not_replace_the_runs_own_report(
    quire: Callable[..., Answer], copied: Path, own_points: Path
) -> None:
    assert quire("evaluate", copied).code == 0
    report, results = (copied / "report.json").read_bytes(), Run.open(copied).info.results
    for options, name in ((["--data", own_points], "own-test"), (["--split", "train"], "points-train")):
        answer = quire("evaluate", copied, *options)
        assert answer.code == 0
        assert answer.out.splitlines()[-1] == str(copied / "reports" / name / "report.html")
        assert (copied / "reports" / name / "report.json").is_file()
    assert (copied / "report.json").read_bytes() == report
    assert Run.open(copied).info.results == results


def test_classes_that_the_training_did_not_see(quire: Callable[..., Answer], copied: Path, own_points: Path) -> None:
    append(own_points / "points_test.csv", "new,1,2,3,elsewhere")
    answer = quire("evaluate", copied, "--data", own_points)
    assert answer.code == 2
    assert "classes that the model was not trained on: elsewhere" in only_line(answer.err)
    assert not (copied / "report.json").exists()
    answer = quire("evaluate", copied, "--data", own_points, "--option", "allow_unseen=true")
    assert answer.code == 0
    assert "13 samples used, 0 left out" in answer.out


def test_predictions_are_kept_and_scored_again(quire: Callable[..., Answer], copied: Path) -> None:
    first = quire("evaluate", copied, "--predictions", "p.safetensors")
    assert Path("p.safetensors").is_file()
    assert quire("evaluate", copied, "--predictions", "p.safetensors").out == first.out
    answer = quire("evaluate", copied, "--predictions", "p.safetensors", "--split", "train")
    assert answer.code == 2
    assert "p.safetensors: holds predictions for 12 samples, but there are 24" in only_line(answer.err)


# --- predict ----------------------------------------------------------------------------------------------------------


def test_predict_prints_or_writes_a_row_for_each_sample(
    quire: Callable[..., Answer], trained: Path, points: Path
) -> None:
    file = points / "points_test.csv"
    answer = quire("predict", trained, file, "--json")
    assert answer.code == 0
    found = answer.json("predict")
    assert found["left_out"] == []
    rows = found["predictions"]
    assert [row["id"] for row in rows] == [f"test-{number}" for number in range(12)]
    for row in rows:
        probabilities = {label: row[f"p({label})"] for label in ("high", "low", "middle")}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert row["prediction"] == max(probabilities, key=lambda label: probabilities[label])

    lines = quire("predict", trained, file).out.splitlines()
    assert lines[0].split() == ["id", "prediction", "p(high)", "p(low)", "p(middle)"]
    assert [line.split()[:2] for line in lines[1:]] == [[row["id"], row["prediction"]] for row in rows]

    answer = quire("predict", trained, file, "-o", "new/p.csv")
    assert answer.out == "12 predictions in new/p.csv\n"
    with Path("new/p.csv").open() as table:
        assert [row["prediction"] for row in csv.DictReader(table)] == [row["prediction"] for row in rows]
    assert quire("predict", trained, file, "-o", "p.jsonl").code == 0
    assert [json.loads(line) for line in Path("p.jsonl").read_text().splitlines()] == rows
    assert quire("predict", trained, file, "-o", "folder").code == 0
    assert Path("folder/test-0.txt").read_text().strip() == rows[0]["prediction"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,x,y,z,class\na,1,2,nan,\n", "in.csv, sample a, field vector: "),
        ("id,x,y,z,class\na,1,2,inf,\n", "in.csv, sample a, field vector: "),
        ("id,x,y,z,class\na,1,2,x,\n", "in.csv, line 2: a coordinate is not a number"),
        ("id,x,y,z,class\na,1,2\n", "in.csv, line 2: a coordinate is not a number"),
        ("id,x,y\na,1,2\n", "in.csv, line 1: the columns are not id, x, y, z and class"),
        ("", "in.csv"),
    ],
)
def test_a_file_that_can_not_be_predicted_for(
    quire: Callable[..., Answer], trained: Path, points: Path, content: str, message: str
) -> None:
    Path("in.csv").write_text(content)
    answer = quire("predict", trained, points / "points_test.csv", "in.csv", "-o", "p.csv")
    assert answer.code == 2
    assert message in only_line(answer.err)
    assert not Path("p.csv").exists()
    answer = quire("predict", trained, points / "points_test.csv", "in.csv", "-o", "p.csv", "--on-error", "skip")
    assert answer.code == 1
    assert only_line(answer.err).startswith("left out: ")
    assert answer.out == "12 predictions in p.csv\n"


def test_more_values_than_the_model_was_trained_on(quire: Callable[..., Answer], points: Path) -> None:
    line = ("train", "toy", "--data", points, "--data-option", "dimensions=2", "--name", "flat", QUICK)
    assert quire(*line).code == 0
    answer = quire("predict", "runs/flat", points / "points_test.csv")
    assert answer.code == 2
    assert "3 values, but the model was trained on 2" in only_line(answer.err)
    answer = quire("predict", "runs/flat", points / "points_test.csv", "--on-error", "skip", "--json")
    assert answer.code == 1
    found = answer.json("predict")
    assert found["predictions"] == []
    assert len(found["left_out"]) == 12


def test_a_good_row_is_predicted_beside_a_bad_one(quire: Callable[..., Answer], trained: Path) -> None:
    Path("v.jsonl").write_text('{"vector": [1, 2, 3]}\n{"vector": [1, "x", 3]}\nno json\n{"vector": [0, 0, 0]}\n')
    answer = quire("predict", trained, "v.jsonl", "--on-error", "skip", "--json")
    assert answer.code == 1
    found = answer.json("predict")
    assert len(found["predictions"]) == len(found["left_out"]) == 2
    assert [line.partition(":")[0] for line in found["left_out"]] == [
        "v.jsonl, line 2, field vector",
        "v.jsonl, line 3, column 1",
    ]


# --- the other verbs --------------------------------------------------------------------------------------------------


def test_json_of_the_light_verbs(quire: Callable[..., Answer], trained: Path) -> None:
    names = [entry["name"] for entry in quire("list", "--json").json("list")]
    assert names == [entry.name for entry in registry.descriptions()]
    assert quire("list", "model", "--json").json("list")[0]["kind"] == "model"
    for name in ("toy", "toy-points", "table", "classification", "vector-classification"):
        assert quire("show", name, "--json").json("show")["name"] == name
    assert set(quire("show", "toy", "--json").json("show")["options"]["properties"]) >= {"hidden", "n_epochs"}
    made = quire("sample", "toy", "new", "--json").json("sample")
    assert made == {"dataset": "toy-points", "path": "new", "splits": ["train", "test"]}
    (run,) = quire("runs", trained.parent, "--json").json("runs")
    assert (Path(run["path"]), run["state"]) == (trained, "done")
    assert quire("runs", "nowhere", "--json").json("runs") == []


def test_every_verb_has_its_schema() -> None:
    assert set(SCHEMAS) >= set(VERBS) - {"study"}
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_list_and_show_have_a_line_for_everything(quire: Callable[..., Answer]) -> None:
    lines = quire("list").out.splitlines()
    assert {"models", "datasets", "evaluators", "tasks"} <= {line for line in lines if not line.startswith(" ")}
    (line,) = [line for line in lines if line.startswith("  toy ")]
    assert line.endswith("  quire-toy 0.1.0  A small classifier of points, for tests of quire-core")
    assert quire("list", "weights").out == "Nothing of the kind weights is installed.\n"
    lines = quire("show", "toy").out.splitlines()
    assert lines[0] == "toy  (model, quire-toy 0.1.0)"
    assert "task: vector-classification (vector: Vector -> target: Label)" in lines
    assert [line.split()[0] for line in lines[lines.index("") + 2 :]] == [
        "hidden",
        "dropout",
        "noise",
        "learning_rate",
        "n_epochs",
        "batch_size",
    ]


def test_runs_are_one_line_each(quire: Callable[..., Answer], copied: Path) -> None:
    assert quire("runs", "nowhere").out == "There are no runs in nowhere.\n"
    Run.open(copied).update(results={"accuracy": 0.98765, "nll": None, "f1_macro": 0.5, "brier": 0.25})
    header, line = quire("runs", copied.parent).out.splitlines()
    assert header.split() == ["run", "model", "data", "state", "created", "results"]
    pattern = r"base +toy +points +done +\d{4}-\d\d-\d\d \d\d:\d\d  accuracy 0\.9877, f1_macro 0\.5"
    assert re.fullmatch(pattern, line)


def test_the_same_seed_samples_the_same_files(quire: Callable[..., Answer]) -> None:
    assert quire("sample", "toy-points", "a", "--seed", 3).out == "a  (toy-points; splits: train, test)\n"
    assert quire("sample", "toy", "b", "--seed", 3).code == 0
    assert quire("sample", "toy", "c", "--seed", 4).code == 0
    a, b, c = (Path(folder, "points_train.csv").read_bytes() for folder in "abc")
    assert a == b != c


def test_doctor(quire: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    found = quire("doctor", "--json").json("doctor")
    assert found["machine"]["torch"]
    assert "test" not in found["extras"]
    problem = registry.Problem("toy", "model", ("quire-toy",), "the model 'toy' of quire-toy can't be imported")
    monkeypatch.setattr(registry, "problems", lambda: [problem])
    answer = quire("doctor")
    assert answer.code == 1
    assert "problem: the model 'toy' of quire-toy can't be imported" in answer.out.splitlines()
    assert quire("doctor", "--json").json("doctor")["problems"] == [problem.message]


def test_demo(quire: Callable[..., Answer]) -> None:
    answer = quire("demo", "toy", "--json")
    assert answer.code == 0
    found = answer.json("demo")["toy"]
    assert all(Path(found[part]).exists() for part in ("data", "run", "report", "predictions"))
    shown = [line.split()[2] for line in answer.err.splitlines() if line.startswith("$ quire ")]
    assert shown == ["sample", "train", "evaluate", "predict"]
    assert quire("demo", "toy").code == 0
    assert sorted(path.name for path in Path("demo").iterdir()) == ["toy", "toy-2"]


EXCHANGE = '''

class Toy(_Toy, Exporter, CheckpointImporter):
    """Toy, to and from the files of others."""

    def export(self, path, *, format, example):
        path.write_text(f"{format} {len(example)}")
        return path

    @classmethod
    def import_checkpoint(cls, path, **options):
        from quire.dataset import InMemory
        from quire.storage import read_checkpoint

        read_checkpoint(path)
        samples = [{"vector": [0.0, 1.0], "target": label} for label in "ab"]
        return cls(ToyConfig(n_epochs=1, **options)).fit(InMemory(samples, task=VECTOR_CLASSIFICATION))
'''


def test_export_and_import(
    quire: Callable[..., Answer], installed_variant: Callable[[Callable[[Path], None]], str], points: Path
) -> None:
    def edit(project: Path) -> None:
        file = project / "src/quire_variant/model.py"
        text = file.read_text().replace("class Toy(NeuralModel", "class _Toy(NeuralModel")
        text = text.replace("import Classifier, Demo", "import CheckpointImporter, Classifier, Demo, Exporter")
        file.write_text(text + EXCHANGE)

    name = installed_variant(edit)
    assert quire("train", name, "--data", points, "--name", "x", QUICK).code == 0
    answer = quire("export", "runs/x", "net.onnx", "--samples", 3, "--json")
    assert answer.json("export")["file"] == "net.onnx"
    assert Path("net.onnx").read_text() == "onnx 3"
    answer = quire("export", "runs/x", "net.pt", "--format", "torchscript")
    assert answer.code == 2
    assert "can't be exported as 'torchscript'. It offers: onnx" in only_line(answer.err)

    Path("weights.pth").write_text("no checkpoint")
    answer = quire("import", name, "weights.pth", "--runs", "imported")
    assert answer.code == 2
    assert "weights.pth" in only_line(answer.err)
    assert not Path("imported").exists()
    import torch

    torch.save({"weight": torch.zeros(2)}, "weights.pth")
    answer = quire("import", name, "weights.pth", "hidden=3", "--runs", "imported", "--json")
    assert answer.code == 0
    run = answer.json("import")["run"]
    assert answer.json("import")["config"]["hidden"] == 3
    answer = quire("evaluate", run)
    assert answer.code == 2
    assert "this run does not say how its data is read" in only_line(answer.err)
    Path("v.csv").write_text('vector\n"[0, 1]"\n')
    assert quire("predict", run, "v.csv").code == 0


# --- warnings ---------------------------------------------------------------------------------------------------------


def test_a_warning_is_one_line(quire: Callable[..., Answer], points: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = registry.get("toy", "model")
    collate = model.collate

    def warning(self: object, *arguments: object) -> object:
        warnings.warn("the points\n  are few", UserWarning, stacklevel=1)
        return collate(self, *arguments)

    monkeypatch.setattr(model, "collate", warning)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        answer = quire("train", "toy", "--data", points, QUICK)
    assert answer.code == 0
    assert answer.err.splitlines().count("warning: the points are few") == 1
    assert "UserWarning" not in answer.err


HOOK = '''
"""An observer that fails."""

from quire.hooks import hookimpl


@hookimpl
def quire_epoch_finished(epoch):
    raise KeyError("disk")
'''


def test_a_hook_that_fails_is_one_line(
    quire: Callable[..., Answer], installed_variant: Callable[[Callable[[Path], None]], str], points: Path
) -> None:
    def edit(project: Path) -> None:
        (project / "src/quire_variant/hooks.py").write_text(HOOK)
        append(project / "pyproject.toml", '[project.entry-points."quire.hooks"]\nfailing = "quire_variant.hooks"')

    installed_variant(edit)
    answer = quire("train", "toy", "--data", points, QUICK)
    assert answer.code == 0
    (line,) = [line for line in answer.err.splitlines() if "failing" in line]
    assert line.startswith("warning: ")
    assert "KeyError" in line
    assert "Traceback" not in answer.err


# --- commands of plugins ----------------------------------------------------------------------------------------------

COMMANDS = '''
"""A command of its own."""

import typer

from quire.errors import DataError

app = typer.Typer()


@app.command()
def add(numbers: list[int], times: int = typer.Option(1, min=1)) -> int:
    """Add numbers."""
    print(sum(numbers) * times)
    return 3


@app.command()
def fail(code: int = 1) -> None:
    """End as a user's mistake (2) or with another code."""
    if code == 2:
        raise DataError("nothing is right")
    raise typer.Exit(code)


single = typer.Typer()


@single.command()
def only(loud: bool = False) -> None:
    """Say something."""
    print("HERE" if loud else "here")


nothing = 3
'''


@pytest.fixture
def with_commands(installed_variant: Callable[[Callable[[Path], None]], str]) -> None:
    def edit(project: Path) -> None:
        (project / "src/quire_variant/commands.py").write_text(COMMANDS)
        lines = (
            f'{name} = "quire_variant.commands:{target}"'
            for name, target in (("sums", "app"), ("speak", "single"), ("nil", "nothing"), ("gone", "absent"))
        )
        append(project / "pyproject.toml", '[project.entry-points."quire.commands"]\n' + "\n".join(lines))

    installed_variant(edit)


@pytest.mark.usefixtures("with_commands")
def test_a_plugins_command_is_imported_when_it_is_called(quire: Callable[..., Answer]) -> None:
    help_text = quire("--help").out
    assert all(re.search(rf"\b{name}\b", help_text) for name in ("sums", "speak", "nil", "gone"))
    assert quire("list", "command").out.splitlines()[0] == "commands"
    assert quire("sum").err.startswith("error: there is no command 'sum' (did you mean 'sums'?)")
    assert not [name for name in sys.modules if name.startswith("quire_variant")]

    answer = quire("sums", "add", "1", "2", "--times", "2")
    assert (answer.code, answer.out, answer.err) == (0, "6\n", "")
    assert quire("speak", "--loud").out == "HERE\n"
    assert "quire sums add" in quire("sums", "add", "--help").out
    assert "completion" not in quire("sums", "--help").out


@pytest.mark.usefixtures("with_commands")
@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("sums fail", 1, None),
        ("sums fail --code 7", 7, None),
        ("sums fail --code 2", 2, "error: nothing is right"),
        ("sums", 2, "error: missing command. `quire sums --help`"),
        ("sums add", 2, "error: missing argument 'numbers"),
        ("sums add x", 2, "error: invalid value for 'numbers"),
        ("sums subtract", 2, "error: no such command 'subtract'"),
        ("nil", 2, "error: the command 'nil' of quire-variant is a int, not a typer.Typer"),
        ("gone", 2, "error: the command 'gone' of quire-variant 0.1.0 can't be imported"),
    ],
)
def test_a_plugins_command_ends_as_a_verb_does(
    quire: Callable[..., Answer], line: str, code: int, message: str | None
) -> None:
    answer = quire(*line.split())
    assert answer.code == code
    assert answer.out == ""
    assert answer.err == "" if message is None else only_line(answer.err).lower().startswith(message.lower())


# --- what a start costs -----------------------------------------------------------------------------------------------


def imported_by(arguments: list[str], tmp_path: Path, **environment: str) -> tuple[set[str], str]:
    """The top-level modules that a command line imports in a process of its own, and what it prints."""
    code = (
        "import json, sys\nfrom quire.cli import main\ntry:\n    main()\n"
        "finally:\n    print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([SOURCE, os.environ["PYTHONPATH"]]), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}, done.stdout


@pytest.mark.parametrize("line", ["list", "--help", "sample toy-points new", "sample table new", "runs"])
def test_light_verbs_do_without_torch(toy_plugin: Path, tmp_path: Path, line: str) -> None:
    imported, out = imported_by(line.split(), tmp_path)
    assert out
    assert "quire" in imported
    assert "torch" not in imported


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("quire tr", {"train"}),
        ("quire train t", {"toy"}),
        ("quire train toy --dataset t", {"table", "toy-points"}),
        ("quire evaluate x --evaluator cl", {"classification"}),
        ("quire show toy", {"toy", "toy-points"}),
        ("quire list da", {"dataset"}),
        ("quire train toy --precision f", {"fp16", "fp32"}),
        ("quire sample to", {"toy", "toy-points"}),
    ],
)
def test_completion_reads_the_registry_alone(toy_plugin: Path, tmp_path: Path, line: str, offered: set[str]) -> None:
    words = line.split()
    imported, out = imported_by(
        [],
        tmp_path,
        _QUIRE_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
    )
    assert offered <= set(out.split())
    assert not {name for name in set(out.split()) if not name.startswith(words[-1])}
    assert not {"torch", "numpy", "quire_toy"} & imported
