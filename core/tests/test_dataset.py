from __future__ import annotations

import math
import pickle
import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from operator import getitem
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from quire.config import Config
from quire.dataset import (
    Concatenation,
    Dataset,
    InMemory,
    OnError,
    Rows,
    Subset,
    canonical_split,
    common_task,
    new_release,
    partition,
    skipping,
    sort_labels,
    split,
    stratified_split,
)
from quire.errors import ConfigError, DataError, InvalidSample, TaskMismatch, Where
from quire.modality import Audio, Image, Label, Sample, Series, Text, Vector
from quire.task import IMAGE_CLASSIFICATION, SERIES_CLASSIFICATION, TEXT_CLASSIFICATION, VECTOR_CLASSIFICATION, Task

if TYPE_CHECKING:
    from pathlib import Path

LABELS = st.lists(st.sampled_from("abcdefg"), max_size=80)
FRACTIONS = st.sampled_from(
    [
        {"train": 0.8, "test": 0.2},
        {"train": 0.7, "validation": 0.15, "test": 0.15},
        {"a": 0.5, "b": 0.3, "c": 0.1, "d": 0.1},
        {"all": 1.0},
    ]
)


def texts(targets: Sequence[str], *, name: str = "texts") -> InMemory:
    samples = [{"text": f"text {index}", "target": target} for index, target in enumerate(targets)]
    return InMemory(samples, task=TEXT_CLASSIFICATION, name=name)


def vectors(count: int, dim: int, *, name: str, start: int = 0) -> InMemory:
    task = replace(VECTOR_CLASSIFICATION, inputs={"vector": Vector(dim=dim)})
    samples = [{"vector": np.full(dim, start + index), "target": str(index % 2)} for index in range(count)]
    return InMemory(samples, task=task, name=name)


def text_at(dataset: Dataset, index: int) -> str:
    text: str = dataset[index]["text"]
    return text


class Lines(Rows):
    """A reader as a plugin would write it: one text a line, "label text"; a file for each split."""

    class Options(Config):
        upper: bool = Field(False, description="capital letters")

    @classmethod
    def splits(cls, path: Path) -> tuple[str, ...]:
        return tuple(sorted(canonical_split(file.stem) for file in path.glob("*.txt")))

    @classmethod
    def read(cls, path: Path, *, split: str, on_error: OnError, options: Options) -> Self:
        rows: list[Sample] = []
        skipped: list[InvalidSample] = []
        file = next(file for file in path.glob("*.txt") if canonical_split(file.stem) == split)
        for line, content in enumerate(file.read_text().splitlines(), 1):
            with skipping(on_error, skipped):
                target, _, text = content.partition(" ")
                if not text:
                    raise InvalidSample("there is no text", where=Where(file=file, line=line))
                rows.append({"id": str(line), "text": text.upper() if options.upper else text, "target": target})
        return cls(rows, task=TEXT_CLASSIFICATION, name=path.name, split=split, labels=("a", "b"), skipped=skipped)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    (tmp_path / "train.txt").write_text("a one\nb\na three\n")
    (tmp_path / "val.txt").write_text("b four\n")
    (tmp_path / "test.txt").write_text("a\n")
    return tmp_path


# --- opening ----------------------------------------------------------------------------------------------------------


def test_a_bad_row_is_an_error_with_file_and_line(release: Path) -> None:
    with pytest.raises(InvalidSample, match=r"train\.txt, line 2: there is no text"):
        Lines.open(release)


def test_skipped_rows_are_collected_and_the_rest_is_there(release: Path) -> None:
    dataset = Lines.open(release, on_error="skip", upper=True)
    assert [sample["text"] for sample in dataset] == ["ONE", "THREE"]
    assert [error.where.line for error in dataset.skipped if error.where] == [2]


def test_a_split_answers_to_its_usual_names(release: Path) -> None:
    assert Lines.open(release, split="validation").split == Lines.open(release, split="val").split == "validation"


def test_an_unknown_split_names_the_known_ones(release: Path) -> None:
    with pytest.raises(
        DataError, match=r"no split 'tst' \(did you mean 'test'\?\). Its splits are: test, train, valid"
    ):
        Lines.open(release, split="tst")


