"""The caption decoder learns a language: below the words' own entropy on real captions (sec. 10 F)."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import torch

from quire_memefier.config import DecoderOptions
from quire_memefier.data.rows import read_captions
from quire_memefier.losses import caption_loss
from quire_memefier.network import CaptionDecoder
from quire_memefier.presets import DECODERS
from quire_memefier.text import Vocabulary, caption_length

if TYPE_CHECKING:
    from pathlib import Path

BUDGET = 120.0  # seconds: an end for a training that does not get there


@pytest.mark.slow
def test_the_decoder_beats_the_frequencies_of_words(published: Path) -> None:
    captions = list(read_captions(published / "captions_fbhm.json").values())[:5000]
    vocabulary, length = Vocabulary.of(captions), caption_length(captions)
    ids = torch.tensor([vocabulary.encode(caption, length, sentence=True) for caption in captions])
    held_out, train = ids[:500], ids[500:]
    counts = Counter(train[:, 1:][train[:, 1:] != 0].tolist())
    total = sum(counts.values())
    entropy = -sum(count / total * math.log(count / total) for count in counts.values())

    torch.manual_seed(0)
    decoder = CaptionDecoder(16, 5, len(vocabulary), length, DecoderOptions(**DECODERS[0]))
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=3e-3)
    memory = torch.randn(len(ids), 5, 16, generator=torch.Generator().manual_seed(1))

    def held_out_loss() -> float:
        decoder.eval()
        with torch.no_grad():
            return float(caption_loss(decoder(memory[:500], held_out), held_out))

    assert held_out_loss() > entropy
    started, loss = time.monotonic(), math.inf
    while loss >= entropy and time.monotonic() - started < BUDGET:
        decoder.train()
        for rows in torch.randperm(len(train)).split(64)[:30]:
            optimizer.zero_grad()
            caption_loss(decoder(memory[500:][rows], train[rows]), train[rows]).backward()
            optimizer.step()
        loss = held_out_loss()
    assert loss < entropy
