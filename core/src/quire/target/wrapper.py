"""A classifier around another one, which answers for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from quire.errors import ConfigError, RunError, Where, nearest
from quire.model import Classifier
from quire.storage import content_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from quire.config import Config
    from quire.dataset import Dataset
    from quire.modality import Sample
    from quire.model import ItemError, Limits
    from quire.run import Run
    from quire.runtime import Runtime
    from quire.task import Task


class Wrapper(Classifier):
    """Says of itself what `inner` says, and answers as it does; subclasses change what is asked or answered.

    `inner` is what is trained and saved.
    """

    def __init__(self, inner: Classifier, config: Config | None = None, *, task: Task | None = None) -> None:
        super().__init__(inner.config if config is None else config)
        self.inner = inner
        self.cost_per_call = inner.cost_per_call
        self.task = inner.task if task is None else task

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of the inner classifier."""
        return self.inner.labels

    @property
    def label_kind(self) -> Literal["multiclass", "multilabel"]:
        """That of the inner classifier."""
        return self.inner.label_kind

    @property
    def toxic_labels(self) -> frozenset[str]:
        """Those of the inner classifier."""
        return self.inner.toxic_labels

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Those of the inner classifier."""
        return self.inner.thresholds

    @property
    def limits(self) -> Limits:
        """Those of the inner classifier."""
        return self.inner.limits

    @property
    def deterministic(self) -> bool:
        """Whether the inner classifier is."""
        return self.inner.deterministic

    @property
    def runtime(self) -> Runtime:
        """The inner classifier's."""
        return self.inner.runtime

    @runtime.setter
    def runtime(self, runtime: Runtime) -> None:
        self.inner.runtime = runtime

    def predict_proba(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """What the inner classifier says."""
        return self.inner.predict_proba(samples)

    def answer_each(self, samples: Sequence[Sample]) -> list[NDArray[np.float32] | ItemError]:
        """What the inner classifier says of each."""
        return self.inner.answer_each(samples)

    def predict(self, samples: Sequence[Sample]) -> list[str]:
        """The labels that the inner classifier gives."""
        return self.inner.predict(samples)

    def fingerprint(self) -> str:
        """A hash of what the wrapper is and of the inner classifier's."""
        own = f"{type(self).__module__}:{type(self).__qualname__}"
        return content_hash(own, self.config.model_dump(mode="json"), self.inner.fingerprint())

    def fit(
        self,
        train: Dataset,
        validation: Dataset | None = None,
        *,
        runtime: Runtime | None = None,
        run: Run | None = None,
    ) -> Self:
        """Train the inner classifier."""
        self.inner.fit(train, validation, runtime=runtime, run=run)
        return self

    def save(self, folder: Path) -> Path:
        """Save the inner classifier."""
        return self.inner.save(folder)

    @classmethod
    def load(cls, folder: Path, *, runtime: Runtime | None = None) -> Self:
        """RunError: what is saved is the inner classifier."""
        raise RunError(f"a {cls.__name__} is not loaded, but made around a classifier that is")

    def state(self) -> dict[str, Any]:
        """The inner classifier's."""
        return self.inner.state()

    def restore(self, state: dict[str, Any]) -> None:
        """The inner classifier's."""
        self.inner.restore(state)


class Moderator(Wrapper):
    """A classifier whose `toxic_labels` are the user's choice. ConfigError for one that is not among its labels."""

    def __init__(self, inner: Classifier, toxic_labels: Sequence[str]) -> None:
        super().__init__(inner)
        for label in toxic_labels:
            if label not in inner.labels:
                raise ConfigError(
                    f"{label!r} is none of the target's labels{nearest(label, inner.labels)}",
                    where=Where(field="toxic_labels"),
                    remedy=f"They are: {', '.join(inner.labels)}.",
                )
        self._toxic_labels = frozenset(toxic_labels)

    @property
    def toxic_labels(self) -> frozenset[str]:
        """The user's."""
        return self._toxic_labels

    def fingerprint(self) -> str:
        """The inner classifier's: its answers are no others."""
        return self.inner.fingerprint()
