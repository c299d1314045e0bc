"""Content: what a post consists of, and how it becomes a sample of a target's task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from quire.storage import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quire.modality import Modality, Sample
    from quire.model import Classifier
    from quire.task import Task

Content: TypeAlias = dict[str, Any]
"""A modality's kind ("text", "image", "audio", "video", "series", ...) -> the value, in that modality's form."""


@dataclass(frozen=True)
class Placement:
    """Which field of a task takes which kind of content: the first field of each kind, in the task's order."""

    fields: dict[str, str]
    modalities: dict[str, Modality[Any]]
    required: frozenset[str]

    @classmethod
    def of(cls, target: Classifier) -> Placement:
        """Where `target` takes content; fields that it does not read are left out."""
        return cls.of_task(target.task, target.required_fields | target.optional_fields, target.required_fields)

    @classmethod
    def of_task(cls, task: Task, read: Iterable[str] | None = None, required: Iterable[str] | None = None) -> Placement:
        """The same for a task, all of whose fields are read unless `read` says otherwise."""
        known = frozenset(task.inputs if read is None else read)
        needed = frozenset(task.inputs.keys() - task.optional if required is None else required)
        fields: dict[str, str] = {}
        for name, modality in task.inputs.items():
            if name in known:
                fields.setdefault(modality.kind, name)
        modalities = {kind: task.inputs[name] for kind, name in fields.items()}
        return cls(fields, modalities, frozenset(kind for kind, name in fields.items() if name in needed))

    def missing(self, kinds: Iterable[str]) -> tuple[str, ...]:
        """The kinds of content that would get no answer: ones without a field, or a required field left empty."""
        there = frozenset(kinds)
        return (*sorted(there - self.fields.keys()), *sorted(self.required - there))

    def sample(self, content: Content, identifier: str) -> Sample:
        """The sample of the task that shows `content`. KeyError for a kind without a field: ask `missing` first."""
        return {"id": identifier, **{self.fields[kind]: value for kind, value in content.items()}}


def hash_content(content: Content, modalities: dict[str, Modality[Any]]) -> str:
    """A hash of what a target sees: of each value its lossless file."""
    parts = [(kind, _bytes(modalities[kind], content[kind])) for kind in sorted(content)]
    return content_hash(*(part for pair in parts for part in pair))


def _bytes(modality: Modality[Any], value: Any) -> bytes:
    return modality.to_bytes(modality.validate(value), modality.writes[0])
