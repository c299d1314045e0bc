"""`quire doctor`: what this machine is to quire, and what is wrong with the installation."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

from quire.cli.options import Json

EXTRAS = {
    "audio": ("soundfile", "soxr"),
    "video": ("av",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "tensorboard": ("tensorboard",),
}


def command(as_json: Json = False) -> None:
    """Say which device, precision and optional parts are there, and name every plugin that does not work."""
    from quire import registry
    from quire.cli.output import print_json, print_table

    problems = [problem.message for problem in registry.problems()] + conflicting_distributions()
    machine = describe_machine()
    if as_json:
        print_json({"machine": machine, "extras": installed_extras(), "problems": problems})
    else:
        print_table(("this machine", ""), machine.items())
        print_table(
            ("extra", "state"),
            (
                (name, "installed" if there else f"not installed: pip install 'quire-core[{name}]'")
                for name, there in installed_extras().items()
            ),
        )
        for problem in problems:
            print(f"problem: {problem}")
        if not problems:
            print(f"all {len(registry.descriptions())} entries of the registry are in order")
    if problems:
        raise typer.Exit(1)


def describe_machine() -> dict[str, Any]:
    """Versions, device and what the runtime chose for it."""
    import os
    import platform

    import torch

    from quire.runtime import Runtime, available_memory
    from quire.storage import cache_root

    runtime = Runtime()
    chosen = runtime.describe()
    return {
        "quire-core": version("quire-core"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": f"{chosen['device']} ({chosen['device_name']})",
        "precision": chosen["precision"],
        "cpu cores": os.cpu_count(),
        "free memory": f"{available_memory(runtime.torch_device) / 2**30:.1f} GiB",
        "cache": str(cache_root()),
    }


def installed_extras() -> dict[str, bool]:
    """Which extras of quire-core are complete."""
    return {name: all(_installed(part) for part in parts) for name, parts in EXTRAS.items()}


def conflicting_distributions() -> list[str]:
    """Distributions that exclude each other and are both installed."""
    if _installed("faiss-cpu") and _installed("faiss-gpu"):
        return ["faiss-cpu and faiss-gpu are both installed and exclude each other; uninstall one of them"]
    return []


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
