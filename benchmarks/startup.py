"""How long `quire list` takes beside the bare import of the two libraries that it stands on.

    python benchmarks/startup.py [--rounds 21]

Both are started in turn, so that a machine that gets slower slows both. Prints the medians and their ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

TARGET = 2.5
COMMANDS = {
    "quire list": [str(Path(sys.executable).with_name("quire")), "list"],
    "import stevedore, typer": [sys.executable, "-c", "import stevedore, typer"],
}


def main() -> None:
    """Print one line for each command, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21, help="starts of each command")
    rounds = parser.parse_args().rounds
    for command in COMMANDS.values():  # compiled files and the file system's cache are not what is measured
        seconds(command)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    for name, measured in times.items():
        low, high = min(measured), max(measured)
        print(f"{name:<24} {statistics.median(measured) * 1e3:7.1f} ms  ({low * 1e3:.1f} to {high * 1e3:.1f})")
    ratio = statistics.median(ours / theirs for ours, theirs in zip(*(times[name] for name in COMMANDS), strict=True))
    print(
        f"median ratio             {ratio:7.2f}     (at most {TARGET} is the aim; {rounds} rounds, {os.cpu_count()} cores)"
    )


def seconds(command: list[str]) -> float:
    """The wall time of one start, from compiled files as an installed program has them."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
