"""The data set class: where it finds files, what its samples are, and how it reads inputs without labels."""

from __future__ import annotations

import pickle
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from quire.task import SERIES_CLASSIFICATION
from quire_tsc.data import TimeSeriesDataset
from quire_tsc.formats import load_ts, load_ucr_tsv, save_ts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

TRAIN = "1\t0.5\t0.25\n2\t2.5\tNaN\n"
TEST = "2\t1.5\t1.25\n"


def float32(values: Sequence[object]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def pump(folder: Path, *, suffix: str = ".tsv", name: str = "Pump") -> Path:
    folder.mkdir()
    for split, text in (("TRAIN", TRAIN), ("TEST", TEST)):
        (folder / f"{name}_{split}{suffix}").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("archive", ["ucr_tsv", "ts"])
def test_real_release(release: Path, archive: str) -> None:
    path = release / archive / "GunPoint"
    assert TimeSeriesDataset.recognises(path)
    assert TimeSeriesDataset.splits(path) == ("train", "test")
    train, test = (TimeSeriesDataset.open(path, split=split) for split in ("train", "test"))
    assert (len(train), len(test), train.labels, train.name) == (50, 150, ("1", "2"), "GunPoint")
    sample = train[0]
    assert SERIES_CLASSIFICATION.check(sample, need_target=True)["target"] == train.target(0) == "2"
    assert sample["id"] == "GunPoint_TRAIN:1"
    assert (sample["series"].dtype, sample["series"].shape) == (np.float32, (1, 150))


def test_formats_of_one_data_set_have_one_fingerprint(release: Path) -> None:
    prints = {TimeSeriesDataset.open(release / kind / "ArrowHead").fingerprint() for kind in ("ucr_tsv", "ts")}
    assert len(prints) == 1
    assert TimeSeriesDataset.open(release / "ts/ArrowHead", split="test").fingerprint() not in prints


def test_labels_sort_as_numbers(release: Path) -> None:
    gestures = TimeSeriesDataset.open(release / "ucr_tsv/PickupGestureWiimoteZ")
    assert gestures.labels == tuple(str(number) for number in range(1, 11))


@pytest.mark.parametrize("suffix", [".tsv", ".txt", ".csv", ""])
def test_folder_or_either_file_opens_both_splits(tmp_path: Path, suffix: str) -> None:
    folder = pump(tmp_path / "Pump", suffix=suffix)
    for path in (folder, folder / f"Pump_TRAIN{suffix}", folder / f"Pump_TEST{suffix}"):
        assert TimeSeriesDataset.recognises(path)
        assert TimeSeriesDataset.splits(path) == ("train", "test")
        np.testing.assert_array_equal(TimeSeriesDataset.open(path)[1]["series"], float32([[2.5]]))
        assert TimeSeriesDataset.open(path, split="test")[0]["target"] == "2"


def test_folder_with_several_formats_and_single_channels(tmp_path: Path) -> None:
    folder = pump(tmp_path / "Pump", suffix=".txt")
    pump(tmp_path / "channel", name="PumpDimension1")
    for file in (tmp_path / "channel").iterdir():
        shutil.copy(file, folder)
    save_ts(folder / "Pump_TRAIN.ts", [np.ones((3, 4), np.float32)] * 2, ["a", "b"])
    assert TimeSeriesDataset.splits(folder) == ("train", "test")  # the format that has both splits
    assert TimeSeriesDataset.open(folder).labels == ("1", "2")
    save_ts(folder / "Pump_TEST.ts", [np.ones((3, 4), np.float32)], ["a"])
    assert TimeSeriesDataset.open(folder).labels == ("a", "b")


def test_other_layouts(tmp_path: Path) -> None:
    alone = tmp_path / "mine.tsv"
    alone.write_text(TRAIN, encoding="utf-8")
    assert TimeSeriesDataset.splits(alone) == ("train",)
    assert len(TimeSeriesDataset.open(alone)) == 2
    assert not TimeSeriesDataset.recognises(alone)

    pair = tmp_path / "arrays"
    pair.mkdir()
    for split in ("train", "test"):
        np.save(pair / f"X_{split}.npy", np.ones((2, 5, 3)))
        np.save(pair / f"y_{split}.npy", np.array(["a", "b"]))
    assert TimeSeriesDataset.recognises(pair)
    assert TimeSeriesDataset.open(pair, split="test", layout="NTC")[0]["series"].shape == (3, 5)

    both = tmp_path / "both.npz"
    np.savez(both, X_train=np.ones((2, 4)), y_train=[0, 1], X_test=np.zeros((1, 4)), y_test=[1])
    assert TimeSeriesDataset.splits(both) == ("train", "test")
    assert TimeSeriesDataset.open(both, split="test")[0]["series"].max() == 0

    plain = tmp_path / "Tables"
    plain.mkdir()
    (plain / "train.csv").write_text("t0,t1,kind\n1,2,up\n3,4,down\n", encoding="utf-8")
    (plain / "test.csv").write_text("t0,t1,kind\n1,2,up\n", encoding="utf-8")
    assert not TimeSeriesDataset.recognises(plain)
    opened = TimeSeriesDataset.open(plain, split="test", label_column="kind")
    assert (opened.name, opened.labels) == ("Tables", ("up",))


def test_label_column_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("0.5,1.5,up\n2.5,3.5,down\n", encoding="utf-8")
    assert TimeSeriesDataset.open(path, label_column="-1").labels == ("down", "up")


def test_skipped_rows_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text("1\t0.5\t1\n2\tx\t1\n2\t2.5\t1\n", encoding="utf-8")
    opened = TimeSeriesDataset.open(path, on_error="skip")
    assert [sample["target"] for sample in opened] == ["1", "2"]
    assert len(opened.skipped) == 1
    assert "line 2, column 2" in str(opened.skipped[0])


def test_samples_are_stable_and_travel(tmp_path: Path) -> None:
    opened = TimeSeriesDataset.open(pump(tmp_path / "Pump"))
    opened[0]["series"][:] = 7
    assert opened[0]["series"].max() == 0.5
    copy = pickle.loads(pickle.dumps(opened))
    assert copy.fingerprint() == opened.fingerprint()
    np.testing.assert_array_equal(copy[0]["series"], opened[0]["series"])


# --- inputs for predict ---


def inputs(path: Path) -> list[dict[str, object]]:
    found = TimeSeriesDataset.read_inputs(path)
    assert found is not None
    return list(found)


def test_inputs_of_a_release_leave_the_labels_out(release: Path) -> None:
    tsv = inputs(release / "ucr_tsv/GunPoint/GunPoint_TEST.tsv")
    ts = inputs(release / "ts/GunPoint/GunPoint_TEST.ts")
    expected = load_ucr_tsv(release / "ucr_tsv/GunPoint/GunPoint_TEST.tsv")
    assert len(tsv) == len(ts) == len(expected)
    for ours, other, series in zip(tsv, ts, expected.series, strict=True):
        assert set(ours) == {"id", "series"}
        np.testing.assert_array_equal(ours["series"], series)
        np.testing.assert_array_equal(other["series"], series)
    motions = inputs(release / "arff/BasicMotions/BasicMotions_TEST.arff")
    again = load_ts(release / "ts/BasicMotions/BasicMotions_TEST.ts")
    np.testing.assert_array_equal(motions[3]["series"], again.series[3])


def test_inputs_of_tables_with_and_without_label(tmp_path: Path) -> None:
    wide = tmp_path / "new.csv"
    for text in ("id,t0,t1,label\np,1,2,up\n", "id,t0,t1\np,1,2\n"):
        wide.write_text(text, encoding="utf-8")
        (sample,) = inputs(wide)
        assert sample["id"] == "p"
        np.testing.assert_array_equal(sample["series"], float32([[1, 2]]))
    long = tmp_path / "long.csv"
    long.write_text("case_id,channel,time,value\na,x,0,1\na,y,0,2\n", encoding="utf-8")
    np.testing.assert_array_equal(inputs(long)[0]["series"], float32([[1], [2]]))


def test_plain_text_is_left_to_the_series_modality(tmp_path: Path) -> None:
    new = tmp_path / "new.tsv"
    new.write_text(TRAIN, encoding="utf-8")
    assert TimeSeriesDataset.read_inputs(new) is None
    samples = list(SERIES_CLASSIFICATION.read_samples([new]))
    np.testing.assert_array_equal(samples[0]["series"], float32([[1, 0.5, 0.25]]))
    assert TimeSeriesDataset.read_inputs(tmp_path) is None
    assert TimeSeriesDataset.read_inputs(tmp_path / "song.wav") is None
