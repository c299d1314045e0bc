from __future__ import annotations

import csv
import io
import json
import os
import pickle
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage
from torch.utils.data import DataLoader

from quire import registry
from quire.errors import ConfigError, DataError, InvalidSample
from quire.modality import Image, Label, Sample, Text
from quire.readers import FolderDataset, TableDataset
from quire.table import Row, table_rows
from quire.task import (
    AUDIO_CLASSIFICATION,
    IMAGE_CLASSIFICATION,
    IMAGE_TEXT_CLASSIFICATION,
    SERIES_CLASSIFICATION,
    TEXT_CLASSIFICATION,
    VECTOR_CLASSIFICATION,
    Task,
)

if TYPE_CHECKING:
    from quire.dataset import Dataset

DATA = os.environ.get("QUIRE_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="QUIRE_DATA names no folder of real data")


def image(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.new("RGB", (4, 4), (value, 0, 0)).save(path)
    return path


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def texts(path: Path, **options: Any) -> TableDataset:
    return TableDataset.open(path, task=TEXT_CLASSIFICATION, **options)


def targets(dataset: Dataset) -> list[Any]:
    return [dataset.target(index) for index in range(len(dataset))]


def everything(dataset: Dataset) -> list[tuple[str, bytes, str]]:
    return [(sample["id"], np.asarray(sample["image"]).tobytes(), sample["target"]) for sample in dataset]


# --- a folder for each class ------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for split, count in (("train", 3), ("val", 2)):
        for label in ("10", "9"):
            for number in range(count):
                image(tmp_path / split / label / f"{number}.png", number)
    write(tmp_path / "README.md", "Photos")
    write(tmp_path / "train" / "9" / ".hidden.txt", "no sample")
    (tmp_path / "train" / "9" / "Thumbs.db").touch()
    return tmp_path


def test_folders_are_classes_of_splits(photos: Path) -> None:
    dataset = FolderDataset.open(photos, task=IMAGE_CLASSIFICATION, split="validation")
    assert FolderDataset.splits(photos) == ("train", "validation")
    assert [sample["id"] for sample in dataset] == ["val/10/0.png", "val/10/1.png", "val/9/0.png", "val/9/1.png"]
    assert targets(dataset) == ["10", "10", "9", "9"]
    assert (dataset.labels, dataset.name) == (("9", "10"), photos.name)
    assert dataset[1]["image"].getpixel((0, 0)) == (1, 0, 0)


def test_folders_without_splits_are_divided(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for number in range(10):
            image(tmp_path / label / "deeper" / f"{number}.png", number)
    fractions: dict[str, Any] = {"validation_fraction": 0.2, "test_fraction": 0.1, "task": IMAGE_CLASSIFICATION}
    parts = [FolderDataset.open(tmp_path, split=split, **fractions) for split in FolderDataset.splits(tmp_path)]
    assert [Counter(targets(part)) for part in parts] == [Counter(a=n, b=n) for n in (7, 2, 1)]
    assert len({sample["id"] for part in parts for sample in part}) == 20
    again = FolderDataset.open(tmp_path, split="test", split_seed=3, **fractions)
    assert again.fingerprint() != parts[2].fingerprint()


def test_a_part_of_no_share_has_no_sample(photos: Path) -> None:
    with pytest.raises(DataError, match="'test' has no sample"):
        FolderDataset.open(photos / "train", task=IMAGE_CLASSIFICATION, split="test", test_fraction=0)
    with pytest.raises(ConfigError, match="must leave samples to train on"):
        FolderDataset.open(photos / "train", task=IMAGE_CLASSIFICATION, validation_fraction=0.5, test_fraction=0.5)


def test_labels_are_those_of_all_splits(photos: Path) -> None:
    image(photos / "val" / "11" / "0.png")
    image(photos / "docs" / "figures" / "0.png")
    assert FolderDataset.open(photos, task=IMAGE_CLASSIFICATION).labels == ("9", "10", "11")


def test_files_that_are_no_samples_are_named(photos: Path) -> None:
    write(photos / "train" / "9" / "notes.txt", "no image")
    (photos / "train" / "9" / "empty.png").touch()
    (photos / "train" / "8").mkdir()
    with pytest.raises(InvalidSample, match="8: the class folder is empty"):
        FolderDataset.open(photos, task=IMAGE_CLASSIFICATION)
    dataset = FolderDataset.open(photos, task=IMAGE_CLASSIFICATION, on_error="skip")
    assert len(dataset) == 6
    assert [str(error.where).removeprefix(f"{photos}/train/") for error in dataset.skipped] == [
        "8",
        "9/empty.png",
        "9/notes.txt",
    ]


def test_two_folders_of_one_split_are_refused(photos: Path) -> None:
    shutil.copytree(photos / "val", photos / "dev")
    with pytest.raises(DataError, match="dev and val are both validation"):
        FolderDataset.open(photos, task=IMAGE_CLASSIFICATION)


def test_unreadable_media_are_named_on_access_or_found_at_once(photos: Path) -> None:
    broken = photos / "train" / "10" / "1.png"
    broken.write_bytes(b"\x89PNG\r\n")
    dataset = FolderDataset.open(photos, task=IMAGE_CLASSIFICATION)
    assert targets(dataset) == ["10"] * 3 + ["9"] * 3
    with pytest.raises(InvalidSample, match=r"10/1\.png, sample train/10/1\.png, field image"):
        dataset[1]
    verified = FolderDataset.open(photos, task=IMAGE_CLASSIFICATION, on_error="skip", verify=True)
    assert len(verified) == 5
    assert [error.where.file for error in verified.skipped if error.where] == [broken]
    with pytest.raises(InvalidSample, match="sample train/10/1"):
        FolderDataset.open(photos, task=IMAGE_CLASSIFICATION, verify=True)


def test_targets_and_opening_read_no_media(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Image, source: Path | bytes) -> None:
        raise AssertionError(f"{source!r} was read")

    monkeypatch.setattr(Image, "load", refuse)
    assert targets(FolderDataset.open(photos, task=IMAGE_CLASSIFICATION)) == ["10"] * 3 + ["9"] * 3


def test_a_folder_serves_tasks_of_one_input_and_a_label(photos: Path) -> None:
    with pytest.raises(ConfigError, match="one input and a label, not image-text-classification"):
        FolderDataset.open(photos, task=IMAGE_TEXT_CLASSIFICATION)
    with pytest.raises(DataError, match="this is a file"):
        FolderDataset.open(photos / "README.md", task=IMAGE_CLASSIFICATION)


def test_a_class_folder_may_hold_texts(tmp_path: Path) -> None:
    write(tmp_path / "test" / "ham" / "1.txt", "see you at eight")
    dataset = FolderDataset.open(tmp_path, task=TEXT_CLASSIFICATION, split="test")
    assert dataset[0] == {"id": "test/ham/1.txt", "text": "see you at eight", "target": "ham"}


def test_samples_are_the_same_in_any_order_and_in_any_worker(photos: Path) -> None:
    dataset = FolderDataset.open(photos, task=IMAGE_CLASSIFICATION)
    expected = everything(dataset)
    assert [everything(dataset)[index] for index in (5, 0, 3)] == [expected[index] for index in (5, 0, 3)]
    assert everything(pickle.loads(pickle.dumps(dataset))) == expected
    loader: DataLoader[Sample] = DataLoader(dataset, batch_size=None, num_workers=2)  # type: ignore[arg-type]
    assert sorted(everything(list(loader))) == sorted(expected)  # type: ignore[arg-type]


def test_the_fingerprint_follows_the_content_and_not_the_place(photos: Path, tmp_path_factory: Any) -> None:
    def fingerprint(path: Path) -> str:
        return FolderDataset.open(path, task=IMAGE_CLASSIFICATION).fingerprint()

    copy = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(photos, copy)
    assert fingerprint(copy) == fingerprint(photos)
    image(copy / "train" / "9" / "0.png", 200)
    assert fingerprint(copy) != fingerprint(photos)


# --- a column for each field ------------------------------------------------------------------------------------------


def test_columns_are_fields(tmp_path: Path) -> None:
    table = write(tmp_path / "mail.csv", "id,text,target,split,note", "x,hello, ham ,train,-", 'y,"a, b",spam,dev,-')
    dataset = texts(table)
    assert TableDataset.splits(table) == ("train", "validation")
    assert list(dataset) == [{"id": "x", "text": "hello", "target": "ham"}]
    assert list(texts(table, split="validation")) == [{"id": "y", "text": "a, b", "target": "spam"}]
    assert (dataset.labels, dataset.name) == (("ham", "spam"), "mail")


def test_files_named_as_splits_are_the_splits(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "text,target", "one,a")
    write(tmp_path / "valid.tsv", "text\ttarget", "two, and\tb")
    write(tmp_path / "test.jsonl", '{"text": "three", "target": 3}')
    write(tmp_path / "sources.csv", "url", "-")
    assert TableDataset.splits(tmp_path) == ("train", "validation", "test")
    assert [text["text"] for split in TableDataset.splits(tmp_path) for text in texts(tmp_path, split=split)] == [
        "one",
        "two, and",
        "three",
    ]
    assert texts(tmp_path).labels == ("3", "a", "b")
    assert texts(tmp_path)[0]["id"] == "train.csv:2"
    assert TableDataset.splits(tmp_path / "train.csv") == ("train",)


def test_a_table_without_splits_is_divided(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "text,target", *(f"text {n},{'ab'[n % 2]}" for n in range(20)))
    parts = {split: texts(table, split=split) for split in TableDataset.splits(table)}
    assert {split: len(part) for split, part in parts.items()} == {"train": 14, "validation": 3, "test": 3}
    assert len({sample["id"] for part in parts.values() for sample in part}) == 20


def test_a_folder_has_one_table_or_tables_of_splits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no table"):
        texts(tmp_path)
    write(tmp_path / "a.csv", "text,target,split", "one,a,train")
    assert len(texts(tmp_path)) == 1
    write(tmp_path / "b.csv", "text,target", "one,a")
    with pytest.raises(DataError, match=r"several tables: a\.csv, b\.csv"):
        texts(tmp_path)
    write(tmp_path / "val.csv", "text,target", "one,a")
    write(tmp_path / "dev.csv", "text,target", "one,a")
    with pytest.raises(DataError, match=r"dev\.csv and val\.csv are both validation"):
        texts(tmp_path)


def test_fields_may_stand_in_other_columns(tmp_path: Path) -> None:
    table = write(tmp_path / "train.csv", "age,height,kind", "30,1.8,a", "x,1.7,a", ",1,a")
    options: dict[str, Any] = {"task": VECTOR_CLASSIFICATION}
    columns = {"vector": ["age", "height"], "target": "kind"}
    with pytest.raises(InvalidSample, match=r"train\.csv, line 3, column age: 'x' is not a number"):
        TableDataset.open(table, columns=columns, **options)
    dataset = TableDataset.open(table, columns=columns, on_error="skip", **options)
    np.testing.assert_array_equal(dataset[0]["vector"], np.array([30, 1.8], np.float32))
    assert [error.where.line for error in dataset.skipped if error.where] == [3, 4]
    with pytest.raises(
        DataError, match=r"no column 'knd' \(did you mean 'kind'\?\). Its columns are: age, height, kind"
    ):
        TableDataset.open(table, columns=columns | {"target": "knd"}, **options)
    with pytest.raises(ConfigError, match=r"no field 'vectr' \(did you mean 'vector'\?\)"):
        TableDataset.open(table, columns={"vectr": "age"}, **options)
    with pytest.raises(ConfigError, match="not a vector"):
        TableDataset.open(table, columns={"target": ["age"]}, **options)


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ("hello", "line 5: 1 cells where the header names 2 columns"),
        ("a,b,c", "line 5: 3 cells"),
        ("hello,", "line 5, column target: the target is missing"),
        ('"a"b,c', "line 5: the quotes do not match"),
        ('"open,c', "line 5: the quotes do not match"),
    ],
)
def test_bad_rows_are_named_by_file_and_line_or_skipped(tmp_path: Path, cells: str, fault: str) -> None:
    good = '"two\nlines",a'
    table = write(tmp_path / "train.csv", "text,target", good, "", cells)
    with pytest.raises(InvalidSample, match=rf"train\.csv, {fault}"):
        texts(table)
    dataset = texts(table, on_error="skip")
    assert [sample["text"] for sample in dataset] == ["two\nlines"]
    assert len(dataset.skipped) == 1


def test_rows_after_a_bad_one_are_read(tmp_path: Path) -> None:
    table = write(tmp_path / "train.csv", "text,target", '"a"b,x', "only one", "good,y", '"x', 'y",z')
    dataset = texts(table, on_error="skip")
    assert [(sample["id"], sample["text"]) for sample in dataset] == [("train.csv:4", "good"), ("train.csv:5", "x\ny")]
    assert [error.where.line for error in dataset.skipped if error.where] == [2, 3]


def test_json_lines_are_named_by_line_and_column(tmp_path: Path) -> None:
    table = write(tmp_path / "train.jsonl", '{"text": "a", "target": 1}', "", '{"text": }', "[1]", '{"target": 1}')
    with pytest.raises(InvalidSample, match=r"train\.jsonl, line 3, column 10: this is not JSON"):
        texts(table)
    dataset = texts(table, on_error="skip")
    assert targets(dataset) == ["1"]
    assert [str(error).partition("train.jsonl, ")[2] for error in dataset.skipped] == [
        "line 3, column 10: this is not JSON (Expecting value)",
        "line 4: a row is a JSON object, not list",
        "line 5, column text: the text is missing",
    ]


def test_an_id_that_comes_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    table = write(tmp_path / "train.csv", "id,text,target", "7,one,a", "8,two,a", "7,three,a")
    with pytest.raises(InvalidSample, match=r"line 4, sample 7: the id '7' is that of line 2 too"):
        texts(table)
    assert [sample["text"] for sample in texts(table, on_error="skip")] == ["one", "two"]


def test_a_row_that_names_no_split_is_a_bad_row(tmp_path: Path) -> None:
    table = write(tmp_path / "t.jsonl", '{"text": "a", "target": 1, "split": "train"}', '{"text": "b", "target": 1}')
    with pytest.raises(InvalidSample, match="line 2, column split: the split is missing"):
        texts(table)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "the file is empty"),
        (b"text,target\n", "the table has no rows"),
        (b"text,text\na,b\n", "two columns 'text'"),
        (b"text,target\na,\xff\n", r"line 2: the text is not UTF-8"),
        (b"txt,target\na,b\n", r"no column 'text' \(did you mean 'txt'\?\)"),
    ],
)
def test_tables_that_can_not_be_read(tmp_path: Path, content: bytes, fault: str) -> None:
    table = tmp_path / "train.csv"
    table.write_bytes(content)
    with pytest.raises(DataError, match=rf"train\.csv.*{fault}"):
        texts(table, on_error="skip")


