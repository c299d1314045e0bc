"""Command-line options that several verbs share, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from quire.runtime import Runtime


def names_of(*kinds: str) -> Callable[[str], list[str]]:
    """What the shell offers for the name of a plugin, of these kinds or of any; no plugin is imported for it."""

    def complete(incomplete: str) -> list[str]:
        from quire import registry

        return [name for kind in kinds or (None,) for name in registry.names(kind) if name.startswith(incomplete)]

    return complete


def kinds(incomplete: str) -> list[str]:
    """What the shell offers for a kind of plugin."""
    from quire.registry import KINDS

    return [kind for kind in KINDS if kind.startswith(incomplete)]


def words(*choices: str) -> Callable[[str], list[str]]:
    """What the shell offers for an option that takes one of `choices`."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


PRECISIONS = ("auto", "fp32", "bf16", "fp16")
ON_ERROR = ("raise", "skip")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, everything else on stderr.")]
RunPath = Annotated[Path, typer.Argument(help="The run's folder, such as runs/latest.", metavar="RUN")]
Runs = Annotated[Path, typer.Option("--runs", help="The folder that holds the runs.")]
Device = Annotated[
    str,
    typer.Option(
        help="auto, cpu, cuda, cuda:1, mps or xpu.", autocompletion=words("auto", "cpu", "cuda", "mps", "xpu")
    ),
]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.", autocompletion=words(*PRECISIONS))]
Threads = Annotated[str, typer.Option(help="CPU threads; auto is one for small networks.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that load data.")]
OnError = Annotated[
    str,
    typer.Option(
        help="What a bad sample does: raise ends the job, skip leaves it out and counts it.",
        autocompletion=words(*ON_ERROR),
    ),
]
RUNS = Path("runs")


def make_runtime(device: str, precision: str, threads: str, workers: int, **more: Any) -> Runtime:
    """The runtime that the options describe; ConfigError for a value that they do not take."""
    if precision not in PRECISIONS:
        raise ConfigError(f"--precision is {precision!r}", remedy="Use auto, fp32, bf16 or fp16.")
    if threads != "auto" and not (threads.isdecimal() and int(threads)):
        raise ConfigError(f"--threads is {threads!r}", remedy="Use auto, or a number from 1.")
    from quire.runtime import Runtime

    return Runtime(
        device=device,
        precision=precision,  # type: ignore[arg-type]
        threads="auto" if threads == "auto" else int(threads),
        workers=workers,
        **more,
    )


def check_on_error(value: str) -> None:
    """ConfigError for anything but raise and skip."""
    if value not in ON_ERROR:
        raise ConfigError(f"--on-error is {value!r}", remedy="Use raise or skip.")


def read_config(path: Path | None) -> dict[str, Any]:
    """The options in a YAML file; none without a file."""
    from quire.values import read_mapping

    return {} if path is None else read_mapping(path)


def overrides(assignments: Iterable[str], base: dict[str, Any] | None = None) -> dict[str, Any]:
    """`key=value` arguments as nested options on top of `base`; values are read as YAML.

    Raises ConfigError for an argument of another form, and for a key that is given twice.
    """
    from quire.config import set_option
    from quire.values import read_value

    values = dict(base or {})
    seen = set()
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise ConfigError(f"{assignment!r} is not of the form option=value", remedy="Write it without blanks.")
        if key in seen:
            raise ConfigError(f"the option {key!r} is given twice", remedy="Keep one of the two.")
        seen.add(key)
        set_option(values, key, read_value(text))
    return values
