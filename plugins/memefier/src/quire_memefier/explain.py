"""Which words and which patches of the image speak for the label: gradient times input, laid over the meme."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from quire.model import Explanation
from quire.report import COLOURS, subplots

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from quire.modality import Sample
    from quire_memefier.backbone import ClipBackbone
    from quire_memefier.heads import Head
    from quire_memefier.model import MemeFierClassifier

MOST_WORDS = 24  # on the picture: the strongest ones


@dataclass(frozen=True)
class Attribution:
    """What speaks for (above 0) and against the label, in units of its log-odds.

    patches float64 [grid, grid] (zeros without an image), words and their values float64 [words] (none without a text);
    image and text are what their global embeddings add.
    """

    label: str
    patches: NDArray[np.float64]
    words: tuple[str, ...]
    values: NDArray[np.float64]
    image: float
    text: float


def attribute(model: MemeFierClassifier, sample: Sample, label: str | None = None) -> Attribution:
    """The attribution of `label`, by default the predicted one, of the first head: sum over a token's features of
    gradient times feature. To first order, it is by how much the log-odds fall when the token fades.
    """
    head = model.heads[0]
    sample = model.with_text([model.task.check(sample)])[0]
    label = model.predict([sample])[0] if label is None else label
    extractor = model.extractor()
    batch = extractor.encode(model.runtime.move(model.collate([sample])))
    names = ("image_tokens", "image", "text_tokens", "text")
    leaves = {name: batch[name].float().detach().requires_grad_() for name in names}
    model.network.eval()
    with torch.enable_grad():
        logits = model.network({**batch, **leaves})[:, : head.logits]
        gradients = torch.autograd.grad(log_odds(head, logits[0], head.labels.index(label)), list(leaves.values()))
    shares = {
        name: (gradient * leaf).sum(dim=-1)[0].detach().double().cpu().numpy()
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
    }
    grid = extractor.backbone.grid
    words, values = _by_word(extractor.backbone, extractor.text_of(sample), shares["text_tokens"])
    return Attribution(
        label,
        shares["image_tokens"][1:].reshape(grid, grid),
        words,
        values,
        float(shares["image"]),
        float(shares["text"]),
    )


def log_odds(head: Head, logits: Tensor, position: int) -> Tensor:
    """The log-odds of one label from a head's logits [logits]; of an ordinal head its log-probability."""
    if head.kind == "binary":
        return logits[0] if position == 1 else -logits[0]
    if head.kind == "multiclass":
        others = torch.cat([logits[:position], logits[position + 1 :]])
        return logits[position] - others.logsumexp(dim=0)
    if head.kind == "multilabel":
        return logits[position]
    reached = F.logsigmoid(logits[:position]).sum()
    return reached + (F.logsigmoid(-logits[position]) if position < len(logits) else 0)


def _by_word(
    backbone: ClipBackbone, text: str | None, shares: NDArray[np.float64]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Tokens joined to words: what stands between blanks. What was truncated has no share."""
    if text is None:
        return (), np.zeros(0)
    spans = backbone.tokenizer(text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    words: list[list[int]] = []
    values: list[float] = []
    for position, (start, end) in enumerate(spans[: backbone.text_length - 1]):
        if start == end:  # the two ends of the sequence
            continue
        if words and words[-1][1] == start:
            words[-1][1] = end
            values[-1] += float(shares[position])
        else:
            words.append([start, end])
            values.append(float(shares[position]))
    return tuple(text[start:end].strip() for start, end in words), np.array(values)


def explain_memes(model: MemeFierClassifier, samples: Sequence[Sample]) -> Iterator[Explanation]:
    """One picture for each meme, with the numbers behind it."""
    for number, sample in enumerate(samples):
        checked = model.task.check(sample, index=number)
        (seen,) = model.with_text([checked])
        found = attribute(model, seen)
        probability = float(model.predict_proba([seen])[0, model.labels.index(found.label)])
        name = str(sample.get("id", number))
        title = f"{name}: {found.label} ({probability:.2f}){'' if seen is checked else ', text read by OCR'}"
        figure = draw(model.extractor().backbone, seen, found, title)
        summary = np.array([found.image, found.text])
        yield Explanation(name, figure, {"patches": found.patches, "words": found.values, "summary": summary})


def draw(backbone: ClipBackbone, sample: Sample, found: Attribution, title: str) -> Figure:
    """The meme as CLIP sees it, its patches' colours laid over it, and its words with their bars."""
    figure, (meme, patches, words) = subplots(1, 3, size=(9.6, 3.4))
    largest = max(float(np.abs(np.concatenate([found.patches.ravel(), found.values])).max(initial=0)), 1e-12)
    figure.suptitle(title.replace("$", r"\$"))
    if sample.get("image") is not None:
        seen = _seen(backbone, sample["image"])
        meme.imshow(seen)
        meme.set_axis_off()
        _draw_patches(patches, seen, found.patches, largest)
    else:
        _write(meme, "no image")
        _write(patches, "")
    if found.words:
        _draw_words(words, found, largest)
    else:
        _write(words, "no text")
    return figure


def _seen(backbone: ClipBackbone, image: Any) -> NDArray[np.float32]:
    """The resized and cropped image [side, side, 3] in 0..1."""
    pixels = backbone.pixel_values([image])[0].numpy()
    mean, std = (np.array(getattr(backbone.processor, name), np.float32) for name in ("image_mean", "image_std"))
    return np.asarray(np.clip(pixels.transpose(1, 2, 0) * std + mean, 0, 1), dtype=np.float32)


def _draw_patches(axes: Axes, image: NDArray[np.float32], patches: NDArray[np.float64], largest: float) -> None:
    side = len(image)
    axes.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=1)
    axes.imshow(
        patches,
        cmap="RdBu_r",
        vmin=-largest,
        vmax=largest,
        alpha=0.55,
        extent=(0, side, side, 0),
        interpolation="nearest",
    )
    axes.set_axis_off()
    axes.set_title("patches: red speaks for it, blue against")


def _draw_words(axes: Axes, found: Attribution, largest: float) -> None:
    strongest = sorted(np.argsort(-np.abs(found.values), kind="stable")[:MOST_WORDS].tolist())
    values = found.values[strongest]
    rows = np.arange(len(strongest))
    axes.barh(rows, values, color=[COLOURS[1] if value > 0 else COLOURS[0] for value in values])
    axes.set_yticks(rows, [found.words[index].replace("$", r"\$") for index in strongest])
    axes.set(xlim=(-largest, largest), ylim=(len(strongest) - 0.5, -0.5), xlabel="gradient x input")
    axes.axvline(0, color="#666666", linewidth=0.8)
    axes.locator_params(axis="x", nbins=3)
    axes.set_title("words")


def _write(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
    axes.set_axis_off()
