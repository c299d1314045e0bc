"""What all classifiers outside of quire have in common: what is declared of them, and no trust in what they answer."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, Self

import numpy as np
from pydantic import Field

from quire import registry
from quire.config import Config
from quire.errors import ConfigError, InvalidSample, RunError, TargetError, Where, nearest
from quire.modality import MODALITIES, Label
from quire.model import Classifier, ItemError, Limits, limits_of
from quire.target.answers import Refusal, checked_row, given_label
from quire.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from quire.dataset import Dataset
    from quire.modality import Sample
    from quire.run import Run
    from quire.runtime import Runtime

Probability = Annotated[float, Field(ge=0, le=1)]


class Declaration(Config):
    """What is said of a classifier that quire can't look into."""

    task: str | None = Field(None, description="the name of an installed task, whose samples it takes")
    fields: dict[str, str] = Field(default={}, description="its fields, where no task fits: name -> kind of modality")
    optional: tuple[str, ...] = Field((), description="of `fields`, those that a sample may lack")
    labels: tuple[str, ...] = Field((), description="its labels, in the order of its scores")
    label_kind: Literal["multiclass", "multilabel"] = Field(
        "multiclass", description="whether a sample has exactly one label, or any number of them"
    )
    toxic_labels: tuple[str, ...] = Field((), description="the labels that a moderator acts on")
    thresholds: dict[str, Probability] = Field(
        default={}, description="label -> the probability from which it is given"
    )
    limits: Limits = Field(Limits(), description="how much of a sample it takes, how many samples at once")
    deterministic: bool = Field(False, description="whether the same sample always gets the same answer")
    cost_per_call: float | None = Field(None, ge=0, description="what a sample costs")


def declared_task(declaration: Declaration) -> Task:
    """The installed task that is named, or one of the fields that are listed. ConfigError where there is neither."""
    if declaration.task is not None:
        task: Task = registry.get(declaration.task, "task")
        return task
    if not declaration.fields:
        raise ConfigError(
            "the target does not say what it takes",
            remedy="Name its task with --task (`quire list task`) and its labels with --labels.",
        )
    for name, kind in declaration.fields.items():
        if kind not in MODALITIES:
            raise ConfigError(
                f"there is no modality {kind!r}{nearest(kind, MODALITIES)}",
                where=Where(field=f"fields.{name}"),
                remedy=f"Use one of {', '.join(MODALITIES)}, or name an installed task.",
            )
    inputs = {name: MODALITIES[kind]() for name, kind in declaration.fields.items()}
    return Task("target", inputs, Label(), optional=frozenset(declaration.optional))


