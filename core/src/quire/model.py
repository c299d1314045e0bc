"""What every model is, and the abilities that a tester, an evaluator or a server can ask for by type."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from quire.config import Config as BaseConfig
from quire.errors import DataError, MissingExtra, QuireError, RunError, TargetError, Where
from quire.storage import atomic_folder, load_tree, read_json, recover_folder, save_tree, tree_hash, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from quire.dataset import Dataset
    from quire.modality import Sample
    from quire.run import Run
    from quire.runtime import Runtime
    from quire.task import Task

__all__ = [
    "CheckpointImporter",
    "Classifier",
    "Demo",
    "Embedder",
    "Explainer",
    "Explanation",
    "Exporter",
    "FewShot",
    "Generator",
    "ItemError",
    "Limits",
    "Model",
    "Transform",
    "limits_of",
]
FORMAT = 1  # of a saved model's folder


@dataclass(frozen=True)
class Demo:
    """What `quire demo` does for a model: sample `dataset`, train with `settings`, predict for `inputs(data path)`.

    `quick` are settings on top of these with which training takes seconds; the conformance suite trains with them.
    """

    dataset: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Callable[[Path], Sequence[Path]] | None = None
    quick: Mapping[str, Any] = field(default_factory=dict)


class Model(ABC):
    """A method that learns from a data set and answers for samples of its task.

    A saved model is a folder of config.json and model.safetensors; nothing in it can run code. `artefacts` (thresholds,
    a gallery, a calibration) are JSON values or arrays that are saved and loaded with it.
    """

    Config: ClassVar[type[BaseConfig]] = BaseConfig
    demo: ClassVar[Demo | None] = None
    task: Task

    def __init__(self, config: BaseConfig | None = None, *, runtime: Runtime | None = None) -> None:
        self.config = config if config is not None else self.Config()
        self.artefacts: dict[str, Any] = {}
        self._runtime = runtime

    @property
    def runtime(self) -> Runtime:
        """The runtime that predictions use: the one given to the constructor, `fit` or `load`, else the default."""
        if self._runtime is None:
            from quire.runtime import Runtime

            self._runtime = Runtime()
        return self._runtime

    @runtime.setter
    def runtime(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.place()

    def place(self) -> None:  # noqa: B027 - most models without a network have nothing to move
        """Move what the model holds to the runtime's device; called when the runtime changes."""

    @abstractmethod
    def fit(
        self,
        train: Dataset,
        validation: Dataset | None = None,
        *,
        runtime: Runtime | None = None,
        run: Run | None = None,
    ) -> Self:
        """Learn from `train`; select on `validation` where the method does. Continues `run`'s checkpoint if it has one."""

    @abstractmethod
    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        """One output of the task's target modality per sample, in order."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What `load` needs beside the configuration: nested dicts and lists of tensors, arrays and plain values."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Become the model whose `state` this is."""

    def fingerprint(self) -> str:
        """A hash of all that outputs depend on: class, configuration, state and artefacts."""
        return tree_hash(
            [_class_name(type(self)), self.config.model_dump(mode="json"), self.state(), self.artefacts],
        )

    def save(self, folder: Path) -> Path:
        """Write the model to `folder`, replacing what stands there only when everything is written."""
        folder = Path(folder)
        with atomic_folder(folder) as temporary:
            write_json(
                temporary / "config.json",
                {"format": FORMAT, "class": _class_name(type(self)), "config": self.config.model_dump(mode="json")},
            )
            save_tree(temporary / "model.safetensors", {"state": self.state(), "artefacts": self.artefacts})
        return folder

    @classmethod
    def load(cls, folder: Path, *, runtime: Runtime | None = None) -> Self:
        """The model that was saved in `folder`. RunError if it is another class's, or of another format."""
        folder = Path(folder)
        recover_folder(folder)
        if not (folder / "config.json").is_file():
            raise RunError("there is no saved model here", where=Where(file=folder))
        described = read_json(folder / "config.json")
        if not isinstance(described, dict) or not {"format", "class", "config"} <= described.keys():
            raise RunError("this is not a saved model's configuration", where=Where(file=folder / "config.json"))
        if described["format"] != FORMAT:
            raise RunError(
                f"the model was saved in format {described['format']}, this version reads format {FORMAT}",
                where=Where(file=folder / "config.json"),
            )
        if described["class"] != _class_name(cls):
            raise RunError(
                f"the saved model is a {described['class']}, not a {_class_name(cls)}",
                where=Where(file=folder / "config.json"),
            )
        model = cls(cls.Config.parse(described["config"], owner=cls.__name__), runtime=runtime)
        tree = load_tree(folder / "model.safetensors")
        model.restore(tree["state"])
        model.artefacts = tree["artefacts"]
        return model


@dataclass(frozen=True)
class Limits:
    """How much of one sample a model takes, and how many samples at once; None where it sets no bound.

    text_characters and text_tokens: of one text (what is beyond the tokens is not read). image_pixels: of one image.
    audio_seconds, video_seconds. audio_rate: in Hz, to which sound is resampled. series_length: time steps.
    batch: samples in one call of `predict_proba`.
    """

    text_characters: int | None = None
    text_tokens: int | None = None
    image_pixels: int | None = None
    audio_seconds: float | None = None
    audio_rate: int | None = None
    video_seconds: float | None = None
    series_length: int | None = None
    batch: int | None = None


@dataclass(frozen=True)
class ItemError:
    """Why one sample of a batch got no answer."""

    index: int
    reason: str


