"""The network, in the order in which a meme flows through it (sec. 3.2 to 3.5 of the method).

n memes, P image tokens (with CLIP's class token), T text tokens, A attribute tokens, d model width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quire_memefier.attributes import TOKENS
from quire_memefier.losses import PAD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quire_memefier.config import DecoderOptions, EncoderOptions

IMAGE, TEXT, EXTERNAL, TYPES = 0, 1, 2, 4  # rows of the type embedding; the reference has a fourth, unused


@dataclass(frozen=True)
class Shape:
    """What the backbone gives: widths of its tokens and of its joint embedding, and how many image tokens."""

    image_width: int
    text_width: int
    embedding_width: int
    image_tokens: int


def unit(x: Tensor) -> Tensor:
    """n(x): every vector over its Euclidean norm."""
    return F.normalize(x, dim=-1)


class DualStageFusion(nn.Module):
    """The second stage: a Transformer encoder over [CLS; image; text; external]; without it, the tokens' mean.

    tokens [n, s, d], mask [n, s] True where there is a token -> [n, s, d], or [n, 1, d] without the second stage
    """

    def __init__(self, dim: int, options: EncoderOptions, *, second: bool) -> None:
        super().__init__()
        self.encoder = _encoder(dim, options) if second else None

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """The fused sequence, or its mean over the tokens that count."""
        if self.encoder is not None:
            return cast("Tensor", self.encoder(tokens, src_key_padding_mask=~mask))
        weights = mask.unsqueeze(-1).to(tokens.dtype)
        return (tokens * weights).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True)


def _encoder(dim: int, options: EncoderOptions) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        dim, options.heads, options.ffn, options.dropout, batch_first=True, norm_first=options.norm_first
    )
    return nn.TransformerEncoder(layer, options.layers, enable_nested_tensor=False)


class MemeFier(nn.Module):
    """Projections, both fusion stages and the heads; what it takes of a batch is in `fuse`."""

    def __init__(
        self,
        shape: Shape,
        *,
        components: str = "12",
        dim: int,
        encoder: EncoderOptions,
        outputs: int,
        proj_dropout: float = 0.4,
        ext_dropout: float = 0.5,
        head_dropout: float = 0.1,
        stage1_scale: str = "none",
        mask_padding: bool = True,
        absent_embedding: bool = True,
    ) -> None:
        super().__init__()
        self.components = frozenset(components)
        self.mask_padding = mask_padding
        self.scale = math.sqrt(dim) if stage1_scale == "sqrt_d" else 1.0
        self.image_tokens = nn.Sequential(nn.Linear(shape.image_width, dim), nn.Dropout(proj_dropout))
        self.text_tokens = nn.Sequential(nn.Linear(shape.text_width, dim), nn.Dropout(proj_dropout))
        self.image = nn.Sequential(nn.Linear(shape.embedding_width, dim), nn.Dropout(proj_dropout))
        self.text = nn.Sequential(nn.Linear(shape.embedding_width, dim), nn.Dropout(proj_dropout))
        if "E" in self.components:
            self.external = nn.Sequential(
                nn.Embedding(TOKENS, 32), nn.Dropout(ext_dropout), nn.Linear(32, dim), nn.Dropout(ext_dropout)
            )
        self.cls = nn.Embedding(1, dim)
        self.token_type = nn.Embedding(TYPES, dim)
        constant = torch.ones(2, dim)  # the same in all directions: it tells nothing
        self.absent = nn.Parameter(constant) if absent_embedding else nn.Buffer(constant, persistent=False)
        self.fusion = DualStageFusion(dim, encoder, second="2" in self.components)
        self.heads = nn.Sequential(nn.Dropout(head_dropout), nn.Linear(dim, outputs))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits [n, outputs]."""
        return self.classify(self.fuse(batch))

    def classify(self, fused: Tensor) -> Tensor:
        """fused [n, s, d] -> logits [n, outputs], read from the first row."""
        return cast("Tensor", self.heads(fused[:, 0]))

    def fuse(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The fused sequence [n, 1 + P + T (+ A), d], or [n, 1, d] without the second stage.

        batch: image_tokens [n, P, .], text_tokens [n, T, .], image [n, .], text [n, .], text_mask [n, T] (True: no
        pad), has_image [n], has_text [n], with component E attributes int64 [n, A].
        """
        image, text = self._globals(batch)  # g, x: [n, d]
        image_tokens = unit(self.image_tokens(batch["image_tokens"].float()) + self.token_type.weight[IMAGE])
        text_tokens = unit(self.text_tokens(batch["text_tokens"].float()) + self.token_type.weight[TEXT])
        if "1" in self.components:  # sec. 3.3
            image_tokens = image_tokens * text.unsqueeze(1) * self.scale
            text_tokens = text_tokens * image.unsqueeze(1) * self.scale
        cls = unit(self.cls.weight).expand(image.shape[0], 1, -1)  # z: [n, 1, d]; len() would fix n in an export
        parts = [cls, image_tokens, text_tokens]
        if "E" in self.components:
            parts.append(unit(self.external(batch["attributes"]) + self.token_type.weight[EXTERNAL]))
        return cast("Tensor", self.fusion(torch.cat(parts, dim=1), self._mask(batch)))

    def _globals(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The unit embeddings of image and text [n, d]; of a missing one, what stands for it."""
        image, text = unit(self.image(batch["image"].float())), unit(self.text(batch["text"].float()))
        absent = unit(self.absent)
        image = torch.where(batch["has_image"].unsqueeze(1), image, absent[IMAGE])
        return image, torch.where(batch["has_text"].unsqueeze(1), text, absent[TEXT])

    def _mask(self, batch: Mapping[str, Tensor]) -> Tensor:
        """True [n, s] for the tokens that count. A missing image's or text's never do, pads where the paper's way is."""
        n, p = batch["image_tokens"].shape[:2]
        has_image, has_text = batch["has_image"].unsqueeze(1), batch["has_text"].unsqueeze(1)
        text = batch["text_mask"] & has_text if self.mask_padding else has_text.expand_as(batch["text_mask"])
        parts = [torch.ones_like(has_image), has_image.expand(n, p), text]
        if "E" in self.components:
            known = batch["attributes"] != PAD
            parts.append(known if self.mask_padding else torch.ones_like(known))
        return torch.cat(parts, dim=1)


class CaptionDecoder(nn.Module):
    """Tells the image's caption from its fused tokens, in training only (sec. 3.5).

    memory [n, P, d], captions int64 [n, L] -> logits of the next words [n, L, words]
    """

    def __init__(self, dim: int, memory_length: int, words: int, length: int, options: DecoderOptions) -> None:
        super().__init__()
        self.scale = math.sqrt(options.d)
        self.memory = nn.Linear(dim, options.d)
        self.memory_position = nn.Embedding(memory_length, options.d)
        self.word = nn.Embedding(words, options.d)
        self.position = nn.Embedding(length, options.d)
        layer = nn.TransformerDecoderLayer(options.d, options.heads, options.ffn, options.dropout, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, options.layers)
        self.output = nn.Linear(options.d, words)

    def forward(self, memory: Tensor, captions: Tensor) -> Tensor:
        """Logits of the word that follows each position."""
        length = captions.shape[1]
        memory = self.memory(memory) + self.memory_position.weight[: memory.shape[1]]
        target = self.scale * self.word(captions) + self.position.weight[:length]
        future = torch.ones(length, length, dtype=torch.bool, device=captions.device).triu(1)
        fused = self.decoder(target, memory, tgt_mask=future, tgt_key_padding_mask=_pads(captions), tgt_is_causal=True)
        return cast("Tensor", self.output(fused))


def _pads(captions: Tensor) -> Tensor:
    """Pads [n, L]; the first position is never one, for attention to nothing at all is not a number."""
    pads = captions == PAD
    pads[:, 0] = False
    return pads
