"""A lock between processes, which the kernel releases when its holder dies."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from quire.errors import RunError, Where
from quire.storage.files import atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Arrays: TypeAlias = dict[str, NDArray[Any]]


@contextmanager
def lock(path: Path, *, purpose: str) -> Iterator[None]:
    """Hold the lock file `path` against all other processes (and other holders in this one); never waits.

    `purpose` is the subject of the message: "<purpose> is in use by process 123". RunError if the lock is held. The
    kernel releases it when its holder dies.
    """
    from filelock import FileLock, Timeout

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = path.with_name(f"{path.name}.pid")
    try:
        held = FileLock(path).acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"{purpose} is in use by {_holder(holder)}",
            where=Where(file=path),
            remedy="Wait until it has finished, or stop it.",
        ) from None
    with held:
        with atomic_file(holder, "w") as file:
            file.write(str(os.getpid()))
        try:
            yield
        finally:
            holder.unlink(missing_ok=True)


def _holder(path: Path) -> str:
    try:
        return f"process {int(path.read_text(encoding='utf-8'))}"
    except (OSError, ValueError):  # it has not written its number yet
        return "another process"
