"""Features of the frozen backbone, computed once per image and per text, and kept by their content."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from quire.storage import FeatureCache, cache_root, content_hash
from quire_memefier.text import Cleaning, prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from quire.dataset import Dataset
    from quire.modality import Sample
    from quire_memefier.backbone import ClipBackbone, Features, PadMode, TokenFeatures
    from quire_memefier.network import Shape

    Arrays = Mapping[str, NDArray[Any]]
    Place = Callable[["Batch"], "Batch"]
    Complete = Callable[[Sequence[Sample]], Sequence[Sample]]

Batch = dict[str, Tensor]
SAMPLES_AT_ONCE = 64  # read and encoded before they are put into the store together
log = logging.getLogger(__name__)


class Store(Protocol):
    """Where features are kept by key: quire.storage.FeatureCache on disk, or memory."""

    def __contains__(self, key: str) -> bool: ...

    def get(self, key: str) -> dict[str, NDArray[Any]]:
        """The arrays under `key`."""

    def put_many(self, items: Iterable[tuple[str, Arrays]]) -> None:
        """Keep arrays under their keys."""


@dataclass
class MemoryStore:
    """Features in this process's memory."""

    items: dict[str, dict[str, NDArray[Any]]] = field(default_factory=dict)

    def __contains__(self, key: str) -> bool:
        return key in self.items

    def get(self, key: str) -> dict[str, NDArray[Any]]:
        """The arrays under `key`."""
        return self.items[key]

    def put_many(self, items: Iterable[tuple[str, Arrays]]) -> None:
        """Keep arrays under their keys."""
        self.items.update((key, dict(arrays)) for key, arrays in items)


_stores: dict[str, Store] = {}  # one of each: an index on disk is read once, not for every batch


