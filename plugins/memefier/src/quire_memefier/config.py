"""The options of memefier; defaults are the method's recommended ones, presets the published recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from quire.config import Config
from quire_memefier.heads import Head
from quire_memefier.losses import CaptionReduction
from quire_memefier.presets import with_preset
from quire_memefier.text import Cleaning

Architecture = Literal["memefier", "image", "text", "late_fusion"]
Preset = Literal["paper-fbhm", "paper-memotion-a", "paper-memotion-b", "paper-memotion-c", "paper-multioff", "tiny"]
Metric = Literal["auto", "auc", "f1", "accuracy", "loss"]


class EncoderOptions(Config):
    """The Transformer encoder of the second fusion stage."""

    heads: PositiveInt = Field(16, description="attention heads; must divide d_model")
    ffn: PositiveInt = Field(2048, description="width of the feed-forward layers")
    layers: PositiveInt = Field(3, description="number of layers")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout inside the layers")
    norm_first: bool = Field(False, description="normalise before attention and feed-forward, not after (the paper)")


class DecoderOptions(Config):
    """The Transformer decoder of the caption supervision."""

    d: PositiveInt = Field(64, description="width")
    heads: PositiveInt = Field(4, description="attention heads; must divide d")
    ffn: PositiveInt = Field(64, description="width of the feed-forward layers")
    layers: PositiveInt = Field(1, description="number of layers")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout inside the layers")


class LrDropOptions(Config):
    """The learning rate's one step down."""

    at: float = Field(0.5, ge=0, le=1, description="share of the epochs after which the rate drops")
    factor: PositiveFloat = Field(0.1, description="what the rate is multiplied by")


class EarlyStopOptions(Config):
    """On what the best epoch is chosen, and when a training ends early; both need a validation split."""

    metric: Metric = Field("auto", description="of the validation split; auto: auc for a binary first head, else f1")
    patience: PositiveInt | None = Field(4, description="epochs of the rule; none never stops early")
    rule: Literal["reference", "best"] = Field(
        "reference",
        description="reference: stop when the last `patience` values are all below the one before them; best: when "
        "`patience` epochs brought no new best",
    )


class BaselineOptions(Config):
    """The baselines of the reference (architecture=image, text, late_fusion): ResNet18 and LSTM."""

    hidden: PositiveInt = Field(64, description="H, the width of the word embedding and of the LSTM")
    lstm_layers: PositiveInt = Field(1, description="layers of the LSTM")
    resnet: str | None = Field(
        None,
        description="hub id or local folder of a pre-trained ResNet (microsoft/resnet-18); none trains from scratch",
    )
    widths: tuple[PositiveInt, ...] = Field(
        (64, 128, 256, 512), min_length=1, description="channels of the stages of a ResNet from scratch"
    )
    image_size: PositiveInt = Field(224, description="side of the square that is cropped from the resized image")
    min_count: PositiveInt = Field(5, description="how often a training text must hold a word of the vocabulary")
    length_quantile: float = Field(0.9, gt=0, le=1, description="share of texts that are read whole")


