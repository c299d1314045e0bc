"""A model's answers for many samples, of which some may be unusable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from quire.errors import DataError, InvalidSample, PluginError, TaskMismatch, TrainingError, Where
from quire.model import Classifier, Embedder, Model
from quire.storage import load_tree, save_tree

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from quire.modality import Sample
    from quire.task import Task

OnError = Literal["raise", "skip"]


@dataclass
class Predictions:
    """A model's answers, one per sample that could be used, in the order of the samples.

    outputs: what `predict` gives. targets: None where the samples have none. probabilities: float32 [n, classes] of a
    Classifier, whose columns are `labels`. embeddings: float32 [n, dim] where they were asked for.
    left_out: why the other samples were not used.
    """

    ids: list[str]
    outputs: list[Any]
    targets: list[Any] | None = None
    probabilities: NDArray[np.float32] | None = None
    labels: tuple[str, ...] = ()
    embeddings: NDArray[np.float32] | None = None
    left_out: list[InvalidSample] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("outputs", "targets", "probabilities", "embeddings"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.ids):
                raise ValueError(f"{len(values)} {name} for {len(self.ids)} samples")
        if self.probabilities is not None and self.probabilities.shape[1:] != (len(self.labels),):
            raise ValueError(f"probabilities {self.probabilities.shape} for {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.ids)

    def save(self, path: Path) -> None:
        """Write one safetensors file, atomically.

        Raises DataError for targets or outputs that are no text, numbers, arrays, or lists and dicts of these.
        """
        left_out = [(error.message, str(error.where or ""), error.remedy) for error in self.left_out]
        try:
            save_tree(path, {**vars(self), "left_out": left_out})
        except TypeError as error:
            raise DataError(
                f"these predictions can't be kept in one file: {error}",
                where=Where(file=path),
                remedy="Write every output with the modality of the task's target.",
            ) from None

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """The predictions that `save` wrote. Raises DataError where the file holds something else."""
        tree = load_tree(path)
        if not isinstance(tree, dict) or set(tree) != set(cls.__dataclass_fields__):
            raise DataError("this file holds no predictions", where=Where(file=path))
        left_out = [
            InvalidSample(f"{where}: {message}" if where else message, remedy=remedy)
            for message, where, remedy in tree["left_out"]
        ]
        return cls(**{**tree, "left_out": left_out})


def predict_all(
    model: Model,
    samples: Iterable[Sample],
    *,
    on_error: OnError = "raise",
    batch_size: int = 256,
    need_target: bool = False,
    embed: bool = False,
) -> Predictions:
    """The model's predictions for `samples`, which are read one batch at a time.

    Every sample is checked first. With on_error="skip", one that can't be used is left out, and the predictions say
    why; an iterable that is no sequence ends where it raises, so its own errors are always raised.
    need_target makes a missing target an error; embed asks an Embedder for vectors. Raises InvalidSample, PluginError
    for outputs that don't match the samples, TrainingError for probabilities that are not finite.
    """
    left_out: list[InvalidSample] = []
    ids: list[str] = []
    targets: list[Any] = []
    outputs: list[Any] = []
    probabilities, embeddings = [], []
    for answer in answer_batches(
        model, samples, left_out, on_error=on_error, batch_size=batch_size, need_target=need_target, embed=embed
    ):
        ids += [name for name, _ in answer.samples]
        targets += [sample["target"] for _, sample in answer.samples if sample.get("target") is not None]
        outputs += answer.outputs
        probabilities.append(answer.probabilities)
        embeddings.append(answer.embeddings)
    labels = model.labels if isinstance(model, Classifier) else ()
    return Predictions(
        ids=ids,
        outputs=outputs,
        targets=targets if len(targets) == len(ids) else None,
        probabilities=_stacked(probabilities, len(labels)) if isinstance(model, Classifier) else None,
        labels=labels,
        embeddings=_stacked(embeddings, 0) if embed else None,
        left_out=left_out,
    )


@dataclass(frozen=True)
class Answers:
    """What the model gave for one batch of (id, sample) pairs."""

    samples: list[tuple[str, Sample]]
    outputs: list[Any]
    probabilities: NDArray[np.float32] | None
    embeddings: NDArray[np.float32] | None


def answer_batches(
    model: Model,
    samples: Iterable[Sample],
    left_out: list[InvalidSample],
    *,
    on_error: OnError,
    batch_size: int = 256,
    need_target: bool = False,
    embed: bool = False,
) -> Iterator[Answers]:
    """One batch after the other; with on_error="skip", the errors of unusable samples go to `left_out`."""
    usable = _usable(model.task, samples, left_out, on_error=on_error, need_target=need_target)
    while batch := list(islice(usable, batch_size)):
        try:
            yield _answer(model, batch, embed=embed)
        except InvalidSample:
            if on_error == "raise":
                raise
            # The model itself refuses a sample that its task admits: which one only shows when each is asked alone.
            for name, sample in batch:
                try:
                    yield _answer(model, [(name, sample)], embed=embed)
                except InvalidSample as error:
                    left_out.append(_placed(error, name))


def _usable(
    task: Task,
    samples: Iterable[Sample],
    left_out: list[InvalidSample],
    *,
    on_error: OnError,
    need_target: bool,
) -> Iterator[tuple[str, Sample]]:
    """The samples that `task` admits, with their ids."""
    for index, sample in enumerate(_each(samples)):
        try:
            if isinstance(sample, InvalidSample):
                raise sample
            checked = task.check(sample, index=index, need_target=need_target)
        except InvalidSample as error:
            if on_error == "raise":
                raise
            left_out.append(_placed(error, index))
        else:
            yield str(checked.get("id", index)), checked


def _each(samples: Iterable[Sample]) -> Iterator[Sample | InvalidSample]:
    """Every sample; the error in its place where one of a sequence can't be read."""
    if isinstance(samples, Sequence):
        for index in range(len(samples)):
            try:
                sample = samples[index]
            except InvalidSample as error:
                yield error
            else:
                yield sample
    else:
        yield from samples