def test_an_unknown_option_names_its_nearest_match(release: Path) -> None:
    with pytest.raises(ConfigError, match=r"Lines has no option 'uper' \(did you mean 'upper'\?\)"):
        Lines.open(release, uper=True)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing: there is no such file or folder"):
        Lines.open(tmp_path / "nothing")


def test_a_split_without_samples_is_an_error_that_tells_what_was_left_out(release: Path) -> None:
    with pytest.raises(DataError, match=r"'test' has no sample; 1 were left out, the first: .*test\.txt, line 1"):
        Lines.open(release, split="test", on_error="skip")


def test_views_are_not_opened(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="Subset is not opened from a path"):
        Subset.open(tmp_path)


@pytest.mark.parametrize(
    ("given", "usual"),
    [
        ("val", "validation"),
        ("Valid", "validation"),
        ("dev", "validation"),
        ("Training", "train"),
        (" test ", "test"),
        ("fold 3", "fold 3"),
        ("Query", "Query"),
    ],
)
def test_usual_names_of_splits(given: str, usual: str) -> None:
    assert canonical_split(given) == usual


def test_a_new_release_appears_whole_and_overwrites_nothing(tmp_path: Path) -> None:
    target = tmp_path / "release"

    def break_off() -> None:
        with new_release(target) as folder:
            (folder / "half.txt").write_text("half")
            folder.read_text()

    with pytest.raises(IsADirectoryError):
        break_off()
    assert not target.exists()
    with new_release(target) as folder:
        (folder / "whole.txt").write_text("whole")
    with pytest.raises(DataError, match="not an empty folder"), new_release(target):
        pass
    assert [file.name for file in target.iterdir()] == ["whole.txt"]


# --- samples ----------------------------------------------------------------------------------------------------------


def test_a_dataset_is_a_sequence() -> None:
    dataset = texts("abc")
    assert isinstance(dataset, Sequence)
    assert [sample["target"] for sample in dataset] == ["a", "b", "c"]
    assert [sample["target"] for sample in reversed(dataset)] == ["c", "b", "a"]
    assert dataset[-1] == dataset[2] == {"id": "2", "text": "text 2", "target": "c"}
    for outside in (3, -4):
        with pytest.raises(IndexError):
            dataset[outside]


def test_in_memory_samples_take_the_one_form_of_their_fields() -> None:
    dataset = InMemory([{"series": np.arange(3.0), "target": 7, "id": 12}], task=SERIES_CLASSIFICATION)
    assert dataset[0]["series"].dtype == np.float32
    assert dataset[0]["series"].shape == (1, 3)
    assert (dataset[0]["id"], dataset[0]["target"], dataset.labels) == ("12", "7", ("7",))


def test_in_memory_names_the_sample_and_field_at_fault() -> None:
    with pytest.raises(InvalidSample, match=r"sample 1, field text"):
        InMemory([{"text": "a"}, {"text": 3}], task=TEXT_CLASSIFICATION)


def test_in_memory_refuses_an_id_that_comes_twice() -> None:
    samples = [{"text": "a", "id": "x"}, {"text": "b"}, {"text": "c", "id": "x"}]
    with pytest.raises(InvalidSample, match="sample x: the samples at positions 0 and 2 share one id"):
        InMemory(samples, task=TEXT_CLASSIFICATION)


def test_labels_are_those_of_the_task_where_it_names_them() -> None:
    task = replace(TEXT_CLASSIFICATION, target=Label(labels=("10", "9", "2")))
    assert InMemory([{"text": "a", "target": "9"}], task=task).labels == ("2", "9", "10")
    assert InMemory([{"text": "a"}], task=replace(TEXT_CLASSIFICATION, target=Text())).labels == ()


def test_a_missing_target_is_an_error_of_its_sample() -> None:
    with pytest.raises(InvalidSample, match="sample 0: has no target"):
        InMemory([{"text": "a"}], task=TEXT_CLASSIFICATION).target(0)


