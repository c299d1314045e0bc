"""The options of amsoftmax; defaults are the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from quire.config import Config
from quire_amsoftmax.heads.kinds import MARGINS
from quire_amsoftmax.networks import BACKBONES
from quire_amsoftmax.presets import with_preset

Head = Literal[
    "softmax",
    "normface",
    "amsoftmax",
    "cosface",
    "sphereface",
    "arcface",
    "combined",
    "subcenter",
    "curricularface",
    "adaface",
    "magface",
    "elastic",
]
SelectBy = Literal["vr@far=1e-3", "vr@far=1e-2", "eer", "rank1", "last"]


class ScheduleOptions(Config):
    """A margin that is annealed."""

    type: Literal["linear"] = Field("linear", description="how it moves")
    start: NonNegativeFloat = Field(0.0, description="margin of the first step")
    end: NonNegativeFloat = Field(0.4, description="margin from the last step on")
    steps: PositiveInt = Field(8000, description="optimiser steps from start to end")


class AMSoftmaxConfig(Config):
    """Options of `quire train amsoftmax`. A preset fills in what is not given."""

    preset: Literal["paper", "face-2026", "toy"] | None = Field(
        None, description="paper: the defaults; face-2026: IResNet-50, what is usual today; toy: seconds on a CPU"
    )
    head: Head = Field("amsoftmax", description="the loss; cosface is another name of amsoftmax")
    margin: float | None = Field(
        None, description="of the head; none: the head's own (amsoftmax 0.35, arcface 0.5 rad)"
    )
    scale: float | Literal["auto"] | None = Field(
        None,
        description="by which cosines are multiplied; auto: what the number of identities needs; none: the head's own "
        "(amsoftmax and normface 30, the others 64)",
    )
    margin_gate: Literal["none", "positive"] = Field(
        "none", description="positive: the margin only where the cosine exceeds it, as the authors' code does"
    )
    margin_schedule: ScheduleOptions | None = Field(None, description="anneal the margin over optimiser steps")
    feature_norm: bool | None = Field(
        None,
        description="false: the feature's own norm is the scale (amsoftmax, normface, arcface); none: the head's own",
    )
    head_options: dict[str, Any] = Field({}, description="further options of the head's class, such as h of adaface")
    sub_centers: PositiveInt | None = Field(None, description="centres of each identity; none: 1, of subcenter 3")
    head_precision: Literal["fp32", "bf16"] = Field("fp32", description="in which the head multiplies its operands")
    logit_chunk: PositiveInt = Field(2**27, description="the most logits that are held in memory at once")
    sharding: Literal["none", "class"] = Field(
        "none", description="class: each process has some of the class centres, where one can't hold all of them"
    )
    shard_checkpoint_steps: PositiveInt = Field(
        500, description="optimiser steps from one checkpoint to the next, with sharding=class"
    )
    sample_rate: float = Field(
        1.0, gt=0, le=1, description="share of the identities that take part in a step (Partial FC)"
    )
    sparse_update: bool = Field(True, description="only sampled identities are decayed and moved")
    interclass_threshold: float | None = Field(
        None, gt=-1, lt=1, description="negatives with a greater cosine are taken for mislabelled and left out"
    )
    keep_head: bool = Field(
        True, description="save the class centres with the model: needed to predict identities and to add some"
    )
    embedding_dim: PositiveInt = Field(512, description="numbers of an embedding")
    backbone: str = Field("sphere20", description=f"the network: {', '.join(BACKBONES)}")
    width: PositiveFloat = Field(1.0, description="factor on the channels of the backbone")
    neck: Literal["fc", "gnap"] = Field(
        "fc", description="how IResNet ends: a linear layer, or norm-aware pooling first"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="before IResNet's linear layer")
    input_size: tuple[PositiveInt, PositiveInt] = Field((112, 96), description="height and width of images")
    resize: Literal["none", "area"] = Field(
        "none", description="area: bring images of another size to input_size; none: they are an error"
    )
    channel_order: Literal["rgb", "bgr", "grey"] = Field("rgb", description="of the network's input")
    pixel_mean: float = Field(127.5, description="subtracted from pixels of 0..255")
    pixel_std: PositiveFloat = Field(128.0, description="by which they are divided then")
    hflip: float = Field(0.5, ge=0, le=1, description="share of training images that are mirrored")
    shift: NonNegativeInt = Field(0, description="most pixels by which training images are shifted")
    gain: NonNegativeFloat = Field(0.0, description="deviation of a random factor on training images")
    offset: NonNegativeFloat = Field(0.0, description="deviation of a random summand to them, in normalised pixels")
    batch_size: PositiveInt = Field(256, description="images of a step, over all processes")
    accumulate: PositiveInt = Field(1, description="parts of a step, where it does not fit into memory")
    max_steps: PositiveInt = Field(30_000, description="optimiser steps")
    epochs: PositiveInt | None = Field(None, description="passes over the training set, instead of max_steps")
    lr: PositiveFloat = Field(0.1, description="learning rate, at its peak")
    schedule: Literal["multistep", "polynomial", "one_cycle", "constant"] = Field(
        "multistep", description="how the learning rate falls; one_cycle rises at first too"
    )
    milestones: tuple[PositiveInt, ...] = Field(
        (16_000, 24_000, 28_000), description="steps after which the rate falls by gamma (multistep)"
    )
    gamma: PositiveFloat = Field(0.1, description="factor of the fall")
    warmup: float = Field(0.0, ge=0, lt=1, description="share of the steps in which the rate rises to its peak")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    weight_decay: NonNegativeFloat = Field(5e-4, description="of SGD")
    bias_lr_mult: PositiveFloat = Field(2.0, description="factor on the learning rate of biases")
    bias_decay: bool = Field(False, description="decay biases too")
    head_lr_mult: PositiveFloat = Field(1.0, description="factor on the learning rate of the class centres")
    grad_clip: PositiveFloat | None = Field(None, description="the largest norm of all gradients")
    sampler: Literal["shuffle", "balanced"] = Field("shuffle", description="balanced: as many images of each identity")
    images_per_id: PositiveInt = Field(4, description="images of an identity in a balanced batch")
    exclude_ids: tuple[str, ...] = Field((), description="identities to leave out, such as those of the test set")
    min_images_per_id: PositiveInt = Field(1, description="identities with fewer images are left out")
    select_by: SelectBy = Field(
        "vr@far=1e-3", description="keep the weights that are best at this on the validation split; last: the last ones"
    )
    report_steps: PositiveInt | None = Field(
        None, description="report and validate every so many steps, not every epoch"
    )
    flip_test: Literal["none", "sum", "concat"] = Field(
        "sum", description="an embedding is that of the image, its sum with the mirror image's, or both"
    )
    normalize: bool = Field(True, description="embeddings have length one")
    init_from: Path | None = Field(None, description="folder of a saved amsoftmax to start from")
    fine_tune: Literal["backbone", "extend"] = Field(
        "backbone", description="of init_from: take the network, or the class centres as well and add new identities"
    )

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, values: Any) -> Any:
        return with_preset(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.sample_rate < 1 and self.sparse_update and self.grad_clip is not None:
            raise ValueError("grad_clip needs whole gradients: set sparse_update=false, or leave it out")
        if self.sharding == "class" and (self.fine_tune == "extend" and self.init_from is not None):
            raise ValueError("a sharded head can't be extended: set fine_tune=backbone")
        if self.sharding == "class" and self.head == "softmax":
            raise ValueError("plain softmax can't be sharded by class: it has a bias")
        if self.sampler == "balanced" and self.batch_size % self.images_per_id:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of images_per_id {self.images_per_id}")
        if self.margin_gate != "none" and self.head not in ("amsoftmax", "cosface"):
            raise ValueError(f"margin_gate is an option of amsoftmax, not of {self.head}")
        return self

    @property
    def in_channels(self) -> int:
        """Channels of the network's input."""
        return 1 if self.channel_order == "grey" else 3

    @property
    def head_scale(self) -> float | Literal["auto"] | None:
        """`scale`, or None for a head that has none: the feature's norm takes its place."""
        kind = MARGINS["amsoftmax" if self.head == "cosface" else self.head]
        if not kind.weight_norm or not kind.feature_norm or self.feature_norm is False:
            return None
        return self.scale