def test_other_files_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a table is one of \.csv"):
        texts(write(tmp_path / "train.xlsx", "-"))
    with pytest.raises(DataError, match="not a whole Parquet file"):
        texts(write(tmp_path / "train.parquet", "PAR1"))


def test_media_are_files_beside_the_table(tmp_path: Path) -> None:
    image(tmp_path / "pictures" / "a.png", 7)
    table = write(tmp_path / "train.csv", "image,text,target", "pictures/a.png,,x", ",only words,y", ",,z")
    dataset = TableDataset.open(table, task=IMAGE_TEXT_CLASSIFICATION, on_error="skip")
    assert [set(sample) for sample in dataset] == [{"id", "image", "target"}, {"id", "text", "target"}]
    assert dataset[0]["image"].getpixel((0, 0)) == (7, 0, 0)
    assert [str(error).partition("train.csv, ")[2] for error in dataset.skipped] == ["line 4: has none of image, text"]


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        ("/etc/passwd", "not a path relative"),
        ("C:\\x.png", "not a path relative"),
        ("../a.png", "leads out of"),
        ("b/../../a.png", "leads out of"),
        ("b\\..\\..\\a.png", "leads out of"),
        ("gone.png", "there is no file 'gone.png'"),
        ("folder", "there is no file 'folder'"),
        ("x" * 5000, "there is no file"),
        ("empty.png", "the file 'empty.png' is empty"),
        ("[1, 2", "there is no file"),
        ("{}", "expected"),
    ],
)
def test_cells_that_name_no_media_beside_the_table(tmp_path: Path, cell: str, fault: str) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "t" / "folder").mkdir(parents=True)
    (tmp_path / "t" / "empty.png").touch()
    table = tmp_path / "t" / "train.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["image", "target"], [cell, "a"]])
    with pytest.raises(InvalidSample, match=rf"train\.csv, line 2, column image: .*{fault}"):
        TableDataset.open(table, task=IMAGE_CLASSIFICATION)