def _answer(model: Model, batch: list[tuple[str, Sample]], *, embed: bool) -> Answers:
    """Ask the model once, and check that its answer has the right shape."""
    samples = [sample for _, sample in batch]
    probabilities, embeddings = None, None
    if isinstance(model, Classifier):
        probabilities = _checked(model, "predict_proba", model.predict_proba(samples), (len(batch), len(model.labels)))
        finite = np.isfinite(probabilities).all(axis=1)
        if not finite.all():
            raise TrainingError(
                f"{type(model).__name__} gives probabilities that are not finite",
                where=Where(sample=batch[int(finite.argmin())][0]),
                remedy="Its training has diverged: train again with a smaller learning rate.",
            )
        outputs: list[Any] = [model.labels[column] for column in probabilities.argmax(axis=1)]
    else:
        outputs = list(model.predict(samples))
        _checked(model, "predict", np.empty(len(outputs)), (len(batch),))
    if embed:
        if not isinstance(model, Embedder):
            raise TaskMismatch(f"{type(model).__name__} gives no embeddings")
        vectors = model.embed(samples)
        embeddings = _checked(model, "embed", vectors, (len(batch), vectors.shape[-1]))
    return Answers(batch, outputs, probabilities, embeddings)


def _checked(model: Model, method: str, array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    if array.shape != shape:
        raise PluginError(f"{type(model).__name__}.{method} gives an array {array.shape} where {shape} is due")
    return array.astype(np.float32, copy=False)


def _stacked(parts: list[NDArray[np.float32] | None], columns: int) -> NDArray[np.float32]:
    arrays = [part for part in parts if part is not None]
    return np.concatenate(arrays) if arrays else np.empty((0, columns), dtype=np.float32)


def _placed(error: InvalidSample, sample: str | int) -> InvalidSample:
    """`error` with the sample named in it."""
    where = error.where or Where()
    if where.sample is None:
        error.where = replace(where, sample=sample)
    return error
