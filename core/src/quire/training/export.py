"""Networks written for other engines, and kept only where these compute the same."""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from quire.errors import ConfigError, DataError, PluginError, Where, nearest, require
from quire.storage import atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

Format = Literal["onnx", "torchscript", "pt2"]
Inputs = tuple[Tensor, ...]
Outputs = list[np.ndarray[Any, Any]]
TOLERANCE = 1e-4
LARGEST_ONNX = 2**31  # bytes: a protobuf message can't be longer


def export_network(
    module: nn.Module,
    example_inputs: Sequence[Tensor],
    path: Path,
    *,
    format: Format = "onnx",
    input_names: Sequence[str] = ("input",),
    output_names: Sequence[str] = ("output",),
    metadata: Mapping[str, str] | None = None,
    tolerance: float = TOLERANCE,
) -> Path:
    """Write `module` in evaluation mode to `path`; the number of samples, the first axis of every input, stays free.

    example_inputs: one tensor [samples, ...] per input name; module(*example_inputs) gives one tensor or a tuple of them.
    format: "onnx" (needs the extra onnx), "torchscript", or "pt2" (a torch.export program). metadata: text kept in the
    file, as ONNX's metadata_props or as extra files of the others.

    The file is run by its own engine on the examples, and on the first of them alone, before it takes the place of
    `path`: PluginError if an output differs from the module's by more than `tolerance` (absolute, and relative to values
    above one), or if the network has an operation that the format lacks. ConfigError for an unknown format, DataError
    for no example, MissingExtra.
    """
    if format not in get_args(Format):
        known = ", ".join(get_args(Format))
        raise ConfigError(f"there is no format {format!r}{nearest(format, get_args(Format))}", remedy=f"Give {known}.")
    inputs = tuple(tensor.detach().cpu() for tensor in example_inputs)
    if not inputs or not len(inputs[0]):
        raise DataError("an export needs at least one example")
    if format == "onnx":
        _require_onnx(module, path)
    module = deepcopy(module).cpu().eval()
    with torch.no_grad(), _quiet():
        try:
            content = _written(module, _at_least_two(inputs), format, (input_names, output_names), metadata or {})
        except Exception as error:
            cause = str(error).strip().partition("\n")[0]
            raise PluginError(
                f"the network can't be written as {format}: {cause}",
                where=Where(file=path),
                remedy="Export in another format.",
            ) from error
        for examples in (inputs, tuple(tensor[:1] for tensor in inputs)):
            difference = _difference(_arrays(module(*examples)), _RUNNERS[format](content, examples))
            if not difference <= tolerance:
                raise PluginError(
                    f"the exported network's outputs differ from the model's by {difference:.2g}, "
                    f"more than the {tolerance:g} that are allowed",
                    where=Where(file=path),
                    remedy="Export in another format.",
                )
    with atomic_file(path) as file:
        file.write(content)
    return path


def _written(
    module: nn.Module,
    inputs: Inputs,
    format: Format,
    names: tuple[Sequence[str], Sequence[str]],
    metadata: Mapping[str, str],
) -> bytes:
    """The file's content."""
    samples = torch.export.Dim("samples")
    free_first_axis = tuple({0: samples} for _ in inputs)
    buffer = io.BytesIO()
    match format:
        case "torchscript":
            traced = torch.jit.trace(module, inputs, check_trace=False)  # type: ignore[no-untyped-call]
            torch.jit.save(traced, buffer, _extra_files=dict(metadata))
        case "pt2":
            program = torch.export.export(module, inputs, dynamic_shapes=free_first_axis)
            torch.export.save(program, buffer, extra_files=dict(metadata))
        case "onnx":
            exported = torch.onnx.export(
                module,
                inputs,
                dynamo=True,
                input_names=list(names[0]),
                output_names=list(names[1]),
                dynamic_shapes=free_first_axis,
                verbose=False,
            )
            model = cast("torch.onnx.ONNXProgram", exported).model_proto
            for key, value in metadata.items():
                model.metadata_props.add(key=key, value=value)
            return bytes(model.SerializeToString())
    return buffer.getvalue()


def _require_onnx(module: nn.Module, path: Path) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        require(name, extra="onnx", purpose="Exporting to ONNX")
    size = sum(tensor.numel() * tensor.element_size() for tensor in [*module.parameters(), *module.buffers()])
    if size >= LARGEST_ONNX:
        raise ConfigError(
            f"the network's {size / 2**30:.1f} GiB don't fit into an ONNX file, which ends at 2 GiB",
            where=Where(file=path),
            remedy="Export as pt2.",
        )


def _run_onnx(content: bytes, inputs: Inputs) -> Outputs:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    feed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
    outputs: Outputs = session.run(None, feed)
    return outputs


def _run_torchscript(content: bytes, inputs: Inputs) -> Outputs:
    return _arrays(torch.jit.load(io.BytesIO(content))(*inputs))  # type: ignore[no-untyped-call]


def _run_pt2(content: bytes, inputs: Inputs) -> Outputs:
    return _arrays(torch.export.load(io.BytesIO(content)).module()(*inputs))


_RUNNERS = {"onnx": _run_onnx, "torchscript": _run_torchscript, "pt2": _run_pt2}


def _at_least_two(inputs: Inputs) -> Inputs:
    """torch.export takes an axis of length one for a constant."""
    return tuple(torch.cat([tensor, tensor]) if len(tensor) == 1 else tensor for tensor in inputs)


def _arrays(outputs: Any) -> Outputs:
    return [tensor.numpy() for tensor in (outputs if isinstance(outputs, tuple | list) else (outputs,))]


def _difference(expected: Outputs, found: Outputs) -> float:
    """The largest difference, relative to expected values above one; infinite for other shapes, and for NaN."""
    if [array.shape for array in expected] != [array.shape for array in found]:
        return float("inf")
    differences = [
        np.max(np.abs(one.astype(np.float64) - other.astype(np.float64)) / np.maximum(1.0, np.abs(one)), initial=0.0)
        for one, other in zip(expected, found, strict=True)
    ]
    largest = float(np.max(differences))
    return largest if np.isfinite(largest) else float("inf")


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters' own progress and deprecations say nothing about the user's network."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
