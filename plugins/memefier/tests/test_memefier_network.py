"""The network against closed forms and equivalences (sec. 10 B and D)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from quire_memefier.config import DecoderOptions, EncoderOptions
from quire_memefier.losses import caption_loss
from quire_memefier.network import CaptionDecoder, MemeFier, Shape, unit
from quire_memefier.presets import DECODERS, ENCODERS

if TYPE_CHECKING:
    from torch import Tensor

L14 = Shape(image_width=1024, text_width=768, embedding_width=768, image_tokens=257)
TINY = Shape(image_width=12, text_width=10, embedding_width=8, image_tokens=5)
SMALL = EncoderOptions(heads=2, ffn=32, layers=1, dropout=0.0)


def tiny(**options: Any) -> MemeFier:
    torch.manual_seed(0)
    values: dict[str, Any] = {
        "dim": 16, "encoder": SMALL, "outputs": 1, "proj_dropout": 0.0, "ext_dropout": 0.0, "head_dropout": 0.0,
    }  # fmt: skip
    return MemeFier(TINY, **{**values, **options}).eval()


def batch(n: int = 3, length: int = 7, real: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(length).expand(n, length) < real
    return {
        "image_tokens": torch.randn(n, 5, 12, generator=generator),
        "text_tokens": torch.randn(n, length, 10, generator=generator),
        "image": torch.randn(n, 8, generator=generator),
        "text": torch.randn(n, 8, generator=generator),
        "text_mask": mask,
        "has_image": torch.ones(n, dtype=torch.bool),
        "has_text": torch.ones(n, dtype=torch.bool),
        "attributes": torch.tensor([[1, 8, 10, 0, 0, 0]] * n),
    }


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@pytest.mark.parametrize(
    ("dim", "layers", "decoder", "parameters"),
    [(512, 0, 0, 3_764_998), (512, 0, 1, 6_948_230), (1024, 1, 0, 29_145_350), (1024, 1, 1, 32_426_886)],
)
def test_published_parameter_counts(dim: int, layers: int, decoder: int, parameters: int) -> None:
    with torch.device("meta"):
        network = MemeFier(
            L14,
            components="EC12",
            dim=dim,
            encoder=EncoderOptions(**ENCODERS[layers]),
            outputs=1,
            absent_embedding=False,
        )
        telling = CaptionDecoder(dim, 257, 2853, 18, DecoderOptions(**DECODERS[decoder]))
    assert count(network, telling) == parameters


@pytest.mark.parametrize("dim", [512, 1024])
def test_stage_1_shrinks_unit_vectors_to_one_over_root_d(dim: int) -> None:
    torch.manual_seed(0)
    tokens, other = unit(torch.randn(400, dim)), unit(torch.randn(400, dim))
    norms = (tokens * other).norm(dim=-1)
    assert float(norms.square().mean().sqrt()) == pytest.approx(1 / math.sqrt(dim), rel=0.01)


def test_scaled_stage_1_keeps_norms_near_one() -> None:
    torch.manual_seed(0)
    network = MemeFier(L14, components="12", dim=64, encoder=SMALL, outputs=1, stage1_scale="sqrt_d").eval()
    seen: list[Tensor] = []
    network.fusion.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    n = 8
    network(
        {
            "image_tokens": torch.randn(n, 257, 1024), "text_tokens": torch.randn(n, 7, 768),
            "image": torch.randn(n, 768), "text": torch.randn(n, 768),
            "text_mask": torch.ones(n, 7, dtype=torch.bool),
            "has_image": torch.ones(n, dtype=torch.bool), "has_text": torch.ones(n, dtype=torch.bool),
        }
    )  # fmt: skip
    norms = seen[0][:, 1:].detach().norm(dim=-1)
    assert float(norms.square().mean().sqrt()) == pytest.approx(1.0, rel=0.15)
    assert torch.allclose(seen[0][:, 0].norm(dim=-1), torch.ones(n))


def test_forward_is_the_written_out_method() -> None:
    """Without the second stage every step can be written down: sec. 3.2 to 3.4."""
    network, given = tiny(components="E1"), batch()
    g, x = unit(network.image(given["image"])), unit(network.text(given["text"]))
    rows = []
    for n in range(3):
        tokens = [unit(network.cls.weight[0])]
        tokens += [
            unit(network.image_tokens(t) + network.token_type.weight[0]) * x[n] for t in given["image_tokens"][n]
        ]
        tokens += [
            unit(network.text_tokens(t) + network.token_type.weight[1]) * g[n] for t in given["text_tokens"][n][:4]
        ]
        tokens += [unit(network.external(a) + network.token_type.weight[2]) for a in given["attributes"][n][:3]]
        rows.append(network.heads(torch.stack(tokens).mean(dim=0)))
    assert torch.allclose(network(given), torch.stack(rows), atol=1e-6)


@pytest.mark.parametrize("components", ["12", "2", "1", "", "E12"])
def test_a_batch_is_its_single_memes(components: str) -> None:
    network, given = tiny(components=components), batch(6)
    together = network(given)
    alone = torch.cat([network({name: tensor[[row]] for name, tensor in given.items()}) for row in range(6)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_order_of_tokens_within_a_modality_does_not_matter() -> None:
    network, given = tiny(components="E12"), batch()
    order = torch.tensor([3, 0, 4, 2, 1])
    words = torch.tensor([2, 0, 3, 1, 4, 5, 6])  # real ones among themselves
    shuffled = {**given, "image_tokens": given["image_tokens"][:, order], "text_tokens": given["text_tokens"][:, words]}
    assert torch.allclose(network(given), network(shuffled), atol=1e-5)


@pytest.mark.parametrize("components", ["12", "1", "E12"])
def test_what_stands_in_masked_pads_changes_nothing(components: str) -> None:
    network, given = tiny(components=components), batch()
    noise = given["text_tokens"] + 100 * torch.randn_like(given["text_tokens"]) * ~given["text_mask"].unsqueeze(-1)
    assert torch.equal(network(given), network({**given, "text_tokens": noise}))


def test_the_papers_way_attends_to_pads() -> None:
    network, given = tiny(components="12", mask_padding=False), batch()
    noise = given["text_tokens"] + torch.randn_like(given["text_tokens"]) * ~given["text_mask"].unsqueeze(-1)
    assert not torch.allclose(network(given), network({**given, "text_tokens": noise}))


@pytest.mark.parametrize("paper", [True, False])
def test_a_missing_modalitys_features_change_nothing(paper: bool) -> None:
    network, given = tiny(components="12", mask_padding=not paper, absent_embedding=not paper), batch()
    given["has_image"][:] = False
    other = {**given, "image": given["image"] + 1, "image_tokens": given["image_tokens"] * 3}
    assert torch.equal(network(given), network(other))
    given["has_image"][:], given["has_text"][:] = True, False
    other = {**given, "text": given["text"] + 1, "text_tokens": given["text_tokens"] * 3}
    assert torch.equal(network(given), network(other))


def test_what_stands_for_a_missing_image_is_learned() -> None:
    network, given = tiny(components="12"), batch()
    given["has_image"][0] = False
    network(given).sum().backward()
    assert network.absent.grad is not None
    assert float(network.absent.grad[0].abs().sum()) > 0
    assert float(network.absent.grad[1].abs().sum()) == 0


def test_dropping_a_component_equals_a_network_built_without_it() -> None:
    """E's and C's parts are the only difference: with E's tokens masked, the same weights give the same logits."""
    with_external, without, given = tiny(components="EC12"), tiny(components="12"), batch()
    shared = {name: tensor for name, tensor in with_external.state_dict().items() if not name.startswith("external")}
    without.load_state_dict(shared)
    given["attributes"][:] = 0
    assert torch.allclose(with_external(given), without(given), atol=1e-6)


