"""`quire faces`, from the command line."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quire.cli import run_command_line
from quire.runtime import Runtime
from quire_amsoftmax.align import TEMPLATE_112X96
from quire_amsoftmax.commands import parse_rates
from quire_amsoftmax.data.folder import FaceFolder
from quire_amsoftmax.data.listing import FaceList
from quire_amsoftmax.data.packed import FaceTar, VerificationBin
from quire_amsoftmax.data.recordio import RecordIODataset
from quire_amsoftmax.model import AMSoftmax
from quire_amsoftmax.protocols.megaface import write_feature

ROOT = Path(os.environ["QUIRE_DATA"]) / "amsoftmax" if "QUIRE_DATA" in os.environ else None
real = pytest.mark.skipif(ROOT is None, reason="QUIRE_DATA is not set")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FaceFolder.sample(tmp_path_factory.mktemp("data") / "faces")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A tiny model, trained for an epoch on the drawn people."""
    config = AMSoftmax.Config.parse({"preset": "toy", "epochs": 1}, owner="amsoftmax")
    model = AMSoftmax(config).fit(FaceFolder.open(images), runtime=Runtime(device="cpu", seed=0))
    return model.save(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    return AMSoftmax.load(trained).save(tmp_path / "model")


def run(*arguments: object) -> int:
    return run_command_line(["faces", *map(str, arguments)])


def test_from_a_folder_to_identities(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = images / "person-00" / "000.png", images / "person-01" / "000.png"
    assert run("verify", model, one, other) == 2
    assert "the model has no threshold. Make one with `quire faces calibrate`" in capsys.readouterr().err

    assert run("calibrate", model, "--images", images, "--far", "1e-2,1e-1") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("FAR 0.01: threshold ")
    assert "(122 of 12,160 impostor pairs)" in told[0]

    assert run("verify", model, one, one, "--far", "0.1") == 0
    assert "one person: score 1.0000" in capsys.readouterr().out
    assert run("verify", model, one, other, "--json") == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["same"] == (verdict["score"] >= verdict["threshold"]["value"])
    assert (verdict["threshold"]["far"], verdict["threshold"]["source"]) == (0.01, "faces")

    assert run("enroll", model, "--images", images, "--gallery", tmp_path / "gallery") == 0
    assert "160 images of 20 identities enrolled, 160 in" in capsys.readouterr().out
    assert run("identify", model, "--images", images / "person-07", "--gallery", tmp_path / "gallery", "--json") == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["identity"] for answer in answers] == ["person-07"] * 8
    assert run("identify", model, "--images", one, "--gallery", tmp_path / "gallery") == 0
    assert "person-00 1.000" in capsys.readouterr().out
    assert run("calibrate", model, "--images", images, "--far", "1e-5") == 2
    assert "can't resolve a false-accept rate of 1e-05" in capsys.readouterr().err


def test_embeddings_are_evaluated_without_the_model(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("embed", model, "--images", images, "--out", tmp_path / "emb") == 0
    assert "160 embeddings" in capsys.readouterr().out
    vectors = np.load(tmp_path / "emb" / "embeddings.npy", mmap_mode="r")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    rows = list(csv.DictReader((tmp_path / "emb" / "ids.csv").open()))
    assert list(rows[0]) == ["index", "path", "identity", "norm", "status"]
    assert (rows[0]["path"], rows[0]["identity"], rows[0]["status"]) == ("person-00/000.png", "person-00", "ok")
    embeddings = tmp_path / "emb" / "embeddings.npy"
    assert run("evaluate", "--embeddings", embeddings, "--out", tmp_path / "report", "--json") == 0
    stored = json.loads(capsys.readouterr().out)["metrics"]
    assert run("evaluate", "--model", model, "--images", images, "--json") == 0
    direct = json.loads(capsys.readouterr().out)["metrics"]
    assert stored["auc"]["value"] == pytest.approx(direct["auc"]["value"], abs=1e-6)
    assert stored["vr@far=1e-6"]["value"] is None
    roc = list(csv.DictReader((tmp_path / "report" / "roc.csv").open()))
    assert list(roc[0]) == ["far", "vr", "threshold", "k"]
    assert [float(row["far"]) for row in roc] == [int(row["k"]) / 12160 for row in roc]
    assert (tmp_path / "report" / "report.html").stat().st_size > 1000
    assert run("clean", model, "--images", images, "--out", tmp_path / "clean.csv", "--angle", "30") == 0
    assert (tmp_path / "clean.csv").read_text().startswith("path,identity,angle")


@real
def test_scores_of_another_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = ROOT / "verification_scores" / "face-recognition-pivot.csv"  # type: ignore[operator]
    arguments = ("--scores", file, "--column", "VGG-Face_cosine", "--same", "decision", "--distance")
    assert run("evaluate", *arguments, "--out", tmp_path) == 0
    told = capsys.readouterr().out
    assert "0.9905" in told
    assert "0.9750" in told
    assert run("evaluate", "--scores", file, "--column", "VGG-Face_cosine", "--same", "decision") == 0
    assert "perhaps these are distances" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate",), "there is nothing to evaluate"),
        (("evaluate", "--embeddings", "x.npy", "--protocol", "lwf"), "did you mean 'lfw'?"),
        (("evaluate", "--scores", "x.csv", "--variant", "best"), "--variant is 'best'"),
        (("evaluate", "--scores", "x.csv", "--far", "0"), "'0' is no rate above 0"),
        (("evaluate", "--scores", "x.csv", "--far", "often"), "'often' is no rate"),
        (("evaluate", "--scores", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


def test_megaface_from_feature_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 8))
    lists = {
        "p": ([f"{i // 3}/{i}.jpg" for i in range(15)], centres[np.arange(15) // 3] + 0.2 * rng.normal(size=(15, 8))),
        "d": ([f"{i}.jpg" for i in range(60)], rng.normal(size=(60, 8))),
    }
    for name, (paths, vectors) in lists.items():
        ids = [path.split("/")[0] for path in paths]
        (tmp_path / f"{name}.json").write_text(json.dumps({"path": paths, "id": ids}))
        for path, vector in zip(paths, vectors, strict=True):
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            write_feature(tmp_path / name / f"{path}.bin", vector.astype(np.float32))
    arguments = [
        f"--{option}={tmp_path / value}"
        for option, value in (
            ("probes", "p.json"),
            ("distractors", "d.json"),
            ("probe-features", "p"),
            ("distractor-features", "d"),
        )
    ]
    assert run("megaface", *arguments, "--sizes", "10,60", "--out", tmp_path / "out", "--json") == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["rank1@10"]["value"] >= metrics["rank1@60"]["value"] > 0.5
    assert metrics["vr@far=1e-6"]["value"] is None
    (tmp_path / "d" / "3.jpg.bin").unlink()
    assert run("megaface", *arguments) == 2
    assert "3.jpg.bin: there is no such feature file" in capsys.readouterr().err
    assert run("megaface", *arguments, "--missing", "skip", "--json") == 0
    assert json.loads(capsys.readouterr().out)["n_left_out"] == 1
    assert run("megaface", *arguments, "--sizes", "many") == 2
    assert "'many' is no number from 1" in capsys.readouterr().err


def test_rates() -> None:
    assert parse_rates("1e-4, 0.1") == [1e-4, 0.1]


def test_align_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in" / "ann").mkdir(parents=True)
    Image.fromarray(np.full((224, 192, 3), 90, np.uint8)).save(tmp_path / "in" / "ann" / "1.jpg")
    numbers = ",".join(str(x) for x in (2 * TEMPLATE_112X96).ravel())
    (tmp_path / "points.csv").write_text(f"ann/1.jpg,{numbers}\nann/2.jpg,{numbers}\n")
    arguments = ("--images", tmp_path / "in", "--landmarks", tmp_path / "points.csv", "--out", tmp_path / "out")
    assert run("align", *arguments, "--size", "112x96") == 2
    assert "ann/2.jpg: there is no such file" in capsys.readouterr().err
    assert run("align", *arguments, "--size", "112x96", "--on-error", "skip") == 0
    assert "1 images aligned, 1 left out" in capsys.readouterr().out
    with Image.open(tmp_path / "out" / "ann" / "1.png") as aligned:
        assert aligned.size == (96, 112)
        assert np.asarray(aligned)[56, 48].tolist() == [90, 90, 90]


def test_overlap_lists_what_to_exclude(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ours.txt").write_text("0001 William_H._Macy\n0002 Ann_Other\n0003 Zhang_Ziyi\n")
    (tmp_path / "theirs.txt").write_text("William_Macy\t3\nZiyi_Zhang\t1\nBob\t1\n")
    assert run("overlap", tmp_path / "ours.txt", tmp_path / "theirs.txt", "--out", tmp_path / "ids.txt") == 0
    assert "2 of 3 identities are shared, 0 more have similar names" in capsys.readouterr().out
    assert (tmp_path / "ids.txt").read_text() == "0001\n0003\n"


def test_check_lists_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = FaceFolder.sample(tmp_path / "faces")
    assert run("check", "--data", root) == 0
    assert "160 images of 20 identities" in capsys.readouterr().out
    (root / "person-03" / "001.png").write_bytes((root / "person-03" / "000.png").read_bytes()[:200])
    (root / "person-04" / "copy.png").write_bytes((root / "person-05" / "000.png").read_bytes())
    assert run("check", "--data", root, "--out", tmp_path / "skipped.csv") == 1
    told = capsys.readouterr().out
    assert "one image is there under several identities" in told
    assert "person-03/001.png" in (tmp_path / "skipped.csv").read_text()


@pytest.mark.parametrize("reader", [FaceList, FaceTar, RecordIODataset, VerificationBin])
def test_embed_takes_every_layout(
    reader: type, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = reader.sample(tmp_path / "release")  # type: ignore[attr-defined]
    assert run("embed", model, "--images", path, "--out", tmp_path / "emb") == 0
    expected = {"FaceList": 120, "FaceTar": 80, "RecordIODataset": 120, "VerificationBin": 22}[reader.__name__]
    assert f"{expected} embeddings" in capsys.readouterr().out
