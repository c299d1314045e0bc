"""The published protocols' files, read and refused, and their reports."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from quire.errors import ConfigError, DataError, InvalidSample
from quire_amsoftmax.evaluate.evaluators import VerificationEvaluator
from quire_amsoftmax.evaluate.protocols import (
    judge_closed_set,
    judge_folder,
    judge_megaface,
    judge_open_set,
    judge_pairs,
    judge_scores,
)
from quire_amsoftmax.evaluate.reports import rate_name, write_roc
from quire_amsoftmax.evaluate.store import Embeddings
from quire_amsoftmax.protocols.blufr import BlufrProtocol
from quire_amsoftmax.protocols.identification import IdentificationProtocol
from quire_amsoftmax.protocols.ijb import IjbProtocol
from quire_amsoftmax.protocols.megaface import (
    ImageList,
    MegaFaceProtocol,
    load_features,
    read_feature,
    read_list,
    write_feature,
)
from quire_amsoftmax.protocols.pairs import PairsProtocol, read_scores

ROOT = Path(os.environ["QUIRE_DATA"]) / "amsoftmax" if "QUIRE_DATA" in os.environ else None
real = pytest.mark.skipif(ROOT is None, reason="QUIRE_DATA is not set")


def people(n: int = 12, images: int = 4, noise: float = 0.3) -> Embeddings:
    """Directions of people with noise; ids as LFW's."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(n, 16))
    names = [f"P{person:02}" for person in range(n) for _ in range(images)]
    vectors = (np.repeat(centres, images, axis=0) + noise * rng.normal(size=(n * images, 16))).astype(np.float32)
    return Embeddings(vectors, [f"{name}/{name}_{i % images + 1:04}.jpg" for i, name in enumerate(names)], names)


# ---------------------------------------------------------------------------------------------------------------- pairs


@real
def test_lfw_pairs_are_read_exactly() -> None:
    pairs = PairsProtocol.read_lfw(ROOT / "lfw" / "pairs.txt")  # type: ignore[operator]
    assert len(pairs) == 6000
    assert int(pairs.same.sum()) == 3000
    assert pairs.folds is not None
    assert np.bincount(pairs.folds).tolist() == [600] * 10
    assert [int(pairs.same[pairs.folds == fold].sum()) for fold in range(10)] == [300] * 10
    assert (pairs.left[0], pairs.right[0]) == (
        "Abel_Pacheco/Abel_Pacheco_0001.jpg",
        "Abel_Pacheco/Abel_Pacheco_0004.jpg",
    )
    assert pairs.same[0]
    assert (pairs.left[300], pairs.right[300]) == (
        "Abdel_Madi_Shabneh/Abdel_Madi_Shabneh_0001.jpg",
        "Dean_Barker/Dean_Barker_0001.jpg",
    )
    names = {name for side in (pairs.left, pairs.right) for name in side}
    report = judge_pairs(  # constant scores of all 7,701 images give one half
        Embeddings(np.ones((len(names), 2), np.float32), sorted(names), [""] * len(names)),
        "lfw",
        ROOT / "lfw" / "pairs.txt",  # type: ignore[operator]
    ).report
    assert report["fold_accuracy"] == 0.5


HEAD = "1\t1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the first line is not"),
        ("ten\t300\n", "line 1: the first line is not"),
        ("2\t1\nA\t1\t2\nA\t1\tB\t1\n", r"line 1: the header promises 2 x 2 x 1 = 4 pairs, there are 2"),
        ("1\t1\nA\t1\nA\t1\tB\t1\n", "line 2: 2 fields"),
        ("1\t1\nA\t1\t2\nA\t1\tB\t1\t4\n", "line 3: 5 fields"),
        ("1\t1\nA\tx\t2\nA\t1\tB\t1\n", "line 2: x and 2 are not two image numbers"),
        ("2\t1\nA\t1\t2\nB\t1\t2\nA\t1\tB\t1\nA\t1\tB\t2\n", "fold 0 has 2 pairs of one person, the header promises 1"),
    ],
)
def test_bad_pairs_files_name_their_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        PairsProtocol.read_lfw(tmp_path / "pairs.txt")


