"""The task: a label for a picture with its text, of which either may be missing."""

from __future__ import annotations

from quire.modality import Image, Label, Text
from quire.task import Task

MEME_CLASSIFICATION = Task(
    name="meme-classification",
    inputs={"image": Image(mode="RGB"), "text": Text()},
    target=Label(),
    optional=frozenset({"image", "text"}),
    evaluators=("classification", "memes"),
    summary="The class of a meme: a picture with the text that stands in it, or either alone",
)
