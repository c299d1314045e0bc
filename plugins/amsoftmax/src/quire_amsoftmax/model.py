"""amsoftmax: embeddings of faces (or of anything with identities) by a margin head, on the core's loop."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from quire.dataset import sort_labels
from quire.errors import ConfigError, DataError, RunError, Where
from quire.model import Demo, Embedder, Exporter
from quire.task import IMAGE_CLASSIFICATION
from quire.training import Balanced, ByCount, Every, NeuralModel, Phase, Selection
from quire.training.export import export_network
from quire_amsoftmax.config import AMSoftmaxConfig
from quire_amsoftmax.evaluate.identification import leave_one_out
from quire_amsoftmax.evaluate.streams import AllPairs
from quire_amsoftmax.evaluate.verification import verify_pairs
from quire_amsoftmax.heads import MarginHead, MarginSchedule, ShardedMarginHead
from quire_amsoftmax.identities import chosen_identities, identity_numbers, open_set
from quire_amsoftmax.networks import build_backbone
from quire_amsoftmax.optimise import optimizations
from quire_amsoftmax.pixels import augment, to_pixels
from quire_amsoftmax.sharding import ShardedSteps, whole_head

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from quire.dataset import Dataset
    from quire.modality import Sample
    from quire.run import Run
    from quire.runtime import Runtime
    from quire.training import BatchSampler, Part, StepContext
    from quire.training.export import Format

Batch = dict[str, Tensor]
log = logging.getLogger(__name__)
INPUT_OPTIONS = ("backbone", "width", "neck", "embedding_dim", "input_size", "channel_order", "pixel_mean", "pixel_std")
"""What two models must share for one to start from the other's network."""
SELECTED = {"vr@far=1e-3": "max", "vr@far=1e-2": "max", "eer": "min", "rank1": "max"}


