"""Virtual environments of the peers, made when they are missing: each library with its own versions, none beside quire."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

STAMP = "quire-benchmark.json"


class EnvironmentMissing(Exception):
    """The text says why an environment can't be had."""


@dataclass(frozen=True)
class Peer:
    """A library to measure beside ours: what is installed, `bare` without its dependencies, and how it is used."""

    name: str
    requirements: tuple[str, ...]
    bare: tuple[str, ...] = ()
    note: str = ""


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "sktime",
            ("sktime==1.2.0", "torch==2.13.0", "scikit-learn==1.9.1"),
            note="FCNClassifierTorch and ResNetClassifierTorch, their own fit; batches are not shuffled",
        ),
        Peer(
            "tsai",
            (
                "torch==2.13.0", "scikit-learn==1.7.2", "fastcore", "fastdownload", "fastprogress", "fasttransform",
                "matplotlib", "pandas", "pillow", "psutil", "pyyaml", "requests", "scipy", "tqdm",
            ),
            bare=("tsai==1.0.1", "fastai==2.8.12"),
            note="its networks (kernels 7, 5, 3; convolutions without bias) in a plain torch loop with Adam: its learner "
            "needs torchvision, in whose place there is an empty module",
        ),
        Peer(
            "aeon",
            ("aeon==1.6.0", "tensorflow-cpu==2.21.0", "scikit-learn==1.9.1"),
            note="FCNClassifier and ResNetClassifier, their own fit (TensorFlow graph); every ResNet shortcut is a "
            "convolution",
        ),
    )
}  # fmt: skip


def prepared(folder: Path, peer: Peer) -> Path:
    """The Python of the peer's environment under `folder`, which is made first if it is not there or holds other
    versions. Raises EnvironmentMissing with the installer's last line."""
    home = folder.resolve() / peer.name
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = [*peer.requirements, "without dependencies:", *peer.bare]
    stamp = home / STAMP
    if stamp.is_file() and json.loads(stamp.read_text()) == wanted:
        return python
    shutil.rmtree(home, ignore_errors=True)
    print(f"installing {peer.name} into {home}", file=sys.stderr, flush=True)
    uv = shutil.which("uv")
    _run(
        [uv, "venv", "--quiet", "--python", sys.executable, str(home)]
        if uv
        else [sys.executable, "-m", "venv", str(home)]
    )
    install = [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
    _run([*install, *peer.requirements])
    if peer.bare:
        _run([*install, "--no-deps", *peer.bare])
    stamp.write_text(json.dumps(wanted))
    return python


def _run(command: list[str]) -> None:
    # uv has its own name for pip's variable: PyTorch's CPU wheel is often found through it only
    links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS") or ""
    environment = {**os.environ, **({"UV_FIND_LINKS": links, "PIP_FIND_LINKS": links} if links else {})}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    except OSError as error:
        raise EnvironmentMissing(str(error)) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        raise EnvironmentMissing(f"not installed: {lines[-1].strip()}")
