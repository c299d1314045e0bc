"""`quire train NAME --data PATH`: from a data set to a run."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import RUNS, Device, Json, OnError, Precision, Runs, Threads, Workers, names_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quire.dataset import Dataset
    from quire.model import Model
    from quire.run import DataSource, Run
    from quire.runtime import Runtime


def command(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(help="The model, as `quire list model` shows it.", autocompletion=names_of("model")),
    ] = None,
    settings: Annotated[list[str] | None, typer.Argument(help="Options of the model, as option=value.")] = None,
    data: Annotated[Path | None, typer.Option(help="The data set's folder or file.")] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="The reader, where the layout does not tell.", autocompletion=names_of("dataset")),
    ] = None,
    data_option: Annotated[list[str] | None, typer.Option(help="An option of the reader, as option=value.")] = None,
    split: Annotated[str, typer.Option(help="The split to train on.")] = "train",
    validation: Annotated[
        str | None, typer.Option(help="A split to validate on, or the share of the training split to hold out (0.2).")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of options; arguments override it.")] = None,
    runs: Runs = RUNS,
    run_name: Annotated[str | None, typer.Option("--name", help="The run's name; default: model and time.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue this run; everything else is known from it.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    compile_: Annotated[bool, typer.Option("--compile", help="Compile the network.")] = False,
    deterministic: Annotated[bool, typer.Option(help="Refuse kernels that are not deterministic.")] = False,
    threads: Threads = "auto",
    workers: Workers = 0,
    on_error: OnError = "raise",
    as_json: Json = False,
) -> None:
    """Train a model on a data set; everything about it is kept in a run's folder."""
    from quire.cli.options import check_on_error, make_runtime, overrides, read_config
    from quire.cli.output import print_json, shown_path
    from quire.errors import ConfigError

    if resume is not None:
        _require_nothing_else(ctx, resume)
        run = resume_run(resume)
    elif name is None or data is None:
        raise ConfigError(
            "a training needs a model and --data", remedy="Write: quire train NAME --data PATH [OPTION=VALUE ...]"
        )
    else:
        check_on_error(on_error)
        run = train_run(
            name,
            data,
            settings=overrides(settings or [], read_config(config)),
            reader=dataset,
            reader_options=overrides(data_option or []),
            split=split,
            validation=validation,
            root=runs,
            run_name=run_name,
            runtime=make_runtime(
                device, precision, threads, workers, seed=seed, compile=compile_, deterministic=deterministic
            ),
            on_error=on_error,
        )
    if run is None:
        return
    if as_json:
        print_json({"run": str(run.path), **run.info.model_dump(mode="json")})
        return
    rate = run.info.throughput.get("samples_per_second")
    print(f"{shown_path(run.path)}  ({run.info.state}" + (f", {rate:.0f} samples/s)" if rate else ")"))


def _require_nothing_else(ctx: typer.Context, resume: Path) -> None:
    """ConfigError if anything but --resume and --json is on the command line."""
    from quire.errors import ConfigError

    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "")
        if parameter.name in ("resume", "as_json") or ctx.params.get(parameter.name or "") in (None, [], ()):
            continue
        if source is not None and source.name == "COMMANDLINE":
            given = next(iter(parameter.opts)) if parameter.param_type_name == "option" else "a model or an option"
            raise ConfigError(
                f"{given} can't be given with --resume: a run goes on as it began",
                remedy=f"Write: quire train --resume {resume}",
            )


def train_run(
    name: str,
    data: Path,
    *,
    settings: dict[str, Any],
    root: Path,
    runtime: Runtime,
    reader: str | None = None,
    reader_options: dict[str, Any] | None = None,
    split: str = "train",
    validation: str | None = None,
    run_name: str | None = None,
    on_error: Any = "raise",
) -> Run | None:
    """A new run of the model `name` on `data`; None in a process that only helps another to train it.

    Nothing is written before options and data are known to be good.
    """
    from quire import registry
    from quire.discovery import find_reader
    from quire.discovery import reader_options as options_for
    from quire.errors import QuireError
    from quire.run import DataSource, Run

    model: Model = registry.create(name, **settings)
    model.runtime = runtime
    if reader is None:
        reader, _ = find_reader(data, model.task, of=registry.describe(name, "model").distribution)
    reader_class = registry.get(reader, "dataset")
    source = DataSource(
        dataset=reader,
        path=str(data.resolve()),
        split=split,
        validation_split=validation,
        options={**options_for(reader_class, model.task), **(reader_options or {})},
        on_error=on_error,
    )
    train, held_out = _open(source, runtime)
    model.task.require_fit(train.task, this=name, that=train.name)
    source = source.model_copy(
        update={
            "fingerprint": train.fingerprint(),
            "labels": train.labels,
            "counts": {"train": len(train)} | ({"validation": len(held_out)} if held_out is not None else {}),
        }
    )
    if not runtime.is_main:
        model.fit(train, held_out, runtime=runtime)
        return None
    config = model.config.model_dump(mode="json")
    run = Run.create(root, model=name, config=config, data=source, runtime=runtime, name=run_name)
    try:
        _fit(run, model, train, held_out, runtime)
    except QuireError as error:
        # What the model refuses before its first step is a mistake like any other: the name stays free for the next try.
        if error.exit_code == QuireError.exit_code and not (run.metrics_path.exists() or run.checkpoint_path.exists()):
            run.discard()
        raise
    return run


