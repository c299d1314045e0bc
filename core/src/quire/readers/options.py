"""What the readers of users' own data have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, PlainValidator, model_validator

from quire import registry
from quire.config import Config
from quire.dataset import (
    SPLITS,
    partition,
)
from quire.errors import ConfigError
from quire.modality import Label, Sample
from quire.table import TABLE_SUFFIXES
from quire.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def named_task(task: str | Task) -> Task:
    """The task of that registered name (a Task is itself). Raises PluginError for an unknown name."""
    found = task if isinstance(task, Task) else registry.get(task, kind="task")
    if not isinstance(found, Task):
        raise ConfigError(f"{task!r} is not a task")
    return found


# Any, because pydantic would look into the fields of a Task.
NamedTask = Annotated[Any, PlainValidator(named_task, json_schema_input_type=str)]


class ReaderOptions(Config):
    """What both readers take; the fractions serve data that has no splits of its own."""

    task: NamedTask = Field("image-classification", description="registered name of the task whose fields the data has")
    validation_fraction: float = Field(0.15, ge=0, lt=1, description="share held out for validation")
    test_fraction: float = Field(0.15, ge=0, lt=1, description="share held out for testing")
    split_seed: int = Field(0, ge=0, description="which samples are held out")
    verify: bool = Field(False, description="read every media file when opening, to find the unreadable ones at once")

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction must leave samples to train on")
        return self

    def part(self, rows: list[Sample], split: str) -> list[Sample]:
        """The rows of one split of data that has none, by `partition` of the Label targets."""
        held_out = {"validation": self.validation_fraction, "test": self.test_fraction}
        fractions = {"train": 1 - sum(held_out.values())} | {name: part for name, part in held_out.items() if part}
        classes = isinstance(self.task.target, Label)
        parts = partition([row["target"] if classes else "" for row in rows], fractions, seed=self.split_seed)
        return [rows[index] for index in parts.get(split, ())]


def tables_in(folder: Path) -> list[Path]:
    """The tables in a folder, but hidden ones."""
    return sorted(
        file for file in folder.iterdir() if file.suffix.lower() in TABLE_SUFFIXES and not file.name.startswith(".")
    )


def in_usual_order(splits: Iterable[str]) -> tuple[str, ...]:
    """Splits as train, validation, test, and others after them."""
    return tuple(sorted(splits, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name)))
