"""The task of seeds: one input of any modality, toxic or benign."""

from __future__ import annotations

from quire.modality import Audio, Image, Label, Text, Video
from quire.task import Task

CONTENT_MODERATION = Task(
    name="content-moderation",
    inputs={"text": Text(), "image": Image(mode="RGB"), "audio": Audio(), "video": Video()},
    target=Label(labels=("toxic", "benign")),
    optional=frozenset({"text", "image", "audio", "video"}),
    evaluators=("classification",),
    summary="Whether a post of text, image, sound and film, any of which may be missing, is toxic",
)