class MemeFierConfig(Config):
    """Options of `quire train memefier`. A preset fills in what is not given."""

    preset: Preset | None = Field(None, description="a published recipe, or tiny: seconds on a random backbone")
    architecture: Architecture = Field(
        "memefier", description="memefier, or a baseline: image (ResNet18), text (LSTM), late_fusion (both)"
    )
    backbone: str = Field(
        "openai/clip-vit-large-patch14",
        description="frozen CLIP: a local folder, a hub id, or tiny-random (a small CLIP with random weights, for a demo)",
    )
    download: bool = Field(
        False, description="fetch a backbone that is named by hub id and is not on this machine from the hub"
    )
    token_features: Literal["last_ln2", "last_hidden"] = Field(
        "last_ln2", description="last_ln2: output of the last block's second layer norm (the paper); or its last output"
    )
    pad_mode: Literal["clip", "reference"] = Field(
        "clip", description="clip: pads are masked in CLIP's text tower; reference: pads are zeros and not masked"
    )
    feature_dtype: Literal["float16", "float32"] = Field("float16", description="of cached and uncached features")
    cache: Literal["disk", "ram", "off"] = Field(
        "disk", description="where features of the frozen backbone are kept; off computes them in every epoch"
    )
    encode_batch: PositiveInt = Field(
        32, description="images or texts that an accelerator encodes at once; a CPU takes one after the other"
    )
    components: str = Field(
        "auto",
        description="of E (external knowledge), C (caption supervision), 1 and 2 (fusion stages); auto: 12, and C where "
        "the training data has captions",
    )
    allow_degenerate: bool = Field(False, description="admit C without 2, which only repeats an ablation")
    d_model: PositiveInt = Field(1024, description="width of the fusion")
    encoder: EncoderOptions = Field(EncoderOptions(), description="the second fusion stage")
    decoder: DecoderOptions = Field(DecoderOptions(), description="the caption decoder")
    proj_dropout: float = Field(0.4, ge=0, lt=1, description="dropout after the four projections")
    ext_dropout: float = Field(0.5, ge=0, lt=1, description="dropout of the external knowledge")
    head_dropout: float = Field(0.1, ge=0, lt=1, description="dropout before the heads")
    stage1_scale: Literal["none", "sqrt_d"] = Field(
        "none",
        description="sqrt_d: multiply the first stage's products by sqrt(d_model), so that their norm is about 1",
    )
    mask_padding: bool = Field(True, description="padded tokens are not attended to; the paper attends to them")
    absent_embedding: bool = Field(
        True, description="learn what stands for a missing image or text; false: a constant, as in the paper's network"
    )
    modality_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of training memes that lose their image or text, to learn to do without"
    )
    text_cleaning: Cleaning = Field(
        "none", description="paper: lower case, no punctuation or digits; none: the text as it is, as CLIP knows it"
    )
    ocr: Literal["tesseract"] | None = Field(
        None,
        description="read the text from the image where a meme comes without text; tesseract: by the program of that name",
    )
    max_faces: PositiveInt = Field(7, description="faces of which attributes are used (component E)")
    alpha: NonNegativeFloat = Field(0.2, description="weight of the caption loss")
    caption_reduction: CaptionReduction = Field(
        "token", description="token: mean over words; reference: pads count as zeros, as in the published runs"
    )
    caption_decoder_init: Path | None = Field(
        None, description="folder of a saved memefier that kept its caption decoder, to start this one from"
    )
    keep_caption_decoder: bool = Field(False, description="save the caption decoder with the model")
    heads: tuple[Head, ...] = Field((), description="what is asked of a meme; none: what the training data says")
    lr: PositiveFloat = Field(1e-4, description="learning rate")
    weight_decay: NonNegativeFloat = Field(1e-4, description="of AdamW")
    epochs: PositiveInt = Field(16, description="passes over the training data")
    batch_size: PositiveInt = Field(32, description="memes a step")
    accumulate: PositiveInt = Field(1, description="parts of a batch, where it does not fit into memory")
    lr_drop: LrDropOptions = Field(LrDropOptions(), description="the learning rate's schedule")
    early_stop: EarlyStopOptions = Field(EarlyStopOptions(), description="choice of the epoch, and the end")
    calibrate: bool = Field(
        True, description="after training, fit a temperature and thresholds on the validation split, if there is one"
    )
    baseline: BaselineOptions = Field(BaselineOptions(), description="options of the baselines")

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        components = values.get("components", "auto")
        if isinstance(components, int):  # as YAML reads components=12
            values = {**values, "components": str(components)}
        return with_preset(values)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.components != "auto":
            letters = set(self.components)
            if len(letters) != len(self.components) or not letters <= set("EC12"):
                raise ValueError(f"components are letters of EC12, each once, or auto; not {self.components!r}")
            if "C" in letters and "2" not in letters and not self.allow_degenerate:
                raise ValueError(
                    "component C needs component 2: without it there are no image tokens to tell a caption from "
                    "(allow_degenerate=true admits it, to repeat the ablation)"
                )
        if self.d_model % self.encoder.heads:
            raise ValueError(f"encoder.heads {self.encoder.heads} does not divide d_model {self.d_model}")
        if self.ocr is not None and self.architecture != "memefier":
            raise ValueError(f"the baseline {self.architecture} reads no text from images: leave out ocr")
        if self.decoder.d % self.decoder.heads:
            raise ValueError(f"decoder.heads {self.decoder.heads} does not divide decoder.d {self.decoder.d}")
        return self
