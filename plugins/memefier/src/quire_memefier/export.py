"""What is exported of a memefier: from the backbone's features to the probabilities of the first head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quire_memefier.heads import Head
    from quire_memefier.network import MemeFier

FEATURES = ("image_tokens", "image", "text_tokens", "text", "text_mask", "has_image", "has_text", "attributes")


class FirstHead(nn.Module):
    """FEATURES, see `MemeFier.fuse` -> probabilities of the first head float32 [n, labels], in the order of `labels`."""

    def __init__(self, network: MemeFier, head: Head, labels: Sequence[str], temperature: float) -> None:
        super().__init__()
        self.network = network
        self.head = head
        self.columns = [head.labels.index(label) for label in labels]
        self.temperature = temperature

    def forward(
        self,
        image_tokens: Tensor,
        image: Tensor,
        text_tokens: Tensor,
        text: Tensor,
        text_mask: Tensor,
        has_image: Tensor,
        has_text: Tensor,
        attributes: Tensor | None = None,
    ) -> Tensor:
        """The probabilities, the head's temperature applied."""
        given = (image_tokens, image, text_tokens, text, text_mask, has_image, has_text, attributes)
        logits = self.network(dict(zip(FEATURES, given, strict=True)))[:, : self.head.logits]
        return head_probabilities(self.head, logits / self.temperature)[:, self.columns]


def head_probabilities(head: Head, logits: Tensor) -> Tensor:
    """`Head.probabilities` of logits [n, logits] in operations that the export formats have."""
    if head.kind == "multiclass":
        return logits.softmax(dim=1)
    positive = logits.sigmoid()
    if head.kind == "binary":
        return torch.cat([1 - positive, positive], dim=1)
    if head.kind == "multilabel":
        return positive
    reached = F.logsigmoid(logits).cumsum(dim=1).exp()
    at_least = torch.cat([torch.ones_like(positive[:, :1]), reached], dim=1)
    return at_least - torch.cat([at_least[:, 1:], torch.zeros_like(positive[:, :1])], dim=1)
