"""The results of a study: one SQLite file, to which the driver alone writes, a row when a cell is finished."""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from quire.errors import RunError, Where
from quire.storage import lock
from quire.study.cells import Cell, Method, Outcome, Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FILE = "results.sqlite"
FORMAT = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS methods (
    name TEXT PRIMARY KEY, model TEXT NOT NULL, config TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS results (
    model TEXT NOT NULL REFERENCES methods (name),
    dataset TEXT NOT NULL,
    seed INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('done', 'failed')),
    error TEXT,
    metrics TEXT NOT NULL,
    fit_seconds REAL,
    predict_seconds REAL,
    cpu_seconds REAL,
    n_params INTEGER,
    device TEXT,
    fingerprint TEXT,
    version TEXT,
    PRIMARY KEY (model, dataset, seed)
) STRICT;
"""
_COLUMNS = [field.name for field in fields(Row)]


@dataclass
class Store:
    """An open results file. SQLite's write-ahead log lets others read while a study runs."""

    path: Path
    connection: sqlite3.Connection

    @classmethod
    @contextmanager
    def writing(cls, folder: Path, *, purpose: str) -> Iterator[Self]:
        """Open the file of the study in `folder`, made where it is missing, and keep all other drivers out.

        RunError naming the other process while there is one.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder / "study.lock", purpose=purpose), cls._open(folder / FILE) as store:
            yield store

    @classmethod
    @contextmanager
    def reading(cls, folder: Path) -> Iterator[Self]:
        """Open the file of the study in `folder`; RunError if there is none."""
        if not (folder / FILE).is_file():
            raise RunError(
                "there are no results here", where=Where(file=folder), remedy="Run the study first, or give its --out."
            )
        with cls._open(folder / FILE) as store:
            yield store

    @classmethod
    @contextmanager
    def _open(cls, path: Path) -> Iterator[Self]:
        connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, FORMAT):
                raise RunError(
                    f"the results are in format {version}, this version reads format {FORMAT}", where=Where(file=path)
                )
            if version == 0:
                connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
            yield cls(path, connection)
        except sqlite3.DatabaseError as error:
            raise RunError(f"the results can't be read or written ({error})", where=Where(file=path)) from error
        finally:
            connection.close()

    def register(self, methods: Sequence[Method]) -> None:
        """Write down what each method's name stands for; RunError if it stood for something else here."""
        for method in self.check(methods):
            values = (method.name, method.model, _json(method.config))
            self.connection.execute("INSERT INTO methods VALUES (?, ?, ?)", values)

    def check(self, methods: Sequence[Method]) -> list[Method]:
        """The methods that are not known yet; RunError if a name stood for something else here."""
        known = {method.name: method for method in self.methods()}
        for method in methods:
            before = known.get(method.name, method)
            if (before.model, _json(before.config)) != (method.model, _json(method.config)):
                raise RunError(
                    f"the results here are those of {method.name} = {_shown(before)}, not of {_shown(method)}",
                    where=Where(file=self.path),
                    remedy="Give another folder with --out, or the same options.",
                )
        return [method for method in methods if method.name not in known]

    def methods(self) -> list[Method]:
        """What the names of methods stand for, in the order in which they came."""
        found = self.connection.execute("SELECT name, model, config FROM methods ORDER BY rowid")
        return [Method(name, model, json.loads(config)) for name, model, config in found]

    def add(self, cell: Cell, outcome: Outcome) -> None:
        """Keep a cell's outcome, in place of an earlier one; it is on the disk when this returns."""
        values = {**vars(outcome), "metrics": json.dumps(dict(outcome.metrics))}
        values.update(zip(("model", "dataset", "seed"), cell.key, strict=True))
        marks = ", ".join(f":{name}" for name in _COLUMNS)
        self.connection.execute(f"INSERT OR REPLACE INTO results ({', '.join(_COLUMNS)}) VALUES ({marks})", values)  # noqa: S608

    def add_all(self, cells: Sequence[Cell], outcomes: Sequence[Outcome]) -> None:
        """Keep the outcomes of cells that were trained together: either all of them are on the disk, or none."""
        self.connection.execute("BEGIN")
        try:
            for cell, outcome in zip(cells, outcomes, strict=True):
                self.add(cell, outcome)
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def rows(self) -> list[Row]:
        """All outcomes, sorted by model, data set and seed."""
        found = self.connection.execute(
            f"SELECT {', '.join(_COLUMNS)} FROM results ORDER BY model, dataset, seed"  # noqa: S608
        )
        return [_row(dict(zip(_COLUMNS, values, strict=True))) for values in found]


def _row(values: dict[str, Any]) -> Row:
    return Row(**{**values, "metrics": json.loads(values["metrics"])})


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _shown(method: Method) -> str:
    options = " ".join(f"{name}={value}" for name, value in sorted(method.config.items()))
    return f"{method.model} {options}".rstrip()
