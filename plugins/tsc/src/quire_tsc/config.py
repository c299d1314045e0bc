"""The options of tsc, and the recipes that fill in what a user leaves open (review, table 1; sec. 3.2 and 3.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from quire.config import Config
from quire_tsc.architectures import Architecture
from quire_tsc.augment import Aggregate
from quire_tsc.minirocket import Head
from quire_tsc.preprocess import Interpolation, Missing, Normalize, Unequal

OptimizerName = Literal["adam", "adadelta", "sgd"]
Select = Literal["train_loss", "val_loss", "last"]


class InceptionOptions(Config):
    """The Inception network's shape."""

    depth: PositiveInt = Field(6, description="number of modules; every third one ends a residual block")
    filters: PositiveInt = Field(32, description="filters of each of a module's four paths")
    kernel_size: PositiveInt = Field(40, description="longest kernel; the other two are a half and a quarter of it")
    bottleneck: PositiveInt | None = Field(32, description="filters of the bottleneck; none leaves it out")
    bottleneck_min_channels: PositiveInt = Field(
        1, description="a module with more input channels than this has a bottleneck; the authors' later code says 32"
    )
    residual: bool = Field(True, description="shortcuts around every three modules")
    n_ensemble: PositiveInt = Field(5, description="networks of inception_time")


class EncoderOptions(Config):
    """The Encoder's variants."""

    norm: Literal["sample", "channel"] = Field(
        "sample", description="instance norm over time and channels together (the paper's code) or of each channel"
    )
    attention_axis: Literal["channel", "time"] = Field(
        "channel", description="softmax of the attention over channels (the reference) or over time (its intention)"
    )


class MCNNOptions(Config):
    """The grid of MCNN and its order of training."""

    pool_factors: tuple[PositiveInt, ...] = Field((2, 3, 5), min_length=1, description="grid of pooling factors")
    filter_sizes: tuple[PositiveFloat, ...] = Field(
        (0.05, 0.1, 0.2), min_length=1, description="grid of kernel widths, as shares of the length"
    )
    shuffle: bool | None = Field(None, description="shuffle slices every epoch; none: not in the paper's recipe")


class TWIESNOptions(Config):
    """What TWIESN does after its choice."""

    refit: bool | None = Field(
        None, description="fit the chosen reservoir's readout on all series; none: not in the paper's recipe"
    )


class MiniRocketOptions(Config):
    """MiniRocket's size and classifier."""

    features: int = Field(10_000, ge=84, description="number of features, rounded down to a multiple of 84")
    head: Head = Field("ridge", description="ridge regression, or logistic for better probabilities")


