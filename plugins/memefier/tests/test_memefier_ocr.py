"""Text read from images: when a reader is asked, what is kept, and that decisions tell."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydantic import ValidationError

from quire.dataset import InMemory
from quire.errors import ConfigError
from quire_memefier.data.confounders import confounder_memes
from quire_memefier.explain import attribute, explain_memes
from quire_memefier.model import MemeFierClassifier
from quire_memefier.task import MEME_CLASSIFICATION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., MemeFierClassifier]

needs_tesseract = pytest.mark.skipif(shutil.which("tesseract") is None, reason="the program tesseract is not installed")
MEMES = list(confounder_memes(16, np.random.default_rng(0)))
TEXTS = {np.asarray(meme.image).tobytes(): meme.text for meme in MEMES}


class KnownTexts:
    """A reader that knows the texts of the sampled memes, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, image: Image.Image) -> str:
        self.asked += 1
        return TEXTS.get(np.asarray(image).tobytes(), "")


def dataset(*, with_text: bool) -> InMemory:
    samples: list[dict[str, Any]] = [
        {"image": meme.image, "target": ("no", "yes")[meme.label], **({"text": meme.text} if with_text else {})}
        for meme in MEMES
    ]
    return InMemory(samples, task=MEME_CLASSIFICATION)


def written(*lines: str) -> Image.Image:
    image = Image.new("RGB", (640, 200), "white")
    font = ImageFont.load_default(size=48)
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((20, 20 + 80 * number), line, fill="black", font=font)
    return image


@pytest.mark.parametrize("cache", ["off", "ram", "disk"])
def test_read_texts_train_and_predict_as_given_ones(make: Make, cache: str) -> None:
    given = make(cache=cache).fit(dataset(with_text=True))
    read = make(cache=cache)
    read.text_reader = reader = KnownTexts()
    read.fit(dataset(with_text=False))
    assert reader.asked == len(TEXTS)
    full = [{"image": meme.image, "text": meme.text} for meme in MEMES]
    bare = [{"image": meme.image} for meme in MEMES]
    assert np.array_equal(given.predict_proba(full), read.predict_proba(bare))
    assert reader.asked == len(TEXTS)


def test_a_data_set_s_stored_index_does_not_hide_the_reader(make: Make) -> None:
    bare = dataset(with_text=False)
    model = make(cache="ram").fit(bare)
    without = model.encode(bare)
    model.text_reader = KnownTexts()
    assert [text for _, text in without] == [""] * len(MEMES)
    assert all(text for _, text in model.encode(bare))
    model.text_reader = None
    assert model.encode(bare) == without


def test_given_texts_are_not_read(trained: MemeFierClassifier, make: Make) -> None:
    model = make().fit(dataset(with_text=True))
    model.text_reader = reader = KnownTexts()
    model.predict_proba([{"image": MEMES[0].image, "text": "other"}, {"text": "alone"}])
    assert reader.asked == 0
    assert reader is model.text_reader


def test_decisions_and_explanations_tell_what_was_read(make: Make) -> None:
    model = make().fit(dataset(with_text=True))
    blank, meme = Image.new("RGB", (56, 56)), MEMES[0]
    samples: list[dict[str, Any]] = [
        {"image": meme.image},
        {"image": meme.image, "text": " "},
        {"image": meme.image, "text": "x"},
    ]
    model.text_reader = KnownTexts()
    told = [decision.warnings for decision in model.decide([*samples, {"image": blank}])]
    marked = (f"the text was read from the image (OCR): {meme.text}",)
    assert told == [marked, marked, (), ("text missing",)]
    assert attribute(model, samples[0]).words == tuple(meme.text.split())
    first, _, third = explain_memes(model, samples)
    assert "text read by OCR" in first.figure.get_suptitle()
    assert "OCR" not in third.figure.get_suptitle()


def test_baselines_refuse_the_option(make: Make) -> None:
    with pytest.raises((ConfigError, ValidationError), match="leave out ocr"):
        make(architecture="text", ocr="tesseract")


@needs_tesseract
def test_the_option_is_kept_with_the_model(make: Make, tmp_path: Path) -> None:
    make(ocr="tesseract").fit(dataset(with_text=True)).save(tmp_path / "model")
    model = MemeFierClassifier.load(tmp_path / "model")
    image = written("hello world")
    (decision,) = model.decide([{"image": image}])
    assert decision.warnings == ("the text was read from the image (OCR): hello world",)
    assert np.array_equal(
        model.predict_proba([{"image": image}]), model.predict_proba([{"image": image, "text": "hello world"}])
    )
