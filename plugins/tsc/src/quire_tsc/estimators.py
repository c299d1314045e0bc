"""Each architecture as a scikit-learn classifier: arrays in, labels of the original type out."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from quire.dataset import InMemory
from quire.errors import ConfigError, DataError, InvalidSample, Where
from quire.runtime import Runtime
from quire.task import SERIES_CLASSIFICATION
from quire_tsc.config import OptimizerName, Select, TSCConfig
from quire_tsc.formats.collection import without_padding
from quire_tsc.model import TSC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from quire.modality import Sample
    from quire_tsc.augment import Aggregate
    from quire_tsc.formats.arrays import Layout
    from quire_tsc.minirocket import Head
    from quire_tsc.preprocess import Interpolation, Missing, Normalize, Unequal

__all__ = [
    "EncoderClassifier",
    "FCNClassifier",
    "InceptionClassifier",
    "InceptionTimeClassifier",
    "MCDCNNClassifier",
    "MCNNClassifier",
    "MLPClassifier",
    "MiniRocketClassifier",
    "ResNetClassifier",
    "TLeNetClassifier",
    "TWIESNClassifier",
    "TimeCNNClassifier",
]


@dataclass(eq=False, repr=False, kw_only=True)
class SeriesClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """What the classifiers share: series in, `TSC` inside.

    X: float [n, channels, length]; [n, length] is one channel; a list of [channels, length_i] or [length_i] holds
    series of unequal length. NaN is a missing value; at the end of all channels of an array it is padding, as in the
    archives' files. layout="NTC" takes [n, length, channels] (in a list [length_i, channels]) instead.
    y: integers, text or truth values, [n]; `predict` gives them back as they came.

    Parameters are the options of `quire show tsc` under the same names. random_state: a seed, a numpy RandomState, or
    None for numpy's global one. device: "auto" or a torch device.

    Raises quire.errors.QuireError for series and parameters that can't be used, as scikit-learn does ValueError for
    labels that can't.

    Attributes: classes_ [classes], in the order of predict_proba's columns; model_, the `TSC`, whose `save` keeps it.
    """

    architecture: ClassVar[str]
    options: ClassVar[str | None] = None  # the group of the options that this architecture alone has

    normalize: Normalize | None = "auto"
    unequal: Unequal = "resample"
    interpolation: Interpolation = "linear"
    missing: Missing = "interpolate"
    layout: Layout = "NCT"
    random_state: int | np.random.RandomState | None = 0
    device: str = "auto"

    def fit(self, X: Any, y: Any) -> Self:
        """Train on X and y."""
        series = read_series(X, self.layout)
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        if len(series) != len(labels):
            raise DataError(f"there are {len(series)} series and {len(labels)} labels", where=Where(field="y"))
        self.classes_, columns = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"all labels are {self.classes_.tolist()}, which is one class", where=Where(field="y"))
        samples = [
            {"series": values, "target": str(column)} for values, column in zip(series, columns.tolist(), strict=True)
        ]
        train = InMemory(samples, task=SERIES_CLASSIFICATION, name="X")
        self.model_ = TSC(self.config(), runtime=Runtime(device=self.device, seed=self._seed())).fit(train)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels [n], of the type that `fit` was given."""
        columns = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[columns]
        return labels

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Probabilities float32 [n, classes], columns in the order of `classes_`."""
        samples = self._samples(X)
        return self.model_.predict_proba(samples)

    def config(self) -> TSCConfig:
        """The parameters as options of TSC; ConfigError for one that can't be."""
        values: dict[str, Any] = {"architecture": self.architecture}
        group = type(TSCConfig.model_fields[self.options].default).model_fields if self.options else {}
        for name, value in self.get_params(deep=False).items():
            if name in group:
                values.setdefault(str(self.options), {})[name] = value
            elif name in TSCConfig.model_fields:
                values[name] = value
        return TSCConfig.parse(values, owner=type(self).__name__)

    def _samples(self, X: Any) -> list[Sample]:
        check_is_fitted(self)
        samples = [{"series": values} for values in read_series(X, self.layout)]
        return list(InMemory(samples, task=SERIES_CLASSIFICATION, name="X"))

    def _seed(self) -> int:
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing != "error"
        return tags


@dataclass(eq=False, repr=False, kw_only=True)
class NetworkClassifier(SeriesClassifier):
    """What the trained networks share; None follows the recipe."""

    recipe: Literal["fast", "paper"] = "fast"
    n_epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    optimizer: OptimizerName | None = None
    lr_schedule: Literal["recipe", "none"] = "recipe"
    select: Select | None = None
    validation_size: float | None = None
    early_stopping_patience: int | None = None
    max_seconds: float | None = None
    class_weight: Literal["balanced"] | None = None

    def embed(self, X: Any) -> NDArray[np.float32]:
        """The vector before the network's last layer, float32 [n, dim]."""
        return self.model_.embed(self._samples(X))


@dataclass(eq=False, repr=False, kw_only=True)
class PooledClassifier(NetworkClassifier):
    """What the networks share that end in global average pooling: they take any length and explain themselves."""

    recalibrate_bn: bool | None = None

    def class_activation_maps(self, X: Any) -> list[NDArray[np.float32]]:
        """How much each time step speaks for each class: float32 [classes, length_i] a series."""
        return self.model_.class_activation_maps(self._samples(X))


