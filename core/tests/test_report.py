"""Reports: numbers that read well, JSON that a schema describes, a page that needs nothing and trusts nothing."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]
import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quire.errors import DataError, QuireError
from quire.report import REPORT_SCHEMA, Figure, Report, Score, Table, number_format, subplots

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "<script>alert(1)</script>\"'&</td>{{ 7 * 7 }}"


class Page(HTMLParser):
    """The tags, attributes and texts of a page, as a browser would take them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.by_class: dict[str, list[str]] = {}
        self._classes: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._classes = (dict(attrs).get("class") or "").split()

    def handle_data(self, data: str) -> None:
        self.text += data
        for name in self._classes:
            self.by_class.setdefault(name, []).append(data.strip())
        self._classes = []


def drawing() -> Figure:
    figure, axes = subplots(size=(3, 2))
    axes.plot([0, 1, 2], [0, 1, 4])
    return Figure("Curve", figure, "A parabola.")


def full_report() -> Report:
    return Report(
        "Classification",
        metrics={
            "accuracy": Score(0.975, low=0.9281, high=0.9915, higher_is_better=True),
            "auroc": Score(None, "all targets are 'a'", higher_is_better=True),
            "time": Score(1234.5678, unit="s", higher_is_better=False),
        },
        tables=[Table("Classes", ["class", "n", "recall"], [["a", 12000, 0.5], ["b", 3, None]], "By class.")],
        figures=[drawing()],
        n_used=12003,
        left_out=["photo.png: the image can't be read"],
        notes=["A note."],
        provenance={"seed": 0, "configuration": {"depth": 3, "name": "é"}},
    )


def test_a_score_reads_as_a_number_with_its_interval_and_unit() -> None:
    assert Score(0.975, low=0.9281, high=0.9915).texts() == ("0.9750", "0.9281 to 0.9915")
    assert Score(1234.5678, unit="s").texts() == ("1,234.6 s", "")


def test_a_score_without_a_value_says_why() -> None:
    assert Score(None, "there is one class").texts() == ("n/a, because there is one class", "")
    assert Score(None).reason


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_a_value_that_is_not_finite_is_none(value: Any) -> None:
    score = Score(value, low=value, high=1.0)
    assert score.value is None
    assert score.low is None
    assert score.reason


def test_numpy_scalars_become_plain_numbers() -> None:
    half: Any = np.float32(0.5)
    cells: list[Any] = [np.int64(1), half, np.float64("nan")]
    assert type(Score(half).value) is float
    table = Table("t", ["a", "b", "c"], [cells])
    assert table.rows == [[1, 0.5, None]]
    assert [type(cell) for cell in table.rows[0]] == [int, float, type(None)]


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells"):
        Table("t", ["a", "b"], [[1]])


@given(st.lists(st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-3), min_size=1))
def test_formatted_numbers_keep_four_digits_of_the_largest(values: list[float]) -> None:
    show = number_format(values)
    largest = max(map(abs, values))
    for value in values:
        assert float(show(value).replace(",", "")) == pytest.approx(value, abs=largest * 1e-4 + 5e-5)
    assert len({len(show(value).partition(".")[2]) for value in values}) == 1


@pytest.mark.parametrize("value", [3.2e-7, 8.1e12])
def test_very_small_and_very_large_numbers_are_in_scientific_notation(value: float) -> None:
    assert float(number_format([value])(value)) == pytest.approx(value, rel=1e-3)


def test_metrics_are_asked_for_by_name() -> None:
    report = full_report()
    assert report["accuracy"] == 0.975
    with pytest.raises(KeyError, match="did you mean 'accuracy'"):
        report["acuracy"]
    with pytest.raises(QuireError, match="auroc is n/a, because all targets are 'a'"):
        report["auroc"]


