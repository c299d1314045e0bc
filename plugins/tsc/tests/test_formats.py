"""The parsers against the archives' real files, against each other, and against themselves."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quire.dataset import sort_labels
from quire.errors import ConfigError
from quire_tsc.catalogue import catalogue
from quire_tsc.formats import (
    SeriesCollection,
    load_arff,
    load_arrays,
    load_long_table,
    load_mts_mat,
    load_table,
    load_ts,
    load_ucr_tsv,
    read_series,
    save_ts,
)
from quire_tsc.formats.text import ID_NAMES, LABEL_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def float32(values: Sequence[object]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def same(one: SeriesCollection, other: SeriesCollection) -> None:
    assert one.labels == other.labels
    assert len(one) == len(other)
    for a, b in zip(one.series, other.series, strict=True):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_array_equal(a, b)


# --- the real files ---


@pytest.mark.parametrize("name", ["GunPoint", "ItalyPowerDemand", "ArrowHead"])
@pytest.mark.parametrize("split", ["TRAIN", "TEST"])
def test_ts_equals_tsv(release: Path, name: str, split: str) -> None:
    same(
        load_ts(release / f"ts/{name}/{name}_{split}.ts"), load_ucr_tsv(release / f"ucr_tsv/{name}/{name}_{split}.tsv")
    )


def test_gunpoint_first_values(release: Path) -> None:
    train = load_ucr_tsv(release / "ucr_tsv/GunPoint/GunPoint_TRAIN.tsv")
    assert len(train) == 50
    assert train.labels is not None
    assert train.labels[0] == "2"
    assert (train.labels.count("1"), train.labels.count("2")) == (24, 26)
    np.testing.assert_array_equal(train.series[0][0, :2], float32([-0.6478854, -0.64199155]))
    assert {values.shape for values in train.series} == {(1, 150)}


@pytest.mark.parametrize("split", ["TRAIN", "TEST"])
def test_basic_motions_ts_equals_arff(release: Path, split: str) -> None:
    ts = load_ts(release / f"ts/BasicMotions/BasicMotions_{split}.ts")
    same(ts, load_arff(release / f"arff/BasicMotions/BasicMotions_{split}.arff"))
    assert set(ts.labels or ()) == {"Standing", "Running", "Walking", "Badminton"}
    assert {values.shape for values in ts.series} == {(6, 100)}


@pytest.mark.parametrize(("split", "size", "longest"), [("TRAIN", 270, 26), ("TEST", 370, 29)])
def test_japanese_vowels(release: Path, split: str, size: int, longest: int) -> None:
    vowels = load_ts(release / f"ts/JapaneseVowels/JapaneseVowels_{split}.ts")
    lengths = [values.shape[1] for values in vowels.series]
    assert (len(vowels), vowels.n_channels, min(lengths), max(lengths)) == (size, 12, 7, longest)


def test_pickup_gesture_is_unequal_and_sorts_ten_last(release: Path) -> None:
    tsv = load_ucr_tsv(release / "ucr_tsv/PickupGestureWiimoteZ/PickupGestureWiimoteZ_TRAIN.tsv")
    lengths = [values.shape[1] for values in tsv.series]
    assert (len(tsv), min(lengths), max(lengths)) == (50, 29, 361)
    assert sort_labels(tsv.labels or ()) == tuple(str(number) for number in range(1, 11))
    assert not any(np.isnan(values).any() for values in tsv.series)
    same(tsv, load_ts(release / "ts/PickupGestureWiimoteZ/PickupGestureWiimoteZ_TRAIN.ts"))


def test_dodger_has_65_missing_values(release: Path) -> None:
    train = load_ucr_tsv(release / "ucr_tsv/DodgerLoopGame/DodgerLoopGame_TRAIN.tsv")
    assert sum(int(np.isnan(values).sum()) for values in train.series) == 65
    assert {values.shape for values in train.series} == {(1, 288)}


def test_time_stamped_file(release: Path) -> None:
    stamped = load_ts(release / "ts/UnitTest/UnitTestTimeStamps_TRAIN.ts")
    assert stamped.labels == ("1", "1", "2", "2")
    np.testing.assert_array_equal(stamped.series[0], float32([[241.97, 241.75, 241.64, 241.71]]))


@pytest.mark.parametrize(("split", "size"), [("TRAIN", 30), ("TEST", 270)])
def test_ering(release: Path, split: str, size: int) -> None:
    ering = load_arff(release / f"arff/ERing/ERing_{split}.arff")
    assert len(ering) == size
    assert {values.shape for values in ering.series} == {(4, 65)}
    assert set(ering.labels or ()) == set("123456")


@pytest.mark.parametrize("split", ["TRAIN", "TEST"])
def test_flat_arff_equals_scipy(release: Path, split: str) -> None:
    from scipy.io.arff import loadarff

    path = release / f"arff/Chinatown/Chinatown_{split}.arff"
    rows, meta = loadarff(path)
    names = meta.names()
    ours = load_arff(path)
    expected = np.array([[row[name] for name in names[:-1]] for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(np.concatenate(ours.series), expected)
    assert ours.labels == tuple(row[names[-1]].decode() for row in rows)


def test_catalogue_counts_fit_the_files(release: Path) -> None:
    entries = catalogue()
    assert len(entries) == 128
    assert sum(entry.name_2015 is not None for entry in entries.values()) == 85
    for name in ("GunPoint", "PickupGestureWiimoteZ", "Coffee"):
        parts = [load_ucr_tsv(release / f"ucr_tsv/{name}/{name}_{split}.tsv") for split in ("TRAIN", "TEST")]
        lengths = [values.shape[1] for part in parts for values in part.series]
        entry = entries[name]
        assert (entry.n_train, entry.n_test) == tuple(len(part) for part in parts)
        assert (entry.min_length, entry.length) == (min(lengths), max(lengths))
        assert entry.n_classes == len({label for part in parts for label in part.labels or ()})
        assert entry.unequal is (min(lengths) < max(lengths))


# --- forms of one format ---


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "1\t0.5\t-1e-3\n2\t3\t4\n"),
        ("a.csv", "1,0.5,-1e-3\r\n2,3,4\r\n"),
        ("a.csv", "1;0.5;-0.001\n2;3;4"),
        ("a.txt", "   1.0000000e+00   5.0000000e-01  -1.0e-03\n   2.0000000e+00   3.0  4.0\n"),
        ("A_TRAIN", "1, 0.5, -0.001\n2, 3, 4\n\n"),
        ("a.tsv", "\ufeff1\t0.5\t-0.001\n2\t3\t4\n"),
    ],
)
def test_ucr_separators(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    found = read_series(path)
    assert found.labels == ("1", "2")
    np.testing.assert_array_equal(np.concatenate(found.series), float32([[0.5, -1e-3], [3, 4]]))


def test_ucr_padding_missing_and_label_column(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("NaN\t1\tNaN\t2\tNaN\tBig Cat\n5\t6\t7\t8\t?\tdog\n", encoding="utf-8")
    found = load_ucr_tsv(path, label_column=-1)
    assert found.labels == ("Big Cat", "dog")
    np.testing.assert_array_equal(found.series[0], float32([[np.nan, 1, np.nan, 2]]))
    assert found.series[1].shape == (1, 4)
    path.write_text("1\t2\t3\n", encoding="utf-8")
    unlabelled = load_ucr_tsv(path, label_column=None)
    assert unlabelled.labels is None
    assert unlabelled.series[0].shape == (1, 3)


def test_integral_labels_lose_their_fraction_and_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("1.0\t1\t.2\n-2.00e0\t1\t2\n1\t3\t4\n2.5\t1\t2\n007\t1\t2\n", encoding="utf-8")
    assert load_ucr_tsv(path).labels == ("1", "-2", "1", "2.5", "007")


def test_ts_missing_values_unlabelled_and_old_header(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    path.write_text("# note\n@ProblemName x\n@CLASSLABEL false\n@data\n1,?,NaN:4,5,6\n7:8\n", encoding="utf-8")
    found = load_ts(path)
    assert found.labels is None
    np.testing.assert_array_equal(found.series[0], float32([[1, np.nan, np.nan], [4, 5, 6]]))
    np.testing.assert_array_equal(found.series[1], float32([[7], [8]]))
    path.write_text(
        "@targetLabel true Ab cD\n@timestamps true\n@data\n(0,1),(2.5,?):(0,3),(1,4):cD\n", encoding="utf-8"
    )
    stamped = load_ts(path)
    assert stamped.labels == ("cD",)
    np.testing.assert_array_equal(stamped.series[0], float32([[1, np.nan], [3, 4]]))


def test_arff_missing_padding_and_quoted_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.arff"
    path.write_text(
        "@RELATION x\n@attribute multi relational\n@attribute t0 numeric\n@attribute t1 real\n@attribute t2 numeric\n"
        "@end multi\n@attribute class {'Big Cat', dog}\n@data\n"
        "'1,?,3\\n4,5,6','Big Cat'\n\"7,8,?\\n9,10,?\", dog\n",
        encoding="utf-8",
    )
    found = load_arff(path)
    assert found.labels == ("Big Cat", "dog")
    np.testing.assert_array_equal(found.series[0], float32([[1, np.nan, 3], [4, 5, 6]]))
    np.testing.assert_array_equal(found.series[1], float32([[7, 8], [9, 10]]))


def test_wide_table(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,t0,"t1",t2,Class\np1,1,,3,yes\np2,4,5,,no\n', encoding="utf-8")
    found = load_table(path)
    assert (found.labels, found.ids) == (("yes", "no"), ("p1", "p2"))
    np.testing.assert_array_equal(found.series[0], float32([[1, np.nan, 3]]))
    np.testing.assert_array_equal(found.series[1], float32([[4, 5]]))
    path.write_text("1;2;kind\n3;4;a\n5;6;b\n", encoding="utf-8")
    assert read_series(path, label_column="kind").labels == ("a", "b")
    assert read_series(path, label_column=-1).labels == ("kind", "a", "b")  # by position the line is a case


LONG = (
    "case_id,channel,time,value,label\na,x,0,1,up\na,x,1,2,up\na,y,0,3,up\nb,x,0,5,down\nb,y,0,6,down\nb,y,2,7,down\n"
)


def test_long_table(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(LONG, encoding="utf-8")
    found = load_long_table(path)
    assert (found.labels, found.ids, found.channels) == (("up", "down"), ("a", "b"), ("x", "y"))
    np.testing.assert_array_equal(found.series[0], float32([[1, 2], [3, np.nan]]))
    np.testing.assert_array_equal(found.series[1], float32([[5, np.nan], [6, 7]]))


def test_parquet_equals_csv(tmp_path: Path) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    path = tmp_path / "a.csv"
    path.write_text(LONG, encoding="utf-8")
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(path), tmp_path / "a.parquet")
    same(read_series(tmp_path / "a.parquet"), read_series(path))


@pytest.mark.parametrize("labels", [[3, 4], ["a", "B"], [True, False], [1.0, 2.0]])
def test_arrays_and_their_layouts(tmp_path: Path, labels: list[object]) -> None:
    values = np.arange(24, dtype=np.float64).reshape(2, 3, 4)
    values[1, :, 2:] = np.nan
    np.save(tmp_path / "X_train.npy", values)
    np.save(tmp_path / "y_train.npy", np.array(labels))
    np.savez(tmp_path / "a.npz", X_train=values.transpose(0, 2, 1), y_train=np.array(labels))
    pair = load_arrays(tmp_path / "X_train.npy")
    same(pair, load_arrays(tmp_path / "a.npz", layout="NTC"))
    assert [series.shape for series in pair.series] == [(3, 4), (3, 2)]
    assert pair.labels == tuple(str(int(label)) if isinstance(label, float) else str(label) for label in labels)
    np.save(tmp_path / "X_test.npy", np.ones((5, 7), dtype=np.int16))
    assert load_arrays(tmp_path / "X_test.npy").series[4].shape == (1, 7)


def test_baydogan_mat(tmp_path: Path) -> None:
    from scipy.io import savemat

    def cells(*matrices: np.ndarray) -> np.ndarray:
        held = np.empty((1, len(matrices)), dtype=object)
        held[0, :] = matrices
        return held

    train = [np.arange(6.0).reshape(2, 3), np.arange(8.0).reshape(2, 4), np.ones((2, 2))]
    test = [np.zeros((2, 1)), np.full((2, 5), 2.5)]
    structure = {
        "train": cells(*train),
        "trainlabels": np.array([[1], [2], [1]]),
        "test": cells(*test),
        "testlabels": np.array([[2], [1]], dtype=np.uint8),
    }
    savemat(tmp_path / "Wafer.mat", {"mts": structure})
    found = load_mts_mat(tmp_path / "Wafer.mat")
    assert found.labels == ("1", "2", "1")
    for ours, matrix in zip(found.series, train, strict=True):
        np.testing.assert_array_equal(ours, matrix.astype(np.float32))
    held_out = load_mts_mat(tmp_path / "Wafer.mat", split="test")
    assert held_out.labels == ("2", "1")
    assert [series.shape for series in held_out.series] == [(2, 1), (2, 5)]


# --- what is written comes back ---

VALUES = st.floats(width=32, allow_infinity=False, allow_nan=True)
NAMES = st.text(st.characters(categories=["L", "N"], include_characters="_-"), min_size=1, max_size=8)


@st.composite
def collections(draw: st.DrawFn, *, channels: int | None = None) -> tuple[list[np.ndarray], list[str]]:
    """Series of one channel count and any lengths, no channel of NaN alone; labels that are no numbers."""
    count = channels or draw(st.integers(1, 3))
    series = []
    for _ in range(draw(st.integers(1, 4))):
        values = draw(arrays(np.float32, (count, draw(st.integers(1, 6))), elements=VALUES))
        values[np.isnan(values).all(axis=1), 0] = draw(st.floats(width=32, allow_infinity=False, allow_nan=False))
        series.append(values)
    labels = st.sampled_from(draw(st.lists(NAMES.filter(_plain_word), min_size=1, max_size=3)))
    return series, [draw(labels) for _ in series]


def _plain_word(text: str) -> bool:
    """Neither a missing value nor a name that makes a table's first line a header."""
    return text[0].isalpha() and text.lower() not in {"nan", "na", *LABEL_NAMES, *ID_NAMES}


