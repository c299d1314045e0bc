"""`quire doctor`: what this machine is to quire, and what is wrong with the installation."""

from __future__ import annotations

from typing import Any

import typer

from quire.cli.options import Json


def command(as_json: Json = False) -> None:
    """Say which device, precision and optional parts are there, and name every plugin that does not work."""
    from quire import registry
    from quire.cli.output import print_json, print_table

    problems = [problem.message for problem in registry.problems()] + conflicting_distributions()
    machine, lacking = describe_machine(), lacking_for_extras()
    if as_json:
        print_json(
            {"machine": machine, "extras": {name: not parts for name, parts in lacking.items()}, "problems": problems}
        )
    else:
        print_table(("this machine", ""), machine.items())
        print()
        print_table(("extra", "state"), ((name, _state(name, parts)) for name, parts in lacking.items()))
        print()
        for problem in problems:
            print(f"problem: {problem}")
        if not problems:
            print(f"all {len(registry.descriptions())} entries of the registry are in order")
    if problems:
        raise typer.Exit(1)


def _state(extra: str, lacking: list[str]) -> str:
    if not lacking:
        return "installed"
    return f"not installed ({', '.join(lacking)}): pip install 'quire-core[{extra}]'"


def describe_machine() -> dict[str, Any]:
    """Versions, device and what the runtime chose for it."""
    import os
    import platform

    import torch

    from quire import __version__
    from quire.runtime import Runtime, available_memory
    from quire.storage import cache_root

    runtime = Runtime()
    chosen = runtime.describe()
    return {
        "quire-core": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": f"{chosen['device']} ({chosen['device_name']})",
        "precision": chosen["precision"],
        "cpu cores": os.cpu_count(),
        "free memory": f"{available_memory(runtime.torch_device) / 2**30:.1f} GiB",
        "cache": str(cache_root()),
    }


def lacking_for_extras() -> dict[str, list[str]]:
    """The extras of quire-core and, for each, the distributions that it asks for and that are not installed."""
    from importlib.metadata import PackageNotFoundError, metadata

    from packaging.requirements import Requirement

    try:
        described = metadata("quire-core")
    except PackageNotFoundError:  # core runs from its source tree
        return {}
    requirements = [Requirement(line) for line in described.get_all("Requires-Dist", [])]
    return {
        extra: [
            each.name
            for each in requirements
            if each.marker is not None
            and each.marker.evaluate({"extra": extra})
            and not each.marker.evaluate({"extra": ""})
            and not _installed(each.name)
        ]
        for extra in described.get_all("Provides-Extra", [])
        if extra != "test"
    }


def conflicting_distributions() -> list[str]:
    """Distributions that exclude each other and are installed together."""
    from importlib.metadata import packages_distributions

    owners = sorted(set(packages_distributions().get("faiss", ())))
    if len(owners) < 2:
        return []
    return [f"{' and '.join(owners)} are installed together, and all of them install faiss; uninstall all but one"]


def _installed(distribution: str) -> bool:
    from importlib.metadata import PackageNotFoundError, version

    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