def test_json_conforms_to_the_schema_and_reads_back(tmp_path: Path) -> None:
    report = full_report()
    report.write(tmp_path / "new" / "folder")
    data = json.loads((tmp_path / "new" / "folder" / "report.json").read_text())
    jsonschema.Draft202012Validator.check_schema(REPORT_SCHEMA)
    jsonschema.validate(data, REPORT_SCHEMA)
    again = Report.read(tmp_path / "new" / "folder")
    assert again.to_json() == data == report.to_json()
    assert again.metrics == report.metrics
    assert again.tables == report.tables
    assert again.n_left_out == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"format": "another"}, "format"),
        ({"n_used": -1}, "n_used"),
        ({"metrics": {"accuracy": {"value": "high"}}}, "metrics.accuracy"),
        ({"tables": [{"title": "t", "columns": ["a"]}]}, "tables.0"),
    ],
)
def test_what_the_schema_refuses_is_not_read(tmp_path: Path, change: dict[str, object], field: str) -> None:
    data = full_report().to_json() | change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, REPORT_SCHEMA)
    (tmp_path / "report.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match=re.escape(field)) as caught:
        Report.read(tmp_path / "report.json")
    assert caught.value.where is not None
    assert caught.value.where.file == tmp_path / "report.json"


def test_a_table_with_rows_of_another_width_is_not_read(tmp_path: Path) -> None:
    data = full_report().to_json() | {"tables": [{"title": "t", "columns": ["a"], "rows": [[1, 2]], "note": ""}]}
    (tmp_path / "report.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match="every row needs 1 cells"):
        Report.read(tmp_path)


def test_the_page_needs_nothing_from_outside() -> None:
    html = full_report().to_html()
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in {"src", "href", "srcset"}:
            assert value is not None
            assert value.startswith("data:image/")
    assert "url(" not in html
    assert "@import" not in html
    assert "img" in page.tags


def test_everything_on_the_page_is_escaped() -> None:
    figure = drawing()
    figure.title = figure.note = HOSTILE
    report = Report(
        HOSTILE,
        metrics={HOSTILE: Score(1.0, unit=HOSTILE), "none": Score(None, HOSTILE)},
        tables=[Table(HOSTILE, [HOSTILE], [[HOSTILE]], HOSTILE)],
        figures=[figure],
        left_out=[HOSTILE],
        notes=[HOSTILE],
        provenance={HOSTILE: HOSTILE, "nested": {"key": "<script>1</script>"}},
    )
    page = Page(report.to_html())
    assert "script" not in page.tags
    # title and heading, metric name, unit, reason, table title, column, cell, note, figure's two, left out, note, two of
    # the provenance
    assert page.text.count(HOSTILE) == 15
    assert "49" not in page.text.replace(HOSTILE, "")


def test_the_page_says_what_was_used_and_why_the_rest_was_not() -> None:
    text = Page(full_report().to_html()).text
    assert "12,003 used, 1 left out" in text
    assert "photo.png: the image can't be read" in text
    assert "n/a, because all targets are 'a'" in text
    assert "95 % CI 0.9281 to 0.9915" in text


def test_numbers_are_marked_for_right_alignment_and_text_is_not() -> None:
    page = Page(full_report().to_html())
    assert page.by_class["number"] == ["n", "recall", "12,000", "0.5000", "3", "n/a"]


def test_an_empty_report_is_a_page(tmp_path: Path) -> None:
    page = Report("Nothing").write(tmp_path)
    assert page == tmp_path / "report.html"
    assert "0 used, 0 left out" in page.read_text()
    jsonschema.validate(Report("Nothing").to_json(), REPORT_SCHEMA)


def test_a_report_that_was_read_back_can_be_shown_again(tmp_path: Path) -> None:
    full_report().write(tmp_path)
    again = Page(Report.read(tmp_path).to_html())
    assert "img" not in again.tags
    assert "A parabola." in again.text


def test_a_drawing_that_fails_leaves_the_old_report(tmp_path: Path) -> None:
    Report("Old").write(tmp_path)
    broken = Report("New", figures=[drawing()])
    assert broken.figures[0].figure is not None
    broken.figures[0].figure.axes[0].set_title("$\\frac{a$")
    with pytest.raises(ValueError, match="frac"):
        broken.write(tmp_path)
    assert Report.read(tmp_path).title == "Old"
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.html"}


def test_the_same_drawing_gives_the_same_bytes() -> None:
    media_type, data = drawing().image()
    assert media_type == "image/svg+xml"
    assert drawing().image() == (media_type, data)


def test_a_drawing_with_very_many_parts_becomes_pixels() -> None:
    figure, axes = subplots()
    rng = np.random.default_rng(0)
    axes.plot(rng.random(20_000), rng.random(20_000), ".")
    media_type, data = Figure("Cloud", figure).image()
    assert media_type == "image/png"
    assert data.startswith(b"\x89PNG")


def test_drawing_leaves_matplotlibs_settings_alone() -> None:
    before = dict(mpl.rcParams)
    drawing().image()
    assert dict(mpl.rcParams) == before
