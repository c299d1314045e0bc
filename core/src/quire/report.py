"""What an evaluation found, as numbers, tables and figures, written as JSON and as one self-contained page."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, NonNegativeInt, ValidationError

from quire.errors import DataError, QuireError, Where, nearest
from quire.storage import atomic_file, read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2 import Template
    from matplotlib.figure import Figure as MatplotlibFigure

Cell = str | int | float | None

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Line and bar colours that stay apart for colour-blind readers (Okabe and Ito, 2008)."""

_LARGEST_SVG = 400_000  # bytes: a drawing with more in it is smaller, and quicker to show, as pixels


@dataclass(frozen=True)
class Score:
    """One metric: its value, with the bounds of a 95 % confidence interval where one is known, or why it has none.

    A value or bound that is not a finite number counts as none. `higher_is_better` is None where neither is better.
    """

    value: float | None
    reason: str | None = None
    low: float | None = None
    high: float | None = None
    higher_is_better: bool | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            object.__setattr__(self, name, _plain(getattr(self, name)))
        if self.value is None and not self.reason:
            object.__setattr__(self, "reason", "it is not a finite number")

    def texts(self) -> tuple[str, str]:
        """The value and the interval as a reader sees them; the interval is empty where there is none."""
        if self.value is None:
            return f"n/a, because {self.reason}", ""
        show = number_format([self.value])
        value = f"{show(self.value)} {self.unit}".rstrip()
        if self.low is None or self.high is None:
            return value, ""
        return value, f"{show(self.low)} to {show(self.high)}"


@dataclass
class Table:
    """Rows of text and numbers under column names; None, and a number that is not finite, is a cell without a value."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""

    def __post_init__(self) -> None:
        self.rows = [[_plain(cell) for cell in row] for row in self.rows]
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.title!r}: every row needs {len(self.columns)} cells")


@dataclass
class Figure:
    """A drawing (see `subplots`) with its caption; the drawing is None in a report that was read back from JSON."""

    title: str
    figure: MatplotlibFigure | None
    note: str = ""

    def image(self) -> tuple[str, bytes]:
        """The media type and the bytes of the drawing: SVG, or PNG where an SVG would be large."""
        import matplotlib as mpl

        if self.figure is None:
            raise ValueError(f"figure {self.title!r} has no drawing")
        with mpl.rc_context({"svg.hashsalt": "quire"}):  # else every SVG of the same drawing has other ids
            drawn = BytesIO()
            self.figure.savefig(drawn, format="svg", metadata={"Date": None})
        if drawn.tell() <= _LARGEST_SVG:
            return "image/svg+xml", drawn.getvalue()
        drawn = BytesIO()
        self.figure.savefig(drawn, format="png", dpi=160)
        return "image/png", drawn.getvalue()


@dataclass
class Report:
    """What an evaluator found.

    `n_used` and `n_left_out` count samples (or whatever the evaluator's unit is), `left_out` says of each one why, and
    `provenance` holds what is needed to repeat the evaluation, as JSON values.
    """

    title: str
    metrics: dict[str, Score] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    n_used: int = 0
    n_left_out: int = 0
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)

    template: ClassVar[str] = "quire:report.html.jinja"
    """The page's template, "package:file"; that of a special kind of report extends this one and fills its blocks."""

    def __post_init__(self) -> None:
        self.n_left_out = max(self.n_left_out, len(self.left_out))

    def __getitem__(self, name: str) -> float:
        """The value of metric `name`. Raises KeyError where there is no such metric, QuireError where it is n/a."""
        if name not in self.metrics:
            raise KeyError(f"the report has no metric {name!r}{nearest(name, self.metrics)}")
        score = self.metrics[name]
        if score.value is None:
            raise QuireError(f"{name} is n/a, because {score.reason}")
        return score.value

    def shown_tables(self) -> list[Table]:
        """The tables that the JSON and the page hold."""
        return self.tables

    def to_json(self) -> dict[str, Any]:
        """The report as REPORT_SCHEMA describes it; of a figure, its title and caption."""
        return {
            "format": _ReportData.model_fields["format"].default,
            "title": self.title,
            "metrics": {name: asdict(score) for name, score in self.metrics.items()},
            "n_used": self.n_used,
            "n_left_out": self.n_left_out,
            "left_out": self.left_out,
            "notes": self.notes,
            "tables": [asdict(table) for table in self.shown_tables()],
            "figures": [{"title": figure.title, "note": figure.note} for figure in self.figures],
            "provenance": self.provenance,
        }

    def page_values(self) -> dict[str, Any]:
        """What the page's template is given; a special kind of report may add to it."""
        return {
            "report": self,
            "cards": [_card(name, score) for name, score in self.metrics.items()],
            "tables": [_table_view(table) for table in self.shown_tables()],
            "figures": [_figure_view(figure) for figure in self.figures],
            "provenance": {name: _shown(value) for name, value in self.provenance.items()},
        }

    def to_html(self) -> str:
        """The report as one page that needs no script and nothing from outside; all text in it is escaped."""
        return _template(self.template).render(self.page_values())

    def write(self, folder: Path) -> Path:
        """Write report.json and report.html into `folder`, each atomically; returns the path of the page."""
        page = self.to_html().encode()
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "report.json", self.to_json())
        with atomic_file(folder / "report.html") as file:
            file.write(page)
        return folder / "report.html"

    @staticmethod
    def read(path: Path) -> Report:
        """The report in the file `path`, or in report.json of the folder `path`; its figures come without drawings.

        Raises DataError where the file is not a report.
        """
        path = path / "report.json" if path.is_dir() else path
        try:
            data = _ReportData.model_validate(read_json(path))
        except ValidationError as error:
            fault = error.errors()[0]
            where = Where(file=path, field=".".join(str(part) for part in fault["loc"]))
            raise DataError(f"this is not a report: {fault['msg'].lower()}", where=where) from None
        return Report(
            title=data.title,
            metrics=data.metrics,
            tables=data.tables,
            figures=[Figure(caption.title, None, caption.note) for caption in data.figures],
            n_used=data.n_used,
            n_left_out=data.n_left_out,
            left_out=data.left_out,
            notes=data.notes,
            provenance=data.provenance,
        )


