"""The exported head: the same probabilities as the model's, in engines that know nothing of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from quire.dataset import InMemory
from quire.errors import ConfigError, DataError
from quire_memefier.export import head_probabilities
from quire_memefier.heads import Head, Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from quire.dataset import Dataset
    from quire_memefier.model import MemeFierClassifier

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra quire-core[onnx] is not installed")


def features(model: MemeFierClassifier, samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    encoded = model.extractor().encode(model.collate(samples))
    return {name: value.float() if value.is_floating_point() else value for name, value in encoded.items()}


def some(memes: Dataset, count: int) -> list[dict[str, Any]]:
    """Memes, of which the second has no text and the third no image."""
    samples = [{"image": memes[index]["image"], "text": memes[index]["text"]} for index in range(count)]
    del samples[1]["text"], samples[2]["image"]
    return samples


def run_onnx(path: Path, inputs: dict[str, torch.Tensor]) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(path)
    wanted = {node.name for node in session.get_inputs()}
    (output,) = session.run(["probabilities"], {name: inputs[name].numpy() for name in wanted})
    return np.asarray(output)


@pytest.mark.parametrize("options", [{}, {"components": "1"}, {"components": "2", "mask_padding": False}])
def test_onnx_gives_the_model_s_probabilities_for_any_number_of_memes(
    make: Callable[..., MemeFierClassifier], memes: Dataset, tmp_path: Path, options: dict[str, Any]
) -> None:
    model, samples = make(**options).fit(memes), some(memes, 7)
    model.artefacts["temperatures"] = {model.heads[0].name: 0.1}
    path = model.export(tmp_path / "head.onnx", format="onnx", example=samples[:2])
    assert [file.name for file in tmp_path.iterdir()] == ["head.onnx"]
    for chosen in (samples, samples[1:2], samples[2:3]):
        found = run_onnx(path, features(model, chosen))
        np.testing.assert_allclose(found, model.predict_proba(chosen), atol=1e-4)


def test_attributes_of_faces_are_an_input_of_component_e(
    make: Callable[..., MemeFierClassifier], memes: Dataset, tmp_path: Path
) -> None:
    face = {"race": "White", "gender": "Female", "age": "20-29"}
    train = [{**memes[index], "attributes": [face] * (index % 3)} for index in range(len(memes))]
    model = make(components="E12").fit(InMemory(train, task=memes.task))
    samples = [{name: sample[name] for name in ("image", "text", "attributes")} for sample in train[:4]]
    path = model.export(tmp_path / "head.onnx", format="onnx", example=samples[:2])
    np.testing.assert_allclose(run_onnx(path, features(model, samples)), model.predict_proba(samples), atol=1e-4)


def test_torch_export(trained: MemeFierClassifier, memes: Dataset, tmp_path: Path) -> None:
    samples = some(memes, 5)
    path = trained.export(tmp_path / "head.pt2", format="pt2", example=samples[:1])
    inputs = features(trained, samples)
    names = ("image_tokens", "image", "text_tokens", "text", "text_mask", "has_image", "has_text")
    found = torch.export.load(path).module()(*(inputs[name] for name in names))
    np.testing.assert_allclose(found.detach().numpy(), trained.predict_proba(samples), atol=1e-5)


def test_the_file_tells_labels_thresholds_and_backbone(
    trained: MemeFierClassifier, memes: Dataset, tmp_path: Path
) -> None:
    path = trained.export(tmp_path / "head.onnx", format="onnx", example=some(memes, 3))
    metadata = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert tuple(json.loads(metadata["labels"])) == trained.labels
    assert json.loads(metadata["thresholds"]) == trained.thresholds
    assert json.loads(metadata["backbone"])["fingerprint"] == trained.extractor().backbone.fingerprint


@pytest.mark.parametrize("kind", ["binary", "multiclass", "ordinal", "multilabel"])
def test_probabilities_of_every_kind_of_head(kind: Kind) -> None:
    head = Head(kind=kind, labels=("a", "b") if kind == "binary" else ("a", "b", "c", "d"))
    logits = torch.linspace(-8, 8, 5 * head.logits, dtype=torch.float64).reshape(head.logits, 5).T
    np.testing.assert_allclose(head_probabilities(head, logits).numpy(), head.probabilities(logits.numpy()), atol=1e-12)


def test_an_example_is_needed(trained: MemeFierClassifier, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one example"):
        trained.export(tmp_path / "head.onnx", format="onnx", example=[])


def test_baselines_are_not_exported(make: Callable[..., MemeFierClassifier], memes: Dataset, tmp_path: Path) -> None:
    baseline = make(architecture="text", baseline={"hidden": 8, "min_count": 1}).fit(memes)
    with pytest.raises(ConfigError, match="text can't be exported"):
        baseline.export(tmp_path / "head.onnx", format="onnx", example=some(memes, 3))
