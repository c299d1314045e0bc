"""tsc as a user types it: from sample to predictions, and one line for every fault of a user's files."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from quire.cli.progress import ProgressBar
from quire.conformance.command_line import Answer, run_command
from quire.hooks import hookimpl
from quire.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable

FCN = ("architecture=fcn", "n_epochs=2")


@pytest.fixture
def quire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """A function that runs a command line in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return run_command


def series(cases: int = 8, length: int = 24, *, labels: tuple[str, ...] = ("1", "2"), seed: int = 0) -> list[list[str]]:
    """Rows as the archive's text files hold them: a label, and a noisy ramp whose slope is that of its class."""
    rng = np.random.default_rng(seed)
    rows = []
    for case in range(cases):
        slope = case % len(labels)
        values = (2 * slope - 1) * np.linspace(-1, 1, length) + 0.2 * rng.normal(size=length)
        rows.append([labels[slope], *(f"{value:.4f}" for value in values)])
    return rows


def tsv(rows: list[list[str]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


def ts(channels: int, *, seed: int, length: int = 24) -> str:
    """A .ts file of eight cases, all channels alike."""
    header = f"@problemName x\n@univariate {str(channels == 1).lower()}\n@classLabel true 1 2\n@data\n"
    rows = (":".join([",".join(row[1:])] * channels + row[:1]) for row in series(length=length, seed=seed))
    return header + "".join(f"{row}\n" for row in rows)


def write(files: dict[str, str]) -> Path:
    folder = Path("Own")
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def own(quire: Callable[..., Answer]) -> Path:
    """A data set of the user's."""
    return write({"Own_TRAIN.tsv": tsv(series()), "Own_TEST.tsv": tsv(series(seed=1))})


def test_from_sample_to_predictions(quire: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    assert quire("sample", "tsc", "data").out == "data/CBF  (time-series; splits: train, test)\n"
    test = Path("data/CBF/CBF_TEST.tsv")
    test.write_text("".join(test.read_text().splitlines(keepends=True)[:12]))

    answer = quire("train", "tsc", "--data", "data/CBF", "--name", "cbf", "architecture=fcn", "n_epochs=8")
    assert answer.code == 0
    assert answer.out.startswith("runs/cbf  (done, ")

    answer = quire("evaluate", "runs/cbf", "--explain", 1, "--json")
    assert answer.code == 0
    report = json.loads(answer.out)["classification"]
    assert report["n_used"] == 12
    assert report["metrics"]["accuracy"]["value"] > 0.5  # chance is a third
    assert [figure["title"] for figure in report["figures"] if "Explanation" in figure["title"]]
    assert Path("runs/cbf/report.html").is_file()

    answer = quire("predict", "runs/cbf", test, "--output", "predictions.csv", "--explain", "why")
    assert answer.out == "12 predictions in predictions.csv\n"
    with Path("predictions.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0]) == ["id", "prediction", "p(1)", "p(2)", "p(3)"]
    labels = [line.split("\t")[0] for line in test.read_text().splitlines()]
    accuracy = np.mean([row["prediction"] == label for row, label in zip(rows, labels, strict=True)])
    assert accuracy == pytest.approx(report["metrics"]["accuracy"]["value"])
    assert len(list(Path("why").glob("*.png"))) == 12

    for missing in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, missing, None)
    answer = quire("export", "runs/cbf", "cbf.onnx")
    assert answer.error.endswith("Install it with: pip install 'quire-core[onnx]'")
    assert not Path("cbf.onnx").exists()


def test_a_training_that_was_interrupted_goes_on(
    quire: Callable[..., Answer], own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = (
        "train",
        "tsc",
        "--data",
        own,
        "--device",
        "cpu",
        "architecture=fcn",
        "n_epochs=3",
        "batch_size=2",
        "--name",
    )
    assert quire(*line, "whole").code == 0

    @hookimpl
    def press_ctrl_c(self: ProgressBar, step: int) -> None:
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as pressed:
        pressed.setattr(ProgressBar, "quire_step_finished", press_ctrl_c)
        answer = quire(*line, "cut")
    assert answer.code == 130
    assert answer.err.splitlines()[-1] == "interrupted; continue with: quire train --resume runs/cut"
    assert quire("train", "--resume", "runs/cut").code == 0
    whole, cut = (Path("runs", name, "model/model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert cut == whole


HEAD = "@problemName x\n@univariate true\n@classLabel true 1 2\n@data\n"
GOOD = tsv(series())
BAD_TRAINING_FILES = [
    ("empty", {"Own_TRAIN.tsv": ""}, "Own/Own_TRAIN.tsv: the file is empty"),
    ("no file", {"readme.md": ""}, "Own: no reader recognises this layout"),
    ("one class", {"Own_TRAIN.tsv": tsv(series(labels=("1",)))}, "all 8 series are of the class '1'"),
    (
        "infinite",
        {"Own_TRAIN.tsv": GOOD + "1\tinf" + "\t1" * 23},
        "line 9: the value at time step 1 of channel 1 is infinite",
    ),
    ("too large", {"Own_TRAIN.tsv": GOOD + "1\t1e39" + "\t1" * 23}, "line 9"),
    ("all missing", {"Own_TRAIN.tsv": GOOD + "1" + "\tNaN" * 24}, "line 9: channel 1 has no value but NaN"),
    ("no label", {"Own_TRAIN.tsv": GOOD + "NaN" + "\t1" * 24}, "line 9, column 1: the class label is missing"),
    ("ragged", {"Own_TRAIN.tsv": GOOD + "1\t2\n"}, "line 9: the row has 2 columns but the first row has 25"),
    ("no number", {"Own_TRAIN.tsv": GOOD + "1\tx" + "\t1" * 23}, "line 9, column 2: 'x' is not a number"),
    ("decimal comma", {"Own_TRAIN.tsv": GOOD + "1\t0,5" + "\t1" * 23}, "line 9, column 2: '0,5' is written with a"),
    (
        "header",
        {"Own_TRAIN.tsv": "\t".join(["x", *(f"t{i}" for i in range(24))]) + "\n" + GOOD},
        "Own_TRAIN.tsv, line 1: ",
    ),
    ("label last", {"Own_TRAIN.tsv": tsv([row[1:] + row[:1] for row in series()])}, "label_column=-1"),
    ("mixed labels", {"Own_TRAIN.tsv": GOOD + "cat" + "\t1" * 24}, "line 9: the labels before are numbers"),
    (
        "dimensions",
        {"Own_TRAIN.ts": HEAD.replace("true\n@c", "false\n@dimensions 3\n@c") + "1:2:1\n"},
        "line 6, sample 1: the header says @dimensions 3",
    ),
    (
        "lengths",
        {"Own_TRAIN.ts": "@equalLength true\n" + HEAD + "1,2:1\n1:2\n"},
        "line 7, sample 2: @equalLength is true",
    ),
    ("class", {"Own_TRAIN.ts": HEAD + "1,2:1\n1,2:7\n"}, "line 6, sample 2: the label '7' is not among the classes"),
    ("no @data", {"Own_TRAIN.ts": HEAD.replace("@data\n", "")}, "there is no @data"),
    (
        "nominal",
        {"Own_TRAIN.arff": "@relation x\n@attribute a numeric\n@attribute c {u,v}\n@data\n1,w\n"},
        "line 5, sample 1: the label 'w' is not among the classes",
    ),
    ("time stamps", {"Own_TRAIN.ts": "@timeStamps true\n" + HEAD + "(1,2),(1,3):1\n"}, "line 6, column 2"),
    ("no text", {"Own_TRAIN.tsv": "1\t2\0\t3"}, "is not a text file"),
]


@pytest.mark.parametrize(
    ("files", "message"), [case[1:] for case in BAD_TRAINING_FILES], ids=[case[0] for case in BAD_TRAINING_FILES]
)
def test_a_training_file_that_is_wrong(quire: Callable[..., Answer], files: dict[str, str], message: str) -> None:
    answer = quire("train", "tsc", "--data", write(files), *FCN)
    assert message in answer.error
    assert answer.error.startswith("error: ")
    assert len(answer.err.splitlines()) == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (series(length=6), ("architecture=time_cnn",), "at least 9 time steps, and gets 6"),
        (series(length=6), ("architecture=tlenet",), "at least 8 time steps, and gets 6"),
        ([*series()[:6], ["3", *series()[0][1:]]], ("select=val_loss",), "class '3' has one case"),
        ([[row[0], "NaN", *row[2:]] for row in series()], ("missing=error",), "time step 1 of channel 1 is missing"),
    ],
)
def test_series_that_the_network_refuses(
    quire: Callable[..., Answer], rows: list[list[str]], options: tuple[str, ...], message: str
) -> None:
    answer = quire("train", "tsc", "--data", write({"Own_TRAIN.tsv": tsv(rows)}), "n_epochs=1", *options)
    assert message in answer.error
    assert list(Path("runs").iterdir()) == []


def test_odd_but_usable_files(quire: Callable[..., Answer]) -> None:
    rows = [["1.0", *["3"] * 24], *([f"{row[0]}.0", *row[1:]] for row in series(4))]
    answer = quire("train", "tsc", "--data", write({"Own_TRAIN.tsv": tsv(rows)}), *FCN, "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["data"]["labels"] == ["1", "2"]


def test_training_files_without_test_files(quire: Callable[..., Answer]) -> None:
    own = write({"Own_TRAIN.tsv": GOOD})
    assert quire("train", "tsc", "--data", own, "--name", "x", *FCN).code == 0
    assert "Own: there is no split 'test'. Its splits are: train." in quire("evaluate", "runs/x").error


def test_test_files_that_do_not_go_with_the_training_files(quire: Callable[..., Answer]) -> None:
    own = write({"Own_TRAIN.ts": ts(2, seed=0), "Own_TEST.ts": ts(3, seed=1)})
    assert quire("train", "tsc", "--data", own, "--name", "x", *FCN).code == 0
    assert "3 channels" in quire("evaluate", "runs/x").error
    assert not Path("runs/x/report.json").exists()
    (own / "Own_TEST.ts").write_text(ts(2, seed=1).replace(":2\n", ":3\n").replace("true 1 2", "true 1 3"))
    assert "classes that the model was not trained on: 3" in quire("evaluate", "runs/x").error
    answer = quire("evaluate", "runs/x", "--option", "allow_unseen=true")
    assert answer.code == 0
    assert "8 samples used, 0 left out" in answer.out


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("in.ts", ts(2, seed=1), "2 channels"),
        ("in_TEST.tsv", "1\t2\n1\t2\t3\n", "in_TEST.tsv, line 2"),
        ("in_TEST.tsv", "1\tx\t3\n", "in_TEST.tsv, line 1, column 2: 'x' is not a number"),
        ("in_TEST.tsv", "1\tNaN\tNaN\n", "in_TEST.tsv, line 1: channel 1 has no value but NaN"),
        ("in_TEST.tsv", "", "in_TEST.tsv: the file is empty"),
        ("in.npy", "no array", "in.npy"),
        ("in.docx", "text", "in.docx"),
    ],
)
def test_a_file_that_can_not_be_predicted_for(
    quire: Callable[..., Answer], own: Path, name: str, text: str, message: str
) -> None:
    assert (
        quire("train", "tsc", "--data", own, "--name", "x", "architecture=minirocket", "minirocket.features=84").code
        == 0
    )
    Path(name).write_text(text)
    answer = quire("predict", "runs/x", name, "--output", "p.csv")
    assert message in answer.error
    assert not Path("p.csv").exists()
    answer = quire("predict", "runs/x", own / "Own_TEST.tsv", name, "--output", "p.csv", "--on-error", "skip")
    assert answer.code == 1
    assert answer.out == "8 predictions in p.csv\n"
    assert all(line.startswith("left out: ") for line in answer.err.splitlines())


def test_series_of_another_length_are_predicted_with_a_warning(quire: Callable[..., Answer], own: Path) -> None:
    line = ("train", "tsc", "--data", own, "--name", "x", "architecture=mlp", "n_epochs=1")
    assert quire(*line).code == 0
    Path("long_TEST.tsv").write_text(tsv(series(2, length=30)))
    answer = quire("predict", "runs/x", "long_TEST.tsv")
    assert answer.code == 0
    (warning,) = answer.err.splitlines()
    assert warning.startswith("warning: ")


def test_a_run_whose_model_is_another_one_s(quire: Callable[..., Answer], own: Path) -> None:
    assert quire("train", "tsc", "--data", own, "--name", "x", *FCN).code == 0
    file = Path("runs/x/model/config.json")
    file.write_text(file.read_text().replace("quire_tsc.model:TSC", "quire_other.model:Other"))
    assert "the saved model is a quire_other.model:Other" in quire("predict", "runs/x", own / "Own_TEST.tsv").error
    assert Run.open(Path("runs/x")).info.state == "done"
