"""memefier: a classifier of memes, by MemeFier or one of its baselines, on the core's loop."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from quire.dataset import require_known_labels
from quire.errors import ConfigError, DataError, RunError, Where
from quire.model import Classifier, Demo, Explainer, Explanation, Exporter, Limits
from quire.ocr import read_text
from quire.training import ByCount, Every, NeuralModel, Optimization, Phase, Selection
from quire.training.export import export_network
from quire_memefier.attributes import FIELDS, check_face, encode_faces
from quire_memefier.backbone import ClipBackbone, load_backbone
from quire_memefier.baselines import (
    READS,
    Baseline,
    read_pixels,
    read_words,
    require_inputs,
    resnet_config,
    word_facts,
)
from quire_memefier.calibrate import fit_temperature, fit_thresholds
from quire_memefier.config import MemeFierConfig
from quire_memefier.data.rows import annotation_of, declared_heads
from quire_memefier.decision import Decision, decided
from quire_memefier.explain import explain_memes
from quire_memefier.export import FEATURES, FirstHead
from quire_memefier.features import ClipFeatureExtractor, FeatureLoader, drop_modality
from quire_memefier.heads import Head, check_heads, split_logits, split_targets
from quire_memefier.losses import caption_loss
from quire_memefier.network import CaptionDecoder, MemeFier, Shape
from quire_memefier.ocr import RememberingReader
from quire_memefier.supervision import class_weights, encode_targets, label_counts
from quire_memefier.task import MEME_CLASSIFICATION
from quire_memefier.text import Vocabulary, caption_length, is_mostly_non_latin
from quire_memefier.training import History, ReferenceStopping, lr_schedule, mean_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

    from quire.dataset import Dataset
    from quire.modality import Sample
    from quire.run import Run
    from quire.runtime import Runtime
    from quire.training.export import Format
    from quire_memefier.features import Store

Batch = dict[str, Tensor]
log = logging.getLogger(__name__)


class MemeFierClassifier(NeuralModel, Classifier, Explainer, Exporter):
    """MemeFier (Koutlis et al., ICMR 2023): dual-stage fusion of frozen CLIP features of image and text.

    Samples: "image" and "text", of which either may be missing; in training also "target", "heads" {head: label},
    "caption" and "attributes". The classifier's labels are those of the first head; `predict_heads` tells all.
    """

    Config = MemeFierConfig
    config: MemeFierConfig
    task = MEME_CLASSIFICATION
    formats = ("onnx", "pt2")
    prediction_batch = 64
    demo = Demo(
        dataset="hateful-memes",
        settings={"preset": "tiny"},
        inputs=lambda data: [data / "test.jsonl"],
        quick={"epochs": 1},
    )

    def __init__(self, config: MemeFierConfig | None = None, *, runtime: Runtime | None = None) -> None:
        super().__init__(config, runtime=runtime)
        check_heads(self.config.heads)
        self.text_reader = read_text if self.config.ocr == "tesseract" else None
        self._resnet: dict[str, Tensor] | None = None
        self._decoder_state: dict[str, Tensor] | None = None
        self._history = History()
        self._has_validation = False
        self._metric = "loss"

    # -- what it is, for those who use it

    @property
    def is_baseline(self) -> bool:
        """Whether it is one of the reference's baselines, which don't read CLIP's features."""
        return self.config.architecture != "memefier"

    @property
    def text_reader(self) -> Callable[[Image], str] | None:
        """What reads the text of memes that have an image and no text, in training and prediction; "" means no text.

        The option `ocr` sets it; any other function can be set before `fit`, and again after `load`, for it is not
        saved. It is asked once for each image. Baselines don't use it.
        """
        return None if self._text_reader is None else self._text_reader.reader

    @text_reader.setter
    def text_reader(self, reader: Callable[[Image], str] | None) -> None:
        self._text_reader = None if reader is None else RememberingReader(reader)

    @property
    def heads(self) -> tuple[Head, ...]:
        """What is asked of a meme, the classifier's own head first."""
        return tuple(Head(**head) for head in self.facts["heads"])

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the first head, in the data set's order."""
        return tuple(self.facts["labels"])

    @property
    def required_fields(self) -> frozenset[str]:
        """What a baseline reads; MemeFier makes do with either field."""
        return frozenset(READS[self.config.architecture]) if self.is_baseline else super().required_fields

    @property
    def optional_fields(self) -> frozenset[str]:
        """What MemeFier reads where it is there."""
        return frozenset() if self.is_baseline else super().optional_fields

    @property
    def toxic_labels(self) -> frozenset[str]:
        """Which of `labels` count as toxic."""
        return frozenset(self.heads[0].toxic)

    @property
    def label_kind(self) -> Literal["multiclass", "multilabel"]:
        """Whether a meme may have several of `labels`, which the first head says."""
        return "multilabel" if self.heads[0].kind == "multilabel" else "multiclass"

    @property
    def thresholds(self) -> dict[str, float]:
        """Label of the first head -> the probability from which `decide` gives it."""
        return self.head_thresholds.get(self.heads[0].name, {})

    @property
    def head_thresholds(self) -> dict[str, dict[str, float]]:
        """Head -> label -> the probability from which `decide` gives the label; one half where nothing was tuned."""
        tuned: dict[str, dict[str, float]] = self.artefacts.get("thresholds", {})
        defaults = {
            head.name: dict.fromkeys(head.labels[1:] if head.kind == "binary" else head.labels, 0.5)
            for head in self.heads
            if head.kind in ("binary", "multilabel")
        }
        return {name: {**labels, **tuned.get(name, {})} for name, labels in defaults.items()}

    @property
    def limits(self) -> Limits:
        """The tokens that are read of a text, with its two ends, and the most pixels that an image may have."""
        text = self.facts["text"]["length"] if self.is_baseline else self.facts["backbone"]["text_length"]
        return replace(super().limits, text_tokens=text)

    # -- what is found in the training data

    def study(self, train: Dataset) -> dict[str, Any]:
        """Labels, heads, class weights, components, vocabularies, and what the backbone is."""
        samples = [annotation_of(train, index) for index in range(len(train))]
        heads = self.config.heads or declared_heads(train)
        check_heads(heads)
        self._check_first_head(heads[0], train)
        facts: dict[str, Any] = {
            "labels": list(train.labels),
            "heads": [head.model_dump(mode="json") for head in heads],
            "class_weights": class_weights(heads, label_counts(heads, samples)),
        }
        if self.is_baseline:
            facts["resnet"], self._resnet = resnet_config(self.config.baseline, download=self.config.download)
            texts = [sample["text"] for sample in samples if "text" in sample]
            return {**facts, "text": word_facts(texts, self.config.baseline)}
        captions = [sample["caption"] for sample in samples if sample.get("caption")]
        facts["components"] = self._components(captions, samples)
        if "C" in facts["components"]:
            facts["captions"] = {"words": list(Vocabulary.of(captions).words), "length": caption_length(captions)}
        return {**facts, "backbone": describe_backbone(self._load_backbone())}

    def _check_first_head(self, head: Head, train: Dataset) -> None:
        if sorted(head.labels) != sorted(train.labels):
            raise ConfigError(
                f"the first head, {head.name!r}, has the labels {', '.join(head.labels)}, but the targets of "
                f"{train.name} are {', '.join(train.labels)}",
                where=Where(field="heads"),
            )

    def _components(self, captions: Sequence[str], samples: Sequence[Sample]) -> str:
        """The letters of the configuration, or what the data allow. DataError where the data lack what is asked for."""
        chosen = self.config.components
        if chosen == "auto":
            return "C12" if captions else "12"
        if "C" in chosen and not captions:
            raise DataError(
                "component C needs captions of the training images",
                where=Where(field="components"),
                remedy="Name their file: --data-option captions=FILE, or leave C out.",
            )
        if "E" in chosen and not any("attributes" in sample for sample in samples):
            raise DataError(
                "component E needs attributes of the faces in the training images",
                where=Where(field="components"),
                remedy="Name FairFace's file: --data-option attributes=FILE, or leave E out.",
            )
        return "".join(letter for letter in "EC12" if letter in chosen)

    # -- networks

    def build(self) -> nn.Module:
        """The configured network."""
        outputs = sum(head.logits for head in self.heads)
        config = self.config
        if self.is_baseline:
            options = config.baseline
            baseline = Baseline(
                config.architecture,
                resnet=self.facts["resnet"],
                words=len(self.facts["text"]["words"]) + 4,
                hidden=options.hidden,
                layers=options.lstm_layers,
                outputs=outputs,
            )
            if self._resnet is not None and "image" in baseline.reads:
                baseline.resnet.load_state_dict(self._resnet)
            return baseline
        return MemeFier(
            Shape(**self.facts["backbone"]["shape"]),
            components=self.facts["components"],
            dim=config.d_model,
            encoder=config.encoder,
            outputs=outputs,
            proj_dropout=config.proj_dropout,
            ext_dropout=config.ext_dropout,
            head_dropout=config.head_dropout,
            stage1_scale=config.stage1_scale,
            mask_padding=config.mask_padding,
            absent_embedding=config.absent_embedding,
        )

    def build_training_only(self) -> dict[str, nn.Module]:
        """The caption decoder, where captions supervise."""
        if "captions" not in self.facts:
            return {}
        decoder = CaptionDecoder(
            self.config.d_model,
            self.facts["backbone"]["shape"]["image_tokens"],
            len(self.facts["captions"]["words"]) + 4,
            self.facts["captions"]["length"],
            self.config.decoder,
        )
        if self.config.caption_decoder_init is not None:
            self._take_over_decoder(decoder, self.config.caption_decoder_init)
        return {"caption_decoder": decoder}

    def _take_over_decoder(self, decoder: CaptionDecoder, folder: Path) -> None:
        """Start from the caption decoder of another model: words by name, positions as far as they go."""
        other = type(self).load(folder)
        given = other._decoder_state
        if given is None:
            raise ConfigError(
                "the model there kept no caption decoder",
                where=Where(file=folder, field="caption_decoder_init"),
                remedy="Train it with keep_caption_decoder=true.",
            )
        own = decoder.state_dict()
        theirs = Vocabulary(tuple(other.facts["captions"]["words"])).ids
        ours = Vocabulary(tuple(self.facts["captions"]["words"])).ids
        shared = [(ours[word], theirs[word]) for word in ours.keys() & theirs.keys()]
        for name, tensor in given.items():
            target = own[name]
            if target.shape[1:] != tensor.shape[1:]:
                raise ConfigError(
                    f"the caption decoder there has another width ({name}: {tuple(tensor.shape)})",
                    where=Where(file=folder, field="caption_decoder_init"),
                )
            if name in ("word.weight", "output.weight", "output.bias"):
                rows, sources = (torch.tensor(column) for column in zip(*shared, strict=True))
                target[rows] = tensor[sources]
            else:
                rows_shared = min(len(target), len(tensor)) if tensor.ndim else 0
                target[:rows_shared] = tensor[:rows_shared]
        decoder.load_state_dict(own)

    @property
    def _decoder(self) -> CaptionDecoder | None:
        return cast("CaptionDecoder", self.training_only["caption_decoder"]) if len(self.training_only) else None

    # -- features

    def _load_backbone(self) -> ClipBackbone:
        backbone = load_backbone(self.config.backbone, download=self.config.download)
        self.runtime.place(backbone.model)
        return backbone

    def extractor(self) -> ClipFeatureExtractor:
        """What computes the features. RunError if the backbone is not the one that the model was trained with."""
        backbone = self._load_backbone()
        known = self.facts.get("backbone", {}).get("fingerprint", backbone.fingerprint)
        if known != backbone.fingerprint:
            raise RunError(
                f"the model was trained with another backbone than the one that is now at {self.config.backbone}",
                remedy="Put the old weights back, or train again.",
            )
        config = self.config
        return ClipFeatureExtractor(
            backbone,
            tokens=config.token_features,
            pad_mode=config.pad_mode,
            dtype=config.feature_dtype,
            cleaning=config.text_cleaning,
            at_once=1 if self.runtime.torch_device.type == "cpu" else config.encode_batch,
        )

    def with_text(self, samples: Sequence[Sample]) -> list[Sample]:
        """The checked samples; those with an image and no text get the text that `text_reader` finds in the image."""
        reader = None if self.is_baseline else self._text_reader
        return list(samples) if reader is None else [_with_text(sample, reader) for sample in samples]

    def _index(self, extractor: ClipFeatureExtractor, store: Store, dataset: Dataset) -> list[tuple[str, str]]:
        complete = None if self._text_reader is None else self.with_text
        return extractor.index(store, dataset, self.runtime.move, complete)

    def encode(self, dataset: Dataset) -> list[tuple[str, str]]:
        """Put the features of a whole data set into the cache; returns their keys, ("", "") parts for what is missing."""
        extractor = self.extractor()
        store = extractor.store(self.config.cache)
        return [] if store is None else self._index(extractor, store, dataset)

    def collate(self, samples: Sequence[Sample], rng: np.random.Generator | None = None) -> Batch:
        """The samples' features where the cache has them all, else what the backbone needs; of a baseline its inputs."""
        checked = [self.task.check(sample, index=number) for number, sample in enumerate(samples)]
        if self.is_baseline:
            return self._baseline_inputs(checked, rng)
        checked = self.with_text(checked)
        extractor = self.extractor()
        store = extractor.store(self.config.cache)
        if store is not None:
            keys = [extractor.keys(sample) for sample in checked]
            if all(key in store for pair in keys for key in pair if key):
                return {**extractor.stored(store).batch(keys), **self._attributes(checked)}
        batch = {**extractor.raw(checked), **self._attributes(checked)}
        return batch if rng is None else drop_modality(batch, self.config.modality_dropout, rng)

    def _baseline_inputs(self, samples: Sequence[Sample], rng: np.random.Generator | None) -> Batch:
        require_inputs(samples, self.config.architecture)
        reads = READS[self.config.architecture]
        size = self.config.baseline.image_size
        return ({"pixels": read_pixels(samples, size, rng)} if "image" in reads else {}) | (
            {"words": read_words(samples, self.facts["text"])} if "text" in reads else {}
        )

    def _attributes(self, samples: Sequence[Sample]) -> Batch:
        """Attribute ids int64 [n, 3 faces], all pads for a meme without any; nothing without component E."""
        if "E" not in self.facts.get("components", ""):
            return {}
        for number, sample in enumerate(samples):
            for face in sample.get("attributes") or ():
                check_face(face, Where(sample=sample.get("id", number), field="attributes"))
        faces = [
            [{name: face[name] for name in FIELDS} for face in sample.get("attributes") or ()] for sample in samples
        ]
        return {"attributes": torch.tensor([encode_faces(each, self.config.max_faces) for each in faces])}

    def _supervision(self, samples: Sequence[Sample]) -> Batch:
        """What a training step knows beside the inputs: targets int64 [n, .], captions int64 [n, L]."""
        heads = self.heads
        rest = {"targets": encode_targets(heads, samples)}
        if "captions" in self.facts:
            vocabulary = Vocabulary(tuple(self.facts["captions"]["words"]))
            length = self.facts["captions"]["length"]
            rest["captions"] = torch.tensor(
                [vocabulary.encode(sample.get("caption"), length, sentence=True) for sample in samples]
            )
        return {**rest, **self._attributes(samples)}

    def loader(
        self, dataset: Dataset, *, training: bool
    ) -> Callable[[Sequence[int], np.random.Generator | None], Batch]:
        """Batches from the feature cache, which is filled now; without a cache, batches of pixels and words."""
        rest = self._supervision([annotation_of(dataset, index) for index in range(len(dataset))])
        dropout = self.config.modality_dropout if training else 0.0
        if not self.is_baseline:
            extractor = self.extractor()
            store = extractor.store(self.config.cache)
            if store is not None:
                keys = self._index(extractor, store, dataset)
                return FeatureLoader(extractor.stored(store), keys, rest, dropout)

        def load(indices: Sequence[int], rng: np.random.Generator | None) -> Batch:
            batch = self.collate([dataset[index] for index in indices], rng)
            chosen = torch.as_tensor(indices)
            return {**batch, **{name: tensor[chosen] for name, tensor in rest.items()}}

        return load

    # -- training

    def fit(
        self,
        train: Dataset,
        validation: Dataset | None = None,
        *,
        runtime: Runtime | None = None,
        run: Run | None = None,
    ) -> Self:
        """Train as the configuration says; the best epoch on `validation`, if it is given, is kept. See Model.fit.

        Afterwards the temperature and the thresholds are fitted on `validation`, and stand in the artefacts
        "temperatures" and "thresholds" beside "history", the validation metrics of every epoch.
        """
        if validation is not None:
            require_known_labels(train, validation)  # before the metric is chosen by its targets
        self.artefacts = {}
        self._has_validation = validation is not None
        self._metric = self._choose_metric(train, validation)
        super().fit(train, validation, runtime=runtime, run=run)
        if validation is not None:
            self.artefacts["history"] = self._history.epochs
            if self.config.calibrate:
                self.tune(validation)
        return self

    def _choose_metric(self, train: Dataset, validation: Dataset | None) -> str:
        """The metric of the best epoch; the loss where AUC is undefined."""
        if validation is None:
            return "loss"
        heads = self.config.heads or declared_heads(train)
        wanted = self.config.early_stop.metric
        if wanted == "auto":
            wanted = "auc" if heads[0].kind == "binary" else "f1"
        targets = {str(validation.target(index)) for index in range(len(validation))}
        if wanted == "auc" and (heads[0].kind != "binary" or len(targets) < 2):
            reason = "the first head is not binary" if heads[0].kind != "binary" else f"all its targets are {targets}"
            log.warning("AUC is undefined on the validation split (%s): epochs are chosen by the loss", reason)
            return "loss"
        return wanted

    def phases(self, train: Dataset) -> list[Phase]:
        """One phase by the published recipe: AdamW (Adam for baselines), one step down of the learning rate."""
        config, stop = self.config, self.config.early_stop
        self._history = History()
        observers: dict[str, object] = {"history": self._history}
        selects = self._has_validation
        patience = stop.patience if selects and stop.rule == "best" else None
        if selects and stop.patience is not None and stop.rule == "reference":
            observers["reference-stopping"] = ReferenceStopping(f"val_{self._metric}", stop.patience)
        selection = Selection(f"val_{self._metric}", "min" if self._metric == "loss" else "max")
        return [
            Phase(
                optimizers=self._optimizations,
                sampler=ByCount(len(train), config.batch_size, self.runtime.seed),
                epochs=config.epochs,
                select=selection if selects else None,
                patience=patience,
                observers=observers,
                accumulate=config.accumulate,
                report=Every(epochs=1),
            )
        ]

    def _optimizations(self, modules: Mapping[str, nn.Module], runtime: Runtime) -> list[Optimization]:
        config = self.config
        parameters = [parameter for module in modules.values() for parameter in module.parameters()]
        optimizer = (
            runtime.optimizer(torch.optim.Adam, parameters, lr=config.lr)
            if self.is_baseline
            else runtime.optimizer(torch.optim.AdamW, parameters, lr=config.lr, weight_decay=config.weight_decay)
        )
        return [Optimization(optimizer, lr_schedule(optimizer, config.epochs, config.lr_drop))]

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of each head, the caption loss, and L = L_task + alpha L_cap (sec. 3.5)."""
        captions, decoder = batch.get("captions"), self._decoder
        if self.is_baseline or captions is None or decoder is None:
            return self._task_losses(self.forward(batch), batch["targets"])
        network, encoded = cast("MemeFier", self.network), self._encoded(batch)
        fused = network.fuse(encoded)
        losses = self._task_losses(network.classify(fused), batch["targets"])
        memory = fused[:, 1 : 1 + encoded["image_tokens"].shape[1]]
        told = caption_loss(decoder(memory, captions), captions, self.config.caption_reduction)
        return {**losses, "caption_loss": told, "loss": losses["loss"] + self.config.alpha * told}

    def _task_losses(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        heads = self.heads
        losses = {}
        for head, columns, truth in zip(heads, split_logits(heads, logits), split_targets(heads, targets), strict=True):
            weights = self.facts["class_weights"].get(head.name)
            chosen = None if weights is None else torch.tensor(weights, device=logits.device)
            losses[f"{head.name}_loss"] = head.loss(columns, truth, chosen)
        total = sum(head.weight for head in heads)
        mean = torch.stack([losses[f"{head.name}_loss"] * (head.weight / total) for head in heads]).sum()
        return {**losses, "loss": mean}

    def validate(self, phase: Phase, batches: Iterator[tuple[Batch, int]]) -> dict[str, float]:
        """The task's loss, and accuracy, macro-F1 (means over heads) and AUC (first head) over the whole split."""
        parts = [(self.forward(batch).float(), batch["targets"]) for batch, _ in batches]
        logits, targets = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
        losses = {name: float(value) for name, value in self._task_losses(logits, targets).items()}
        return {**losses, **mean_metrics(self.heads, logits.double().cpu().numpy(), targets.cpu().numpy())}

    def settle(self, phase: Phase, batches: Callable[[], Iterator[Batch]]) -> None:
        """Keep the caption decoder, if it is to be saved."""
        if self.config.keep_caption_decoder and self._decoder is not None:
            state = self._decoder.state_dict()
            self._decoder_state = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def tune(self, dataset: Dataset) -> None:
        """Fit every head's temperature and thresholds on `dataset`, a split that was not trained on."""
        samples = [annotation_of(dataset, index) for index in range(len(dataset))]
        targets = encode_targets(self.heads, samples).numpy()
        if not self.is_baseline:
            self.encode(dataset)
        logits = self.logits([dataset[index] for index in range(len(dataset))])
        temperatures, thresholds = {}, {}
        parts = zip(self.heads, split_logits(self.heads, logits), split_targets(self.heads, targets), strict=True)
        for head, columns, truth in parts:
            temperatures[head.name] = fit_temperature(head, columns, truth)
            thresholds[head.name] = fit_thresholds(head, columns, truth, temperatures[head.name])
        self.artefacts.update(temperatures=temperatures, thresholds=thresholds)

    # -- prediction

    def _encoded(self, batch: Batch) -> Batch:
        return self.extractor().encode(batch) if "pixel_values" in batch else batch

    def forward(self, batch: Batch) -> Tensor:
        """Logits [n, logits of all heads]."""
        return cast("Tensor", self.network(batch if self.is_baseline else self._encoded(batch)))

    def logits(self, samples: Sequence[Sample]) -> NDArray[np.float64]:
        """Logits float64 [n, logits of all heads]."""
        return self.outputs(samples).double().numpy()

    def predict_heads(self, samples: Sequence[Sample]) -> dict[str, NDArray[np.float32]]:
        """Head -> probabilities float32 [n, labels], in the order of the head's labels, its temperature applied."""
        heads, temperatures = self.heads, self.artefacts.get("temperatures", {})
        return {
            head.name: head.probabilities(columns, temperatures.get(head.name, 1.0)).astype(np.float32)
            for head, columns in zip(heads, split_logits(heads, self.logits(samples)), strict=True)
        }

    def predict_proba(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Probabilities of the first head float32 [n, labels], columns in the order of `labels`."""
        head = self.heads[0]
        return self.predict_heads(samples)[head.name][:, [head.labels.index(label) for label in self.labels]]

    def decide(self, samples: Sequence[Sample]) -> list[Decision]:
        """Labels by the tuned thresholds, probabilities of every head, and what to know of the input."""
        predicted, thresholds = self.predict_heads(samples), self.head_thresholds
        decisions = []
        read = self.with_text([self.task.check(sample, index=row) for row, sample in enumerate(samples)])
        for row, sample in enumerate(samples):
            labels = {
                head.name: decided(head, predicted[head.name][row], thresholds.get(head.name, {}))
                for head in self.heads
            }
            probabilities = {
                head.name: dict(zip(head.labels, map(float, predicted[head.name][row]), strict=True))
                for head in self.heads
            }
            name = str(sample.get("id", row))
            decisions.append(Decision(name, labels, probabilities, tuple(self._warnings(sample, read[row]))))
        return decisions

    def _warnings(self, sample: Sample, read: Sample) -> Iterator[str]:
        """What a reader of a decision should know of its input, and of the text that was read from its image."""
        text = read.get("text")
        if sample.get("image") is None:
            yield "image missing"
        if text is None or not text.strip():
            yield "text missing"
            return
        if text != sample.get("text"):
            yield f"the text was read from the image (OCR): {text}"
        if not self.is_baseline:
            backbone = self.extractor().backbone
            length = backbone.tokenize([text]).lengths[0]
            if length > backbone.text_length:
                yield f"text truncated: {length} tokens, of which {backbone.text_length} are read"
            if is_mostly_non_latin(text):
                yield "text not in Latin script: CLIP's tokenizer was made for English"

    @property
    def can_explain(self) -> bool:
        """Baselines have no tokens to point at."""
        return not self.is_baseline

    def explain(self, samples: Sequence[Sample]) -> Iterator[Explanation]:
        """Which words and patches speak for the predicted label, laid over the meme (see quire_memefier.explain)."""
        yield from explain_memes(self, samples)

    def export(self, path: Path, *, format: str, example: Sequence[Sample]) -> Path:
        """Write what follows the backbone as one network: CLIP's features in, the first head's probabilities out.

        Inputs, n memes, P image tokens, T text tokens: "image_tokens" float32 [n, P, .], "image" float32 [n, .],
        "text_tokens" float32 [n, T, .], "text" float32 [n, .], "text_mask" bool [n, T] (True: no pad), "has_image" and
        "has_text" bool [n], with component E "attributes" int64 [n, A]: what `extractor().encode` makes of a batch of
        `collate`. Output "probabilities" float32 [n, labels], the temperature applied. The metadata hold "labels",
        "thresholds" and "backbone" as JSON. See `export_network`. ConfigError for baselines.
        """
        if self.is_baseline:
            raise ConfigError(
                f"the baseline {self.config.architecture} can't be exported", remedy="Train architecture=memefier."
            )
        if not example:
            raise DataError("an export needs at least one example")
        head = self.heads[0]
        encoded = self._encoded(self.runtime.move(self.collate(example)))
        names = [name for name in FEATURES if name in encoded]
        inputs = tuple(encoded[name].float() if encoded[name].is_floating_point() else encoded[name] for name in names)
        temperature = self.artefacts.get("temperatures", {}).get(head.name, 1.0)
        metadata = {
            "labels": self.labels,
            "thresholds": self.head_thresholds.get(head.name, {}),
            "backbone": {**self.facts["backbone"], "token_features": self.config.token_features},
        }
        return export_network(
            FirstHead(cast("MemeFier", self.network), head, self.labels, temperature),
            inputs,
            path,
            format=cast("Format", format),
            input_names=names,
            output_names=("probabilities",),
            metadata={name: json.dumps(value) for name, value in metadata.items()},
        )

    # -- state

    def state(self) -> dict[str, Any]:
        """The facts, the network, and the caption decoder if it is kept."""
        return {**super().state(), "caption_decoder": self._decoder_state}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        super().restore(state)
        self._decoder_state = state["caption_decoder"]


def _with_text(sample: Sample, reader: Callable[[Image], str]) -> Sample:
    text, image = sample.get("text"), sample.get("image")
    if image is None or (text and text.strip()):
        return sample
    found = reader(image)
    return {**sample, "text": found} if found.strip() else sample


def describe_backbone(backbone: ClipBackbone) -> dict[str, Any]:
    """What a saved model must know of its backbone."""
    return {
        "name": backbone.name,
        "fingerprint": backbone.fingerprint,
        "shape": asdict(backbone.shape),
        "text_length": backbone.text_length,
    }