@dataclass(frozen=True)
class ClipFeatureExtractor:
    """From checked samples to batches of features.

    `at_once` images or texts are encoded together; with 1, as on a CPU, an image's features are the same bits whatever
    it is batched with.
    """

    backbone: ClipBackbone
    tokens: TokenFeatures = "last_ln2"
    pad_mode: PadMode = "clip"
    dtype: str = "float16"
    cleaning: Cleaning = "none"
    at_once: int = 1

    @property
    def namespace(self) -> dict[str, Any]:
        """All that the features depend on beside image and text."""
        return {
            "backbone": self.backbone.fingerprint,
            "preprocessing": self.backbone.preprocessing,
            "tokenizer": self.backbone.vocabulary,
            "tokens": self.tokens,
            "pad_mode": self.pad_mode,
            "dtype": self.dtype,
        }

    def store(self, kind: str) -> Store | None:
        """The store of these features: "disk", "ram" (shared by all models of this process) or "off", which is None."""
        if kind == "off":
            return None
        key = content_hash(self.namespace)
        if kind == "ram":
            return _stores.setdefault(key, MemoryStore())
        root = cache_root() / "features"
        return _stores.setdefault(f"{root}/{key}", FeatureCache(self.namespace, root=root))

    def text_of(self, sample: Sample) -> str | None:
        """The text that the backbone reads, or None."""
        return prepared(sample.get("text"), self.cleaning)

    def keys(self, sample: Sample) -> tuple[str, str]:
        """The store's keys of a sample's image and text; empty for one that is missing."""
        image, text = sample.get("image"), self.text_of(sample)
        return (
            "" if image is None else f"image:{content_hash(np.asarray(image))}",
            "" if text is None else f"text:{content_hash(text)}",
        )

    def stored(self, store: Store) -> StoredFeatures:
        """Batches of these features from `store`."""
        return StoredFeatures(store, self.backbone.shape, self.backbone.text_length, self.dtype)

    # -- batches

    def raw(self, samples: Sequence[Sample]) -> Batch:
        """What `encode` needs: pixel_values [n, 3, side, side], ids and text_mask [n, T], has_image and has_text [n]."""
        images, texts = [sample.get("image") for sample in samples], [self.text_of(sample) for sample in samples]
        side = self.backbone.image_size
        pixels = torch.zeros(len(samples), 3, side, side)
        has_image = torch.tensor([image is not None for image in images])
        if has_image.any():
            pixels[has_image] = self.backbone.pixel_values([image for image in images if image is not None])
        tokens = self.backbone.tokenize(["" if text is None else text for text in texts], self.pad_mode)
        return {
            "pixel_values": pixels,
            "ids": tokens.ids,
            "text_mask": tokens.mask,
            "has_image": has_image,
            "has_text": torch.tensor([text is not None for text in texts]),
        }

    def encode(self, batch: Batch) -> Batch:
        """The batch with features in place of pixels and ids; one that has features already is returned as it is."""
        if "pixel_values" not in batch:
            return batch
        image_tokens, image = self._images(batch["pixel_values"])
        text_tokens, text = self._texts(batch["ids"], batch["text_mask"])
        rest = {name: tensor for name, tensor in batch.items() if name not in ("pixel_values", "ids")}
        return {**rest, "image_tokens": image_tokens, "image": image, "text_tokens": text_tokens, "text": text}

    def _images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self._in_chunks(lambda rows: self.backbone.encode_images(pixels[rows], self.tokens), len(pixels))

    def _texts(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        def encode(rows: slice) -> Features:
            return self.backbone.encode_texts(ids[rows], mask[rows], kind=self.tokens, pad_mode=self.pad_mode)

        return self._in_chunks(encode, len(ids))

    def _in_chunks(self, encode: Callable[[slice], Features], count: int) -> tuple[Tensor, Tensor]:
        dtype = getattr(torch, self.dtype)
        parts = [encode(slice(start, start + self.at_once)) for start in range(0, count, self.at_once)]
        return (
            torch.cat([part.tokens for part in parts]).to(dtype),
            torch.cat([part.summary for part in parts]).to(dtype),
        )

    # -- filling the store

    def fill(self, store: Store, samples: Sequence[Sample], place: Place) -> list[tuple[str, str]]:
        """Encode what of the samples the store lacks; `place` moves a batch to the backbone. Returns the keys."""
        keys = [self.keys(sample) for sample in samples]
        for column, name in enumerate(("image", "text")):
            lacking = {key[column]: row for row, key in enumerate(keys) if key[column] and key[column] not in store}
            if lacking:
                arrays = self._arrays([{name: samples[row][name]} for row in lacking.values()], name, place)
                store.put_many(
                    (key, {part: array[row] for part, array in arrays.items()}) for row, key in enumerate(lacking)
                )
        return keys

    def _arrays(self, samples: Sequence[Sample], name: str, place: Place) -> dict[str, NDArray[Any]]:
        """Tokens and summaries of one modality; of texts also the mask."""
        raw = place(self.raw(samples))
        if name == "image":
            tokens, summary = self._images(raw["pixel_values"])
            return {"tokens": tokens.cpu().numpy(), "summary": summary.cpu().numpy()}
        tokens, summary = self._texts(raw["ids"], raw["text_mask"])
        mask = raw["text_mask"].cpu().numpy()
        return {"tokens": tokens.cpu().numpy(), "summary": summary.cpu().numpy(), "mask": mask}

    def index(
        self, store: Store, dataset: Dataset, place: Place, complete: Complete | None = None
    ) -> list[tuple[str, str]]:
        """The keys of all samples of `dataset`, whose features are in the store afterwards.

        They are kept under the data set's fingerprint: a data set that was encoded once is not even read again. What
        `complete` adds to the checked samples stands in no fingerprint: with it, the data set is read every time.
        """
        name = f"dataset:{content_hash(dataset.fingerprint(), self.cleaning)}"
        if complete is None and name in store:
            found = store.get(name)
            known = [(image.decode(), text.decode()) for image, text in zip(found["i"], found["t"], strict=True)]
            if all(key in store for pair in known for key in pair if key):
                return known
        keys: list[tuple[str, str]] = []
        for start in range(0, len(dataset), SAMPLES_AT_ONCE):
            stop = min(start + SAMPLES_AT_ONCE, len(dataset))
            checked = [dataset.task.check(dataset[row], index=row) for row in range(start, stop)]
            keys += self.fill(store, checked if complete is None else complete(checked), place)
            log.info("encoded %d of %d memes of %s", stop, len(dataset), dataset.name)
        if complete is None:
            columns = zip(("i", "t"), zip(*keys, strict=True), strict=True)
            store.put_many([(name, {column: np.array(values, "S") for column, values in columns})])
        return keys


@dataclass(frozen=True)
class StoredFeatures:
    """Batches from a store; what is needed for the features of an absent image or text is here too."""

    store: Store
    shape: Shape
    text_length: int
    dtype: str

    def batch(self, keys: Sequence[tuple[str, str]]) -> Batch:
        """The features of the samples with these keys; absent images and texts are zeros."""
        images = [self.store.get(image) if image else self._no_image() for image, _ in keys]
        texts = [self.store.get(text) if text else self._no_text() for _, text in keys]
        return {
            "image_tokens": _stacked(images, "tokens"),
            "image": _stacked(images, "summary"),
            "text_tokens": _stacked(texts, "tokens"),
            "text": _stacked(texts, "summary"),
            "text_mask": _stacked(texts, "mask"),
            "has_image": torch.tensor([bool(image) for image, _ in keys]),
            "has_text": torch.tensor([bool(text) for _, text in keys]),
        }

    def _no_image(self) -> Arrays:
        tokens = np.zeros((self.shape.image_tokens, self.shape.image_width), self.dtype)
        return {"tokens": tokens, "summary": np.zeros(self.shape.embedding_width, self.dtype)}

    def _no_text(self) -> Arrays:
        tokens = np.zeros((self.text_length, self.shape.text_width), self.dtype)
        summary = np.zeros(self.shape.embedding_width, self.dtype)
        return {"tokens": tokens, "summary": summary, "mask": np.zeros(self.text_length, bool)}


def _stacked(items: Sequence[Arrays], name: str) -> Tensor:
    return torch.from_numpy(np.stack([item[name] for item in items]))


@dataclass(frozen=True)
class FeatureLoader:
    """Batches of a data set whose features are in a store: `rest` are small tensors of all samples."""

    features: StoredFeatures
    keys: list[tuple[str, str]]
    rest: Batch
    dropout: float

    def __call__(self, indices: Sequence[int], rng: np.random.Generator | None) -> Batch:
        """Features and `rest` of the samples at `indices`; in training (`rng`) some lose their image or their text."""
        batch = self.features.batch([self.keys[index] for index in indices])
        chosen = torch.as_tensor(indices)
        batch.update((name, tensor[chosen]) for name, tensor in self.rest.items())
        return batch if rng is None else drop_modality(batch, self.dropout, rng)


def drop_modality(batch: Batch, share: float, rng: np.random.Generator) -> Batch:
    """Take away image or text, each as likely, from about `share` of the samples that have both."""
    if not share:
        return batch
    n = len(batch["has_image"])
    both = batch["has_image"] & batch["has_text"]
    lose = torch.from_numpy(rng.random(n) < share) & both
    which = torch.from_numpy(rng.random(n) < 0.5)
    return {
        **batch,
        "has_image": batch["has_image"] & ~(lose & which),
        "has_text": batch["has_text"] & ~(lose & ~which),
    }
