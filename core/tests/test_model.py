"""What a classifier declares, answers sample by sample, and is known by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from quire.errors import InvalidSample
from quire.modality import Audio, Image, Label, Text, Video
from quire.model import Classifier, ItemError, Limits
from quire.runtime import Runtime
from quire.storage import tree_hash
from quire.task import TEXT_CLASSIFICATION, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from quire.modality import Sample


class Length(Classifier):
    """Says "long" of texts longer than `bound`, and refuses empty ones."""

    task = TEXT_CLASSIFICATION
    labels = ("long", "short")

    def __init__(self, bound: int = 3) -> None:
        super().__init__(runtime=Runtime(device="cpu"))
        self.bound = bound
        self.calls = 0

    def predict_proba(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        self.calls += 1
        if any(not sample["text"] for sample in samples):
            raise InvalidSample("the text is empty")
        long = np.array([len(sample["text"]) > self.bound for sample in samples], dtype=np.float32)
        return np.stack([long, 1 - long], axis=1)

    def fit(self, *_: Any, **__: Any) -> Self:
        return self

    def state(self) -> dict[str, Any]:
        return {"bound": self.bound}

    def restore(self, state: dict[str, Any]) -> None:
        self.bound = state["bound"]


def test_the_declarations_follow_from_the_task() -> None:
    model = Length()
    assert (model.required_fields, model.optional_fields) == ({"text"}, frozenset())
    assert (model.label_kind, model.toxic_labels, dict(model.thresholds)) == ("multiclass", frozenset(), {})
    assert model.deterministic
    assert model.limits == Limits()
    model.task = Task(
        "all",
        {
            "text": Text(max_length=9),
            "title": Text(max_length=4),
            "image": Image(max_pixels=100),
            "sound": Audio(rate=8000, max_seconds=2.0),
            "film": Video(max_seconds=3.0),
        },
        Label(),
        optional=frozenset({"image"}),
    )
    assert model.required_fields == {"text", "title", "sound", "film"}
    assert model.optional_fields == {"image"}
    assert model.limits == Limits(
        text_characters=4, image_pixels=100, audio_rate=8000, audio_seconds=2.0, video_seconds=3.0
    )


def test_one_bad_sample_costs_nobody_elses_answer() -> None:
    model = Length()
    answers = model.answer_each([{"text": "many"}, {"text": ""}, {"text": "few"}])
    assert [None if isinstance(answer, ItemError) else answer.tolist() for answer in answers] == [[1, 0], None, [0, 1]]
    assert answers[1] == ItemError(1, "the text is empty")
    assert model.calls == 4
    assert len(model.answer_each([{"text": "many"}, {"text": "few"}])) == 2
    assert model.calls == 5
    assert model.answer_each([]) == []


def test_the_fingerprint_is_that_of_what_outputs_depend_on() -> None:
    one, same, other = Length(3), Length(3), Length(4)
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    same.artefacts["threshold"] = 0.5
    assert one.fingerprint() != same.fingerprint()


def test_a_trees_hash_is_that_of_its_contents() -> None:
    tree = {"weight": torch.arange(6.0).view(2, 3), "note": ["a", 1, None], "half": torch.ones(2, dtype=torch.bfloat16)}
    again = {"weight": torch.arange(6.0).view(2, 3), "note": ["a", 1, None], "half": torch.ones(2).bfloat16()}
    assert tree_hash(tree) == tree_hash(again)
    for changed in (
        {**tree, "weight": torch.arange(6.0).view(3, 2)},
        {**tree, "weight": torch.arange(6.0).view(2, 3).double()},
        {**tree, "weight": torch.arange(1.0, 7.0).view(2, 3)},
        {**tree, "note": ["a", 2, None]},
        {**tree, "half": torch.ones(2)},
    ):
        assert tree_hash(changed) != tree_hash(tree)
    transposed = torch.arange(6.0).view(3, 2).t()
    assert tree_hash(transposed) == tree_hash(transposed.contiguous())
    assert tree_hash(torch.empty(0)) != tree_hash(torch.empty(0, 2))
