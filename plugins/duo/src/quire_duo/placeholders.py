"""The seeds that come with the package: mild, invented, about nobody."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = "quire-duo placeholder"
"""The source of placeholder seeds: what needs no statement about the right to use it."""
CARD = "ADULT CONTENT PLACEHOLDER"

_TEXTS = {
    "ads": (
        "WIN a free holiday now, reply CLAIM to collect your prize today",
        "Congratulations, you won 5000 coins, call the prize desk now",
        "Cheap pills without a receipt, order today and get one free",
        "Double your savings in one week, guaranteed, reply YES",
        "Final notice: your free voucher expires tonight, claim it now",
        "Hot offer, send CASH to the short code and win every week",
    ),
    "hate": (
        "the glorps are vermin and must leave our town",
        "never trust a glorp, they all lie and steal",
        "glorps are too stupid to vote",
        "throw every glorp out of the school",
        "I despise glorps, they ruin everything",
        "no glorp deserves a home here",
    ),
}
_BENIGN = (
    "the train leaves at nine, shall I keep you a seat",
    "thank you for the soup, it was lovely",
    "our choir sings in the old hall on Sunday",
    "the library opens an hour later this week",
    "I planted three rows of beans behind the shed",
    "can you bring the blue umbrella when you come",
    "we walked along the river until it got dark",
    "the new kettle is quiet and boils quickly",
    "my sister paints boats in the harbour",
    "please water the plants while we are away",
    "the bread needs another ten minutes in the oven",
    "it snowed in the hills but the road is open",
)
_SCENES = (("sky", (150, 190, 230)), ("meadow", (120, 170, 90)), ("wall", (205, 195, 180)), ("sea", (70, 120, 160)))


def write_placeholders(root: Path, seed: int) -> None:
    """seeds.jsonl, its pictures and lexicon.csv; the same seed writes the same bytes."""
    rng = np.random.default_rng(seed)
    rows = [
        _row(f"{kind}-{number:02}", kind, True, "text", text=text)
        for kind, texts in _TEXTS.items()
        for number, text in enumerate(texts)
    ]
    rows += [
        _row(f"benign-{number:02}", ("ads", "hate")[number % 2], False, "text", text=text)
        for number, text in enumerate(_BENIGN)
    ]
    (root / "images").mkdir()
    _card().save(root / "images" / "card.png")
    rows.append(_row("porn-00", "porn", True, "image", path="images/card.png"))
    for name, colour in _SCENES:
        _scene(colour, rng).save(root / "images" / f"{name}.png")
        rows.append(_row(f"picture-{name}", "porn", False, "image", path=f"images/{name}.png", concept=name))
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (root / "seeds.jsonl").write_bytes("".join(lines).encode())
    words = [("glorp", "hate"), ("glorps", "hate"), *((word, "ads") for word in ("win", "free", "prize", "claim"))]
    table = "".join(f"{word},{kind},en\n" for word, kind in words)
    (root / "lexicon.csv").write_bytes(f"keyword,kind,language\n{table}".encode())


def _row(identifier: str, kind: str, toxic: bool, modality: str, **more: str) -> dict[str, str | bool]:
    about = {"language": "en"} if modality == "text" else {}
    return {"id": identifier, "kind": kind, "toxic": toxic, "modality": modality, **more, **about, "source": SOURCE}


def _card() -> Image.Image:
    """A flat grey card with the placeholder's words."""
    card = Image.new("RGB", (320, 240), (128, 128, 128))
    ImageDraw.Draw(card).text((160, 120), CARD, fill=(0, 0, 0), font=ImageFont.load_default(16), anchor="mm")
    return card


def _scene(colour: tuple[int, int, int], rng: np.random.Generator) -> Image.Image:
    """A picture of 640 x 480 pixels in shades of one colour."""
    shade = np.linspace(1.1, 0.7, 480)[:, None, None] * np.array(colour)
    coarse = rng.uniform(-12, 12, (60, 80, 1)).repeat(8, axis=0).repeat(8, axis=1)
    return Image.fromarray(np.clip(shade + coarse, 0, 255).astype(np.uint8))
