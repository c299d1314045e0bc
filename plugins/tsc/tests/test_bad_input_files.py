"""Every fault of a file or value is one sentence that names the place, and a remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from quire.errors import ConfigError, DataError, InvalidSample, QuireError
from quire_tsc.data import TimeSeriesDataset
from quire_tsc.formats import load_arrays, load_long_table, load_mts_mat, load_ucr_tsv, read_series

if TYPE_CHECKING:
    from pathlib import Path

TS = "@problemName x\n@univariate {univariate}\n@equalLength {equal}\n{more}@classLabel true up Down\n@data\n"
ARFF = "@relation x\n@attribute t0 numeric\n@attribute t1 numeric\n@attribute c {up,Down}\n@data\n"
RELATION = "@relation x\n@attribute m relational\n@attribute t0 numeric\n@attribute t1 numeric\n@end m\n"
LONG = "case_id,channel,time,value,label\n"


def ts_header(*, univariate: str = "true", equal: str = "false", more: str = "") -> str:
    return TS.format(univariate=univariate, equal=equal, more=more)


# (file name, text, the place as the message names it, words of the message, words of the remedy)
FAULTS = [
    # UCR text
    ("a.tsv", "", "", "the file is empty", "at least one series"),
    ("a.tsv", " \n\n", "", "the file is empty", "at least one series"),
    ("a.tsv", "1\t2\t3\n\n2\t3\n", "line 3", "2 columns but the first row has 3", "NaN at the end"),
    ("a.tsv", "1\t2\t3\n2\t3\tx3\n", "line 2, column 3", "'x3' is not a number", "NaN for a missing value"),
    ("a.tsv", "1\t2\t3\n2\t1_000\t3\n", "line 2, column 2", "'1_000' is not a number", "Write a number"),
    ("a.tsv", "1\t0,5\t0.6\n", "line 1, column 2", "'0,5' is written with a decimal comma", "decimal point"),
    ("a.txt", "1 0,5 0,6\n", "line 1, column 2", "decimal comma", "decimal point"),
    ("a.csv", "1;0,5;0,6\n", "line 1, column 2", "decimal comma", "decimal point"),
    ("a.tsv", "NaN\t2\t3\n", "line 1, column 1", "the class label is missing", "Give the case a label"),
    ("a.tsv", "1\t2\t3\n\t2\t3\n", "line 2, column 1", "the class label is missing", "Give the case a label"),
    ("a.tsv", "1\t2\tinf\n", "line 1", "time step 2 of channel 1 is infinite", "missing (NaN)"),
    ("a.tsv", "1\t2\t-1e39\n", "line 1", "(-1e+39) is too large for 32-bit", "Rescale"),
    ("a.tsv", "1\t2\t3\n1\tNaN\tNaN\n", "line 2", "channel 1 has no value but NaN", "Remove the case"),
    ("a.tsv", "1\n2\n", "line 1", "the series is empty", "Remove the case"),
    ("a_TRAIN.tsv", "label_x\tt0\tt1\n1\t2\t3\n", "line 1", "has no column 'label'", "delete the header"),
    ("a_TRAIN.tsv", "cls\tt0\tt1\n1\t2\t3\n", "line 1", "it reads cls, t0, t1", "label_column=NAME"),
    ("a.tsv", "0.5\t0.25\t1\n0.5\t2.5\t2\n", "", "the first column holds values such as 0.5", "label_column=-1"),
    ("a.tsv", "5\t0.25\tup\n5\t2.5\tdown\n", "", "the last one labels such as up", "label_column=-1"),
    ("a.tsv", "1\t2\t3\n2\t3\t4\ncat\t2\t3\n", "line 3", "numbers such as '1', but this one is text: 'cat'", "one way"),
    # .ts
    (
        "a.ts",
        ts_header() + "1,2:up\n1,x:up\n",
        "line 7, column 2 of channel 1",
        "'x' is not a number",
        "Write a number",
    ),
    (
        "a.ts",
        ts_header(univariate="false", more="@dimensions 3\n") + "1:2:3:up\n1:2:up\n",
        "line 8",
        "@dimensions 3, but this case has 2 channels",
        "Correct the header or the case",
    ),
    ("a.ts", ts_header() + "1:2:up\n", "line 6", "@univariate true, but this case has 2 channels", "Correct"),
    (
        "a.ts",
        ts_header(equal="true") + "1,2,3:up\n1,2:up\n",
        "line 7",
        "@equalLength is true, but this series has 2 values and the first one 3",
        "@equalLength false",
    ),
    ("a.ts", ts_header(equal="true", more="@seriesLength 4\n") + "1,2:up\n", "line 7", "@seriesLength 4", "Write"),
    ("a.ts", ts_header(more="@missing false\n") + "1,?:up\n", "line 7", "@missing false", "@missing true"),
    ("a.ts", ts_header() + "1,2:up\n1,2:down\n", "line 7", "'down' is not among the classes", "declaration"),
    ("a.ts", ts_header() + "1,2:?\n", "line 6", "the class label is missing", "label"),
    ("a.ts", ts_header() + "1,2\n", "line 6", "the case has no label", "colon"),
    ("a.ts", ts_header().replace("@data\n", "") + "1,2:up\n", "line 5", "ends without @data", "Put @data"),
    ("a.ts", "@problemName x\n@classLabel false\n", "", "there is no @data", "Put @data"),
    ("a.ts", "@problemName x\n@data\n1,2:up\n", "", "no @classLabel", "@classLabel false"),
    ("a.ts", "@univariate yes\n@classLabel false\n@data\n1\n", "line 1", "neither true nor false", "@univariate true"),
    ("a.ts", "@dimensions six\n@classLabel false\n@data\n1\n", "line 1", "not a number above 0", "whole number"),
    ("a.ts", "@classLabels true a\n@data\n1:a\n", "line 1", "did you mean 'classlabel'?", ""),
    ("a.ts", ts_header(), "", "holds no series", "at least one series"),
    ("a.ts", ts_header(univariate="false") + "1,2:1,2,3:up\n", "line 6", "different lengths (2 and 3 values)", "?"),
    (
        "a.ts",
        ts_header(univariate="false") + "1:2:up\n1:up\n",
        "line 7",
        "1 channel but the first case",
        "same channels",
    ),
    (
        "a.ts",
        "@timeStamps true\n@classLabel false\n@data\n(0,1),(2,1),(2,4)\n",
        "line 4, column 3 of channel 1",
        "'2' does not come after the one before",
        "Sort",
    ),
    ("a.ts", "@timeStamps true\n@classLabel false\n@data\n(noon,1)\n", "line 4", "'noon' is not a time stamp", "date"),
    ("a.ts", "@timeStamps true\n@classLabel false\n@data\n1,2\n", "line 4", "not a list of (stamp,value)", "false"),
    # .arff
    ("a.arff", ARFF + "1,2,up\n1,2,down\n", "line 7", "'down' is not among the classes", "declaration"),
    ("a.arff", ARFF + "1,up\n", "line 6", "the row has 2 values but the header declares 3", "with ?"),
    ("a.arff", ARFF + "1,z,up\n", "line 6, column 2", "'z' is not a number", "Write a number"),
    ("a.arff", ARFF + "{0 1, 2 up}\n", "line 6", "sparse notation", "every value"),
    ("a.arff", ARFF.replace("@data\n", "") + "1,2,up\n", "line 5", "ends without @data", "Put @data"),
    ("a.arff", ARFF.replace("t1 numeric", "t1 string") + "a\n", "line 3", "type string can't stand here", "numbers"),
    ("a.arff", RELATION + "@attribute c {up}\n@data\n'1,2\\n3',up\n", "line 8", "channel 2 has 1 values", "with ?"),
    ("a.arff", RELATION + "@attribute c {up}\n@data\n1,2,up\n", "line 8", "not a quoted relation", "Write"),
    ("a.arff", RELATION.replace("@end m\n", "") + "@data\n'1,2'\n", "", "the relation m has no @end", "Declare"),
    # tables
    ("a.csv", LONG + "a,x,0,1,up\na,x,0,2,up\n", "line 3, column time, sample a", "'0' does not come after", "Sort"),
    ("a.csv", LONG + "a,x,0,1,up\na,x,1,2,down\n", "line 3, column label", "two labels, 'up' and 'down'", "same label"),
    ("a.csv", LONG + "a,x,0,one,up\n", "line 2, column value, sample a", "'one' is not a number", "Write a number"),
    ("a.csv", LONG + "a,x,0,1\n", "line 2", "4 cells but the header has 5", "separators"),
    ("a.csv", LONG + ",x,0,1,up\n", "line 2", "no case_id", "id of its case"),
    ("a.csv", LONG + "a,x,0,1,up\na,y,0,1,up\nb,x,0,1,up\n", "line 4, sample b", "channel 2 has no value", "Remove"),
    ("a.csv", "case_id,time,value\na,0,1\n", "line 1", "no column 'label'", "label_column=NAME"),
    ("a.csv", "id,t0,t0,label\n", "", "two columns 't0'", "its own name"),
    ("a.csv", "id,t0,label\np,1,a\np,2,b\n", "line 3", "the id 'p' is used twice", "own id"),
    ("a.csv", "id,t0,label\np,1,\n", "line 2, column label", "the class label is missing", "label"),
    ("a.parquet", "no table", "", "can't be read as Parquet", "Give a Parquet file"),
    # neither
    ("a.wav", "RIFF", "", "in none of the known formats", ".tsv"),
    ("a.tsv", "1\t2\0\t3", "", "is not a text file", "UTF-8"),
    ("a.npz", "no archive", "", "can't be read as NumPy arrays", "numpy.save"),
    ("a.mat", "no matrix", "", "can't be read as a MATLAB file", "the archive's .mat"),
]


@pytest.mark.parametrize(("name", "text", "place", "message", "remedy"), FAULTS)
def test_fault_names_place_and_remedy(
    tmp_path: Path, name: str, text: str, place: str, message: str, remedy: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_series(path)
    told = str(caught.value)
    assert told.startswith(f"{path}, {place}" if place else f"{path}: ")
    assert message in caught.value.message
    assert remedy in (caught.value.remedy or "")
    assert "\n" not in told


def test_missing_file(tmp_path: Path) -> None:
    for name in ("a.tsv", "a.ts", "a.arff", "X_train.npy", "a.mat", "a.parquet", "a.npz"):
        with pytest.raises(DataError, match="can't be read"):
            read_series(tmp_path / name)


def test_ucr_header_and_impossible_column(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("label\tt0\tt1\n1\t2\t3\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"line 1: the line is a header.*Delete the line"):
        load_ucr_tsv(path)
    path.write_text("1\t2\t3\n", encoding="utf-8")
    with pytest.raises(DataError, match="there is no column 7: the lines have 3 columns"):
        load_ucr_tsv(path, label_column=7)
    with pytest.raises(DataError, match="the file has no header, so it has no column 'kind'"):
        read_series(path, label_column="kind")
    path.write_text("label,t0\na,1\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"no column case_id, time, value"):
        load_long_table(path)


@pytest.mark.parametrize(
    ("values", "labels", "message"),
    [
        (np.ones((2, 2, 2, 2)), [0, 1], r"X is float64 of shape \[2, 2, 2, 2\]"),
        (np.ones((2, 3), dtype=complex), [0, 1], "X is complex128"),
        (np.array([["1", "2"], ["3", "4"]]), [0, 1], "X is <U1"),
        (np.ones((2, 3)), [0, 1, 2], r"y has shape \[3\] but X holds 2 cases"),
        (np.array([[1.0, np.inf], [1, 2]]), [0, 1], "sample 0: the value at time step 2 of channel 1 is infinite"),
        (np.array([[1.0, 2], [np.nan, np.nan]]), [0, 1], "sample 1: channel 1 has no value"),
        (np.ones((2, 3)), [np.nan, 1], "sample 0: the class label is missing"),
        (np.empty((0, 3)), [], "holds no series"),
    ],
)
def test_bad_arrays(tmp_path: Path, values: np.ndarray, labels: list[object], message: str) -> None:
    np.savez(tmp_path / "a.npz", X=values, y=np.array(labels))
    with pytest.raises(DataError, match=message):
        load_arrays(tmp_path / "a.npz")


def test_object_arrays_are_not_unpickled(tmp_path: Path) -> None:
    ragged = np.empty(2, dtype=object)
    ragged[:] = [np.ones(2), np.ones(3)]
    np.save(tmp_path / "X_train.npy", ragged, allow_pickle=True)
    np.savez(tmp_path / "a.npz", X=ragged, y=np.array([0, 1]))
    for name in ("X_train.npy", "a.npz"):
        with pytest.raises(DataError, match="arrays of objects are not read"):
            load_arrays(tmp_path / name)
    np.savez(tmp_path / "b.npz", data=np.ones(3))
    with pytest.raises(DataError, match=r"neither X_train nor X \(it holds data\)"):
        load_arrays(tmp_path / "b.npz")
    np.save(tmp_path / "data.npy", np.ones((2, 3)))
    with pytest.raises(DataError, match="begins with X"):
        load_arrays(tmp_path / "data.npy")


def test_mat_of_another_structure(tmp_path: Path) -> None:
    from scipy.io import savemat

    path = tmp_path / "a.mat"
    savemat(path, {"other": np.ones(3)})
    with pytest.raises(DataError, match="holds no structure mts"):
        load_mts_mat(path)
    savemat(path, {"mts": {"train": np.ones((1, 2))}})
    with pytest.raises(DataError, match="mts has no field trainlabels"):
        load_mts_mat(path)
    cells = np.empty((1, 2), dtype=object)
    cells[0, :] = [np.ones((1, 3)), np.ones((1, 3))]
    savemat(path, {"mts": {"train": cells, "trainlabels": np.ones((3, 1))}})
    with pytest.raises(DataError, match=r"mts\.train holds 2 series but mts\.trainlabels 3 labels"):
        load_mts_mat(path)
    cells[0, 1] = "text"
    savemat(path, {"mts": {"train": cells, "trainlabels": np.ones((2, 1))}})
    with pytest.raises(InvalidSample, match=r"sample 1.*not a matrix of numbers"):
        load_mts_mat(path)


def test_skip_keeps_the_good_rows_and_reports_the_bad(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("1\t2\t3\n2\tx\t3\n2\t4\n2\t4\t5\nNaN\t4\t5\n", encoding="utf-8")
    found = read_series(path, on_error="skip")
    assert found.labels == ("1", "2")
    assert [fault.where.line for fault in found.skipped if fault.where] == [2, 3, 5]
    path.write_text("1\tx\t1\n2\ty\t1\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"none of its 2 rows can be used; the first fault: .*line 1"):
        load_ucr_tsv(path, on_error="skip")
    path = tmp_path / "b.csv"
    path.write_text(LONG + "a,x,0,1,up\na,x,1\nb,x,0,1,up\nb,x,0,2,up\n", encoding="utf-8")
    long = read_series(path, on_error="skip")
    assert long.ids == ("a",)
    assert [fault.where.line for fault in long.skipped if fault.where] == [3, 5]


# --- the data set's own layout ---


def write(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


GOOD = "1\t0.5\t0.25\n2\t2.5\t3\n"


def test_train_without_test_and_other_layout_faults(tmp_path: Path) -> None:
    folder = write(tmp_path / "Pump", Pump_TRAIN__tsv=GOOD)
    assert TimeSeriesDataset.splits(folder) == ("train",)
    with pytest.raises(DataError, match=r"there is no split 'test'.*Its splits are: train"):
        TimeSeriesDataset.open(folder, split="test")
    with pytest.raises(DataError, match=r"holds no series.*Empty_TRAIN\.tsv"):
        TimeSeriesDataset.open(write(tmp_path / "Empty", notes__md="x"))
    with pytest.raises(DataError, match=r"data sets in folders of their own.*such as .*Pump"):
        TimeSeriesDataset.open(tmp_path)
    with pytest.raises(DataError, match=r"several data sets \(A, B\).*A_TRAIN\.tsv"):
        TimeSeriesDataset.open(write(tmp_path / "Two", A_TRAIN__tsv=GOOD, B_TRAIN__tsv=GOOD))


def test_one_class_no_labels_unknown_option(tmp_path: Path) -> None:
    folder = write(tmp_path / "One", One_TRAIN__tsv="1\t2.5\t3\n1\t3.5\t4\n", One_TEST__tsv="1\t2.5\t3\n")
    with pytest.raises(DataError, match=r"One_TRAIN\.tsv: all 2 series are of the class '1'.*at least two classes"):
        TimeSeriesDataset.open(folder)
    assert len(TimeSeriesDataset.open(folder, split="test")) == 1
    bare = write(tmp_path / "Bare", Bare_TRAIN__ts="@classLabel false\n@data\n1,2\n")
    with pytest.raises(DataError, match="holds no class labels"):
        TimeSeriesDataset.open(bare)
    with pytest.raises(ConfigError, match=r"label_colum'.*did you mean 'label_column'"):
        TimeSeriesDataset.open(folder, label_colum=1)
    with pytest.raises(QuireError, match="no such file or folder"):
        TimeSeriesDataset.open(tmp_path / "nowhere")
