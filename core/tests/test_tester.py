"""Testers: what they find is on disk at once, and is a data set to retrain on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from PIL import Image

from quire.dataset import Dataset, InMemory
from quire.errors import DataError, InvalidSample, TaskMismatch
from quire.model import Classifier
from quire.readers import TableDataset
from quire.report import Report
from quire.task import IMAGE_CLASSIFICATION, IMAGE_TEXT_CLASSIFICATION, SERIES_CLASSIFICATION, TEXT_CLASSIFICATION, Task
from quire.tester import Finding, FindingStore, Tester, TestReport

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from quire.modality import Sample
    from quire.runtime import Runtime


class Keyword(Classifier):
    """Says "good" where the text holds that word, else "bad"."""

    task = TEXT_CLASSIFICATION
    labels = ("bad", "good")

    def predict_proba(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        good = np.array(["good" in sample["text"] for sample in samples], dtype=np.float32)
        return np.stack([1 - good, good], axis=1)

    def fit(self, *_: Any, **__: Any) -> Self:
        return self

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


class Capitals(Tester):
    """Writes every seed in capitals, which changes no meaning."""

    class Options(Tester.Options):
        prefix: str = "capital"

    name = "capitals"
    options: Options

    def test(
        self, target: Classifier, seeds: Dataset, *, runtime: Runtime | None = None, folder: Path | None = None
    ) -> TestReport:
        self.prepare(target, seeds, runtime)
        store = FindingStore(folder / "findings", seeds.task) if folder else None
        report = TestReport("Capitals", task=seeds.task)
        for seed in seeds:
            changed = {"text": seed["text"].upper()}
            got = target.predict([changed])[0]
            report.n_used += 1
            if got != seed["target"]:
                finding = Finding(
                    f"{self.options.prefix}-{seed['id']}", changed, seed["target"], got, 1.0, "in capitals"
                )
                report.findings.append(finding)
                if store:
                    store.add(finding)
        return report


def seeds() -> InMemory:
    return InMemory(
        [{"text": "a good one", "target": "good", "id": "first"}, {"text": "no", "target": "bad", "id": "second"}],
        task=TEXT_CLASSIFICATION,
        name="opinions",
    )


def opened(folder: Path, task: Task) -> TableDataset:
    return TableDataset.open(folder, task=task)


def test_a_testers_findings_are_a_data_set(tmp_path: Path) -> None:
    report = Capitals().test(Keyword(), seeds(), folder=tmp_path)
    assert [finding.id for finding in report.findings] == ["capital-first"]
    dataset = opened(tmp_path / "findings", TEXT_CLASSIFICATION)
    assert dataset.split == "train"
    assert [dict(sample) for sample in dataset] == [{"id": "capital-first", "text": "A GOOD ONE", "target": "good"}]


def test_options_and_fit_are_checked_as_for_an_evaluator() -> None:
    options = Capitals.Options(prefix="x")
    assert Capitals(options).test(Keyword(), seeds()).findings[0].id == "x-first"
    series = InMemory([{"series": np.zeros((1, 3), dtype=np.float32), "target": "a"}], task=SERIES_CLASSIFICATION)
    with pytest.raises(TaskMismatch):
        Capitals().test(Keyword(), series)


def test_the_report_is_written_with_its_findings(tmp_path: Path) -> None:
    report = Capitals().test(Keyword(), seeds())
    page = report.write(tmp_path)
    assert "capital-first" in page.read_text()
    assert len(opened(tmp_path / "findings", TEXT_CLASSIFICATION)) == 1
    again = Report.read(tmp_path)
    assert again.tables[0].rows == [["capital-first", "good", "bad", 1.0, "in capitals"]]
    assert report.tables == []


def test_writing_after_the_search_kept_everything_adds_nothing(tmp_path: Path) -> None:
    report = Capitals().test(Keyword(), seeds(), folder=tmp_path)
    before = (tmp_path / "findings" / "train.jsonl").read_bytes()
    report.write(tmp_path)
    assert (tmp_path / "findings" / "train.jsonl").read_bytes() == before


def test_without_findings_there_is_only_a_report(tmp_path: Path) -> None:
    TestReport("Nothing found", n_used=3, task=TEXT_CLASSIFICATION).write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.html"}


def test_findings_without_a_task_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="task"):
        TestReport("Lost", findings=[Finding("1", {"text": "x"}, "a", "b")]).write(tmp_path)


def test_the_worst_findings_come_first_on_the_page() -> None:
    findings = [Finding(str(score), {"text": "x"}, "a", "b", float(score)) for score in range(150)]
    table = TestReport("Many", findings=findings).shown_tables()[-1]
    assert [row[0] for row in table.rows] == [str(score) for score in range(149, 49, -1)]
    assert table.note.startswith("100 of 150")


def test_media_are_kept_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    series = rng.standard_normal((2, 7)).astype(np.float32)
    FindingStore(tmp_path / "images", IMAGE_CLASSIFICATION).add(
        Finding("../odd/\u00fc name", {"image": Image.fromarray(pixels)}, "cat", "dog")
    )
    FindingStore(tmp_path / "series", SERIES_CLASSIFICATION).add(Finding("1", {"series": series}, "cat", "dog"))
    image = opened(tmp_path / "images", IMAGE_CLASSIFICATION)[0]
    assert image["id"] == "../odd/\u00fc name"
    assert image["target"] == "cat"
    np.testing.assert_array_equal(np.asarray(image["image"]), pixels)
    np.testing.assert_array_equal(opened(tmp_path / "series", SERIES_CLASSIFICATION)[0]["series"], series)


def test_optional_fields_may_be_absent(tmp_path: Path) -> None:
    store = FindingStore(tmp_path, IMAGE_TEXT_CLASSIFICATION)
    store.add(Finding("text", {"text": "hello"}, "a", "b"))
    store.add(Finding("both", {"text": "hello", "image": Image.new("RGB", (3, 2), "red")}, "a", "b"))
    first, second = opened(tmp_path, IMAGE_TEXT_CLASSIFICATION)
    assert "image" not in first
    assert second["image"].size == (3, 2)


def test_a_search_goes_on_in_the_same_folder(tmp_path: Path) -> None:
    FindingStore(tmp_path, TEXT_CLASSIFICATION).add(Finding("1", {"text": "one"}, "a", "b"))
    store = FindingStore(tmp_path, TEXT_CLASSIFICATION)
    assert store.ids == {"1"}
    store.add(Finding("1", {"text": "another"}, "a", "b"))
    store.add(Finding("2", {"text": "two"}, "b", "a"))
    assert store.ids == {"1", "2"}
    assert [sample["text"] for sample in opened(tmp_path, TEXT_CLASSIFICATION)] == ["one", "two"]


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_half_a_row_that_a_crash_left_is_taken_away(tmp_path: Path, cut: int) -> None:
    store = FindingStore(tmp_path, TEXT_CLASSIFICATION)
    for name in ("1", "2"):
        store.add(Finding(name, {"text": f"number {name}"}, "a", "b"))
    table = tmp_path / "train.jsonl"
    table.write_bytes(table.read_bytes()[:-cut])
    again = FindingStore(tmp_path, TEXT_CLASSIFICATION)
    assert again.ids == {"1"}
    again.add(Finding("2", {"text": "number 2"}, "a", "b"))
    assert [sample["id"] for sample in opened(tmp_path, TEXT_CLASSIFICATION)] == ["1", "2"]


def test_a_file_that_a_crash_left_without_a_row_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir(parents=True)
    (tmp_path / "image" / "000000.png").write_bytes(b"half an image")
    FindingStore(tmp_path, IMAGE_CLASSIFICATION).add(
        Finding("1", {"image": Image.new("RGB", (2, 2), "blue")}, "a", "b")
    )
    assert opened(tmp_path, IMAGE_CLASSIFICATION)[0]["image"].getpixel((0, 0)) == (0, 0, 255)


def test_another_table_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps(["something", "else"]) + "\n")
    with pytest.raises(DataError, match=r"train.jsonl, line 1: this is not a row of findings. Choose an empty folder"):
        FindingStore(tmp_path, TEXT_CLASSIFICATION)


def test_a_finding_that_the_task_does_not_admit_is_refused(tmp_path: Path) -> None:
    store = FindingStore(tmp_path, TEXT_CLASSIFICATION)
    with pytest.raises(InvalidSample, match="text"):
        store.add(Finding("1", {"image": None}, "a", "b"))
    assert not store.ids
