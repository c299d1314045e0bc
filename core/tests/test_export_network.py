from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from quire.errors import ConfigError, DataError, MissingExtra, PluginError
from quire.training.export import export_network

if TYPE_CHECKING:
    from pathlib import Path

ONE = (torch.ones(1, 2),)


class TwoInTwoOut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.layer(x) * weight
        return y, y.argmax(dim=1)


class Branching(nn.Module):
    """Tracing keeps the branch that the examples took."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if len(x) > 1 else x - 1


class Diverged(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 0 * 0


class Unknown(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(np.asarray(x.sum().tolist()))


def test_onnx_with_several_inputs_and_outputs_takes_any_number_of_samples(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra quire-core[onnx] is not installed")
    network, inputs = TwoInTwoOut(), (torch.randn(4, 2), torch.randn(4, 1))
    path = export_network(
        network,
        inputs,
        tmp_path / "new" / "m.onnx",
        input_names=("x", "weight"),
        output_names=("y", "best"),
        metadata={"labels": "a b c"},
    )
    session = onnxruntime.InferenceSession(path)
    assert session.get_modelmeta().custom_metadata_map == {"labels": "a b c"}
    for count in (1, 9):
        x, weight = torch.randn(count, 2), torch.randn(count, 1)
        y, best = session.run(["y", "best"], {"x": x.numpy(), "weight": weight.numpy()})
        expected: list[Any] = [tensor.detach().numpy() for tensor in network(x, weight)]
        np.testing.assert_allclose(y, expected[0], atol=1e-5)
        np.testing.assert_array_equal(best, expected[1])


@pytest.mark.parametrize("format", ["torchscript", "pt2"])
def test_the_network_stays_as_it_was(format: str, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5)).train()
    path = export_network(network, ONE, tmp_path / "m", format=format, metadata={"who": "me"})  # type: ignore[arg-type]
    assert network.training
    extra: dict[str, Any] = {"who": ""}
    if format == "pt2":
        loaded = torch.export.load(path, extra_files=extra).module()
    else:
        loaded = torch.jit.load(path, _extra_files=extra)  # type: ignore[no-untyped-call]
        extra = {name: content.decode() for name, content in extra.items()}
    assert extra == {"who": "me"}
    x = torch.randn(4, 2)
    torch.testing.assert_close(loaded(x), network.eval()(x))


@pytest.mark.parametrize(
    ("network", "format", "message"),
    [
        (Branching(), "torchscript", r"differ from the model's by 2, more than the 0\.0001"),
        (Diverged(), "torchscript", "differ from the model's by inf"),
        (Unknown(), "pt2", "can't be written as pt2"),
    ],
)
def test_a_file_that_does_not_compute_the_same_is_not_kept(
    network: nn.Module, format: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.pt"
    path.write_text("what stood here before")
    with pytest.raises(PluginError, match=message) as error:
        export_network(network, (torch.zeros(3, 2),), path, format=format)
    assert error.value.where is not None
    assert error.value.where.file == path
    assert path.read_text() == "what stood here before"
    assert list(tmp_path.iterdir()) == [path]


def test_faults_of_the_call(tmp_path: Path) -> None:
    network, path = nn.Linear(2, 2), tmp_path / "m"
    with pytest.raises(ConfigError, match=r"no format 'onyx'.*did you mean 'onnx'"):
        export_network(network, ONE, path, format="onyx")  # type: ignore[arg-type]
    for nothing in ((), (torch.ones(0, 2),)):
        with pytest.raises(DataError, match="at least one example"):
            export_network(network, nothing, path, format="pt2")


def test_without_onnx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"onnx.*quire-core\[onnx\]"):
        export_network(nn.Linear(2, 2), ONE, tmp_path / "m.onnx")
