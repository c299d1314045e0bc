"""Who takes part, on which data, and what is kept of a benchmark."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from quire.storage import write_json
from quire_tsc import TimeSeriesDataset
from tsc_peers.environments import PEERS, EnvironmentMissing, prepared
from tsc_peers.processes import Contender

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = Path(__file__).parents[1] / "results"


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that the benchmarks share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, required=True, help="folder of the peers' virtual environments")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated; default: %(default)s")
    parser.add_argument("--out", type=Path, help="where to write the results; default: benchmarks/results")
    return parser


def peers(options: argparse.Namespace) -> tuple[dict[str, Path], dict[str, str]]:
    """The peers' Pythons, and why there is none. Each library is imported once, so that its files are compiled."""
    pythons, missing = {}, {}
    for name in filter(None, options.peers.split(",")):
        if name not in PEERS:
            raise SystemExit(f"there is no peer {name!r}; there are {', '.join(PEERS)}")
        try:
            pythons[name] = prepared(options.environments, PEERS[name])
        except EnvironmentMissing as error:
            missing[name] = str(error)
            print(f"{name} does not take part: {error}", file=sys.stderr)
    for name, python in {"quire": Path(sys.executable), **pythons}.items():
        with Contender(name, python) as contender:
            contender.finish()
    return pythons, missing


def series(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Float32 [n, 1, length] as they stand in the archive, and class numbers [n], from $QUIRE_DATA/tsc/ucr_tsv."""
    read = TimeSeriesDataset.open(Path(os.environ["QUIRE_DATA"]) / "tsc" / "ucr_tsv" / name, split=split)
    samples = [read[index] for index in range(len(read))]
    x = np.stack([sample["series"] for sample in samples]).astype(np.float32)
    return x, np.array([read.labels.index(sample["target"]) for sample in samples])


def write(path: Path, rows: Sequence[dict[str, Any]], missing: dict[str, str], **facts: Any) -> None:
    """The rows with what they were measured on."""
    own = {name: metadata.version(name) for name in ("quire-core", "quire-tsc", "torch", "numpy")}
    write_json(
        path,
        {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "device": f"CPU ({torch.backends.cpu.get_cpu_capability()}), one thread, a shared machine",
            "versions": {"python": platform.python_version(), **own},
            "peers": {name: {"installed": [*peer.requirements, *peer.bare], "used": peer.note}
                      for name, peer in PEERS.items()},
            "missing": missing,
            **facts,
            "rows": list(rows),
        },
    )  # fmt: skip
    print(f"written to {path}", file=sys.stderr)
