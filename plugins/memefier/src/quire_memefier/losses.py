"""The loss of the caption decoder (sec. 3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

PAD = 0
CaptionReduction = Literal["token", "reference"]


def caption_loss(logits: Tensor, captions: Tensor, reduction: CaptionReduction = "token") -> Tensor:
    """Cross-entropy of every next word of a caption.

    logits [n, length, words] at positions 0.., captions int64 [n, length] with `<pad>` = 0; position w is held against
    the word at w + 1. "reference" counts pads as zeros in both means, so that its value shrinks with padding:
    1 / (L - 1) sum_w mean_n(1[c != pad] CE). "token" is the mean over the words that are no pads (0 if there is none);
    the same alpha then weighs 1 / (share of words that are no pads) times as much, about 1.3 to 1.5 on the three
    published caption files.
    """
    following = captions[:, 1:]
    losses = F.cross_entropy(logits[:, :-1].float().transpose(1, 2), following, ignore_index=PAD, reduction="none")
    if reduction == "reference":
        return losses.mean()
    return losses.sum() / (following != PAD).sum().clamp(min=1)