def test_changing_a_sample_does_not_change_the_dataset() -> None:
    dataset = vectors(2, 3, name="v")
    dataset[1]["vector"][:] = 99
    assert dataset[1]["vector"].tolist() == [1, 1, 1]


def test_files_are_read_on_access_and_targets_without_them(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("good")
    rows = [{"id": name, "text": tmp_path / f"{name}.txt", "target": "a"} for name in ("good", "gone")]
    dataset = Rows(rows, task=TEXT_CLASSIFICATION, name="files", split="train")
    assert dataset.target(1) == "a"
    assert dataset[0]["text"] == "good"
    with pytest.raises(InvalidSample, match=r"gone\.txt, sample gone, field text"):
        dataset[1]
    dataset.verify("skip")
    assert [sample["id"] for sample in dataset] == ["good"]
    assert len(dataset.skipped) == 1


# --- determinism ------------------------------------------------------------------------------------------------------


def content_of(index: int, sample: Sample) -> tuple[int, str, bytes]:
    return index, sample["id"], sample["vector"].tobytes()


def contents(dataset: Dataset, index: int) -> tuple[int, str, bytes]:
    return content_of(index, dataset[index])


def test_samples_do_not_depend_on_the_order_of_access_or_the_process() -> None:
    both = Concatenation([vectors(5, 2, name="a"), Subset(vectors(6, 3, name="b"), [4, 1, 1])])
    expected = [contents(both, index) for index in range(len(both))]
    order = random.Random(0).sample(range(len(both)), len(both))
    assert sorted(contents(both, index) for index in order) == expected
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
        samples = workers.map(getitem, [both] * len(both), order)
    assert sorted(map(content_of, order, samples)) == expected


def test_datasets_survive_pickling() -> None:
    dataset = Concatenation([texts("ab"), texts("c", name="more")])
    copy = pickle.loads(pickle.dumps(dataset))
    assert list(copy) == list(dataset)
    assert (copy.task, copy.labels, copy.fingerprint()) == (dataset.task, dataset.labels, dataset.fingerprint())


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    def stored(folder: str, content: str) -> Rows:
        file = tmp_path / folder / "a.txt"
        file.parent.mkdir()
        file.write_text(content)
        row = {"id": "a", "text": file, "target": "x"}
        return Rows([row], task=TEXT_CLASSIFICATION, name=folder, split="train", labels=("x",))

    assert stored("one", "same").fingerprint() == stored("two", "same").fingerprint()
    assert stored("three", "other").fingerprint() != stored("four", "same").fingerprint()
    assert texts("ab").fingerprint() == texts("ab").fingerprint()
    assert texts("ab").fingerprint() != texts("ba").fingerprint()


def test_views_have_fingerprints_of_their_own() -> None:
    dataset = texts("abc")
    seen = [
        dataset.fingerprint(),
        Subset(dataset, [0, 1]).fingerprint(),
        Subset(dataset, [1, 0]).fingerprint(),
        Concatenation([dataset]).fingerprint(),
        Concatenation([dataset, dataset]).fingerprint(),
    ]
    assert len(set(seen)) == len(seen)
    assert Subset(dataset, [0, -2]).fingerprint() == seen[1]


def test_media_in_memory_have_a_fingerprint() -> None:
    def picture(value: int) -> str:
        pixels = np.full((4, 4, 3), value, np.uint8)
        return InMemory([{"image": pixels}], task=IMAGE_CLASSIFICATION).fingerprint()

    assert picture(3) == picture(3) != picture(4)


# --- views ------------------------------------------------------------------------------------------------------------


def test_a_subset_is_the_samples_at_its_indices() -> None:
    dataset = texts("abcb")
    part = Subset(dataset, [3, -4, 3], split="fold 1")
    assert list(part) == [dataset[3], dataset[0], dataset[3]]
    assert [part.target(index) for index in range(3)] == ["b", "a", "b"]
    assert (part.labels, part.split, part.name) == (("a", "b", "c"), "fold 1", "texts")
    with pytest.raises(IndexError):
        Subset(dataset, [4])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_a_concatenation_is_the_lists_end_to_end(sizes: list[int]) -> None:
    parts = [texts("ab" * size, name=f"part {number}") for number, size in enumerate(sizes)]
    whole = Concatenation(parts)
    naive = [{**sample, "dataset": part.name} for part in parts for sample in part]
    assert list(whole) == naive
    assert [whole.target(index) for index in range(len(whole))] == [sample["target"] for sample in naive]
    for number, part in enumerate(parts):
        drawn = [whole[index] for index in range(whole.offsets[number], whole.offsets[number + 1])]
        assert [sample["id"] for sample in drawn] == [sample["id"] for sample in part]
        assert all(whole.locate(whole.offsets[number] + local) == (number, local) for local in range(len(part)))


def test_a_mixture_takes_fields_of_unlike_size() -> None:
    mixture = Concatenation([vectors(2, 2, name="small"), vectors(3, 5, name="large")], names=["s", "l"], name="mix")
    assert [len(sample["vector"]) for sample in mixture] == [2, 2, 5, 5, 5]
    assert [sample["dataset"] for sample in mixture] == ["s", "s", "l", "l", "l"]
    assert mixture.task.inputs == {"vector": Vector(dim=None)}
    assert (mixture.name, mixture.labels, mixture.offsets) == ("mix", ("0", "1"), (0, 2, 5))


def test_a_concatenation_keeps_what_was_skipped_once() -> None:
    error = InvalidSample("bad")
    dataset = Rows([], task=TEXT_CLASSIFICATION, name="n", split="train", skipped=[error])
    assert Concatenation([Subset(dataset, []), Subset(dataset, [])]).skipped == [error]


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        (Series(channels=1), Series(channels=1), Series(channels=1)),
        (Series(channels=1, min_length=5), Series(channels=3, min_length=2), Series()),
        (Audio(rate=8000, channels=1), Audio(rate=16000, channels=1), Audio(channels=1)),
        (Image(mode="L"), Image(mode="I;16"), Image(mode=None)),
        (Label(labels=("a",)), Label(labels=("b",)), Label()),
    ],
)
def test_the_common_task_leaves_open_what_differs(one: Any, other: Any, common: Any) -> None:
    found = common_task([Task("t", {"x": one}), Task("t", {"x": other})])
    assert found == Task("t", {"x": common})
    assert common.fits(one)
    assert common.fits(other)


