"""One training, as every contender is asked for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Task:
    """Series float32 [n, 1, length], class numbers [n]. A batch size or learning rate of None is the contender's own."""

    architecture: str
    x: np.ndarray
    y: np.ndarray
    batch: int | None
    learning_rate: float | None
    epochs: int
    seed: int

    @property
    def classes(self) -> int:
        return int(self.y.max()) + 1

    def options(self, **names: str) -> dict[str, float | int]:
        """Batch size and learning rate under a library's names, as far as they are given."""
        values = {"batch": self.batch, "learning_rate": self.learning_rate}
        return {names[name]: value for name, value in values.items() if value is not None}
