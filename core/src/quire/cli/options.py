"""Command-line options that several verbs share, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.errors import ConfigError, DataError, Where

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quire.runtime import Runtime

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, everything else on stderr.")]
RunPath = Annotated[Path, typer.Argument(help="The run's folder, such as runs/latest.", metavar="RUN")]
Root = Annotated[Path, typer.Option("--runs", help="The folder that holds the runs.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps or xpu.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")]
Threads = Annotated[str, typer.Option(help="CPU threads; auto is one for small networks.")]
Workers = Annotated[int, typer.Option(help="Processes that load data.")]
OnError = Annotated[
    str, typer.Option(help="What a bad sample does: raise ends the job, skip leaves it out and counts it.")
]
DATA_ROOT = Path("runs")


def make_runtime(device: str, precision: str, threads: str, workers: int, **more: Any) -> Runtime:
    """The runtime that the options describe; ConfigError for a value that they do not take."""
    from quire.runtime import Runtime

    if precision not in ("auto", "fp32", "bf16", "fp16"):
        raise ConfigError(f"precision {precision!r} does not exist", remedy="Use auto, fp32, bf16 or fp16.")
    if threads != "auto" and not threads.isdigit():
        raise ConfigError(f"threads is {threads!r}, but must be a number or auto")
    return Runtime(
        device=device,
        precision=precision,  # type: ignore[arg-type]
        threads="auto" if threads == "auto" else int(threads),
        workers=workers,
        **more,
    )


def check_on_error(value: str) -> None:
    """ConfigError for anything but raise and skip."""
    if value not in ("raise", "skip"):
        raise ConfigError(f"--on-error is {value!r}", remedy="Use raise or skip.")


def read_config(path: Path | None) -> dict[str, Any]:
    """The options in a YAML file; none without a file."""
    import yaml

    if path is None:
        return {}
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise DataError("there is no such configuration file", where=Where(file=path)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ConfigError(
            getattr(error, "problem", None) or "this is not YAML",
            where=Where(file=path, line=mark.line + 1 if mark else None),
        ) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError("a configuration is a mapping of options to values", where=Where(file=path))
    return values


def overrides(assignments: Iterable[str], base: dict[str, Any] | None = None) -> dict[str, Any]:
    """`key=value` arguments as nested options on top of `base`; values are read as YAML."""
    import yaml

    from quire.config import set_option

    values = dict(base or {})
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise ConfigError(f"{assignment!r} is not of the form option=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        set_option(values, key, value)
    return values