@pytest.mark.parametrize(
    "other",
    [
        Task("other", {"text": Text()}, target=Text()),
        Task("other", {"text": Text()}),
        Task("other", {"text": Vector()}, target=Label()),
        Task("other", {"words": Text()}, target=Label()),
    ],
)
def test_datasets_of_unlike_fields_are_not_mixed(other: Task) -> None:
    with pytest.raises(TaskMismatch, match=r"\(text: Text -> target: Label\) and of \("):
        common_task([TEXT_CLASSIFICATION, other])


def test_a_concatenation_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        Concatenation([])
    with pytest.raises(ConfigError, match="1 names for 2 data sets"):
        Concatenation([texts("a"), texts("b")], names=["one"])


# --- splitting --------------------------------------------------------------------------------------------------------


@given(LABELS, FRACTIONS, st.integers(0, 5))
def test_parts_are_disjoint_complete_and_stratified(targets: list[str], fractions: dict[str, float], seed: int) -> None:
    parts = partition(targets, fractions, seed=seed)
    assert list(parts) == list(fractions)
    assert sorted(index for indices in parts.values() for index in indices) == list(range(len(targets)))
    assert all(indices.tolist() == sorted(indices.tolist()) for indices in parts.values())
    smallest = min(fractions.values())
    for target, size in Counter(targets).items():
        counts = {name: sum(targets[index] == target for index in indices) for name, indices in parts.items()}
        if size >= len(fractions):
            assert min(counts.values()) >= 1
        if size * smallest >= 1:
            for name, count in counts.items():
                exact = size * fractions[name]
                assert math.floor(exact + 1e-9) <= count <= math.ceil(exact - 1e-9)