def test_a_single_count_is_the_development_set(tmp_path: Path) -> None:
    (tmp_path / "pairsDevTrain.txt").write_text("1\nA\t1\t2\nA\t1\tB\t1")
    pairs = PairsProtocol.read_lfw(tmp_path / "pairsDevTrain.txt")
    assert (len(pairs), pairs.folds) == (2, None)


def test_duplicate_pairs_are_told(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("2\nA\t1\t2\nA\t2\t1\nA\t1\tB\t1\nA\t1\tB\t2\n")
    assert PairsProtocol.read_lfw(tmp_path / "p.txt").notes == ["1 pairs are there more than once"]


def test_missing_images_are_named_or_skipped(tmp_path: Path) -> None:
    lines = [f"P00\t{i}\t{i + 1}" for i in range(1, 13)] + [f"P00\t1\tP01\t{i}" for i in range(1, 13)]
    (tmp_path / "pairs.txt").write_text("12\n" + "\n".join(lines))
    with pytest.raises(
        DataError, match=r"17 images of lfw are not there: P00/P00_0005.jpg, .* and 7 more\. .*missing=skip"
    ):
        judge_pairs(people(), "lfw", tmp_path / "pairs.txt")
    report = judge_pairs(people(), "lfw", tmp_path / "pairs.txt", missing="skip").report
    assert report["skipped_pairs"] == 17
    assert any("17 of 24 pairs were left out: 17 images are missing" in note for note in report.notes)


def test_names_are_found_without_ending_or_folder() -> None:
    pairs = PairsProtocol("x", ["a/one.jpg", "two", "b/three.png"], ["two.gif", "a/one", "c/nowhere"], np.ones(3, bool))
    found = pairs.resolve(["a/one.png", "b/two.png", "b/three.png"], missing="skip")
    assert found.left.tolist() == [0, 1]
    assert found.right.tolist() == [1, 0]
    ambiguous = PairsProtocol("x", ["one"], ["one"], np.ones(1, bool))
    with pytest.raises(DataError, match="1 images of x are not there: one"):
        ambiguous.resolve(["a/one.png", "b/one.png"])


def test_pairs_of_ones_own(tmp_path: Path) -> None:
    rows = ["path_a,path_b,same,fold"]
    for fold in range(3):
        for person in range(4):
            rows.append(f"P{person:02}\\P{person:02}_0001.jpg,P{person:02}/P{person:02}_0002.jpg,yes,{fold}")
            rows.append(f"P{person:02}/P{person:02}_0001.jpg,P{person + 4:02}/P{person + 4:02}_0002.jpg,0,{fold}")
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    judged = judge_pairs(people(), "pairs-csv", tmp_path / "pairs.csv")
    assert judged.report["auc"] == 1
    assert judged.report["fold_accuracy"] == 1
    (tmp_path / "bad.csv").write_text("path_a,path_b,same\na,b,1\na,c,perhaps\n")
    with pytest.raises(InvalidSample, match="line 3, column same: 'perhaps' does not say"):
        PairsProtocol.read_csv(tmp_path / "bad.csv")
    (tmp_path / "none.csv").write_text("path_a,path_c,same\na,b,1\n")
    with pytest.raises(DataError, match="there is no column 'path_b'"):
        PairsProtocol.read_csv(tmp_path / "none.csv")


@real
def test_the_pairs_of_the_sample_bin() -> None:
    pairs = PairsProtocol.read_bin(ROOT / "insightface_format" / "small_lfw.bin")  # type: ignore[operator]
    assert (len(pairs), pairs.folds) == (10, None)


def test_a_protocol_without_its_file() -> None:
    with pytest.raises(ConfigError, match="the protocol lfw needs its file"):
        judge_pairs(people(), "lfw")


# --------------------------------------------------------------------------------------------------------------- scores


def test_scores_and_distances(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("score,same,fold\n0.9,1,a\n0.1,0,a\n0.8,1,b\n0.2,0,b\n")
    (tmp_path / "d.csv").write_text("distance,same,fold\n0.1,1,a\n0.9,0,a\n0.2,1,b\n0.8,0,b\n")
    for name in ("s.csv", "d.csv"):
        report = judge_scores(read_scores(tmp_path / name)).report
        assert report["auc"] == 1
        assert report["fold_accuracy"] == 1
        assert report.metrics["vr@far=1e-6"].value is None
        assert "2 impostor pairs can't resolve a rate of 1e-6" in str(report.metrics["vr@far=1e-6"].reason)


def test_distances_given_as_similarities_get_a_hint(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("score,same\n0.1,1\n0.9,0\n0.2,1\n")
    report = judge_scores(read_scores(tmp_path / "s.csv")).report
    assert any("distance" in note for note in report.notes)


@pytest.mark.parametrize("same", [0, 1])
def test_pairs_of_one_kind_have_no_rates(tmp_path: Path, same: int) -> None:
    (tmp_path / "s.csv").write_text(f"score,same\n0.1,{same}\n0.9,{same}\n")
    judged = judge_scores(read_scores(tmp_path / "s.csv"))
    kind = "different people" if same else "one person"
    assert judged.report.metrics["auc"].value is None
    assert judged.report.metrics["auc"].reason == f"there is no pair of {kind}"
    assert write_roc(judged.verification, tmp_path / "roc.csv").read_text() == "far,vr,threshold,k\n"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("score,same\n0.1,1\nnan,0\n", "line 3, column score: 'nan' is not a finite number"),
        ("score,same\n0.1,1\nx,0\n", "line 3, column score: 'x' is not a finite number"),
        ("points,same\n0.1,1\n", "there is no column 'score'"),
        ("score,fold\n0.1,1\n", "there is no column 'same'"),
        ("score,same,fold\n0.1,1,\n", "line 2, column fold: the fold is missing"),
        ("score,same\n", "the table has no rows"),
    ],
)
def test_bad_scores(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_scores(tmp_path / "s.csv")


def test_the_names_of_rates() -> None:
    assert [rate_name(far) for far in (1e-6, 1e-3, 0.1, 0.0005)] == ["1e-6", "1e-3", "1e-1", "5e-4"]


# ----------------------------------------------------------------------------------------------------------- embeddings


def test_embeddings_without_a_model(tmp_path: Path) -> None:
    made = people()
    np.save(tmp_path / "embeddings.npy", 7 * made.vectors)  # of any length
    rows = [f"{i},{made.ids[i]},{made.identities[i]},7,ok" for i in range(len(made))]
    (tmp_path / "ids.csv").write_text(
        "index,path,identity,norm,status\n" + "\n".join(rows) + "\n,bad.jpg,,,unreadable\n"
    )
    loaded = Embeddings.load(tmp_path / "embeddings.npy")
    assert isinstance(loaded.vectors, np.memmap)
    report = judge_folder(loaded).report
    assert report["auc"] == pytest.approx(judge_folder(made).report["auc"])
    assert report.n_used == len(made)
    (tmp_path / "short.csv").write_text("path,identity\na,b\n")
    with pytest.raises(DataError, match=r"short.csv has 1 rows, embeddings.npy 48"):
        Embeddings.load(tmp_path / "embeddings.npy", tmp_path / "short.csv")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="no array that can be read"):
        Embeddings.load(tmp_path / "objects.npy", tmp_path / "short.csv")


# ---------------------------------------------------------------------------------------------------------------- blufr


def blufr_file(path: Path, made: Embeddings, *, cells: int = 3) -> Path:
    images = [Path(name).name for name in made.ids]
    numbers = np.unique(made.identities, return_inverse=True)[1] + 1
    everyone = np.arange(1, len(made) + 1)

    def cell(parts: list[np.ndarray]) -> np.ndarray:
        filled = np.empty((len(parts), 1), object)
        for index, part in enumerate(parts):
            filled[index, 0] = part.reshape(-1, 1).astype(float)
        return filled

    gallery = everyone[(everyone % 4 == 1) & (numbers <= 6)]
    probes = everyone[(everyone % 4 != 1)]
    names = np.empty((len(images), 1), object)
    names[:, 0] = images
    content = {
        "imageList": names,
        "labels": numbers.reshape(-1, 1).astype(float),
        "trainIndex": cell([everyone[:0]] * cells),
        "testIndex": cell([everyone[trial:] for trial in range(cells)]),
        "galIndex": cell([gallery] * cells),
        "probIndex": cell([probes] * cells),
    }
    savemat(path, content)
    return path


def test_blufr_trials(tmp_path: Path) -> None:
    made = people()
    file = blufr_file(tmp_path / "blufr_lfw_config.mat", made)
    protocol = BlufrProtocol.read(file)
    assert len(protocol.trials) == 3
    assert protocol.trials[1].test.tolist() == list(range(1, 48))
    assert protocol.images[0] == "P00_0001.jpg"
    report = judge_pairs(made, "blufr", file, fars=(1e-2, 1e-6)).report
    parts = [Embeddings(made.vectors[t:], made.ids[t:], made.identities[t:]) for t in range(3)]
    expected = [judge_folder(part, (1e-2,)).verification.points[0].vr for part in parts]  # type: ignore[union-attr]
    row = report.tables[0].rows[0]
    assert row[:2] == ["vr@far=1e-2", 3]
    assert report["vr@far=1e-2"] == pytest.approx(np.mean(expected))
    assert report["vr@far=1e-2_mu-sigma"] == pytest.approx(np.mean(expected) - np.std(expected, ddof=1))
    assert report.metrics["vr@far=1e-6"].value is None
    assert report["dir@far=1e-2"] > 0


def test_blufr_names_that_are_missing(tmp_path: Path) -> None:
    made = people()
    file = blufr_file(tmp_path / "b.mat", made)
    fewer = Embeddings(made.vectors[1:], made.ids[1:], made.identities[1:])
    with pytest.raises(DataError, match=r"1 images of blufr are not there: P00_0001.jpg"):
        judge_pairs(fewer, "blufr", file)
    report = judge_pairs(fewer, "blufr", file, missing="skip").report
    assert any("P00_0001.jpg" in note for note in report.notes)
    assert report.n_used == 47


def test_blufr_in_matlab_7_3(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed (extra mat73)")
    file = tmp_path / "new.mat"
    with h5py.File(file, "w") as content:
        parts = content.create_group("#refs#")

        def refer(name: str, values: list[np.ndarray]) -> None:
            references = np.empty((1, len(values)), h5py.ref_dtype)
            for index, value in enumerate(values):
                references[0, index] = parts.create_dataset(f"{name}{index}", data=value).ref
            content.create_dataset(name, data=references, dtype=h5py.ref_dtype)

        refer("imageList", [np.array([[ord(letter)] for letter in name], np.uint16) for name in ("a_1", "b_1", "b_2")])
        content["labels"] = np.array([[1.0, 2.0, 2.0]])
        for name in ("trainIndex", "testIndex", "galIndex", "probIndex"):
            refer(name, [np.array([[1.0, 3.0]]), np.array([[2.0, 3.0]])])
    head = b"MATLAB 7.3 MAT-file" + b" " * 105 + b"\x00\x02IM"
    padded = tmp_path / "padded.mat"  # MATLAB puts 512 bytes before the HDF5 part
    padded.write_bytes(head.ljust(512, b"\0") + file.read_bytes())
    protocol = BlufrProtocol.read(padded)
    assert protocol.images == ["a_1", "b_1", "b_2"]
    assert protocol.labels.tolist() == [1, 2, 2]
    assert [trial.test.tolist() for trial in protocol.trials] == [[0, 2], [1, 2]]


def test_bad_blufr_files(tmp_path: Path) -> None:
    (tmp_path / "x.mat").write_bytes(b"nothing of MATLAB" * 20)
    with pytest.raises(DataError, match="no MATLAB file"):
        BlufrProtocol.read(tmp_path / "x.mat")
    savemat(tmp_path / "y.mat", {"labels": [1.0]})
    with pytest.raises(DataError, match="has no variable 'imageList'"):
        BlufrProtocol.read(tmp_path / "y.mat")


# ------------------------------------------------------------------------------------------------------- megaface, ijb


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_features_roundtrip_and_cuts_are_refused(values: list[float]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.bin"
        write_feature(file, np.array(values, np.float32))
        np.testing.assert_array_equal(read_feature(file), np.array(values, np.float32))
        content = file.read_bytes()
        for cut in (0, 15, len(content) - 1):
            file.write_bytes(content[:cut])
            with pytest.raises(InvalidSample):
                read_feature(file)


def test_megaface_lists_features_and_noise(tmp_path: Path) -> None:
    made = people(4, 3)
    rng = np.random.default_rng(1)
    others = rng.normal(size=(50, 16)).astype(np.float32)
    probes = {"path": made.ids, "id": made.identities}
    distractors = {"path": [f"{i}/x.jpg" for i in range(50)]}
    for name, content in (("p.json", probes), ("d.json", distractors)):
        (tmp_path / name).write_text(json.dumps(content))
    for names, vectors in ((made.ids, made.vectors), (distractors["path"], others)):
        for name, vector in zip(names, vectors, strict=True):
            file = tmp_path / "f" / f"{name}_am.bin"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_feature(file, vector)
    (tmp_path / "noise.txt").write_text("49/x.jpg\n")
    protocol = MegaFaceProtocol.read(tmp_path / "p.json", tmp_path / "d.json", noise=[tmp_path / "noise.txt"])
    assert (len(protocol.probes.paths), len(protocol.distractors.paths)) == (12, 49)
    vectors, kept, faults = load_features(protocol.probes, tmp_path / "f", suffix="_am.bin")
    np.testing.assert_array_equal(vectors, made.vectors)
    assert (kept, faults) == (list(range(12)), [])
    far, _, _ = load_features(protocol.distractors, tmp_path / "f", suffix="_am.bin", into=tmp_path / "d.npy")
    assert isinstance(far, np.memmap)
    report = judge_megaface(made, far, sizes=(10, 49)).report
    assert report["rank1@10"] >= report["rank1@49"]
    (tmp_path / "f" / "3" / "x.jpg_am.bin").unlink()
    with pytest.raises(InvalidSample, match="no such feature file"):
        load_features(protocol.distractors, tmp_path / "f", suffix="_am.bin")
    _, kept, faults = load_features(protocol.distractors, tmp_path / "f", suffix="_am.bin", missing="skip")
    assert (len(kept), len(faults)) == (48, 1)
    write_feature(tmp_path / "f" / "3" / "x.jpg_am.bin", np.ones(4, np.float32))
    with pytest.raises(DataError, match="has 4 dimensions, others have 16"):
        load_features(protocol.distractors, tmp_path / "f", suffix="_am.bin")
    (tmp_path / "bad.json").write_text("[1]")
    with pytest.raises(DataError, match='no list with "path"'):
        read_list(tmp_path / "bad.json")
    with pytest.raises(DataError, match="none of 1 images has a feature file"):
        load_features(ImageList(["q.jpg"], [""]), tmp_path, missing="skip")


def test_ijb_templates(tmp_path: Path) -> None:
    made = people(4, 4)
    meta = tmp_path / "meta"
    meta.mkdir()
    templates = [i // 2 for i in range(16)]
    lines = [f"{name} {tid} {i % 4}" for i, (name, tid) in enumerate(zip(made.ids, templates, strict=True))]
    (meta / "ijbc_face_tid_mid.txt").write_text("\n".join(lines))
    pairs = [(a, b, int(a // 2 == b // 2)) for a in range(8) for b in range(a)]
    (meta / "ijbc_template_pair_label.txt").write_text("\n".join(f"{a} {b} {same}" for a, b, same in pairs))
    (meta / "ijbc_name_5pts_score.txt").write_text("\n".join(f"{name} {'1 ' * 10}0.9" for name in made.ids))
    protocol = IjbProtocol.read(tmp_path)
    assert protocol.landmarks is not None
    assert protocol.landmarks.shape == (16, 5, 2)
    judged = judge_pairs(made, "ijb", tmp_path, fars=(0.1,))
    assert judged.report["auc"] == 1
    assert judged.verification.n_genuine == 4  # type: ignore[union-attr]
    (meta / "ijbc_template_pair_label.txt").write_text("0 1 1\n0 99 0\n")
    with pytest.raises(DataError, match="template 99 of the pairs has no image"):
        IjbProtocol.read(tmp_path)
    (meta / "ijbc_template_pair_label.txt").write_text("0 1 1\n0 1\n")
    with pytest.raises(DataError, match="line 2: '0 1' is not 3 numbers"):
        IjbProtocol.read(tmp_path)


# ------------------------------------------------------------------------------------------------------- identification


def test_roles(tmp_path: Path) -> None:
    made = people(6, 4)
    rows = ["path,identity,role"]
    for i, (name, identity) in enumerate(zip(made.ids, made.identities, strict=True)):
        stranger = identity in ("P04", "P05")
        rows.append(f"{name},{identity},{'gallery' if i % 4 == 0 and not stranger else 'probe'}")
    (tmp_path / "roles.csv").write_text("\n".join(rows))
    protocol, places = IdentificationProtocol.read(tmp_path / "roles.csv").resolve(made.ids)
    assert places.tolist() == list(range(24))
    closed = judge_closed_set(made, protocol)
    assert closed["rank1"] == 1
    assert closed.n_used == 12
    assert "8 probes have no mate in the gallery and were left out." in closed.notes
    opened = judge_open_set(made, protocol, fars=(0.25, 0.001))
    assert opened["dir@far=2.5e-1,rank=1"] > 0.9
    assert opened.metrics["dir@far=1e-3,rank=1"].value is None
    (tmp_path / "bad.csv").write_text("path,identity,role\na,b,hero\n")
    with pytest.raises(InvalidSample, match="line 2, column role: 'hero' is none of gallery, probe, distractor"):
        IdentificationProtocol.read(tmp_path / "bad.csv")
    (tmp_path / "none.csv").write_text("path,identity,role\na,b,probe\n")
    with pytest.raises(DataError, match="no image has the role gallery"):
        IdentificationProtocol.read(tmp_path / "none.csv")


def test_reports_do_not_depend_on_the_order_of_images() -> None:
    made = people(9, 4, noise=1.5)
    order = np.random.default_rng(3).permutation(len(made))
    turned = Embeddings(made.vectors[order], [made.ids[i] for i in order], [made.identities[i] for i in order])
    for judge in (judge_closed_set, judge_open_set, lambda each: judge_folder(each).report):
        one, other = (
            {name: score.value for name, score in judge(each).metrics.items()}
            for each in (made, turned)  # type: ignore[operator]
        )
        assert one == pytest.approx(other, abs=1e-6, nan_ok=True)


def test_a_file_option_of_the_evaluator(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(
        "path_a,path_b,same\nP00/P00_0001.jpg,P00/P00_0002.jpg,1\nP00/P00_0001.jpg,P01/P01_0001.jpg,0\n"
    )
    evaluator = VerificationEvaluator(protocol="pairs-csv", file=tmp_path / "pairs.csv", fars=[0.5])
    assert evaluator.judge(people())["auc"] == 1
    with pytest.raises(ConfigError, match="protocol"):
        VerificationEvaluator(protocol="lwf")