def test_series_and_vectors_are_json_in_a_cell(tmp_path: Path) -> None:
    table = write(tmp_path / "train.csv", "series;target", "[1, null, 3];a", "[[1, 2], [3, 4]];b")
    dataset = TableDataset.open(table, task=SERIES_CLASSIFICATION)
    np.testing.assert_array_equal(dataset[0]["series"], np.array([[1, np.nan, 3]]))
    assert dataset[1]["series"].shape == (2, 2)
    broken = write(tmp_path / "broken" / "train.csv", "series;target", "[1, 2,];a")
    with pytest.raises(InvalidSample, match="line 2, column series: this is not JSON"):
        TableDataset.open(broken, task=SERIES_CLASSIFICATION)


def test_parquet_holds_lists_numbers_and_media(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    content = image(tmp_path / "a.png", 9).read_bytes()
    columns = {
        "image": [{"bytes": content, "path": None}, {"bytes": None, "path": "a.png"}],
        "vector": [[1.0, 2.0], [3.0, None]],
        "target": [1, 2],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")
    images = TableDataset.open(tmp_path, task=IMAGE_CLASSIFICATION)
    assert [sample["image"].getpixel((0, 0)) for sample in images] == [(9, 0, 0)] * 2
    assert images.labels == ("1", "2")
    with pytest.raises(InvalidSample, match=r"train\.parquet, line 2, column vector"):
        TableDataset.open(tmp_path, task=VECTOR_CLASSIFICATION)
    vectors = TableDataset.open(tmp_path, task=VECTOR_CLASSIFICATION, on_error="skip")
    assert vectors[0]["vector"].tolist() == [1, 2]


def test_a_target_need_not_be_a_label(tmp_path: Path) -> None:
    task = Task("caption", {"image": Image()}, target=Text())
    image(tmp_path / "a.png")
    table = write(tmp_path / "t.csv", "image,target", *["a.png,a red square"] * 4)
    dataset = TableDataset.open(table, task=task, validation_fraction=0.25, test_fraction=0)
    assert (targets(dataset), dataset.labels) == (["a red square"] * 3, ())


def test_a_task_that_names_labels_refuses_others(tmp_path: Path) -> None:
    task = Task("t", {"text": Text()}, target=Label(labels=("spam", "ham")))
    table = write(tmp_path / "train.csv", "text,target", "one,spam", "two,sapm")
    with pytest.raises(InvalidSample, match=r"line 3, column target: unknown label 'sapm' \(did you mean 'spam'\?\)"):
        TableDataset.open(table, task=task)
    assert TableDataset.open(table, task=task, on_error="skip").labels == ("ham", "spam")


@pytest.mark.skipif("text-classification" not in registry.names("task"), reason="quire-core is not installed")
def test_a_task_is_named_as_it_is_registered(tmp_path: Path) -> None:
    table = write(tmp_path / "train.csv", "text,vector,target", 'one,"[1, 2]",a')
    assert TableDataset.open(table).task == TEXT_CLASSIFICATION
    assert TableDataset.open(table, task="vector-classification").task == VECTOR_CLASSIFICATION


# --- the parser against the csv module's writer -----------------------------------------------------------------------


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=8)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6), st.sampled_from([",", ";", "\t"]))
def test_csv_rows_come_back_with_their_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str
) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["first", "second"])
    lines = []
    for row in rows:
        lines.append(buffer.getvalue().count("\n") + 1)
        writer.writerow(row)
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    path.write_bytes(buffer.getvalue().encode())
    assert list(table_rows(path)) == [
        Row(path, line, {"first": first, "second": second}) for line, (first, second) in zip(lines, rows, strict=True)
    ]