class _Caption(BaseModel):
    title: str
    note: str


class _ReportData(BaseModel):
    """The content of report.json; a special kind of report may hold more keys than these."""

    format: Literal["quire-report-1"] = "quire-report-1"
    title: str
    metrics: dict[str, Score]
    n_used: NonNegativeInt
    n_left_out: NonNegativeInt
    left_out: list[str]
    notes: list[str]
    tables: list[Table]
    figures: list[_Caption]
    provenance: dict[str, Any]


REPORT_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_ReportData.model_json_schema(mode="serialization"),
    "title": "quire report",
}
"""The JSON Schema of report.json."""


def subplots(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (6.4, 4.0), **options: Any
) -> tuple[MatplotlibFigure, Any]:
    """A figure of `size` inches in the style of the reports, and its axes, as `pyplot.subplots` gives them.

    `options` go to `matplotlib.figure.Figure.subplots`. No pyplot is involved: nothing has to be closed.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as MatplotlibFigure

    style: dict[Any, Any] = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 9.0,
        "axes.titlesize": 10.0,
    }
    with mpl.rc_context(style):
        figure = MatplotlibFigure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, **options)
    for each in figure.axes:
        each.set_prop_cycle(color=COLOURS)
    return figure, axes


def number_format(values: Iterable[float]) -> Callable[[float], str]:
    """How to show numbers that stand together: equally many decimals, five digits of the largest."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest >= 1e7 or 0 < largest < 1e-3:
        return "{:.3e}".format
    whole_digits = max(0, math.floor(math.log10(largest))) if largest else 0
    return f"{{:,.{max(0, 4 - whole_digits)}f}}".format


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's own; a number that is not finite as None."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _card(name: str, score: Score) -> dict[str, Any]:
    value, interval = score.texts()
    direction = {True: "higher is better", False: "lower is better", None: ""}[score.higher_is_better]
    return {
        "name": name.replace("_", " "),
        "known": score.value is not None,
        "value": value,
        "interval": interval,
        "direction": direction,
    }


def _table_view(table: Table) -> dict[str, Any]:
    columns = [[row[index] for row in table.rows] for index in range(len(table.columns))]
    numeric = [_is_numeric(column) for column in columns]
    shown = [_column_texts(column) for column in columns]
    return {
        "title": table.title,
        "note": table.note,
        "columns": list(zip(table.columns, numeric, strict=True)),
        "rows": [list(zip(row, numeric, strict=True)) for row in zip(*shown, strict=True)],
    }


def _is_numeric(column: list[Cell]) -> bool:
    known = [cell for cell in column if cell is not None]
    return bool(known) and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in known)


def _column_texts(column: list[Cell]) -> list[str]:
    """The cells of one column; numbers share their number of decimals."""
    show = number_format(cell for cell in column if isinstance(cell, float))
    texts = {type(None): lambda _: "n/a", float: show, int: "{:,}".format}
    return [texts.get(type(cell), str)(cell) for cell in column]


def _figure_view(figure: Figure) -> dict[str, str]:
    view = {"title": figure.title, "note": figure.note, "source": ""}
    if figure.figure is not None:
        media_type, data = figure.image()
        view["source"] = f"data:{media_type};base64,{b64encode(data).decode()}"
    return view


def _shown(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, Mapping | list | tuple) else str(value)


@cache
def _template(name: str) -> Template:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    def source(name: str) -> str:
        package, _, file = name.partition(":")
        return files(package).joinpath(file).read_text("utf-8")

    environment = Environment(
        loader=FunctionLoader(source), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)