@dataclass(eq=False, repr=False, kw_only=True)
class MLPClassifier(NetworkClassifier):
    """Multilayer perceptron."""

    architecture: ClassVar[str] = "mlp"


@dataclass(eq=False, repr=False, kw_only=True)
class FCNClassifier(PooledClassifier):
    """Fully convolutional network."""

    architecture: ClassVar[str] = "fcn"


@dataclass(eq=False, repr=False, kw_only=True)
class ResNetClassifier(PooledClassifier):
    """Residual network."""

    architecture: ClassVar[str] = "resnet"


@dataclass(eq=False, repr=False, kw_only=True)
class EncoderClassifier(NetworkClassifier):
    """Encoder: convolutions with attention."""

    architecture: ClassVar[str] = "encoder"
    options: ClassVar[str | None] = "encoder"

    norm: Literal["sample", "channel"] = "sample"
    attention_axis: Literal["channel", "time"] = "channel"


@dataclass(eq=False, repr=False, kw_only=True)
class MCNNClassifier(NetworkClassifier):
    """Multi-scale convolutional network; a grid of them, of which validation keeps one."""

    architecture: ClassVar[str] = "mcnn"
    options: ClassVar[str | None] = "mcnn"

    aggregate: Aggregate = "vote"
    pool_factors: Sequence[int] = (2, 3, 5)
    filter_sizes: Sequence[float] = (0.05, 0.1, 0.2)
    shuffle: bool | None = None


@dataclass(eq=False, repr=False, kw_only=True)
class TLeNetClassifier(NetworkClassifier):
    """Time LeNet."""

    architecture: ClassVar[str] = "tlenet"

    aggregate: Aggregate = "vote"


@dataclass(eq=False, repr=False, kw_only=True)
class MCDCNNClassifier(NetworkClassifier):
    """Multi-channel deep convolutional network."""

    architecture: ClassVar[str] = "mcdcnn"


@dataclass(eq=False, repr=False, kw_only=True)
class TimeCNNClassifier(NetworkClassifier):
    """Time convolutional network, with a squared error."""

    architecture: ClassVar[str] = "time_cnn"


@dataclass(eq=False, repr=False, kw_only=True)
class InceptionClassifier(PooledClassifier):
    """One Inception network."""

    architecture: ClassVar[str] = "inception"
    options: ClassVar[str | None] = "inception"

    depth: int = 6
    filters: int = 32
    kernel_size: int = 40
    bottleneck: int | None = 32
    bottleneck_min_channels: int = 1
    residual: bool = True


@dataclass(eq=False, repr=False, kw_only=True)
class InceptionTimeClassifier(InceptionClassifier):
    """InceptionTime: the mean of several Inception networks."""

    architecture: ClassVar[str] = "inception_time"

    n_ensemble: int = 5
    group_seeds: Literal["auto"] | bool = "auto"


@dataclass(eq=False, repr=False, kw_only=True)
class TWIESNClassifier(SeriesClassifier):
    """Echo state network with ridge regression."""

    architecture: ClassVar[str] = "twiesn"
    options: ClassVar[str | None] = "twiesn"

    recipe: Literal["fast", "paper"] = "fast"
    refit: bool | None = None


@dataclass(eq=False, repr=False, kw_only=True)
class MiniRocketClassifier(SeriesClassifier):
    """MiniRocket: fixed convolutions with a linear classifier."""

    architecture: ClassVar[str] = "minirocket"
    options: ClassVar[str | None] = "minirocket"

    features: int = 10_000
    head: Head = "ridge"


def read_series(X: Any, layout: Layout = "NCT") -> list[NDArray[Any]]:
    """The series of X (see SeriesClassifier), each [channels, length_i].

    DataError for an X of another form, InvalidSample for an entry of a list that is no series.
    """
    if layout not in ("NCT", "NTC"):
        raise ConfigError(f"there is no layout {layout!r}", where=Where(field="layout"), remedy="Give NCT or NTC.")
    if isinstance(X, list | tuple):
        series = [_entry(values, number, layout) for number, values in enumerate(X)]
    else:
        array = _numeric(X, Where(field="X"))
        if array.ndim not in (2, 3):
            raise DataError(
                f"expected [n, channels, length] or [n, length], got the shape {list(array.shape)}",
                where=Where(field="X"),
                remedy="A single series x is X = [x].",
            )
        array = array[:, None, :] if array.ndim == 2 else array.swapaxes(1, 2) if layout == "NTC" else array
        series = [without_padding(values) for values in array]
    if not series:
        raise DataError("there is no series", where=Where(field="X"))
    return series


def _entry(values: Any, number: int, layout: Layout) -> NDArray[Any]:
    where = Where(sample=number, field="X")
    array = _numeric(values, where)
    if array.ndim == 1:
        return array[None]
    if array.ndim != 2:
        raise InvalidSample(f"expected [channels, length], got the shape {list(array.shape)}", where=where)
    return array.T if layout == "NTC" else array


def _numeric(values: Any, where: Where) -> NDArray[Any]:
    """An array of integers or floating point numbers."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise InvalidSample("the channels differ in length", where=where) from None
    if array.dtype.kind not in "fiub":
        raise InvalidSample(
            f"expected numbers, got an array of type {array.dtype}",
            where=where,
            remedy="Series of unequal length are a list of arrays; complex values are two channels.",
        )
    return array
