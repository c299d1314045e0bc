"""Which data set class reads what a user points at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quire import registry
from quire.errors import DataError, PluginError, TaskMismatch, Where

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from quire.dataset import Dataset
    from quire.task import Task


def reader_options(reader: type[Dataset], task: Task) -> dict[str, Any]:
    """The options that `reader` needs to read for `task`: a reader of any task must be told which."""
    return {"task": task.name} if _reads_any_task(reader) else {}


def readers(task: Task, *, of: str | None = None) -> Iterator[tuple[str, type[Dataset]]]:
    """The data set classes whose fields fit `task`, by name: those of the distribution `of` first, generic ones last.

    A plugin that can't be loaded offers no reader here; `quire doctor` names it.
    """
    found: list[tuple[int, str, type[Dataset]]] = []
    for description in registry.descriptions("dataset"):
        try:
            reader: type[Dataset] = registry.get(description.name, "dataset")
        except PluginError:
            continue
        if _reads_any_task(reader):
            found.append((2, description.name, reader))
        elif _fits(task, reader):
            found.append((0 if description.distribution == of else 1, description.name, reader))
    for _, name, reader in sorted(found, key=lambda entry: entry[:2]):
        yield name, reader


def own_reader(path: Path, distribution: str) -> str | None:
    """The data set class of `distribution` that recognises the layout at `path`, whatever its task; None if none does."""
    for description in registry.descriptions("dataset"):
        if description.distribution == distribution:
            try:
                reader: type[Dataset] = registry.get(description.name, "dataset")
            except PluginError:
                continue
            if not _reads_any_task(reader) and reader.recognises(path):
                return description.name
    return None


def find_reader(path: Path, task: Task, *, of: str | None = None) -> tuple[str, type[Dataset]]:
    """The first of `readers` that recognises the layout at `path`. DataError naming all that were asked if none does."""
    if not path.exists():
        raise DataError("there is no such file or folder", where=Where(file=path))
    candidates = list(readers(task, of=of))
    for name, reader in candidates:
        if reader.recognises(path):
            return name, reader
    raise DataError(
        f"no reader recognises this layout for the task {task.name}"
        f" (asked: {', '.join(name for name, _ in candidates) or 'none is installed'})",
        where=Where(file=path),
        remedy=_inside(path, [reader for _, reader in candidates])
        or "Name one with --dataset; `quire sample NAME FOLDER` writes an example of its layout.",
    )


def _inside(path: Path, candidates: Sequence[type[Dataset]]) -> str | None:
    """A remedy that names a data set one folder further down."""
    for child in sorted(path.iterdir()) if path.is_dir() else ():
        if child.is_dir() and any(reader.recognises(child) for reader in candidates):
            return f"There is one inside: give {child}"
    return None


def _reads_any_task(reader: type[Dataset]) -> bool:
    return "task" in reader.Options.model_fields


def _fits(task: Task, reader: type[Dataset]) -> bool:
    offered: Task | None = getattr(reader, "task", None)
    if offered is None:
        return False
    try:
        task.require_fit(offered, this="model", that="data set")
    except TaskMismatch:
        return False
    return True