def test_gradients_of_products_and_norms() -> None:
    torch.manual_seed(0)
    tokens, other = (torch.randn(3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: unit(a) * unit(b), (tokens, other))


# -------------------------------------------------------------------------------------------------- the caption decoder


def decoder(words: int = 11, length: int = 6) -> CaptionDecoder:
    torch.manual_seed(0)
    return CaptionDecoder(16, 5, words, length, DecoderOptions(d=8, heads=2, ffn=16, layers=1, dropout=0.0)).eval()


CAPTIONS = torch.tensor([[2, 4, 5, 3, 0, 0], [2, 6, 7, 8, 9, 3]])


def test_a_word_is_told_from_those_before_it() -> None:
    telling, memory = decoder(), torch.randn(2, 5, 16)
    changed = CAPTIONS.clone()
    changed[:, 3:] = 10
    assert torch.allclose(telling(memory, CAPTIONS)[:, :3], telling(memory, changed)[:, :3], atol=1e-5)


def test_pads_are_not_attended_to() -> None:
    telling, memory = decoder(), torch.randn(1, 5, 16)
    short, long = CAPTIONS[:1, :4], CAPTIONS[:1]
    assert torch.allclose(telling(memory, short), telling(memory, long)[:, :4], atol=1e-5)


def test_a_caption_of_pads_alone_has_a_finite_loss() -> None:
    telling, memory = decoder(), torch.randn(2, 5, 16)
    captions = torch.stack([CAPTIONS[1], torch.zeros(6, dtype=torch.int64)])
    logits = telling(memory, captions)
    assert bool(torch.isfinite(logits).all())
    assert torch.allclose(caption_loss(logits, captions), caption_loss(logits[:1], captions[:1]))
    assert float(caption_loss(logits[1:], captions[1:])) == 0.0


def test_without_the_second_stage_the_decoder_has_nothing_to_look_at() -> None:
    """The degenerate ablation EC1: an empty memory must still give finite logits."""
    assert bool(torch.isfinite(decoder()(torch.zeros(2, 0, 16), CAPTIONS)).all())


def slow_caption_loss(logits: Tensor, captions: Tensor, reduction: str) -> float:
    n, length = captions.shape
    total, words = 0.0, 0
    for w in range(length - 1):
        per_position = 0.0
        for row in range(n):
            target = int(captions[row, w + 1])
            if target != 0:
                per_position += -float(torch.log_softmax(logits[row, w], dim=0)[target])
                words += 1
        total += per_position / n
    return total / (length - 1) if reduction == "reference" else total * n / words


@pytest.mark.parametrize("reduction", ["reference", "token"])
def test_caption_loss_is_the_written_out_sum(reduction: Any) -> None:
    logits = torch.randn(2, 6, 11, generator=torch.Generator().manual_seed(0))
    expected = slow_caption_loss(logits, CAPTIONS, reduction)
    assert float(caption_loss(logits, CAPTIONS, reduction)) == pytest.approx(expected, rel=1e-5)


def test_the_token_mean_does_not_depend_on_padding() -> None:
    logits = torch.randn(2, 6, 11, generator=torch.Generator().manual_seed(0))
    wider = torch.cat([logits, torch.randn(2, 3, 11)], dim=1)
    padded = torch.cat([CAPTIONS, torch.zeros(2, 3, dtype=torch.int64)], dim=1)
    assert torch.allclose(caption_loss(wider, padded), caption_loss(logits, CAPTIONS))
    assert not torch.allclose(caption_loss(wider, padded, "reference"), caption_loss(logits, CAPTIONS, "reference"))


def test_weighing_by_the_share_of_words_turns_one_reduction_into_the_other() -> None:
    logits = torch.randn(2, 6, 11, generator=torch.Generator().manual_seed(0))
    share = float((CAPTIONS[:, 1:] != 0).float().mean())
    assert float(caption_loss(logits, CAPTIONS, "reference")) == pytest.approx(
        share * float(caption_loss(logits, CAPTIONS)), rel=1e-5
    )
