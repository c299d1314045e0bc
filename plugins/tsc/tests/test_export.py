from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from quire.dataset import InMemory
from quire.errors import ConfigError, DataError
from quire_tsc.model import TSC

if TYPE_CHECKING:
    from pathlib import Path

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra quire-core[onnx] is not installed")
Fit = Callable[..., TSC]
Ramps = Callable[..., InMemory]
Trained = Callable[[str], TSC]
NETWORKS = ("mlp", "fcn", "resnet", "encoder", "mcnn", "tlenet", "mcdcnn", "time_cnn", "inception", "inception_time")


def run_onnx(path: Path, **inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(path)
    (output,) = session.run(["probabilities"], inputs)
    return np.asarray(output)


@pytest.mark.parametrize("architecture", NETWORKS)
def test_onnx_gives_the_model_s_probabilities_for_any_number_of_series(
    architecture: str, tmp_path: Path, ramps: Ramps, trained: Trained
) -> None:
    model, test = trained(architecture), list(ramps(7, seed=1))
    path = model.export(tmp_path / "model.onnx", format="onnx", example=test[:3])
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    for some in (test, test[:1]):
        x, _ = model.preprocessing.apply([sample["series"] for sample in some])
        np.testing.assert_allclose(run_onnx(path, series=x), model.predict_proba(some), atol=1e-4)


@pytest.mark.parametrize("architecture", ["fcn", "tlenet"])
def test_torchscript_and_torch_export(architecture: str, tmp_path: Path, ramps: Ramps, trained: Trained) -> None:
    model, test = trained(architecture), list(ramps(5, seed=1))
    x = torch.from_numpy(model.preprocessing.apply([sample["series"] for sample in test])[0])
    script = torch.jit.load(model.export(tmp_path / "a.ts", format="torchscript", example=test[:1]))
    program = torch.export.load(model.export(tmp_path / "a.pt2", format="pt2", example=test[:1])).module()
    for network in (script, program):
        np.testing.assert_allclose(network(x).detach().numpy(), model.predict_proba(test), atol=1e-5)


def test_the_file_says_what_its_inputs_and_outputs_are(tmp_path: Path, ramps: Ramps, trained: Trained) -> None:
    model = trained("mlp")
    session = onnxruntime.InferenceSession(model.export(tmp_path / "m.onnx", format="onnx", example=list(ramps(2))))
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["labels"]) == ["down", "up"]
    assert json.loads(metadata["preprocessing"]) == model.preprocessing.to_json()
    assert [(node.name, node.shape[1:]) for node in session.get_inputs()] == [("series", [1, 24])]
    assert [(node.name, node.shape[1:]) for node in session.get_outputs()] == [("probabilities", [2])]


def test_padded_series_come_with_their_mask(tmp_path: Path, fit: Fit, ramps: Ramps) -> None:
    train = ramps(12, lengths=(24, 17, 20))
    model = fit(train, "fcn", unequal="pad", n_epochs=2)
    path = model.export(tmp_path / "m.onnx", format="onnx", example=list(train)[:1])
    x, mask = model.preprocessing.apply([sample["series"] for sample in train])
    assert mask is not None
    np.testing.assert_allclose(run_onnx(path, series=x, mask=mask), model.predict_proba(list(train)), atol=1e-4)


@pytest.mark.parametrize("architecture", ["twiesn", "minirocket"])
def test_closed_forms_are_not_exported(architecture: str, tmp_path: Path, ramps: Ramps, trained: Trained) -> None:
    with pytest.raises(ConfigError, match=f"{architecture} can't be exported"):
        trained(architecture).export(tmp_path / "m", format="onnx", example=list(ramps(2)))


def test_no_example_and_an_unknown_format(tmp_path: Path, ramps: Ramps, trained: Trained) -> None:
    with pytest.raises(DataError, match="at least one example"):
        trained("mlp").export(tmp_path / "m", format="onnx", example=[])
    with pytest.raises(ConfigError, match=r"no format 'onyx'.*did you mean 'onnx'"):
        trained("mlp").export(tmp_path / "m", format="onyx", example=list(ramps(2)))


def test_quire_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        importlib.metadata.version("quire-tsc")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("quire-tsc is not installed: the command line can't find it")
    from quire.cli.export import export_command
    from quire.cli.train import train_run
    from quire.runtime import Runtime
    from quire_tsc.data import TimeSeriesDataset

    data = TimeSeriesDataset.sample(tmp_path / "data")
    settings = {"architecture": "mlp", "n_epochs": 1}
    run = train_run("tsc", data, settings=settings, root=tmp_path / "runs", runtime=Runtime(device="cpu", threads=1))
    export_command(run.path, tmp_path / "mlp.onnx", format="onnx", samples=4)
    assert capsys.readouterr().out.strip().endswith("mlp.onnx")
    test = list(TimeSeriesDataset.open(data, split="test"))[:9]
    model = run.load_model()
    assert isinstance(model, TSC)
    x, _ = model.preprocessing.apply([sample["series"] for sample in test])
    np.testing.assert_allclose(run_onnx(tmp_path / "mlp.onnx", series=x), model.predict_proba(test), atol=1e-4)