def resume_run(path: Path) -> Run | None:
    """Continue an interrupted run to its end; a finished one is left as it is. RunError if its data changed.

    None in a process that only helps another to train it.
    """
    from quire import registry
    from quire.cli.output import note, shown_path
    from quire.errors import RunError, Where
    from quire.run import Run
    from quire.runtime import Runtime

    run = Run.open(path)
    if run.info.state == "done":
        note(f"{shown_path(run.path)} is finished already")
        return run
    if run.info.data is None:
        raise RunError(
            "this run does not say which data it is trained on",
            where=Where(file=run.path),
            remedy="Start a new one with: quire train NAME --data PATH",
        )
    settings = run.info.runtime
    runtime = Runtime(
        precision={"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[settings["precision"]],  # type: ignore[arg-type]
        compile=settings["compile"],
        seed=run.info.seed,
        deterministic=settings["deterministic"],
        workers=settings["workers"],
        threads=settings["threads"],
    )
    model: Model = registry.create(run.info.model, **run.info.config)
    model.runtime = runtime
    train, held_out = _open(run.info.data, runtime)
    if train.fingerprint() != run.info.data.fingerprint:
        raise RunError(
            "the training data changed since the run began",
            where=Where(file=Path(run.info.data.path)),
            remedy="Put the data back, or start a new run.",
        )
    if not runtime.is_main:
        model.fit(train, held_out, runtime=runtime, run=run)
        return None
    _fit(run, model, train, held_out, runtime)
    return run


def _open(source: DataSource, runtime: Runtime) -> tuple[Dataset, Dataset | None]:
    """The training data and the validation data: a split of its own, a share that is held out, or none."""
    from quire.dataset import split as split_dataset

    share = _share(source.validation_split)
    train = _open_split(source, source.split)
    if source.validation_split is None:
        return train, None
    if share is None:
        return train, _open_split(source, source.validation_split)
    parts = split_dataset(train, {"train": 1 - share, "validation": share}, seed=runtime.seed)
    return parts["train"], parts["validation"]


def _share(validation: str | None) -> float | None:
    """The share that `validation` is; None for the name of a split, and for no validation."""
    from quire.errors import ConfigError

    try:
        share = float(validation or "")
    except ValueError:
        return None
    if not 0 < share < 1:
        raise ConfigError(
            f"--validation is {validation}, but a share lies between 0 and 1",
            remedy="Write 0.2 to hold out a fifth, or the name of a split.",
        )
    return share


def _open_split(source: DataSource, split: str) -> Dataset:
    from quire.cli.output import note

    dataset = source.open(split, on_error=source.on_error)
    if dataset.skipped:
        count = len(dataset.skipped)
        note(f"{count} bad sample{'s' if count > 1 else ''} of {split} left out; the first: {dataset.skipped[0]}")
    return dataset


def _fit(run: Run, model: Model, train: Dataset, held_out: Dataset | None, runtime: Runtime) -> None:
    """Fit inside the run's folder and keep what came of it, whatever that is."""
    import shutil

    from quire.cli.output import note, shown_path
    from quire.cli.progress import ProgressBar

    progress = ProgressBar()
    run.hooks.add("progress-bar", progress)
    run.hooks.add_installed()
    with run.writing(), _state_of(run), progress:
        run.update(state="running", reason="")
        note(f"training {run.info.model} on {train.name}: {len(train)} samples, run {shown_path(run.path)}")
        model.fit(train, held_out, runtime=runtime, run=run)
        model.save(run.model_path)
        run.update(state="done")
        shutil.rmtree(run.checkpoint_path.parent, ignore_errors=True)


@contextmanager
def _state_of(run: Run) -> Iterator[None]:
    """Write down how a training ended if it did not end well."""
    from quire.cli.output import note, shown_path

    try:
        yield
    except KeyboardInterrupt:
        run.update(state="interrupted", reason="interrupted by the user")
        note(f"interrupted; continue with: quire train --resume {shown_path(run.path)}")
        raise
    except Exception as error:
        with suppress(OSError):  # what ended the training may be that nothing can be written
            run.update(state="failed", reason=str(error) or type(error).__name__)
        raise
