"""The 128 data sets of the UCR archive of 2018: names, themes and sizes."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class CatalogueEntry:
    """One data set; None where a figure or a name is not known.

    `name`, `name_2015`: its name in the archives of 2018 and 2015 (the paper's 85 have both); `theme`: kind of data,
    such as ECG or MOTION; `length`, `min_length`: of the longest and the shortest series; `missing`: whether values
    are missing; `unequal`: whether lengths differ.
    """

    name: str
    name_2015: str | None
    theme: str | None
    n_train: int | None
    n_test: int | None
    length: int | None
    min_length: int | None
    n_classes: int | None
    missing: bool | None
    unequal: bool | None


@cache
def catalogue() -> dict[str, CatalogueEntry]:
    """The data sets by their name of 2018, in alphabetical order. Counted on the archive's tsv release."""
    text = (files("quire_tsc") / "ucr_catalogue.csv").read_text(encoding="utf-8")
    return {row["name"]: _entry(row) for row in csv.DictReader(text.splitlines())}


def _entry(row: dict[str, str]) -> CatalogueEntry:
    def number(key: str) -> int | None:
        return int(row[key]) if row[key] else None

    def flag(key: str) -> bool | None:
        return row[key] == "1" if row[key] else None

    return CatalogueEntry(
        name=row["name"],
        name_2015=row["name_2015"] or None,
        theme=row["theme"] or None,
        n_train=number("n_train"),
        n_test=number("n_test"),
        length=number("length"),
        min_length=number("min_length"),
        n_classes=number("n_classes"),
        missing=flag("missing"),
        unequal=flag("unequal"),
    )
