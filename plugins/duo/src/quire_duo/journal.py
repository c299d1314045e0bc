"""What a run leaves on disk while it goes on, so that it may be killed at any moment and goes on as if it had not been."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, Self

from quire.errors import ConfigError, DataError, RunError, Where
from quire.storage import atomic_file, content_hash, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

RESULTS, COSTS, CONFIG = "results.jsonl", "costs.jsonl", "config.json"
Status = Literal["answered", "inconclusive", "not applicable", "invalid", "refused"]


@dataclass(frozen=True)
class Outcome:
    """What came of one planned case; a line of results.jsonl.

    scores: a row of probabilities for each repeat, in the order of the target's labels. toxic_score, flagged and error
    (toxic and passed) are None unless the case was answered. content: the hash of what the target saw. label: of the
    seed in the toxic slot in its own data set. control_of: the case that a control stands beside. text: the content's
    text, where the user wants it in the log.
    """

    case: str
    rule: str
    parameters: dict[str, Any]
    seeds: list[str]
    kind: str
    expected: Literal["toxic", "benign"]
    guarantee: str
    phase: str
    replicate: int
    level: int
    status: Status
    reason: str = ""
    partial: bool = False
    content: str = ""
    scores: list[list[float]] = field(default_factory=list)
    toxic_score: float | None = None
    flagged: bool | None = None
    flaky: bool = False
    error: bool | None = None
    control_of: str | None = None
    text: str | None = None

    @property
    def answered(self) -> bool:
        """Whether the target gave a verdict."""
        return self.status == "answered"

    @property
    def asked(self) -> bool:
        """Whether the target was asked."""
        return self.status in ("answered", "inconclusive")

    @property
    def seed(self) -> str:
        """The seed in the toxic slot."""
        return self.seeds[0]


_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|“[^”]*”|‘[^’]*’")


def without_content(reason: str) -> str:
    """A reason without what it quotes: that may be the words of a seed, and logs keep hashes alone."""
    return _QUOTED.sub("'...'", reason)


class Journal:
    """results.jsonl and costs.jsonl in a folder; without a folder, only what the run itself knows.

    `known` are the outcomes that an interrupted run has left. A line is on the disk when `add` returns.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.known = {} if folder is None else {outcome.case: outcome for outcome in read_results(folder, repair=True)}

    @classmethod
    def open(cls, folder: Path | None, config: dict[str, Any]) -> Self:
        """The journal of a new run, or of one that goes on: one with the same options, target, seeds and rules.

        Raises RunError for a folder that holds anything else, ConfigError for one that a run of other options began.
        """
        if folder is None:
            return cls(None)
        described = {"format": 1, "hash": content_hash(config), "quire-duo": version("quire-duo"), **config}
        if (folder / CONFIG).is_file():
            _require_same(read_json(folder / CONFIG), described, folder)
        elif folder.exists() and any(not _is_the_callers(path) for path in folder.iterdir()):
            raise RunError("the folder is not empty", where=Where(file=folder), remedy="Choose another folder.")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".gitignore").write_text(
                "# Test cases of moderation: not for a repository\n*\n", encoding="utf-8"
            )
            write_json(folder / CONFIG, described)
        return cls(folder)

    def add(self, outcomes: Iterable[Outcome], costs: Iterable[dict[str, Any]] = ()) -> None:
        """Append lines, and wait until those of the outcomes are on the disk."""
        if self.folder is not None:
            _append(self.folder / RESULTS, [line_of(outcome) for outcome in outcomes])
            _append(self.folder / COSTS, list(costs), wait=False)


def line_of(outcome: Outcome) -> dict[str, Any]:
    """The outcome as it stands in results.jsonl; the text is left out where it is not logged."""
    line = asdict(outcome)
    if outcome.text is None:
        del line["text"]
    return line


def read_results(folder: Path, *, repair: bool = False) -> list[Outcome]:
    """The outcomes in results.jsonl, none if it is not there. Half a line at the end, which a crash leaves, is no outcome.

    `repair` takes it away on the disk too. Raises DataError for a line that is no outcome.
    """
    path = folder / RESULTS
    if not path.is_file():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if repair and whole != content:
        with atomic_file(path) as file:
            file.write(whole)
    outcomes = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            outcomes.append(Outcome(**json.loads(line)))
        except (ValueError, TypeError):
            raise DataError("this is no line of results", where=Where(file=path, line=number)) from None
    return outcomes


def _append(path: Path, lines: list[dict[str, Any]], *, wait: bool = True) -> None:
    if not lines:
        return
    text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
    with path.open("ab") as file:
        file.write(text.encode())
        if wait:
            file.flush()
            os.fsync(file.fileno())


def _is_the_callers(path: Path) -> bool:
    """Whether a file is what a caller notes down of the test, such as its lock."""
    return path.name == ".gitignore" or path.name.startswith("test.")


def _require_same(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    if before.get("hash") == now["hash"]:
        return
    where = Where(file=folder / CONFIG)
    for part in ("target", "seeds", "rules"):
        if before.get(part) != now.get(part):
            raise RunError(f"this run began with other {part}", where=where, remedy="Choose another folder.")
    was, is_ = before.get("options", {}), now.get("options", {})
    differing = sorted(name for name in was.keys() | is_.keys() if was.get(name) != is_.get(name))
    raise ConfigError(
        f"this run began with other options: {', '.join(differing)}",
        where=where,
        remedy="Choose another folder, or the options that it began with.",
    )