class AMSoftmax(NeuralModel, Embedder, Exporter):
    """AM-Softmax (Wang et al., 2018): trains a network to embed images so that cosines tell identities apart.

    Samples: "image", and in training "target", the identity. Validation is verification: all pairs of the validation
    split, whose identities need not be those of the training. The margin head is trained and checkpointed with the network;
    its class centres are saved (`keep_head`) for `predict`, which names the nearest training identity.
    """

    Config = AMSoftmaxConfig
    config: AMSoftmaxConfig
    task = IMAGE_CLASSIFICATION
    formats = ("onnx", "pt2")
    prediction_batch = 64
    demo = Demo(dataset="folder", settings={"preset": "toy"}, quick={"epochs": 2})

    def __init__(self, config: AMSoftmaxConfig | None = None, *, runtime: Runtime | None = None) -> None:
        super().__init__(config, runtime=runtime)
        self._head: MarginHead | None = None
        self._start: AMSoftmax | None = None
        self._new_centres: dict[str, Tensor] = {}
        self._validates = False
        self._run: Run | None = None
        self._sharded: ShardedSteps | None = None
        self._numbered: tuple[list[str], dict[str, int]] = [], {}

    # -- what it is, for those who use it

    @property
    def labels(self) -> tuple[str, ...]:
        """The training identities, in the order of the class centres."""
        return tuple(self.fact("labels"))

    @property
    def head(self) -> MarginHead:
        """The margin head; RunError if it was not kept."""
        if self._head is None:
            raise RunError(
                "the model has no class centres", remedy="Train with keep_head=true to predict or to add identities."
            )
        return self._head

    def embed(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """float32 [samples, dim], rows of length one unless normalize=false; twice the dim with flip_test=concat."""
        return self.embed_with_norms(samples)[0]

    def embed_with_norms(self, samples: Sequence[Sample]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The embeddings, and the length that each had before: long ones are mostly of clear images (sec. 3.1)."""
        raw = self.outputs(samples)
        mean = self.artefacts.get("mean")
        if mean is not None:
            raw = raw - torch.as_tensor(np.asarray(mean), dtype=raw.dtype)
        norms = torch.linalg.vector_norm(raw, dim=1)
        rows = raw / norms.clamp_min(1e-12)[:, None] if self.config.normalize else raw
        return rows.numpy(), norms.numpy()

    def center_on(self, samples: Sequence[Sample] | None) -> None:
        """Subtract the mean feature of `samples` from all embeddings from now on; None ends that. Saved with the model."""
        self.artefacts.pop("mean", None)
        if samples is not None:
            self.artefacts["mean"] = self.outputs(samples).mean(dim=0).numpy()

    def predict(self, samples: Sequence[Sample]) -> list[str]:
        """The training identity whose centre is nearest (closed set: nobody is refused)."""
        head = self.head
        features = self.outputs(samples)
        if self.config.flip_test == "concat":  # the centre knows the features of one image
            features = features[:, : head.dim] + features[:, head.dim :]
        centres = torch.nn.functional.normalize(head.weight.detach().float().cpu(), dim=1)
        cosines = torch.nn.functional.normalize(features, dim=1) @ centres.T
        nearest = cosines.view(len(cosines), -1, head.sub_centers).amax(dim=2).argmax(dim=1)
        return [self.labels[int(number)] for number in nearest]

    def export(self, path: Path, *, format: str, example: Sequence[Sample]) -> Path:
        """Write the network, without the head: normalised pixels [n, channels, h, w] in, embeddings out (see `embed`)."""
        module = _Embedding(self.network, self.config.flip_test, self.config.normalize, self.artefacts.get("mean"))
        samples = [self.task.check(sample, index=index) for index, sample in enumerate(example)]
        size = [self.config.in_channels, *self.config.input_size]
        return export_network(
            module,
            (self.collate(samples)["x"],),
            path,
            format=cast("Format", format),
            input_names=("pixels",),
            output_names=("embeddings",),
            metadata={
                "input_size": str(size),
                "channel_order": self.config.channel_order,
                "pixel_mean": str(self.config.pixel_mean),
                "pixel_std": str(self.config.pixel_std),
            },
        )

    # -- networks

    def study(self, train: Dataset) -> dict[str, Any]:
        """The identities: those of the data, after those of the model that is extended."""
        known = list(self._start.labels) if self._start is not None and self.config.fine_tune == "extend" else []
        return {"labels": known + [label for label in train.labels if label not in set(known)]}

    def build(self) -> nn.Module:
        """The backbone, with the weights of the model that the training starts from."""
        config = self.config
        network = build_backbone(
            config.backbone,
            dim=config.embedding_dim,
            input_size=config.input_size,
            in_channels=config.in_channels,
            width=config.width,
            neck=config.neck,
            dropout=config.dropout,
        )
        if self._start is not None:
            network.load_state_dict(self._start.network.state_dict())
        return network

    def build_head(self, kind: type[MarginHead] = MarginHead, **sharding: Any) -> MarginHead:
        """A new head for the identities; `kind` ShardedMarginHead for this process's share of them."""
        config = self.config
        options = dict(config.head_options)
        if config.margin_gate != "none":
            options["margin_gate"] = config.margin_gate
        schedule = config.margin_schedule
        return kind(
            config.embedding_dim,
            len(self.labels),
            config.head,
            margin=config.margin,
            scale=config.head_scale,
            schedule=MarginSchedule(schedule.start, schedule.end, schedule.steps) if schedule is not None else None,
            feature_norm=config.feature_norm,
            sub_centers=config.sub_centers,
            bias=config.head == "softmax" and config.sample_rate == 1,
            head_precision=config.head_precision,
            logit_chunk=config.logit_chunk,
            sample_rate=config.sample_rate,
            sparse_update=config.sparse_update,
            interclass_threshold=config.interclass_threshold,
            **sharding,
            **options,
        )

    def build_training_only(self) -> dict[str, nn.Module]:
        """The margin head; of an extended model with the old centres, and new ones where the new people's images are.

        A sharded head is not the loop's to wrap and checkpoint: see quire_amsoftmax.sharding.
        """
        if self.config.sharding == "class":
            self._shard()
            return {}
        head = self.build_head()
        if self._start is not None and self.config.fine_tune == "extend":
            self._take_over(head, self._start.head)
        self._head = head
        return {"head": head}

    def _shard(self) -> None:
        self.runtime.any([False])  # has the processes meet, if there are several
        head = self.build_head(ShardedMarginHead, seed=self.runtime.seed)
        assert isinstance(head, ShardedMarginHead)
        self._head = self.runtime.place(head)
        folder = self._run.checkpoint_path.parent if self._run is not None else None
        self._sharded = ShardedSteps(head, folder, self.config.shard_checkpoint_steps)

    @torch.no_grad()
    def _take_over(self, head: MarginHead, old: MarginHead) -> None:
        if old.sub_centers != head.sub_centers:
            raise ConfigError(
                f"the model to extend has {old.sub_centers} centres an identity, not {head.sub_centers}",
                where=Where(field="sub_centers"),
            )
        head.weight[: len(old.weight)] = old.weight.to(head.weight)
        length = float(torch.linalg.vector_norm(old.weight, dim=1).mean())
        for label, direction in self._new_centres.items():
            start = self.labels.index(label) * head.sub_centers
            head.weight[start] = (direction * length).to(head.weight)

    def place(self) -> None:
        """Move network and head to the runtime's device."""
        super().place()
        if self._head is not None:
            self._head = self.runtime.place(self._head)

    # -- batches and losses

    def collate(self, samples: Sequence[Sample], rng: np.random.Generator | None = None) -> Batch:
        """x float32 [n, channels, h, w]; with targets identity int64 [n], and y int64 [n] if all are training identities."""
        checked = [self.task.check(sample, index=index) for index, sample in enumerate(samples)]
        names = [sample.get("id", index) for index, sample in enumerate(checked)]
        pixels = to_pixels([sample["image"] for sample in checked], names, self.config)
        batch = {"x": pixels if rng is None else augment(pixels, self.config, rng)}
        if all("target" in sample for sample in checked):
            batch["identity"] = torch.from_numpy(identity_numbers(checked))
            numbers = [self._numbers.get(str(sample["target"])) for sample in checked]
            if None not in numbers:
                batch["y"] = torch.tensor(numbers)
        return batch

    @property
    def _numbers(self) -> dict[str, int]:
        """Identity -> class; made once for each list of labels."""
        labels: list[str] = self.facts.get("labels", [])
        if self._numbered[0] is not labels:
            self._numbered = labels, {name: number for number, name in enumerate(labels)}
        return self._numbered[1]

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """The head's loss, and what is worth watching beside it (see MarginHead.watch): the loss alone says little."""
        features, labels = self.network(batch["x"]), batch["y"]
        if self._sharded is not None:
            self.head.train(self.network.training)
            if not self._sharded.counts_batch:
                features, labels = features[:0], labels[:0]
        judged = self.head.judge(features, labels)
        return {"loss": judged.loss, **self.head.watch(judged)}

    def training_step(self, parts: Sequence[Part], context: StepContext) -> dict[str, Tensor]:
        """A usual step; what is annealed counts optimiser steps, not the parts of a batch."""
        self.head.step_to(context.step)
        return context.descend(parts) if self._sharded is None else self._sharded.descend(parts, context)

    def forward(self, batch: Batch) -> Tensor:
        """Features [n, dim], with those of the mirror image as flip_test says; not normalised."""
        return mirrored_features(self.network, batch["x"], self.config.flip_test)

    def validate(self, phase: Phase, batches: Iterator[tuple[Batch, int]]) -> dict[str, float]:
        """vr@far=1e-3, vr@far=1e-2 and eer over all pairs, rank1 leaving one out."""
        features, identities = [], []
        for batch, _ in batches:
            features.append(self.forward(batch).float().cpu())
            identities.append(batch["identity"].cpu())
        vectors, names = torch.cat(features).numpy(), torch.cat(identities).numpy()
        found = verify_pairs(AllPairs(vectors, names), (1e-3, 1e-2))
        rank1 = leave_one_out(vectors, names).hit_rate(1)
        metrics = {"vr@far=1e-3": found.points[0].vr, "vr@far=1e-2": found.points[1].vr}
        return {**metrics, "eer": found.eer or 0.0, "rank1": rank1 or 0.0}

    # -- training

    def fit(
        self,
        train: Dataset,
        validation: Dataset | None = None,
        *,
        runtime: Runtime | None = None,
        run: Run | None = None,
    ) -> Self:
        """Train on the identities of `train`; see Model.fit. DataError without two of them, or without validation pairs."""
        self.runtime = runtime or self.runtime
        if len(train) == 0:
            raise DataError(f"{train.name} has no samples to train on")
        train = chosen_identities(train, self.config.exclude_ids, self.config.min_images_per_id)
        self._validates = validation is not None
        if self.config.init_from is not None:
            self._load_start(self.config.init_from, train)
        seen = open_set(validation) if validation is not None else None
        self._run = run
        try:
            super().fit(train, seen, runtime=runtime, run=run)
        except KeyboardInterrupt:
            if self._sharded is not None:
                self._sharded.interrupted()
            raise
        if self._sharded is not None and self.config.keep_head:
            self._head = whole_head(self._sharded.head, self.build_head())
        self._start, self._new_centres, self._run, self._sharded = None, {}, None, None
        if not self.config.keep_head:
            self._head = None
        elif self._head is not None:
            self._head.eval()
        return self

    def _load_start(self, folder: Path, train: Dataset) -> None:
        start = type(self).load(folder, runtime=self.runtime)
        for name in INPUT_OPTIONS:
            mine, other = getattr(self.config, name), getattr(start.config, name)
            if mine != other:
                raise ConfigError(
                    f"the model to start from has {name}={other}, not {mine}", where=Where(file=folder, field=name)
                )
        self._start = start
        if self.config.fine_tune == "extend":
            known = set(start.labels)
            start.head  # noqa: B018 - tells whether its centres were kept, before anything is computed
            for label in sort_labels(set(train.labels) - known):
                indices = [index for index in range(len(train)) if train.target(index) == label][:10]
                features = start.outputs([train[index] for index in indices])[:, : self.config.embedding_dim]
                direction = torch.nn.functional.normalize(features, dim=1).mean(dim=0)
                self._new_centres[label] = torch.nn.functional.normalize(direction, dim=0)

    def phases(self, train: Dataset) -> list[Phase]:
        """One phase of max_steps or epochs."""
        config, sampler = self.config, self._sampler(train)
        steps = config.max_steps if config.epochs is None else config.epochs * len(sampler.batches(0))
        select = None
        if self._validates and config.select_by != "last":
            best = SELECTED[config.select_by]
            select = Selection(f"val_{config.select_by}", "max" if best == "max" else "min")
        return [
            Phase(
                optimizers=lambda modules, runtime: optimizations(config, steps, self.head, modules, runtime),
                sampler=sampler,
                epochs=config.epochs,
                steps=None if config.epochs is not None else config.max_steps,
                select=select,
                report=Every(epochs=1) if config.report_steps is None else Every(steps=config.report_steps),
                accumulate=config.accumulate,
                clip_norm=config.grad_clip,
                checkpoint=Every(seconds=60) if self._sharded is None else Every(steps=config.shard_checkpoint_steps),
            )
        ]

    def _sampler(self, train: Dataset) -> BatchSampler:
        config, seed = self.config, self.runtime.seed
        if config.sampler == "shuffle":
            return ByCount(len(train), config.batch_size, seed)
        targets = tuple(str(train.target(index)) for index in range(len(train)))
        classes = min(config.batch_size // config.images_per_id, len(train.labels))
        batches = -(-len(train) // (classes * config.images_per_id))
        return Balanced(targets, classes, config.images_per_id, batches, seed)

    # -- on disk

    def state(self) -> dict[str, Any]:
        """Facts, the network's tensors, and the head's if they are kept."""
        head = self._head.state_dict() if self._head is not None and self.config.keep_head else None
        return {**super().state(), "head": head}

    def restore(self, state: dict[str, Any]) -> None:
        """Build network and head for the saved facts and give them the saved tensors."""
        super().restore(state)
        if state["head"] is not None:
            head = self.build_head()
            head.load_state_dict(state["head"])
            self._head = self.runtime.place(head).eval()


class _Embedding(nn.Module):
    """Pixels to embeddings, as a module of its own."""

    mean: Tensor

    def __init__(self, network: nn.Module, flip: str, normalize: bool, mean: Any) -> None:
        super().__init__()
        self.network, self.flip, self.normalize = network, flip, normalize
        shift = torch.zeros(()) if mean is None else torch.as_tensor(np.asarray(mean))
        self.register_buffer("mean", shift)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embeddings [n, dim]."""
        features = mirrored_features(self.network, pixels, self.flip) - self.mean
        return torch.nn.functional.normalize(features, dim=1) if self.normalize else features


def mirrored_features(network: nn.Module, pixels: Tensor, flip: str) -> Tensor:
    """Features of images [n, channels, h, w]: their own ("none"), plus the mirror images' ("sum"), or both ("concat")."""
    features: Tensor = network(pixels)
    if flip == "none":
        return features
    mirror: Tensor = network(pixels.flip(3))
    return features + mirror if flip == "sum" else torch.cat([features, mirror], dim=1)