class Classifier(Model):
    """Gives every sample one of `labels`, or with `label_kind` "multilabel" any number of them.

    What a tester, an evaluator or a server must know of it is declared here, with defaults that follow from its task:
    `required_fields` and `optional_fields`, `label_kind`, `toxic_labels`, `thresholds`, `limits`, `deterministic`,
    `cost_per_call` and `fingerprint()`.
    """

    cost_per_call: float | None = None
    """What one sample costs, in the unit of the user's budget; None for a model that costs only time."""

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the columns of `predict_proba`."""

    @abstractmethod
    def predict_proba(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Probabilities, float32 [samples, classes]; rows sum to one unless the labels don't exclude each other."""

    @property
    def label_kind(self) -> Literal["multiclass", "multilabel"]:
        """Whether a sample has exactly one of `labels`, or any number of them."""
        return "multiclass"

    @property
    def required_fields(self) -> frozenset[str]:
        """The input fields without which a sample gets no answer. At least one field is always needed."""
        return frozenset(self.task.inputs) - self.task.optional

    @property
    def optional_fields(self) -> frozenset[str]:
        """The input fields that are read where a sample has them."""
        return self.task.optional

    @property
    def toxic_labels(self) -> frozenset[str]:
        """The labels that a moderator acts on; empty for a classifier whose labels have no such sense."""
        return frozenset()

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Label -> the probability from which it is given, for labels whose threshold is not left to `predict`."""
        return {}

    @property
    def limits(self) -> Limits:
        """What the fields' modalities say of themselves."""
        return limits_of(self.task)

    @property
    def deterministic(self) -> bool:
        """Whether the same batch gets the same probabilities, bit for bit, whenever it is asked for."""
        return self.runtime.torch_device.type == "cpu"

    def answer_each(self, samples: Sequence[Sample]) -> list[NDArray[np.float32] | ItemError]:
        """One row of probabilities per sample, float32 [classes], in order; where a sample got none, the reason.

        A batch that fails is asked again one sample at a time, so that one bad sample costs nobody else's answer. What
        is no sample's fault (a TargetError, a program that is not installed) is raised.
        """
        try:
            return list(self.predict_proba(samples)) if samples else []
        except (TargetError, MissingExtra):
            raise
        except QuireError as error:
            if len(samples) == 1:
                return [ItemError(0, str(error))]
        answers: list[NDArray[np.float32] | ItemError] = []
        for index, sample in enumerate(samples):
            (answer,) = self.answer_each([sample])
            answers.append(ItemError(index, answer.reason) if isinstance(answer, ItemError) else answer)
        return answers

    def predict(self, samples: Sequence[Sample]) -> list[str]:
        """The most probable label of every sample; the first one of a tie."""
        return [self.labels[column] for column in self.predict_proba(samples).argmax(axis=1)]

    def check_targets(self, dataset: Dataset) -> None:
        """DataError naming the classes of `dataset` that the model has never seen."""
        unseen = sorted(set(dataset.labels) - set(self.labels))
        if unseen:
            raise DataError(
                f"{dataset.name} has classes that the model was not trained on: {', '.join(unseen)}",
                remedy="Train with them, or pass --option allow_unseen=true to count them as errors.",
            )


class Embedder(Model):
    """Maps every sample to a vector."""

    @abstractmethod
    def embed(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Vectors, float32 [samples, dim]."""


class Generator(Model):
    """Makes samples from conditions."""

    @abstractmethod
    def generate(self, conditions: Sequence[Sample], *, seed: int = 0) -> list[Any]:
        """One output of the task's target modality per condition; the same seed gives the same outputs."""


class Transform(Model):
    """Turns every sample into an output of the target modality (fusion, restoration)."""

    @abstractmethod
    def transform(self, samples: Sequence[Sample]) -> list[Any]:
        """One output per sample, in order."""

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        """The same as `transform`."""
        return self.transform(samples)


class FewShot(Model):
    """Becomes a classifier of new classes from a few labelled samples."""

    @abstractmethod
    def adapt(self, support: Dataset) -> Classifier:
        """A classifier of `support`'s labels, which can be saved and served by itself."""


@dataclass(frozen=True)
class Explanation:
    """Why a sample got its output: a picture for people and the numbers behind it."""

    sample: str
    figure: Figure
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Explainer(Model):
    """Can show what in a sample led to its output."""

    @property
    def can_explain(self) -> bool:
        """Whether this configuration of the model can."""
        return True

    @abstractmethod
    def explain(self, samples: Sequence[Sample]) -> Iterator[Explanation]:
        """One explanation per sample, in order."""


class Exporter(Model):
    """Can be written in a format that other engines run."""

    formats: ClassVar[tuple[Literal["onnx", "torchscript", "pt2"], ...]] = ("onnx",)

    @abstractmethod
    def export(self, path: Path, *, format: str, example: Sequence[Sample]) -> Path:
        """Write `path`; the file's outputs on `example` equal the model's, or an error says by how much they differ."""


class CheckpointImporter(Model):
    """Can take over the weights that the method's authors published."""

    @classmethod
    @abstractmethod
    def import_checkpoint(cls, path: Path, **options: Any) -> Self:
        """The model with the weights in `path`, which is read by core's restricted readers alone."""


def limits_of(task: Task) -> Limits:
    """The bounds that the task's modalities set; of two fields of one kind, the tighter."""
    parts = (
        ("text_characters", "text", "max_length"),
        ("image_pixels", "image", "max_pixels"),
        ("audio_seconds", "audio", "max_seconds"),
        ("audio_rate", "audio", "rate"),
        ("video_seconds", "video", "max_seconds"),
    )
    bounds = {}
    for name, kind, option in parts:
        found = [getattr(modality, option, None) for modality in task.inputs.values() if modality.kind == kind]
        bounds[name] = min((value for value in found if value is not None), default=None)
    return Limits(**bounds)


def _class_name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"
