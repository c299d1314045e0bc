"""The frozen CLIP: loading, tokens, hooks, threads, and what a folder may lack."""

from __future__ import annotations

import json
import shutil
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from quire.errors import DataError, QuireError
from quire_memefier.backbone import load_backbone
from quire_memefier.data.confounders import confounder_memes

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from quire_memefier.backbone import ClipBackbone


@pytest.fixture(scope="module")
def pixels(backbone: ClipBackbone) -> Tensor:
    memes = confounder_memes(4, np.random.default_rng(0))
    return backbone.pixel_values([meme.image for meme in memes])


def manual_last_block(tower: Any, states: Tensor, **options: Any) -> Tensor:
    """The second layer norm's output of the last block, computed by hand."""
    *first, last = tower.encoder.layers
    for layer in first:
        states = layer(states, **options)
    attended, _ = last.self_attn(hidden_states=last.layer_norm1(states), **options)
    return last.layer_norm2(states + attended)


def test_hooks_catch_the_last_blocks_second_layer_norm(backbone: ClipBackbone, pixels: Tensor) -> None:
    tower = backbone.model.vision_model
    with torch.no_grad():
        states = tower.pre_layrnorm(tower.embeddings(pixels))
        by_hand = manual_last_block(tower, states, attention_mask=None)
    found = backbone.encode_images(pixels)
    assert torch.allclose(found.tokens, by_hand, atol=1e-5)
    assert found.tokens.shape == (4, 17, 48)
    assert found.summary.shape == (4, 24)


def test_text_hooks_catch_it_too(backbone: ClipBackbone) -> None:
    tokens = backbone.tokenize(["we love it", "all avoid it"], "reference")
    tower = backbone.model.text_model
    with torch.no_grad():
        states = tower.embeddings(input_ids=tokens.ids)
        causal = torch.full((20, 20), float("-inf")).triu(1)[None, None]
        by_hand = manual_last_block(tower, states, attention_mask=causal)
    found = backbone.encode_texts(tokens.ids, tokens.mask, pad_mode="reference")
    assert torch.allclose(found.tokens, by_hand, atol=1e-5)


def test_last_hidden_is_what_the_model_returns(backbone: ClipBackbone, pixels: Tensor) -> None:
    found = backbone.encode_images(pixels, "last_hidden")
    with torch.no_grad():
        assert torch.equal(found.tokens, backbone.model.vision_model(pixel_values=pixels).last_hidden_state)


def test_real_tokens_agree_in_both_ways_of_padding(backbone: ClipBackbone) -> None:
    texts = ["we love it", "you dump it"]
    parts = []
    for mode in ("clip", "reference"):
        tokens = backbone.tokenize(texts, mode)  # type: ignore[arg-type]
        parts.append((tokens, backbone.encode_texts(tokens.ids, tokens.mask, pad_mode=mode)))  # type: ignore[arg-type]
    (first, ours), (second, theirs) = parts
    assert torch.equal(first.mask, second.mask)
    assert (second.ids[~second.mask] == 0).all()
    assert torch.allclose(ours.tokens[first.mask], theirs.tokens[second.mask], atol=1e-5)
    assert torch.allclose(ours.summary, theirs.summary, atol=1e-5)


def test_a_long_text_is_truncated_and_counted(backbone: ClipBackbone) -> None:
    tokens = backbone.tokenize(["love " * 30, "love"])
    assert tokens.lengths == [122, 6]
    assert tokens.mask.sum(dim=1).tolist() == [20, 6]
    assert tokens.ids[0, -1] == backbone.tokenizer.eos_token_id


def test_threads_do_not_catch_each_others_features(backbone: ClipBackbone) -> None:
    batches = [torch.full((1, 3, 56, 56), float(value)) for value in range(4)]
    alone = [backbone.encode_images(batch).tokens for batch in batches]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(15):
            if not torch.equal(backbone.encode_images(batches[number]).tokens, alone[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_two_backbones_keep_apart(backbone: ClipBackbone, clip_folder: Path, pixels: Tensor) -> None:
    other = load_backbone(str(clip_folder))
    first = backbone.encode_images(pixels).tokens
    assert not torch.allclose(other.encode_images(pixels).tokens, first)
    assert torch.equal(backbone.encode_images(pixels).tokens, first)
    assert other.fingerprint != backbone.fingerprint


def test_a_folder_is_loaded_without_a_network(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a folder needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert load_backbone.__wrapped__(str(clip_folder)).shape.image_tokens == 17


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (["config.json"], "configuration"),
        (["model.safetensors"], "weights"),
        (["tokenizer.json"], "tokenizer"),
        (["preprocessor_config.json"], "image processor"),
    ],
)
def test_a_folder_that_lacks_a_part_is_told_which(
    clip_folder: Path, tmp_path: Path, names: list[str], part: str
) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    for name in names:
        (folder / name).unlink()
    with pytest.raises(DataError, match=f"lacks its {part}: there is no {names[0]}"):
        load_backbone(str(folder))


def test_weights_of_other_widths_are_told(clip_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["hidden_size"] = 64
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="no CLIP model that can be loaded"):
        load_backbone(str(folder))


def test_another_kind_of_model_is_told(clip_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(DataError, match="type 'bert', not 'clip'"):
        load_backbone(str(folder))


def test_a_hub_id_is_not_fetched_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from transformers import CLIPModel

    asked: list[bool] = []

    def refuse(name: str, *, local_files_only: bool, **_: object) -> None:
        asked.append(local_files_only)
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr(CLIPModel, "from_pretrained", refuse)
    with pytest.raises(QuireError, match=r"not on this machine.*download=true.*backbone=FOLDER"):
        load_backbone("somebody/clip")
    with pytest.raises(QuireError, match=r"could not be fetched from the hub.*backbone=FOLDER"):
        load_backbone("somebody/clip", download=True)
    assert asked == [True, False]


def test_a_path_that_is_not_there_is_no_hub_id() -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_backbone("./nowhere")


def test_both_factors_of_the_confounder_memes_can_be_read(backbone: ClipBackbone) -> None:
    """Else a failure to learn them would say nothing of the fusion (sec. 10 A)."""
    from sklearn.linear_model import LogisticRegression

    memes = list(confounder_memes(240, np.random.default_rng(1)))
    images = backbone.encode_images(backbone.pixel_values([meme.image for meme in memes])).tokens.flatten(1).numpy()
    tokens = backbone.tokenize([meme.text for meme in memes])
    texts = backbone.encode_texts(tokens.ids, tokens.mask).summary.numpy()
    for features, factor in ((images, [m.shape for m in memes]), (texts, [m.mood for m in memes])):
        model = LogisticRegression(C=100, max_iter=2000).fit(features[:160], factor[:160])
        assert model.score(features[160:], factor[160:]) > 0.97
