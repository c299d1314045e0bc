"""`quire train NAME --data PATH`: from a data set to a run."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import DATA_ROOT, Device, Json, OnError, Precision, Threads, Workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quire.dataset import Dataset
    from quire.model import Model
    from quire.run import DataSource, Run
    from quire.runtime import Runtime


def command(
    name: Annotated[str | None, typer.Argument(help="The model, as `quire list model` shows it.")] = None,
    settings: Annotated[list[str] | None, typer.Argument(help="Options of the model, as option=value.")] = None,
    data: Annotated[Path | None, typer.Option(help="The data set's folder or file.")] = None,
    dataset: Annotated[str | None, typer.Option(help="The reader, where the layout does not tell.")] = None,
    data_option: Annotated[list[str] | None, typer.Option(help="An option of the reader, as option=value.")] = None,
    split: Annotated[str, typer.Option(help="The split to train on.")] = "train",
    validation: Annotated[
        str | None, typer.Option(help="A split to validate on, or the share of the training split to hold out (0.2).")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of options; arguments override it.")] = None,
    runs: Annotated[Path, typer.Option(help="The folder that holds the runs.")] = DATA_ROOT,
    run_name: Annotated[str | None, typer.Option("--name", help="The run's name; default: model and time.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue this run; everything else is known from it.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
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
    from quire.cli.output import print_json
    from quire.errors import ConfigError

    check_on_error(on_error)
    if resume is not None:
        if name or data:
            raise ConfigError("a resumed run keeps its model and data", remedy=f"Use: quire train --resume {resume}")
        run = resume_run(resume)
    else:
        if name is None or data is None:
            raise ConfigError("training needs a model and --data", remedy="quire train tsc --data GunPoint/")
        runtime = make_runtime(
            device, precision, threads, workers, seed=seed, compile=compile_, deterministic=deterministic
        )
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
            runtime=runtime,
            on_error=on_error,
        )
    if as_json:
        print_json({"run": str(run.path), **run.info.model_dump(mode="json")})
        return
    rate = run.info.throughput.get("samples_per_second")
    print(f"{run.path}  ({run.info.state}" + (f", {rate:.0f} samples/s)" if rate else ")"))


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
) -> Run:
    """A new run of the model `name` on `data`. Nothing is written before options and data are known to be good."""
    from quire import registry
    from quire.discovery import find_reader
    from quire.discovery import reader_options as options_for
    from quire.run import DataSource, Run

    model: Model = registry.create(name, **settings)
    model.runtime = runtime
    data = data.resolve()
    if reader is None:
        reader, _ = find_reader(data, model.task, of=registry.describe(name, "model").distribution)
    reader_class = registry.get(reader, "dataset")
    source = DataSource(
        dataset=reader,
        path=str(data),
        split=split,
        validation_split=validation,
        options={**options_for(reader_class, model.task), **(reader_options or {})},
    )
    train, held_out = _open(source, on_error, runtime)
    model.task.require_fit(train.task, this=name, that=train.name)
    source = source.model_copy(
        update={
            "fingerprint": train.fingerprint(),
            "labels": train.labels,
            "counts": {"train": len(train)} | ({"validation": len(held_out)} if held_out is not None else {}),
        }
    )
    config = model.config.model_dump(mode="json")
    if not runtime.is_main:
        model.fit(train, held_out, runtime=runtime)
        return None  # type: ignore[return-value]
    run = Run.create(root, model=name, config=config, data=source, runtime=runtime, name=run_name)
    return _fit(run, model, train, held_out, runtime)


def resume_run(path: Path) -> Run:
    """Continue an interrupted run to its end; a finished one is left as it is. RunError if its data changed."""
    from quire import registry
    from quire.cli.output import note
    from quire.errors import RunError, Where
    from quire.run import Run
    from quire.runtime import Runtime

    run = Run.open(path)
    if run.info.state == "done":
        note(f"{run.path} is finished already")
        return run
    if run.info.data is None:
        raise RunError("this run does not say which data it was trained on", where=Where(file=run.path))
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
    train, held_out = _open(run.info.data, "raise", runtime)
    if train.fingerprint() != run.info.data.fingerprint:
        raise RunError(
            "the training data changed since the run began",
            where=Where(file=Path(run.info.data.path)),
            remedy="Put the data back, or start a new run.",
        )
    return _fit(run, model, train, held_out, runtime)


def _open(source: DataSource, on_error: Any, runtime: Runtime) -> tuple[Dataset, Dataset | None]:
    """The training data and the validation data: a split of its own, a share that is held out, or none."""
    from quire.cli.output import note
    from quire.dataset import split as split_dataset
    from quire.errors import ConfigError

    train = source.open(on_error=on_error)
    if train.skipped:
        note(f"{len(train.skipped)} bad samples were left out; the first: {train.skipped[0]}")
    if source.validation_split is None:
        return train, None
    try:
        share = float(source.validation_split)
    except ValueError:
        return train, source.open(source.validation_split, on_error=on_error)
    if not 0 < share < 1:
        raise ConfigError(f"--validation {share} is not a share between 0 and 1")
    parts = split_dataset(train, {"train": 1 - share, "validation": share}, seed=runtime.seed)
    return parts["train"], parts["validation"]


def _fit(run: Run, model: Model, train: Dataset, held_out: Dataset | None, runtime: Runtime) -> Run:
    """Fit inside the run's folder and keep what came of it, whatever that is."""
    import shutil

    from quire.cli.output import note
    from quire.cli.progress import ProgressBar

    run.hooks.add("progress-bar", ProgressBar())
    run.hooks.add_installed()
    with run.writing(), _state_of(run):
        run.update(state="running", reason="")
        note(f"training {run.info.model} on {train.name}: {len(train)} samples, run {run.path}")
        model.fit(train, held_out, runtime=runtime, run=run)
        model.save(run.model_path)
        run.update(state="done", reason="")
        shutil.rmtree(run.checkpoint_path.parent, ignore_errors=True)
    return run


@contextmanager
def _state_of(run: Run) -> Iterator[None]:
    """Write down how a training ended if it did not end well."""
    from quire.cli.output import note

    try:
        yield
    except KeyboardInterrupt:
        run.update(state="interrupted", reason="interrupted by the user")
        note(f"interrupted; continue with: quire train --resume {run.path}")
        raise
    except Exception as error:
        run.update(state="failed", reason=str(error) or type(error).__name__)
        raise