class External(Classifier):
    """A classifier that quire asks and knows nothing else of: it can't be trained or saved.

    A subclass writes `ask`. What it gives is checked here: a sample that gets no usable answer is an ItemError; an
    answer that contradicts the declaration (another number of answers or labels, an unknown label, a score that is no
    probability) ends the work with a TargetError, for then no other answer means what it seems to mean.
    """

    config: Declaration

    def __init__(self, config: Declaration, *, task: Task | None = None, runtime: Runtime | None = None) -> None:
        super().__init__(config, runtime=runtime)
        self.task = declared_task(config) if task is None else task
        self.cost_per_call = config.cost_per_call
        self._labels = config.labels or _known_labels(self.task)
        for option in ("toxic_labels", "thresholds"):
            for label in getattr(config, option):
                if label not in self._labels:
                    raise ConfigError(
                        f"{label!r} is none of the target's labels{nearest(label, self._labels)}",
                        where=Where(field=option),
                        remedy=f"They are: {', '.join(self._labels)}.",
                    )

    @abstractmethod
    def ask(self, samples: list[Sample]) -> Sequence[object]:
        """One raw answer per sample, in order: probabilities in the order of `labels`, or label -> probability.

        `samples` fit the task, hold its inputs and nothing else, and are at most `limits.batch`. A Refusal among the
        answers, or raised for all of them, says why there is none; a TargetError ends the work.
        """

    def answer_each(self, samples: Sequence[Sample]) -> list[NDArray[np.float32] | ItemError]:
        """One row of probabilities per sample, float32 [classes], or why it got none. TargetError: see the class."""
        answers: list[NDArray[np.float32] | ItemError] = []
        size = self.limits.batch or max(1, len(samples))
        for start in range(0, len(samples), size):
            rows = self._rows(samples[start : start + size], start)
            answers += [ItemError(start + n, row) if isinstance(row, str) else row for n, row in enumerate(rows)]
        return answers

    def _rows(self, samples: Sequence[Sample], start: int) -> list[NDArray[np.float32] | str]:
        """A row or a reason for each sample of one batch; those that do not fit the task are not sent.

        Neither is anything but the task's inputs: targets, and ids, may say what is expected.
        """
        rows: list[NDArray[np.float32] | str] = [""] * len(samples)
        fitting = []
        for position, sample in enumerate(samples):
            inputs = {name: value for name, value in sample.items() if name in self.task.inputs}
            try:
                fitting.append((position, self.task.check(inputs, index=start + position)))
            except InvalidSample as error:
                rows[position] = str(error)
        answers = self._ask([sample for _, sample in fitting]) if fitting else []
        for (position, _), answer in zip(fitting, answers, strict=True):
            rows[position] = answer
        return rows

    def _ask(self, samples: list[Sample]) -> list[NDArray[np.float32] | str]:
        try:
            answers = self.ask(samples)
        except Refusal as refusal:
            if refusal.divisible and len(samples) > 1:
                return [row for sample in samples for row in self._ask([sample])]
            return [refusal.reason] * len(samples)
        if len(answers) != len(samples):
            raise TargetError(f"{self.name} gave {len(answers)} answers for {len(samples)} samples: {answers!r:.300}")
        return [self._row(answer) for answer in answers]

    def _row(self, answer: object) -> NDArray[np.float32] | str:
        try:
            return checked_row(answer, self.labels, self.label_kind, who=self.name)
        except Refusal as refusal:
            return refusal.reason

    def predict_proba(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Probabilities, float32 [samples, classes]. InvalidSample for the first sample that gets none."""
        answers = self.answer_each(samples)
        for answer in answers:
            if isinstance(answer, ItemError):
                sample = samples[answer.index].get("id", answer.index)
                raise InvalidSample(f"{self.name} gave no answer: {answer.reason}", where=Where(sample=sample))
        return np.array(answers, dtype=np.float32).reshape(len(answers), len(self.labels))

    def predict(self, samples: Sequence[Sample]) -> list[str]:
        """The most probable label that reaches its threshold; where none with a threshold does, of those without."""
        return [given_label(row, self.labels, self.thresholds) for row in self.predict_proba(samples)]

    @property
    def name(self) -> str:
        """What messages call it."""
        return type(self).__name__

    @property
    def labels(self) -> tuple[str, ...]:
        """Those declared, or the task's."""
        return self._labels

    @property
    def label_kind(self) -> Literal["multiclass", "multilabel"]:
        """As declared."""
        return self.config.label_kind

    @property
    def toxic_labels(self) -> frozenset[str]:
        """As declared."""
        return frozenset(self.config.toxic_labels)

    @property
    def thresholds(self) -> Mapping[str, float]:
        """As declared."""
        return self.config.thresholds

    @property
    def limits(self) -> Limits:
        """As declared; else what the fields' modalities say."""
        stated = {part.name: getattr(self.config.limits, part.name) for part in fields(Limits)}
        return replace(limits_of(self.task), **{name: bound for name, bound in stated.items() if bound is not None})

    @property
    def deterministic(self) -> bool:
        """As declared."""
        return self.config.deterministic

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of what is known of what answers depend on."""

    def close(self) -> None:
        """Give back what the target holds: connections, a process."""

    def fit(
        self,
        train: Dataset,
        validation: Dataset | None = None,
        *,
        runtime: Runtime | None = None,
        run: Run | None = None,
    ) -> Self:
        """RunError."""
        self._refuse("trained")

    def save(self, folder: Path) -> Path:
        """RunError."""
        self._refuse("saved")

    @classmethod
    def load(cls, folder: Path, *, runtime: Runtime | None = None) -> Self:
        """RunError."""
        raise RunError(f"a {cls.__name__} is not saved, and can't be loaded", remedy="Open it with open_target.")

    def state(self) -> dict[str, Any]:
        """RunError."""
        self._refuse("saved")

    def restore(self, state: dict[str, Any]) -> None:
        """RunError."""
        self._refuse("loaded")

    def _refuse(self, what: str) -> NoReturn:
        raise RunError(f"{self.name} is a target outside of quire and can't be {what}", remedy="Test it as it is.")


def _known_labels(task: Task) -> tuple[str, ...]:
    """The labels of the task's target."""
    labels = task.target.labels if isinstance(task.target, Label) else None
    if not labels:
        raise ConfigError("the target does not say its labels", remedy="Name them, in its order, with --labels a,b,c.")
    return labels


__all__ = ["Declaration", "External", "declared_task"]
