"""What a check is given, and how it says that a rule is broken or does not apply."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray
    from pydantic import BaseModel

T = TypeVar("T")


class Broken(AssertionError):
    """A plugin breaks a rule: the message names the plugin, what is wrong, and how to mend it."""


class NotApplicable(Exception):
    """A check has nothing to look at, or rests on another one that fails."""


class once(Generic[T]):  # noqa: N801 - a decorator
    """A property that is computed at most once, also where that fails: what was raised is raised again."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"once {name}"

    def __get__(self, subject: Any, owner: type) -> T:
        kept = vars(subject)
        if self._name not in kept:
            try:
                kept[self._name] = self._make(subject), None
            except Exception as error:
                kept[self._name] = None, error
        value: T
        value, raised = kept[self._name]
        if raised is not None:
            raise raised
        return value


class Subject:
    """A class that is held to the rules, under the name that it is installed as.

    Its files go into a temporary folder that vanishes with it.
    """

    def __init__(self, name: str, cls: Any) -> None:
        self.name = name
        self.cls = cls
        self._home = TemporaryDirectory(prefix="quire-check-", ignore_cleanup_errors=True)
        self._folders = 0

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"{self.cls.__module__}:{self.cls.__qualname__}"

    @property
    def schema(self) -> type[BaseModel]:
        """The class of its options."""
        schema: type[BaseModel] = self.cls.Options
        return schema

    def new_folder(self) -> Path:
        """An empty folder of its own."""
        self._folders += 1
        folder = Path(self._home.name) / str(self._folders)
        folder.mkdir()
        return folder

    def require(self, holds: bool, wrong: str, mend: str) -> None:
        """Raise Broken unless the rule `holds`; `wrong` completes a sentence that begins with the title."""
        if not holds:
            raise Broken(f"{self.title} {wrong}. {mend}")

    def rest_on(self, check: Callable[[Any], None]) -> None:
        """Raise NotApplicable if `check` fails."""
        with resting_on(check.__name__):
            check(self)


@contextmanager
def resting_on(check: str) -> Iterator[None]:
    """Whatever is raised inside is what `check` reports, so that here is nothing left to look at: NotApplicable."""
    try:
        yield
    except NotApplicable:
        raise
    except Exception as error:
        raise NotApplicable(f"{check} comes first: {error}") from error


def differences(one: Any, other: Any, *, tolerance: float = 0.0, place: str = "") -> Iterator[str]:
    """The places at which two nested values differ: dicts, lists, dataclasses, tensors, arrays, pictures, plain values.

    Numbers may differ by `tolerance`, absolute and relative; integers by one level where there is a tolerance at all.
    """
    here = place or "the value"
    if _is_numeric(one) and _is_numeric(other):
        arrays = _array(one), _array(other)
        if not _close(*arrays, tolerance):
            yield f"{here} ({_described(*arrays)})"
    elif type(one) is not type(other):
        yield f"{here} ({type(one).__name__} and {type(other).__name__})"
    elif isinstance(one, dict):
        yield from (f"{place}.{key}".lstrip(".") for key in one.keys() ^ other.keys())
        for key in (key for key in one if key in other):
            yield from differences(one[key], other[key], tolerance=tolerance, place=f"{place}.{key}".lstrip("."))
    elif isinstance(one, list | tuple):
        if len(one) != len(other):
            yield f"{here} ({len(one)} and {len(other)} items)"
        for index, pair in enumerate(zip(one, other, strict=False)):
            yield from differences(*pair, tolerance=tolerance, place=f"{place}[{index}]")
    elif is_dataclass(one) or _has_only_identity(one):
        yield from differences(vars(one), vars(other), tolerance=tolerance, place=place)
    elif not bool(one == other):
        yield f"{here} ({one!r:.40} and {other!r:.40})"


def listed(names: Iterable[str]) -> str:
    """The first few of `names`, and how many more there are."""
    known = list(names)
    more = f" and {len(known) - 3} more" if len(known) > 3 else ""
    return ", ".join(known[:3]) + more


def _has_only_identity(value: Any) -> bool:
    """Whether `==` would only tell whether it is the same object."""
    return hasattr(value, "__dict__") and getattr(type(value), "__eq__", None) is getattr(object, "__eq__", None)


def _is_numeric(value: Any) -> bool:
    """Whether it is a tensor, an array, a picture or a number."""
    known = isinstance(value, int | float | complex | np.ndarray | np.generic)
    return known or hasattr(value, "detach") or hasattr(value, "__array_interface__")


def _array(value: Any) -> NDArray[Any]:
    if not hasattr(value, "detach"):
        return np.asarray(value)
    tensor = value.detach().cpu()
    array: NDArray[Any] = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    return array


def _close(one: NDArray[Any], other: NDArray[Any], tolerance: float) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind in "fc":
        return bool(np.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True))
    if one.dtype.kind in "iu" and tolerance:
        return bool((np.abs(one.astype(np.int64) - other.astype(np.int64)) <= 1).all())
    return bool((one == other).all())


def _described(one: NDArray[Any], other: NDArray[Any]) -> str:
    if one.shape != other.shape or one.dtype != other.dtype:
        return f"{one.dtype}{list(one.shape)} and {other.dtype}{list(other.shape)}"
    if one.dtype.kind not in "fiu":
        return "other values"
    gap = np.abs(one.astype(np.float64) - other.astype(np.float64))
    return f"by up to {np.nanmax(gap, initial=0.0):.3g}"