@given(LABELS, st.integers(0, 5))
def test_parts_depend_on_seed_and_fractions_alone(targets: list[str], seed: int) -> None:
    forward = partition(targets, {"train": 0.6, "test": 0.2, "validation": 0.2}, seed=seed)
    backward = partition(targets, {"validation": 0.2, "test": 0.2, "train": 0.6}, seed=seed)
    assert all(forward[name].tolist() == backward[name].tolist() for name in forward)


def test_rounding_does_not_add_up_over_classes() -> None:
    targets = [label for label in map(str, range(40)) for _ in range(7)]
    parts = partition(targets, {"train": 0.7, "validation": 0.15, "test": 0.15})
    assert {name: len(indices) for name, indices in parts.items()} == {"train": 196, "validation": 42, "test": 42}


def test_seeds_give_unlike_parts() -> None:
    assert stratified_split("ab" * 20, 0.5, seed=0)[0].tolist() != stratified_split("ab" * 20, 0.5, seed=1)[0].tolist()


def test_a_class_too_small_for_all_parts_serves_the_largest() -> None:
    parts = partition(["rare", *["often"] * 20, "two", "two"], {"test": 0.1, "train": 0.8, "validation": 0.1})
    assert 0 in parts["train"]
    assert {21, 22} & set(parts["train"].tolist())


def test_the_held_out_share_is_the_second() -> None:
    targets = ["a"] * 80 + ["b"] * 20
    kept, held_out = stratified_split(targets, 0.25, seed=3)
    assert Counter(targets[index] for index in held_out) == {"a": 20, "b": 5}
    assert Counter(targets[index] for index in kept) == {"a": 60, "b": 15}
    with pytest.raises(ConfigError, match="between 0 and 1"):
        stratified_split(targets, 1.0)


def test_split_gives_named_subsets() -> None:
    dataset = texts("ab" * 10)
    parts = split(dataset, {"train": 0.8, "test": 0.2}, seed=1)
    assert [(name, part.split, len(part)) for name, part in parts.items()] == [
        ("train", "train", 16),
        ("test",) * 2 + (4,),
    ]
    assert Counter(parts["test"].target(index) for index in range(4)) == {"a": 2, "b": 2}


def test_split_without_classes_reads_no_target() -> None:
    dataset = InMemory([{"text": "a"}] * 10, task=replace(TEXT_CLASSIFICATION, target=None))
    assert [len(part) for part in split(dataset, {"a": 0.5, "b": 0.5}).values()] == [5, 5]
    unlike = texts([str(number) for number in range(10)])
    assert [len(part) for part in split(unlike, {"a": 0.5, "b": 0.5}, stratify=False).values()] == [5, 5]


def test_split_refuses_empty_parts_and_what_is_no_share() -> None:
    with pytest.raises(DataError, match=r"2 samples are too few .*'c' would be empty"):
        split(texts("aa"), {"a": 0.4, "b": 0.3, "c": 0.3})
    for fractions in ({"a": 0.5, "b": 0.6}, {"a": 1.5, "b": -0.5}, {}):
        with pytest.raises(ConfigError, match="positive and sum to 1"):
            split(texts("aabb"), fractions)
    with pytest.raises(ConfigError, match="seed"):
        split(texts("aabb"), {"a": 1.0}, seed=-1)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["1.5", "1", "01"], ("01", "1", "1.5")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["nan", "10", "9"], ("10", "9", "nan")),
        (["b", "a", "b"], ("a", "b")),
        ([], ()),
    ],
)
def test_labels_sort_as_numbers_when_all_are(labels: list[str], expected: tuple[str, ...]) -> None:
    assert sort_labels(labels) == expected


@given(st.lists(st.one_of(st.text(max_size=3), st.integers().map(str), st.floats().map(str))), st.randoms())
def test_the_order_of_labels_does_not_depend_on_where_they_were_met(labels: list[str], shuffler: random.Random) -> None:
    shuffled = list(labels)
    shuffler.shuffle(shuffled)
    assert sort_labels(shuffled) == sort_labels(labels)
    assert set(sort_labels(labels)) == set(labels)
