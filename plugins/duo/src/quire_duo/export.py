"""Cases of a run as data to train on: memes.csv, JSON lines, or a table of the target's task; divided by seeds."""

from __future__ import annotations

import csv
import json
import shutil
from typing import TYPE_CHECKING, Any, Literal

from quire.dataset import new_release
from quire.errors import DataError, Where
from quire.storage import read_json
from quire_duo.journal import read_results
from quire_duo.seed_set import SeedInfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from quire_duo.journal import Outcome

Format = Literal["memes.csv", "jsonl", "table"]
Split = Literal["all", "train", "test"]


def split_of(seed: str, share: float = 0.5) -> Literal["train", "test"]:
    """The part to which all cases of a seed belong: by the hash of its id, the same in every run and for every rule."""
    return "train" if SeedInfo(seed, "", True, "", 0.0, "").share("split") < share else "test"


def export(
    folder: Path, output: Path, *, format: Format = "jsonl", failing: bool = True, split: Split = "all"
) -> tuple[Path, int]:
    """Write cases of the run in `folder` to the new folder `output`; returns the file to open, and how many it holds.

    memes.csv: id, image, text, label (1 is toxic), for cases of picture and text. jsonl: a line a case with the paths of
    its media. table: train.jsonl with a column for each kind of content and `target` (toxic or benign), which the reader
    "table" opens with the task content-moderation. failing: errors and false alarms alone, else all cases that were
    answered and kept. split: the cases of the seeds of one part. Raises DataError where there is none.
    """
    rows = [
        (case, place)
        for outcome, case, place in stored_cases(folder)
        if (not failing or _failed(outcome)) and split in ("all", split_of(outcome.seed))
    ]
    if format == "memes.csv":
        rows = [(case, place) for case, place in rows if case["files"].keys() <= {"text", "image"}]
    if not rows:
        raise DataError("no case of the run is of this sort", where=Where(file=folder / "cases"))
    name = {"memes.csv": "memes.csv", "jsonl": "cases.jsonl", "table": "train.jsonl"}[format]
    with new_release(output) as building:
        (building / ".gitignore").write_text("*\n", encoding="utf-8")
        written = [_written(case, place, building) for case, place in rows]
        {"memes.csv": _memes, "jsonl": _lines, "table": _lines}[format](building / name, written, format)
    return output / name, len(rows)


def stored_cases(folder: Path) -> Iterator[tuple[Outcome, dict[str, Any], Path]]:
    """The answered cases of a run that stand in its folder: outcome, content of case.json, the case's folder."""
    for outcome in read_results(folder):
        place = folder / "cases" / outcome.case
        if outcome.answered and (place / "case.json").is_file():
            yield outcome, read_json(place / "case.json"), place


def _failed(outcome: Outcome) -> bool:
    return bool(outcome.error) if outcome.expected == "toxic" else bool(outcome.flagged)


def _written(case: dict[str, Any], place: Path, building: Path) -> dict[str, Any]:
    """The case with its media copied: paths relative to the new folder, texts as they are."""
    row: dict[str, Any] = {"id": case["id"], "target": case["expected"], "kind": case["kind"], "rule": case["rule"]}
    row["seeds"] = case["seeds"]
    for kind, name in case["files"].items():
        if kind == "text":
            row[kind] = (place / name).read_text(encoding="utf-8").removesuffix("\n")
            continue
        (building / kind).mkdir(exist_ok=True)
        path = building / kind / f"{case['id']}{(place / name).suffix}"
        shutil.copyfile(place / name, path)
        row[kind] = path.relative_to(building).as_posix()
    return row


def _lines(path: Path, rows: list[dict[str, Any]], format: str) -> None:
    drop = ("kind", "rule", "seeds") if format == "table" else ()
    kept = ({name: value for name, value in row.items() if name not in drop} for row in rows)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept), encoding="utf-8")


def _memes(path: Path, rows: list[dict[str, Any]], format: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "image", "text", "label"])
        writer.writerows(
            [row["id"], row.get("image", ""), row.get("text", ""), int(row["target"] == "toxic")] for row in rows
        )
