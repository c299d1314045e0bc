"""`quire meme`: the published grid on your data, and a check of a download before anything is trained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import overrides as read_overrides

if TYPE_CHECKING:
    from quire.dataset import Dataset

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="MemeFier's grid of 64 runs, and a check of meme data."
)
Data = Annotated[Path, typer.Option(help="The data set's folder or file.")]
Reader = Annotated[str | None, typer.Option(help="The reader, where the layout does not tell.")]
Options = Annotated[list[str] | None, typer.Option("--data-option", help="An option of the reader, as option=value.")]


@app.command()
def grid(
    data: Data,
    out: Annotated[Path, typer.Option(help="The folder of the runs; what is finished there is kept.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Options of memefier below the grid's own.")] = None,
    dataset: Reader = None,
    data_option: Options = None,
    override: Annotated[list[str] | None, typer.Option(help="Options above the grid's own, as option=value.")] = None,
    points: Annotated[str, typer.Option(help="Grid points such as 0-63 or 34,48.")] = "0-63",
    metric: Annotated[str, typer.Option(help="Chooses the run: auc, f1 or accuracy.")] = "f1",
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 42,
) -> None:
    """Train the grid of 64 configurations on cached features and tell its figures under both protocols."""
    from quire.dataset import SPLITS
    from quire.runtime import Runtime
    from quire_memefier.grid import run_grid
    from quire_memefier.protocol import summarize

    train, validation, *test = (
        _open(data, dataset, data_option, split) for split in SPLITS if _has(data, dataset, split)
    )
    logs = run_grid(
        train,
        validation,
        test[0] if test else None,
        out,
        options=read_overrides(settings or []),
        overrides=read_overrides(override or []),
        indices=parse_points(points),
        runtime=Runtime(seed=seed),
    )
    names = [metric, *(name for name in ("auc", "f1", "accuracy") if name != metric and name in logs[0].validation)]
    for protocol in ("honest", "reference") if test else ("reference",):
        summary = summarize(logs, names, protocol=protocol)
        figures = "  ".join(f"{name} {value:.4f}" for name, value in summary.figures.items())
        typer.echo(f"protocol {summary.protocol} ({summary.note}): {figures}")


@app.command()
def check(data: Data, dataset: Reader = None, data_option: Options = None) -> None:
    """Read every meme of every split, and tell counts and problems; exit code 1 if there is a bad one."""
    reader = _reader(data, dataset)
    values = {**read_overrides(data_option or []), "verify": True}
    bad = 0
    for split in reader.splits(data):
        opened = reader.open(data, split=split, on_error="skip", **values)
        counts: dict[str, int] = {}
        for index in range(len(opened)):
            label = str(opened.target(index)) if "target" in _annotation(opened, index) else "(no label)"
            counts[label] = counts.get(label, 0) + 1
        told = ", ".join(f"{label} {count}" for label, count in sorted(counts.items()))
        typer.echo(f"{split}: {len(opened)} memes ({told})")
        for note in getattr(opened, "notes", ()):
            typer.echo(f"  note: {note}")
        for error in opened.skipped:
            typer.echo(f"  problem: {error}")
        bad += len(opened.skipped)
    if bad:
        raise typer.Exit(1)


def parse_points(text: str) -> list[int]:
    """The numbers of "0-3,34"; ConfigError for anything else."""
    from quire.errors import ConfigError
    from quire_memefier.presets import GRID_SIZE

    points: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if found is None:
            raise ConfigError(f"{part!r} is no grid point or range of them", remedy="Write 0-63 or 34,48.")
        points += range(int(found[1]), int(found[2] or found[1]) + 1)
    if not points or max(points) >= GRID_SIZE:
        raise ConfigError(f"grid points are 0..{GRID_SIZE - 1}, not {text}")
    return points


def _annotation(dataset: Dataset, index: int) -> dict[str, Any]:
    from quire_memefier.data.rows import annotation_of

    return annotation_of(dataset, index)


def _reader(data: Path, name: str | None) -> Any:
    from quire import registry
    from quire.discovery import find_reader
    from quire_memefier.task import MEME_CLASSIFICATION

    return registry.get(name, "dataset") if name else find_reader(data, MEME_CLASSIFICATION, of="quire-memefier")[1]


def _has(data: Path, name: str | None, split: str) -> bool:
    return split in _reader(data, name).splits(data)


def _open(data: Path, name: str | None, options: list[str] | None, split: str) -> Dataset:
    opened: Dataset = _reader(data, name).open(data, split=split, **read_overrides(options or []))
    return opened