@given(st.lists(st.dictionaries(CELLS, st.one_of(st.none(), st.integers(), CELLS), min_size=1), max_size=6))
def test_json_rows_come_back_with_their_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8", newline="\n")
    assert list(table_rows(path)) == [Row(path, 2 * number + 1, row) for number, row in enumerate(rows)]


@given(st.binary(max_size=60), st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"]))
def test_any_bytes_give_rows_or_data_errors(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    rows: list[Row | InvalidSample] = []
    with suppress(DataError):
        rows.extend(table_rows(path))
    assert all(isinstance(row, Row) or (row.where and row.where.line) for row in rows)


# --- choosing a reader, synthetic releases ----------------------------------------------------------------------------


def test_readers_recognise_their_layouts(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    tables = tmp_path_factory.mktemp("tables")
    assert (FolderDataset.recognises(photos), TableDataset.recognises(photos)) == (True, False)
    assert FolderDataset.recognises(photos / "train")
    assert not FolderDataset.recognises(photos / "train" / "9")
    assert not TableDataset.recognises(tables)
    table = write(tables / "any.csv", "a", "b")
    assert TableDataset.recognises(table)
    assert TableDataset.recognises(tables)
    assert not FolderDataset.recognises(tables)
    write(tables / "other.csv", "a", "b")
    assert not TableDataset.recognises(tables)


@pytest.mark.parametrize(
    ("reader", "task"),
    [
        (FolderDataset, IMAGE_CLASSIFICATION),
        (TableDataset, TEXT_CLASSIFICATION),
        (TableDataset, VECTOR_CLASSIFICATION),
    ],
)
def test_synthetic_releases_follow_their_seed(
    tmp_path: Path, reader: type[FolderDataset | TableDataset], task: Task
) -> None:
    def fingerprints(folder: str, seed: int) -> list[str]:
        path = reader.sample(tmp_path / folder, seed=seed)
        assert reader.recognises(path)
        return [reader.open(path, split=split, task=task).fingerprint() for split in reader.splits(path)]

    assert fingerprints("one", 0) == fingerprints("two", 0)
    assert not set(fingerprints("three", 1)) & set(fingerprints("four", 0))
    with pytest.raises(DataError, match="not an empty folder"):
        reader.sample(tmp_path / "one")


def test_synthetic_pictures_can_be_learnt(tmp_path: Path) -> None:
    path = FolderDataset.sample(tmp_path / "shapes")
    train, test = (FolderDataset.open(path, split=split, task=IMAGE_CLASSIFICATION) for split in ("train", "test"))
    assert Counter(targets(train)) == {"circle": 12, "square": 12, "triangle": 12}
    features = [[np.asarray(sample["image"]).mean(axis=(0, 1)) for sample in part] for part in (train, test)]
    assert nearest_neighbour_accuracy(train, test, *features) > 0.9


def test_synthetic_vectors_and_texts_can_be_learnt(tmp_path: Path) -> None:
    path = TableDataset.sample(tmp_path / "messages")
    train, test = (TableDataset.open(path, split=split, task=VECTOR_CLASSIFICATION) for split in ("train", "test"))
    assert Counter(targets(train)) == {"complaint": 12, "praise": 12}
    assert nearest_neighbour_accuracy(train, test, *([s["vector"] for s in part] for part in (train, test))) > 0.8
    train, test = (texts(path, split=split) for split in ("train", "test"))
    words = sorted({word for sample in train for word in sample["text"].split()})
    bags = [[np.array([word in s["text"].split() for word in words], float) for s in part] for part in (train, test)]
    assert nearest_neighbour_accuracy(train, test, *bags) > 0.8


def nearest_neighbour_accuracy(train: Dataset, test: Dataset, known: list[Any], asked: list[Any]) -> float:
    nearest = [int(np.argmin([np.linalg.norm(one - other) for other in known])) for one in asked]
    return float(np.mean([train.target(found) == test.target(index) for index, found in enumerate(nearest)]))


# --- real data --------------------------------------------------------------------------------------------------------


@needs_data
def test_real_folders_of_faces() -> None:
    path = Path(str(DATA)) / "amsoftmax" / "att_faces"
    parts = {
        split: FolderDataset.open(path, task=IMAGE_CLASSIFICATION, split=split, verify=True)
        for split in FolderDataset.splits(path)
    }
    people = len([folder for folder in path.iterdir() if folder.is_dir()])
    assert sum(map(len, parts.values())) == len(list(path.rglob("*.pgm")))
    assert all(len(set(targets(part))) == len(part.labels) == people for part in parts.values())
    assert parts["train"][0]["image"].size == (92, 112)


@needs_data
def test_real_table_whose_cells_hold_line_breaks() -> None:
    path = Path(str(DATA)) / "memefier" / "protected_attributes_m7k.csv"
    task = Task("gender", {"text": Text()}, target=Label())
    columns = {"text": "race_scores_fair", "target": "gender", "id": "face_name_align"}
    options: dict[str, Any] = {"task": task, "columns": columns, "validation_fraction": 0, "test_fraction": 0}
    dataset = TableDataset.open(path, on_error="skip", **options)
    import pandas

    frame = pandas.read_csv(path, dtype=str)
    unlike = frame.drop_duplicates("face_name_align")
    assert len(dataset) == len(unlike)
    assert [sample["text"] for sample in dataset] == unlike["race_scores_fair"].tolist()
    assert len(dataset.skipped) == len(frame) - len(unlike)
    lines = path.read_text().split("\n")
    for row in list(table_rows(path))[::100]:
        assert isinstance(row, Row)
        assert lines[row.line - 1].startswith(row.cells["face_name_align"])


@needs_data
def test_real_recordings_listed_in_a_table(tmp_path: Path) -> None:
    recordings = sorted((Path(str(DATA)) / "duo" / "fsdd").glob("*.wav"))[:4]
    for recording in recordings:
        shutil.copy(recording, tmp_path)
    write(tmp_path / "test.csv", "audio,target", *(f"{file.name},{file.name[0]}" for file in recordings))
    dataset = TableDataset.open(tmp_path, task=AUDIO_CLASSIFICATION, split="test")
    assert all(sample["audio"].rate == 8000 for sample in dataset)
    assert targets(dataset) == [file.name[0] for file in recordings]