@settings(deadline=None)
@given(collections(), st.booleans())
def test_save_ts_round_trip(data: tuple[list[np.ndarray], list[str]], labelled: bool) -> None:
    series, labels = data
    with tempfile.TemporaryDirectory() as folder:
        path = save_ts(Path(folder) / "Any_TRAIN.ts", series, labels if labelled else None, comment="one\ntwo")
        found = load_ts(path)
    assert found.labels == (tuple(labels) if labelled else None)
    for ours, given_series in zip(found.series, series, strict=True):
        np.testing.assert_array_equal(ours, given_series)


@settings(deadline=None)
@given(collections(channels=1), st.sampled_from(["\t", ",", ";", " "]), st.data())
def test_tsv_round_trip(data: tuple[list[np.ndarray], list[str]], separator: str, draw: st.DataObject) -> None:
    series, labels = data
    column = draw.draw(st.sampled_from([0, -1]), label="label_column")
    longest = max(values.shape[1] for values in series)
    lines = []
    for values, label in zip(series, labels, strict=True):
        cells = [repr(float(value)) for value in values[0]] + ["NaN"] * (longest - values.shape[1])
        lines.append(separator.join([label, *cells] if column == 0 else [*cells, label]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tsv"
        path.write_text("\n".join(lines), encoding="utf-8")
        found = load_ucr_tsv(path, label_column=column)
    assert found.labels == tuple(labels)
    for ours, values in zip(found.series, series, strict=True):
        end = np.flatnonzero(~np.isnan(values[0]))[-1] + 1  # NaN at the end is padding in this format
        np.testing.assert_array_equal(ours, values[:, :end])


def test_save_ts_refuses_what_the_format_cannot_hold(tmp_path: Path) -> None:
    one = np.zeros((1, 3), np.float32)
    with pytest.raises(ConfigError, match="'a b' can't stand"):
        save_ts(tmp_path / "a.ts", [one], ["a b"])
    with pytest.raises(ConfigError, match="2 labels for 1 series"):
        save_ts(tmp_path / "a.ts", [one], ["a", "b"])
    with pytest.raises(ConfigError, match="different numbers of channels"):
        save_ts(tmp_path / "a.ts", [one, np.zeros((2, 3), np.float32)])
    with pytest.raises(ConfigError, match="at least one series"):
        save_ts(tmp_path / "a.ts", [])
    assert list(tmp_path.iterdir()) == []
