"""The reference's baselines: ResNet18 on the image, an LSTM on the words, or both (sec. 3.9 of the method)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor, nn

from quire.errors import InvalidSample, QuireError, Where
from quire_memefier.text import Vocabulary, clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from PIL.Image import Image

    from quire.modality import Sample
    from quire_memefier.config import BaselineOptions

MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # ImageNet's
STD = np.array([0.229, 0.224, 0.225], np.float32)
READS = {"image": ("image",), "text": ("text",), "late_fusion": ("image", "text")}


class Baseline(nn.Module):
    """Image, text or both, each to a hidden vector, and a classifier on top.

    pixels float32 [n, 3, s, s] and words int64 [n, t] (0: pad) -> logits [n, outputs]
    """

    def __init__(
        self, architecture: str, *, resnet: Mapping[str, Any], words: int, hidden: int, layers: int, outputs: int
    ) -> None:
        super().__init__()
        self.reads = READS[architecture]
        width = hidden if len(self.reads) == 2 else 2 * hidden
        if "image" in self.reads:
            self.resnet = build_resnet(resnet)
            self.image = nn.Sequential(nn.Linear(resnet["hidden_sizes"][-1], width), nn.Tanh())
        if "text" in self.reads:
            self.embedding = nn.Embedding(words, hidden, padding_idx=0)
            self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True)
            self.text = nn.Sequential(nn.Dropout(0.5), nn.Linear(hidden, width), nn.ReLU(), nn.Dropout(0.5))
        fused = [nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)]
        self.output = nn.Sequential(*fused) if len(self.reads) == 2 else nn.Linear(width, outputs)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits [n, outputs]."""
        parts = []
        if "image" in self.reads:
            parts.append(self.image(self.resnet(batch["pixels"]).pooler_output.flatten(1)))
        if "text" in self.reads:
            parts.append(self.text(self._last_state(batch["words"])))
        return cast("Tensor", self.output(torch.cat(parts, dim=1)))

    def _last_state(self, words: Tensor) -> Tensor:
        """The LSTM's output at the last word [n, hidden], from a first state of zeros."""
        states, _ = self.lstm(self.embedding(words))
        last = ((words != 0).sum(dim=1) - 1).clamp(min=0)
        return cast("Tensor", states[torch.arange(len(words), device=words.device), last])


def resnet_config(options: BaselineOptions, *, download: bool) -> tuple[dict[str, Any], dict[str, Tensor] | None]:
    """The ResNet's configuration, and the weights of a pre-trained one (None for one from scratch)."""
    from transformers import ResNetModel

    if options.resnet is None:
        widths = list(options.widths)
        return {
            "embedding_size": widths[0],
            "hidden_sizes": widths,
            "depths": [2] * len(widths),
            "layer_type": "basic",
        }, None
    try:
        model = ResNetModel.from_pretrained(options.resnet, local_files_only=not download, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise QuireError(
            f"the ResNet {options.resnet} is not on this machine",
            where=Where(field="baseline.resnet"),
            remedy="Give a local folder, add download=true, or leave it out to train from scratch.",
        ) from error
    names = ("embedding_size", "hidden_sizes", "depths", "layer_type")
    return {name: getattr(model.config, name) for name in names}, model.state_dict()


def build_resnet(config: Mapping[str, Any]) -> nn.Module:
    """A ResNet with random weights."""
    from transformers import ResNetConfig, ResNetModel

    return cast("nn.Module", ResNetModel(ResNetConfig(**config)))


def word_facts(texts: Sequence[str], options: BaselineOptions) -> dict[str, Any]:
    """The vocabulary of the training texts, and how many words of a text are read."""
    lengths = [len(clean(text).split()) for text in texts]
    length = int(np.ceil(np.quantile(lengths, options.length_quantile))) if lengths else 1
    return {"words": list(Vocabulary.of(texts, min_count=options.min_count).words), "length": max(1, length)}


def require_inputs(samples: Sequence[Sample], architecture: str) -> None:
    """InvalidSample for a meme that lacks what the baseline reads."""
    for number, sample in enumerate(samples):
        for name in READS[architecture]:
            if sample.get(name) is None:
                where = Where(sample=sample.get("id", number), field=name)
                raise InvalidSample(f"the baseline {architecture} needs the field", where=where)


def read_words(samples: Sequence[Sample], facts: Mapping[str, Any]) -> Tensor:
    """Word ids int64 [n, length]."""
    vocabulary = Vocabulary(tuple(facts["words"]))
    return torch.tensor([vocabulary.encode(clean(sample["text"]), facts["length"]) for sample in samples])


def read_pixels(samples: Sequence[Sample], size: int, rng: np.random.Generator | None) -> Tensor:
    """Pixels float32 [n, 3, size, size]; in training (`rng`) cropped and flipped at random, else from the middle."""
    return torch.from_numpy(np.stack([_pixels(sample["image"], size, rng) for sample in samples]))


def _pixels(image: Image, size: int, rng: np.random.Generator | None) -> NDArray[np.float32]:
    whole = round(size * 256 / 224)
    resized = image.resize((whole, whole), PillowImage.Resampling.BILINEAR)
    spare = whole - size
    left, top = (spare // 2, spare // 2) if rng is None else rng.integers(0, spare + 1, size=2).tolist()
    cropped = resized.crop((left, top, left + size, top + size))
    if rng is not None and rng.random() < 0.5:
        cropped = cropped.transpose(PillowImage.Transpose.FLIP_LEFT_RIGHT)
    scaled = (np.asarray(cropped, np.float32) / 255 - MEAN) / STD
    return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)
