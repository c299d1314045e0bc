"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

from quire.errors import DataError, Where

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Arrays: TypeAlias = dict[str, NDArray[Any]]

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"


@contextmanager
def atomic_file(path: Path, mode: Literal["wb", "w"] = "wb") -> Iterator[IO[Any]]:
    """A file that takes the place of `path` when the block ends, and leaves it untouched if the block raises.

    Text is UTF-8 with "\\n" as it is written. A link is followed: what it points to is replaced. Missing parent folders
    are made.
    """
    with replacing(Path(path)) as temporary:
        text: dict[str, Any] = {"encoding": "utf-8", "newline": "\n"} if mode == "w" else {}
        with temporary.open(mode, **text) as file:
            yield file


def write_json(path: Path, value: JSON) -> None:
    """Write `value` atomically, keys in their order. ValueError for NaN and infinity, which JSON does not have."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    with atomic_file(path, "w") as file:
        file.write(text + "\n")


def read_json(path: Path) -> Any:
    """The value in the file; DataError with line and column if it is missing or malformed."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror})", where=Where(file=path)) from None
    except json.JSONDecodeError as error:
        where = Where(file=path, line=error.lineno, column=error.colno)
        raise DataError(f"is not valid JSON ({error.msg})", where=where) from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"is not valid JSON ({error})", where=Where(file=path)) from None


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new folder that takes the place of `path` when the block ends; if the block raises, nothing changes.

    One writer at a time: what another one left unfinished is removed at the start. After a crash, `recover_folder` sees
    to it that `path` is the old folder or the new one, each of them whole.
    """
    path = _resolved(Path(path))
    recover_folder(path)
    new, old = _sibling(path, "new"), _sibling(path, "old")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        for child in new.rglob("*"):
            sync(child)
        sync(new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if path.exists():
        path.rename(old)
    _complete_swap(path)


def recover_folder(path: Path) -> None:
    """Finish the swap of `atomic_folder` that a crash interrupted. Readers may call it at any time."""
    path = _resolved(Path(path))
    old = _sibling(path, "old")
    if old.exists():
        _complete_swap(path)


def _complete_swap(path: Path) -> None:
    """Put the new folder in its place, where it is missing, and remove the old one.

    The old folder is moved aside only when the new one is whole. If it went away and no new one stands there, the new
    one is already in its place.
    """
    new, old = _sibling(path, "new"), _sibling(path, "old")
    if not path.exists():
        with suppress(FileNotFoundError):  # a reader that recovers at this moment did it
            new.rename(path)
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sibling(path: Path, role: str) -> Path:
    return path.with_name(f".{path.name}.{role}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The path of a file, not there yet, that takes the place of `path` when the block ends without an error."""
    path = _resolved(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".quire-{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))


def sync(path: Path) -> None:
    """Wait until the file or folder is on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows has no handle on a folder to wait for
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
