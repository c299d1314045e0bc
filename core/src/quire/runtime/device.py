"""Which device, which number format, how many threads."""

from __future__ import annotations

from typing import Literal

import psutil
import torch

from quire.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
SMALL_NETWORK = 20_000_000  # parameters; below it a CPU spends longer handing work to threads than it saves


def choose_device(name: str) -> torch.device:
    """The device that `name` asks for; "auto" takes the accelerator of this machine, else the CPU."""
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found if found is not None else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"there is no device {name!r}", remedy="Use auto, cpu, cuda, cuda:1, mps or xpu.") from error
    found = torch.accelerator.current_accelerator(check_available=True)
    if device.type != "cpu" and (found is None or found.type != device.type):
        raise ConfigError(
            f"device {name!r} is not available here", remedy="Use device=auto, or see what `quire doctor` finds."
        )
    if device.index is not None and device.type != "cpu" and device.index >= torch.accelerator.device_count():
        raise ConfigError(f"device {name!r} is not available here: there are {torch.accelerator.device_count()}")
    return device


def fast_in_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware; a CPU without AMX is many times slower in it than in fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu.get_capabilities().get("amx_bf16", False))
    return device.type == "xpu"


def choose_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype of autocast regions; fp32 means no autocast."""
    if precision == "auto":
        return torch.bfloat16 if fast_in_bf16(device) else torch.float32
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError("precision fp16 needs a GPU", remedy="Use precision=auto or fp32 on a CPU.")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def choose_threads(threads: int | Literal["auto"], parameters: int) -> int:
    """CPU threads for a network of `parameters` weights: one for a small one, else every physical core."""
    if threads != "auto":
        return threads
    return 1 if parameters < SMALL_NETWORK else psutil.cpu_count(logical=False) or 1
