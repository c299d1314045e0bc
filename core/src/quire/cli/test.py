"""`quire test TESTER --target SPEC`: from seeds to the inputs that a classifier gets wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import Device, Json, OnError, Precision, Threads, Workers, names_of

if TYPE_CHECKING:
    from quire.dataset import Dataset
    from quire.model import Classifier
    from quire.run import Run
    from quire.tester import Tester


def command(
    name: Annotated[
        str,
        typer.Argument(
            help="The tester, as `quire list tester` shows it.", metavar="TESTER", autocompletion=names_of("tester")
        ),
    ],
    target: Annotated[
        str,
        typer.Option(
            help="A run's folder, http://HOST:PORT, a YAML file that describes an endpoint, package.module:function, "
            "or cmd:PROGRAM."
        ),
    ],
    data: Annotated[Path | None, typer.Option(help="The seeds' folder or file; default: the run's own data.")] = None,
    split: Annotated[str | None, typer.Option(help="The split of the seeds; default: test, or the only one.")] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="The reader of the seeds; default: the tester's.", autocompletion=names_of("dataset")),
    ] = None,
    data_option: Annotated[list[str] | None, typer.Option(help="An option of the reader, as option=value.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="An option of the tester, as option=value.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file of the tester's options; --option overrides it.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The folder for report and findings; default: reports/TESTER, in the run's folder."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the test that was begun in the folder.")] = False,
    task: Annotated[
        str | None, typer.Option(help="The task of a target that does not say it.", autocompletion=names_of("task"))
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="The labels of a target that does not say them, in its order: a,b,c.")
    ] = None,
    toxic_labels: Annotated[str | None, typer.Option(help="The labels that a moderator acts on: a,b.")] = None,
    target_option: Annotated[list[str] | None, typer.Option(help="An option of the target, as option=value.")] = None,
    allow_network: Annotated[
        bool, typer.Option("--allow-network", help="Ask a server on another machine, if it is the target.")
    ] = False,
    authorised: Annotated[
        bool,
        typer.Option("--authorised", help="You state that you operate that server or are authorised to test it."),
    ] = False,
    on_error: OnError = "raise",
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = "auto",
    workers: Workers = 0,
    as_json: Json = False,
) -> None:
    """Search for inputs that a classifier gets wrong, and keep them, ready to retrain on. Exit code 1 if there are any."""
    from quire import registry
    from quire.cli.options import check_on_error, make_runtime, overrides, read_config
    from quire.cli.output import note, print_json, print_scores, shown_path
    from quire.target import open_target, run_behind
    from quire.tester import testing_in

    check_on_error(on_error)
    tester: Tester = registry.get(name, "tester")(**overrides(option or [], read_config(config)))
    runtime = make_runtime(device, precision, threads, workers)
    options = overrides(target_option or []) | ({"authorised": True} if authorised else {})
    aimed = open_target(
        target,
        task=task,
        labels=listed(labels, "--labels"),
        toxic_labels=listed(toxic_labels, "--toxic-labels"),
        runtime=runtime,
        allow_network=allow_network,
        **options,
    )
    run = run_behind(target)
    seeds = open_seeds(tester, aimed, run, data, split, dataset, overrides(data_option or []), on_error)
    folder = out or (run.path if run is not None else Path()) / "reports" / name
    identity: dict[str, Any] = {
        "tester": name,
        "options": tester.options.model_dump(mode="json"),
        "target": aimed.fingerprint(),
        "seeds": seeds.fingerprint(),
    }
    try:
        with testing_in(folder, identity, resume=resume):
            report = tester.test(aimed, seeds, runtime=runtime, folder=folder)
            report.provenance["target"] = target
            page = report.write(folder)
    except KeyboardInterrupt:
        note(f"interrupted; call it again with --resume to go on in {shown_path(folder)}")
        raise
    if as_json:
        print_json(
            {
                "tester": name,
                "target": target,
                "folder": str(folder),
                "page": str(page),
                "failures": report.n_failures,
                "report": report.to_json(),
            }
        )
    else:
        print_scores(report.metrics)
        print(f"{report.n_used} samples used, {report.n_left_out} left out, {report.n_failures} failures found")
        print(shown_path(page))
    if report.n_failures:
        raise typer.Exit(1)


def listed(text: str | None, option: str) -> list[str] | None:
    """What commas part; ConfigError for a name that is empty or stands twice."""
    from quire.errors import ConfigError

    if text is None:
        return None
    found = [part.strip() for part in text.split(",")]
    if "" in found or len(set(found)) < len(found):
        raise ConfigError(f"{option} is {text!r}", remedy="Write names that differ, with commas between them.")
    return found


def open_seeds(
    tester: Tester,
    target: Classifier,
    run: Run | None,
    data: Path | None,
    split: str | None,
    dataset: str | None,
    options: dict[str, Any],
    on_error: Any,
) -> Dataset:
    """The data that the search begins with: what the user names, or the test split of the target's own.

    Read by the class that the user or the tester names, or by one of the tester's package that recognises the layout;
    else as the target's own data are, else by the layout.
    """
    from quire import registry
    from quire.cli.evaluate import open_data
    from quire.discovery import find_reader, own_reader, reader_options
    from quire.errors import ConfigError

    reader_name = dataset or tester.seeds
    if reader_name is None and data is not None and data.exists() and tester.name in registry.names("tester"):
        reader_name = own_reader(data, registry.describe(tester.name, "tester").distribution)
    if run is not None and reader_name is None and not options and (data is None or run.info.data is not None):
        return open_data(run, data, split or "test", on_error)
    if data is None:
        raise ConfigError("the search begins with seeds", remedy="Name their folder or file with --data.")
    if reader_name is None:
        reader_name, _ = find_reader(data, target.task)
    reader: type[Dataset] = registry.get(reader_name, "dataset")
    if reader_options(reader, target.task):  # it reads for any task: the target's own, which need not be installed
        options = {"task": target.task, **options}
    return reader.open(data, split=split or _usual_split(reader, data), on_error=on_error, **options)


def _usual_split(reader: type[Dataset], data: Path) -> str:
    """The test split, else the only one."""
    from quire.errors import ConfigError, Where

    splits = reader.splits(data) if data.exists() else ()
    if "test" in splits or not splits:
        return "test"
    if len(splits) > 1:
        raise ConfigError(
            f"the seeds have no split test, but {', '.join(splits)}",
            where=Where(file=data),
            remedy="Choose with --split.",
        )
    return splits[0]
