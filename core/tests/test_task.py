"""Tasks: checks of samples, fits between tasks, and samples out of files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from quire import task as task_module
from quire.errors import DataError, InvalidSample, PluginError, TaskMismatch, Where
from quire.modality import Image, Label, Sample, Series, Text, Vector
from quire.table import table_columns, table_rows
from quire.task import (
    IMAGE_CLASSIFICATION,
    IMAGE_TEXT_CLASSIFICATION,
    SERIES_CLASSIFICATION,
    TEXT_CLASSIFICATION,
    VECTOR_CLASSIFICATION,
    Task,
)

FUSION = Task("fusion", {"infrared": Image(mode="L"), "visible": Image()}, target=Image())


def refused(call: Any, *parts: str) -> InvalidSample:
    with pytest.raises(InvalidSample) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)
    return caught.value


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def picture(folder: Path, name: str, colour: str = "red") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.new("RGB", (3, 2), colour).save(path)
    return path


# --- the task itself --------------------------------------------------------------------------------------------------


def test_generic_tasks_are_values_with_their_names() -> None:
    generic = [value for value in vars(task_module).values() if isinstance(value, Task)]
    assert len({task.name for task in generic}) == len(generic) == 6
    for task in generic:
        twin = pickle.loads(pickle.dumps(task))
        assert (twin, hash(twin)) == (task, hash(task))
        assert task.evaluators == ("classification",)
        assert isinstance(task.target, Label)
        task.require_fit(twin, this="a", that="b")


def test_entry_points_name_every_generic_task() -> None:
    import tomllib

    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    declared = tomllib.loads(pyproject.read_text())["project"]["entry-points"]["quire.tasks"]
    for name, target in declared.items():
        module, _, attribute = target.partition(":")
        assert module == "quire.task"
        assert getattr(task_module, attribute).name == name


@pytest.mark.parametrize(
    ("inputs", "optional"), [({}, set()), ({"target": Text()}, set()), ({"id": Text()}, set()), ({"a": Text()}, {"b"})]
)
def test_faulty_tasks_are_refused(inputs: dict[str, Any], optional: set[str]) -> None:
    with pytest.raises(PluginError, match="'t'"):
        Task("t", inputs, optional=frozenset(optional))


def test_inputs_can_not_be_changed_from_outside() -> None:
    inputs = {"text": Text()}
    task = Task("t", inputs)
    inputs["more"] = Text()
    assert list(task.inputs) == ["text"]


# --- check ------------------------------------------------------------------------------------------------------------


def test_check_normalises_a_copy() -> None:
    sample: Sample = {"series": [1, 2], "target": 3, "id": "a", "weight": 0.5}
    checked = SERIES_CLASSIFICATION.check(sample)
    assert checked["series"].tolist() == [[1, 2]]
    assert {key: checked[key] for key in ("target", "id", "weight")} == {"target": "3", "id": "a", "weight": 0.5}
    assert sample["series"] == [1, 2]


def test_check_names_sample_and_field() -> None:
    error = refused(lambda: TEXT_CLASSIFICATION.check({"text": 3, "id": "m1"}, index=7), "sample m1, field text")
    assert error.where == Where(sample="m1", field="text")
    assert refused(lambda: TEXT_CLASSIFICATION.check({"text": 3}, index=7)).where == Where(sample=7, field="text")
    refused(lambda: TEXT_CLASSIFICATION.check({"txt": "a"}, index=0), "field text: the field is missing", "'txt'")
    refused(lambda: TEXT_CLASSIFICATION.check({"text": None}, index=0), "field text: the field is missing")
    refused(lambda: TEXT_CLASSIFICATION.check({"text": "a", "target": ""}, index=0), "field target")
    refused(lambda: TEXT_CLASSIFICATION.check({"text": "a"}, index=4, need_target=True), "sample 4, field target")
    refused(lambda: TEXT_CLASSIFICATION.check(["a"], index=4), "sample 4", "list")  # type: ignore[arg-type]


def test_one_optional_input_is_enough() -> None:
    assert IMAGE_TEXT_CLASSIFICATION.check({"text": "a", "image": None}) == {"text": "a"}
    refused(lambda: IMAGE_TEXT_CLASSIFICATION.check({"target": "a"}, index=1), "sample 1", "image, text")


# --- fit --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (Task("m", {"text": Text()}), TEXT_CLASSIFICATION),
        (IMAGE_TEXT_CLASSIFICATION, TEXT_CLASSIFICATION),
        (TEXT_CLASSIFICATION, IMAGE_TEXT_CLASSIFICATION),
        (Task("m", {"series": Series(channels=2)}, target=Label()), SERIES_CLASSIFICATION),
        (SERIES_CLASSIFICATION, Task("d", {"series": Series(channels=9)}, target=Label(labels=("a",)))),
    ],
)
def test_tasks_that_fit(model: Task, data: Task) -> None:
    model.require_fit(data, this="the model", that="the data")


@pytest.mark.parametrize(
    ("model", "data", "fault"),
    [
        (TEXT_CLASSIFICATION, IMAGE_CLASSIFICATION, "'text' is missing"),
        (TEXT_CLASSIFICATION, Task("d", {"text": Text()}), "'target' is missing"),
        (TEXT_CLASSIFICATION, Task("d", {"text": Text()}, target=Text()), "'target' is Text where Label is needed"),
        (FUSION, IMAGE_CLASSIFICATION, "'infrared' is missing; 'visible' is missing"),
        (IMAGE_TEXT_CLASSIFICATION, VECTOR_CLASSIFICATION, "no input is shared"),
        (
            Task("m", {"series": Series(channels=2)}),
            Task("d", {"series": Series(channels=3)}),
            "'series' is Series(channels=3) where Series(channels=2) is needed",
        ),
    ],
)
def test_tasks_that_do_not_fit_name_both_sides(model: Task, data: Task, fault: str) -> None:
    with pytest.raises(TaskMismatch) as caught:
        model.require_fit(data, this="tim", that="photos")
    message = str(caught.value)
    assert fault in message
    assert f"tim needs {model.signature}" in message
    assert f"photos has {data.signature}" in message


# --- JSON -------------------------------------------------------------------------------------------------------------

SAMPLES = st.fixed_dictionaries(
    {},
    optional={
        "text": st.text(st.characters(exclude_categories=["Cs"])),
        "vector": st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=4),
        "target": st.sampled_from(["a", "b"]),
        "id": st.text(max_size=3) | st.integers(),
    },
).filter(lambda sample: sample.keys() & {"text", "vector"})


@given(SAMPLES)
def test_json_there_and_back(sample: dict[str, Any]) -> None:
    task = Task("t", {"text": Text(), "vector": Vector()}, Label(), optional=frozenset({"text", "vector"}))
    checked = task.check(sample)
    decoded = task.decode(json.loads(json.dumps(task.encode(checked), allow_nan=False)))
    assert decoded.keys() == checked.keys()
    for key, value in checked.items():
        np.testing.assert_array_equal(decoded[key], value)


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ([], ["an object with the fields text: Text -> target: Label", "list"]),
        ({"txet": "a"}, ["no field 'txet' (did you mean 'text'?)"]),
        ({}, ["field text: the field is missing"]),
        ({"text": None, "id": 3}, ["sample 3, field text"]),
        ({"text": 3}, ["field text", "int"]),
        ({"text": "a", "id": [1]}, ["field id"]),
        ({"text": "a", "id": True}, ["field id"]),
    ],
)
def test_decode_refuses(data: Any, parts: list[str]) -> None:
    refused(lambda: TEXT_CLASSIFICATION.decode(data), *parts)


# --- samples out of files ---------------------------------------------------------------------------------------------


def ids(samples: list[Sample]) -> list[str]:
    return [sample["id"] for sample in samples]


def test_one_field_reads_all_of_each_file(tmp_path: Path) -> None:
    one, two = write(tmp_path, "one.csv", "1,2\n3,4\n"), write(tmp_path, "two.txt", "5\n6\n")
    samples = list(SERIES_CLASSIFICATION.read_samples([one, str(two)]))
    assert ids(samples) == ["one.csv:1", "one.csv:2", "two.txt"]
    assert [sample["series"].tolist() for sample in samples] == [[[1, 2]], [[3, 4]], [[5, 6]]]


def test_files_of_one_name_have_their_paths_as_ids(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"{folder}/x.csv", "1,2\n") for folder in ("a", "b")]
    paths.append(write(tmp_path, "y.csv", "1,2\n"))
    found = ids(list(SERIES_CLASSIFICATION.read_samples(paths)))
    assert found == [f"{paths[0].as_posix()}:1", f"{paths[1].as_posix()}:1", "y.csv:1"]


def test_errors_name_file_line_and_field(tmp_path: Path) -> None:
    path = write(tmp_path, "one.csv", "1,2\n3,x\n")
    error = refused(lambda: list(SERIES_CLASSIFICATION.read_samples([path])))
    assert error.where == Where(file=path, line=2, column=2, field="series")


def test_table_is_a_sample_per_row(tmp_path: Path) -> None:
    picture(tmp_path, "img/a.png")
    path = write(tmp_path, "memes.csv", 'id,image,text,target\nm1,img/a.png,"one, two",ignored\n,,three,x\n')
    samples = list(IMAGE_TEXT_CLASSIFICATION.read_samples([path]))
    assert ids(samples) == ["m1", "memes.csv:2"]
    assert samples[0]["image"].getpixel((0, 0)) == (255, 0, 0)
    assert samples[1] == {"id": "memes.csv:2", "text": "three"}
    assert samples[0].keys() == {"id", "image", "text"}


def test_tables_of_every_format_read_alike(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    rows = [{"text": "eins, zwei", "vector": [1.0, 2.5]}, {"text": "drei", "vector": [3.0, 4.0]}]
    task = Task("t", {"text": Text(), "vector": Vector()})
    cells = [[row["text"], json.dumps(row["vector"])] for row in rows]
    paths = [
        write(tmp_path, "a.jsonl", "\n".join(json.dumps(row) for row in rows) + "\n\n"),
        write(tmp_path, "a.csv", "\ufefftext;vector\n" + "".join(f'{text};"{vector}"\n' for text, vector in cells)),
        write(tmp_path, "a.tsv", "text\tvector\n" + "".join(f"{text}\t{vector}\n" for text, vector in cells)),
        tmp_path / "a.parquet",
    ]
    parquet.write_table(pa.Table.from_pylist(rows), paths[-1])
    for path in paths:
        assert table_columns(path) == {"text", "vector"}
        samples = list(task.read_samples([path]))
        assert ids(samples) == [f"{path.name}:1", f"{path.name}:2"]
        for sample, row in zip(samples, rows, strict=True):
            assert sample["text"] == row["text"]
            np.testing.assert_array_equal(sample["vector"], np.array(row["vector"], dtype=np.float32))


def test_csv_without_the_fields_is_left_to_the_modality(tmp_path: Path) -> None:
    paths = tmp_path / "paths.csv"
    np.save(tmp_path / "a.npy", np.ones(3))
    paths.write_text("series\na.npy\n")
    assert ids(list(SERIES_CLASSIFICATION.read_samples([paths]))) == ["paths.csv:1"]
    numbers = write(tmp_path, "numbers.csv", "t0,t1\n1,2\n")
    assert ids(list(SERIES_CLASSIFICATION.read_samples([numbers]))) == ["numbers.csv:1"]
    wrong = write(tmp_path, "photos.csv", "file\na.png\n")
    refused(lambda: list(IMAGE_CLASSIFICATION.read_samples([wrong])), "photos.csv", "columns file, not image")


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("a.csv", "text,more\none\n", ["a.csv, line 2", "1 cells", "2 columns"]),
        ("a.csv", 'text,more\n"one\ntwo",3\nthree\n', ["a.csv, line 4"]),
        ("a.csv", "text,text\na,b\n", ["a.csv, line 1", "two columns 'text'"]),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', ["a.jsonl, line 2", "not JSON"]),
        ("a.jsonl", '{"text": "a"}\n[1]\n', ["a.jsonl, line 2", "a JSON object, not list"]),
        ("a.jsonl", '{"text": "a"}\n{"text": 3}\n', ["a.jsonl, line 2", "field text", "int"]),
        ("a.jsonl", '{"text": "a"}\n{"other": 3}\n', ["a.jsonl, line 2", "field text: the field is missing"]),
        ("a.parquet", "no parquet", ["a.parquet", "not a whole Parquet"]),
    ],
)
def test_faults_in_tables_name_the_line(name: str, text: str, parts: list[str], tmp_path: Path) -> None:
    path = write(tmp_path, name, text)
    refused(lambda: list(TEXT_CLASSIFICATION.read_samples([path])), *parts)


def test_table_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    for name in ("a.csv", "a.jsonl"):
        (tmp_path / name).write_bytes(b"text\n\x93\n")
        with pytest.raises(DataError, match=rf"{name}, line 2.*0x93"):
            list(table_rows(tmp_path / name))


def test_table_must_not_reach_outside_its_folder(tmp_path: Path) -> None:
    picture(tmp_path, "secret.png")
    for cell in ("../secret.png", (tmp_path / "secret.png").as_posix()):
        path = write(tmp_path, "in/photos.csv", f"image\n{cell}\n")
        refused(lambda path=path: list(IMAGE_CLASSIFICATION.read_samples([path])), "photos.csv, line 2", "field image")


def test_groups_of_files_in_field_order(tmp_path: Path) -> None:
    paths = [picture(tmp_path, f"{kind}/{night}.png") for night in (1, 2) for kind in ("ir", "vis")]
    samples = list(FUSION.read_samples(paths))
    assert ids(samples) == ["1.png", "2.png"]
    assert [(s["infrared"].mode, s["visible"].mode) for s in samples] == [("L", "RGB")] * 2
    refused(lambda: list(FUSION.read_samples(paths[:3])), "3 files", "samples of 2", "infrared, visible", "infrared=")
    table = write(tmp_path, "pairs.csv", "infrared,visible\nir/1.png,vis/1.png\n")
    assert ids(list(FUSION.read_samples([table]))) == ["pairs.csv:1"]
    refused(lambda: list(FUSION.read_samples([table, paths[0]])), "tables")


def test_named_fields(tmp_path: Path) -> None:
    image, text = picture(tmp_path, "a.png"), write(tmp_path, "a.txt", "hello\n")
    items = [f"text={text}", f"image={image}", f"image={image}"]
    samples = list(IMAGE_TEXT_CLASSIFICATION.read_samples(items))
    assert [sample.keys() for sample in samples] == [{"id", "text", "image"}, {"id", "image"}]
    assert samples[0]["text"] == "hello"
    refused(lambda: list(IMAGE_TEXT_CLASSIFICATION.read_samples([*items, image])), "a.png", "not named")
    refused(lambda: list(FUSION.read_samples([f"visible={image}"])), "a.png, field infrared")
    odd = picture(tmp_path, "x=1.png")
    assert ids(list(IMAGE_CLASSIFICATION.read_samples([odd]))) == ["x=1.png"]


def test_plain_files_fill_the_fields_that_are_not_optional(tmp_path: Path) -> None:
    task = Task("t", {"text": Text(), "image": Image()}, optional=frozenset({"image"}))
    paths = [write(tmp_path, name, name) for name in ("a.txt", "b.txt")]
    assert [sample["text"] for sample in task.read_samples(paths)] == ["a.txt", "b.txt"]


def test_an_empty_cell_is_an_empty_text_or_an_absent_field(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,more\n,x\n")
    assert next(TEXT_CLASSIFICATION.read_samples([path]))["text"] == ""
    refused(lambda: list(IMAGE_TEXT_CLASSIFICATION.read_samples([path])), "a.csv, line 2", "image, text")


def test_faults_are_reported_once_and_the_rest_is_read(tmp_path: Path) -> None:
    good, bad = picture(tmp_path, "good.png"), write(tmp_path, "bad.png", "no image")
    none, table = tmp_path / "none.png", write(tmp_path, "t.csv", "image\ngood.png\nnone.png\ngood.png\n")
    gone = tmp_path / "gone.csv"
    faults: list[InvalidSample] = []
    samples = list(IMAGE_CLASSIFICATION.read_samples([bad, good, none, table, gone], on_error=faults.append))
    assert ids(samples) == ["good.png", "t.csv:1", "t.csv:3"]
    where = [fault.where for fault in faults]
    assert where == [
        Where(file=bad, field="image"),
        Where(file=none, field="image"),
        Where(file=table, line=3, field="image"),
        Where(file=gone),
    ]
    faults.clear()
    assert list(SERIES_CLASSIFICATION.read_samples([gone], on_error=faults.append)) == []
    assert len(faults) == 1
    faults.clear()
    pairs = [good, bad, good, good]
    assert len(list(FUSION.read_samples(pairs, on_error=faults.append))) == 1
    assert [fault.where for fault in faults] == [Where(file=bad, field="visible")]