class TSCConfig(Config):
    """Options of `quire train tsc`. What is none follows the recipe."""

    architecture: Architecture = Field("fcn", description="one of the review's nine networks, Inception or MiniRocket")
    recipe: Literal["fast", "paper"] = Field(
        "fast",
        description="paper: the review's training, thousands of epochs; fast: Adam for 100 epochs (time_cnn 300, "
        "mcnn 60, tlenet 40), then batch-norm statistics recomputed over the training set",
    )
    n_epochs: PositiveInt | None = Field(None, description="passes over the training set")
    batch_size: PositiveInt | None = Field(
        None, description="series a step (slices for mcnn, tlenet); none: the recipe's rule, at most a tenth of the set"
    )
    learning_rate: PositiveFloat | None = Field(None, description="initial learning rate")
    optimizer: OptimizerName | None = Field(None, description="optimiser, with Keras's constants")
    lr_schedule: Literal["recipe", "none"] = Field(
        "recipe", description="halve at plateaus of the training loss, or decay, as the recipe says; none: constant"
    )
    select: Select | None = Field(
        None, description="whose weights are kept: of the best training loss, the best validation loss, or the last"
    )
    validation_size: float | None = Field(
        None, gt=0, lt=1, description="share that is held out, by class, where select=val_loss has no validation set"
    )
    recalibrate_bn: bool | None = Field(
        None, description="recompute batch-norm statistics over the training set; none: in the fast recipe"
    )
    early_stopping_patience: PositiveInt | None = Field(
        None, description="end after this many epochs without a better loss (the one that `select` names)"
    )
    max_seconds: PositiveFloat | None = Field(None, description="end training (each network's) after this time")
    group_seeds: Literal["auto"] | bool = Field(
        "auto",
        description="train the networks of inception_time, or a study's seeds, as one network: true, false, or auto: "
        "where it is faster",
    )
    class_weight: Literal["balanced"] | None = Field(None, description="weigh classes by inverse frequency")
    normalize: Normalize | None = Field(
        "auto",
        description="per_series: each channel of each series to mean 0, deviation 1; per_channel_train: by the training "
        "set's figures; auto: per_series for one channel, none for several",
    )
    unequal: Unequal = Field("resample", description="series of other lengths: resample, pad (masked) or truncate")
    interpolation: Interpolation = Field("linear", description="how to resample")
    missing: Missing = Field("interpolate", description="missing values: interpolate, zero, or error")
    aggregate: Aggregate = Field("vote", description="how mcnn and tlenet join the answers for a series' slices")
    inception: InceptionOptions = Field(InceptionOptions(), description="the shape of inception and inception_time")
    encoder: EncoderOptions = Field(EncoderOptions(), description="variants of encoder")
    mcnn: MCNNOptions = Field(MCNNOptions(), description="the grid of mcnn")
    twiesn: TWIESNOptions = Field(TWIESNOptions(), description="what twiesn does after its choice")
    minirocket: MiniRocketOptions = Field(MiniRocketOptions(), description="size and classifier of minirocket")

    @model_validator(mode="after")
    def _patience_has_a_loss(self) -> Self:
        if self.select == "last" and self.early_stopping_patience is not None:
            raise ValueError("early_stopping_patience waits for a better loss, and select=last names none")
        return self


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. `batch` None is the rule min(cases / 10, 16); `plateau` is (patience, min_lr)."""

    optimizer: OptimizerName
    epochs: int
    batch: int | None
    learning_rate: float
    decay: float = 0.0
    plateau: tuple[int, float] | None = None
    select: Select = "train_loss"
    held_out: float = 0.2


PAPER: dict[str, Recipe] = {
    "mlp": Recipe("adadelta", 5000, None, 1.0, plateau=(200, 0.1)),
    "fcn": Recipe("adam", 2000, None, 1e-3, plateau=(50, 1e-4)),
    "resnet": Recipe("adam", 1500, None, 1e-3, plateau=(50, 1e-4)),
    "encoder": Recipe("adam", 100, 12, 1e-5),
    "mcnn": Recipe("adam", 200, None, 0.1, select="val_loss"),
    "tlenet": Recipe("adam", 1000, 256, 0.01, decay=0.005),
    "mcdcnn": Recipe("sgd", 120, 16, 0.01, decay=0.0005, select="val_loss", held_out=0.33),
    "time_cnn": Recipe("adam", 2000, 16, 1e-3),
    "inception": Recipe("adam", 1500, 64, 1e-3, plateau=(50, 1e-4)),
    "inception_time": Recipe("adam", 1500, 64, 1e-3, plateau=(50, 1e-4)),
}
FAST: dict[str, Recipe] = {
    **{name: Recipe(**{**vars(recipe), "epochs": 100}) for name, recipe in PAPER.items()},
    "mlp": Recipe("adam", 100, None, 1e-3, plateau=(50, 1e-4)),
    "mcnn": Recipe("adam", 60, None, 1e-3, select="val_loss"),
    "mcdcnn": Recipe("adam", 100, 16, 1e-3),
    "time_cnn": Recipe("adam", 300, 16, 1e-2),
    "tlenet": Recipe("adam", 40, 256, 0.01, decay=0.005),
}


def recipe_of(config: TSCConfig) -> Recipe:
    """The recipe of the configuration's architecture, with the options that the user set."""
    table = PAPER if config.recipe == "paper" else FAST
    recipe = table[config.architecture]
    chosen = {
        "epochs": config.n_epochs,
        "batch": config.batch_size,
        "learning_rate": config.learning_rate,
        "optimizer": config.optimizer,
        "select": config.select,
        "held_out": config.validation_size,
    }
    values = {**vars(recipe), **{name: value for name, value in chosen.items() if value is not None}}
    if config.lr_schedule == "none":
        values.update(decay=0.0, plateau=None)
    return Recipe(**values)


def batch_size(recipe: Recipe, cases: int) -> int:
    """Series a step: the recipe's number, or a tenth of the training set, at least one and at most 16."""
    return recipe.batch if recipe.batch is not None else max(1, int(min(cases / 10, 16)))
