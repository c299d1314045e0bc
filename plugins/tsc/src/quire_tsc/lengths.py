"""The shortest series that a method takes."""

from __future__ import annotations

from quire.errors import DataError, Where


def require_length(method: str, length: int, minimum: int) -> None:
    """Raise DataError, naming the method and its minimum, for series of fewer than `minimum` time steps."""
    if length < minimum:
        raise DataError(
            f"{method} needs at least {minimum} time steps, and gets {length}",
            where=Where(field="series"),
            remedy="Use the architecture fcn, which takes series of any length.",
        )
