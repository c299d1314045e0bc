"""`quire duo`: what goes before and after a test: rules, cases alone, the gate, export, retraining, people, comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import Json  # noqa: TC001 - typer reads it

if TYPE_CHECKING:
    from quire_duo.seed_set import SeedSet
    from quire_duo.tester import Duo

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Semantic fusion: its rules, cases, gate, export, retraining and annotation. `quire test duo` runs a test.",
)
Report = Annotated[Path, typer.Argument(help="The folder of a finished test.", metavar="REPORT")]
Out = Annotated[Path, typer.Option(help="A folder that is not there yet.")]
Seeds = Annotated[Path, typer.Option(help="The seeds: a file or folder that moderation-seeds reads, or see --dataset.")]
Reader = Annotated[str, typer.Option(help="The reader of the seeds.")]
ReaderOptions = Annotated[list[str] | None, typer.Option("--data-option", help="An option of the reader.")]
Options = Annotated[list[str] | None, typer.Option("--option", help="An option of duo, as option=value.")]
Config = Annotated[Path | None, typer.Option(help="A YAML file of duo's options; --option overrides it.")]
Rights = Annotated[
    bool, typer.Option("--i-have-rights", help="You state that you may lawfully possess and use the seeds.")
]


@app.command()
def rules(
    pattern: Annotated[list[str] | None, typer.Argument(help="Ids, with the wildcards * and ?; default: all.")] = None,
    option: Options = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the installed rules: what they take, make and guarantee, their parameters, and why one can't work here."""
    from quire.cli.output import print_json, print_table
    from quire_duo.rule import find_rules

    workshop = _tester(option, config).workshop()
    found: list[dict[str, Any]] = [
        {
            "rule": rule.id,
            "takes": ", ".join(f"{slot.role} {slot.modality}" for slot in rule.slots),
            "makes": ", ".join(sorted(rule.produces)),
            "guarantee": rule.guarantee,
            "parameters": {parameter.name: list(parameter.grid) for parameter in rule.parameters},
            "summary": rule.summary,
            "unavailable": rule.unavailable(workshop),
        }
        for rule in find_rules(pattern or ["all"])
    ]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["rule"],
            one["takes"],
            one["makes"],
            one["guarantee"],
            "; ".join(f"{name} {' | '.join(map(str, grid))}" for name, grid in one["parameters"].items()),
            one["summary"] if one["unavailable"] is None else f"not applicable: {one['unavailable']}",
        )
        for one in found
    ]
    print_table(("rule", "takes", "makes", "guarantee", "parameters, mildest first", ""), rows)


@app.command()
def generate(
    seeds: Seeds,
    out: Out,
    task: Annotated[str, typer.Option(help="The task of the target that the cases are for.")] = "content-moderation",
    dataset: Reader = "moderation-seeds",
    data_option: ReaderOptions = None,
    toxic_labels: Annotated[str | None, typer.Option(help="The seeds' labels that are toxic, if not `toxic`.")] = None,
    option: Options = None,
    config: Config = None,
    i_have_rights: Rights = False,
    as_json: Json = False,
) -> None:
    """Make cases and controls without asking a target: a folder for each, and manifest.jsonl."""
    from quire import registry
    from quire.cli.output import print_json, shown_path
    from quire_duo.produce import Shape, write_cases

    tester = _tester(option, config, i_have_rights)
    wanted = toxic_labels.split(",") if toxic_labels else ["toxic"]
    shape = Shape(registry.get(task, "task"), ("benign", wanted[0]), wanted[0])
    prepared = tester.prepared(_open_seeds(seeds, dataset, data_option, wanted, tester), shape)
    written = write_cases(tester, shape, prepared, out)
    if as_json:
        print_json(written)
        return
    for name, reason in written["not_applicable"].items():
        typer.echo(f"{name}: {reason}")
    typer.echo(f"{written['cases']} cases and {written['controls']} controls, {written['dropped']} dropped")
    typer.echo(str(shown_path(out)))


@app.command()
def gate(
    report: Report,
    max_efr: Annotated[
        float | None, typer.Option(min=0, max=1, help="The highest EFR, of the run and each rule.")
    ] = None,
    max_control_fpr: Annotated[
        float | None, typer.Option(min=0, max=1, help="The highest control FPR, likewise.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="A test before: neither rate may have risen (p < 0.05).")
    ] = None,
    least: Annotated[int, typer.Option(min=1, help="Rules with fewer cases than these are not judged.")] = 20,
    as_json: Json = False,
) -> None:
    """Exit code 0 if the test keeps the limits, 1 if it does not: for continuous integration."""
    from quire.cli.output import print_json
    from quire.errors import ConfigError
    from quire_duo.gate import gate as violations

    if max_efr is None and max_control_fpr is None and baseline is None:
        raise ConfigError(
            "there is nothing to hold the test to", remedy="Give --max-efr, --max-control-fpr or --baseline."
        )
    found = violations(report, max_efr=max_efr, max_control_fpr=max_control_fpr, baseline=baseline, least=least)
    if as_json:
        print_json({"passed": not found, "violations": found})
    else:
        typer.echo("\n".join(found) or "passed")
    if found:
        raise typer.Exit(1)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="The folder of a finished test.")],
    second: Annotated[Path, typer.Argument(help="The folder of another one, of the same seeds, rules and options.")],
    as_json: Json = False,
) -> None:
    """How two targets, or versions of one, differ on the cases that both answered: McNemar's test, bootstrap interval."""
    from dataclasses import asdict

    from quire.cli.output import print_json, print_table
    from quire_duo.gate import compare as differences

    found = differences(first, second)
    if as_json:
        print_json({name: asdict(one) for name, one in found.items()})
        return
    rows = [(name, one.n, one.value, f"{one.low:.4g} to {one.high:.4g}", one.p) for name, one in found.items()]
    print_table(("rate", "cases", "second - first", "95 % interval", "exact McNemar p"), rows)


@app.command()
def export(
    report: Report,
    out: Out,
    format: Annotated[str, typer.Option(help="memes.csv, jsonl or table.")] = "table",
    failing: Annotated[bool, typer.Option(help="Failing cases alone, or all that were kept.")] = True,
    split: Annotated[str, typer.Option(help="all, or the cases of the seeds of one part: train or test.")] = "all",
) -> None:
    """Write cases as data to train on."""
    from quire.cli.output import shown_path
    from quire.errors import ConfigError
    from quire_duo.export import export as write

    for name, value, known in (
        ("--format", format, ("memes.csv", "jsonl", "table")),
        ("--split", split, ("all", "train", "test")),
    ):
        if value not in known:
            raise ConfigError(f"{name} is {value!r}", remedy=f"Use one of {', '.join(known)}.")
    path, count = write(report, out, format=format, failing=failing, split=split)  # type: ignore[arg-type]
    typer.echo(f"{count} cases in {shown_path(path)}")


@app.command()
def retrain(
    run: Annotated[Path, typer.Argument(help="The folder of the run whose model is to be trained again.")],
    out: Out,
    seeds: Annotated[Path | None, typer.Option(help="Seeds to divide; default: the run's own data.")] = None,
    dataset: Reader = "moderation-seeds",
    data_option: ReaderOptions = None,
    toxic_labels: Annotated[
        str | None, typer.Option(help="The labels that are toxic, if the model does not say.")
    ] = None,
    test_split: Annotated[str, typer.Option(help="The split of the run's data for the clean figures.")] = "test",
    controls: Annotated[bool, typer.Option(help="Train on a matched benign case for every toxic one.")] = True,
    mixing: Annotated[
        float, typer.Option(min=0, help="Cases added at most, as a share of the training set; 0: all.")
    ] = 0.2,
    leave_out: Annotated[list[str] | None, typer.Option(help="A rule that is tested and not trained on.")] = None,
    option: Options = None,
    config: Config = None,
    i_have_rights: Rights = False,
    as_json: Json = False,
) -> None:
    """Train a run's model again with cases of one half of the seeds, and test both models with the other half."""
    from quire.cli.output import print_json, print_scores, shown_path
    from quire_duo.retrain import retrain_run

    labels = tuple(toxic_labels.split(",")) if toxic_labels else None
    tester = _tester(option, config, i_have_rights, **({} if labels is None else {"toxic_labels": labels}))
    chosen = None if seeds is None else _open_seeds(seeds, dataset, data_option, labels or ("toxic",), tester)
    report = retrain_run(
        tester,
        run,
        out,
        seeds=chosen,
        test_split=test_split,
        controls=controls,
        mixing=mixing or None,
        leave_out=tuple(leave_out or ()),
    )
    if as_json:
        print_json({"folder": str(out), "report": report.to_json()})
        return
    print_scores(report.metrics)
    for note in report.notes:
        typer.echo(note)
    typer.echo(str(shown_path(out / "report.html")))


@app.command()
def annotate(
    report: Report,
    out: Annotated[Path | None, typer.Option(help="Write the pack for people into this new folder.")] = None,
    import_: Annotated[Path | None, typer.Option("--import", help="Read the labels that people gave.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Cases in the pack.")] = 200,
    seed: Annotated[int, typer.Option(help="Which cases, and their order.")] = 0,
    as_json: Json = False,
) -> None:
    """Write a pack of cases that people judge offline, or read their labels: toxic share, realism, kappa, human EFR."""
    from quire.cli.output import print_json, print_table, shown_path
    from quire.errors import ConfigError
    from quire_duo.annotate import import_labels, write_pack

    if (out is None) == (import_ is None):
        raise ConfigError("annotate either writes a pack or reads labels", remedy="Give --out or --import.")
    if import_ is not None:
        figures = import_labels(report, import_).to_json()
        if as_json:
            print_json(figures)
            return
        rates: list[tuple[object, ...]] = [
            (name, one["rate"], one["n"]) for name, one in figures.items() if isinstance(one, dict)
        ]
        rates += [(name, one, "") for name, one in figures.items() if not isinstance(one, dict)]
        print_table(("figure", "value", "cases"), rates)
        return
    if out is not None:
        count = write_pack(report, out, most=most, seed=seed)
        typer.echo(
            f"{count} cases in {shown_path(out / 'index.html')}; people fill in {shown_path(out / 'labels.csv')}"
        )


def _tester(option: list[str] | None, config: Path | None, i_have_rights: bool = False, **more: Any) -> Duo:
    from quire.cli.options import overrides, read_config
    from quire_duo.tester import Duo

    given = overrides(option or [], read_config(config)) | more | ({"i_have_rights": True} if i_have_rights else {})
    return Duo(**given)


def _open_seeds(path: Path, dataset: str, options: list[str] | None, toxic: Any, tester: Duo) -> SeedSet:
    from quire import registry
    from quire.cli.options import overrides
    from quire_duo.seed_set import seeds_of

    reader = registry.get(dataset, "dataset")
    splits = reader.splits(path) if path.exists() else ("train",)
    split = "test" if "test" in splits else splits[0]
    data = reader.open(path, split=split, **overrides(options or []))
    return seeds_of(data, {"toxic"} if dataset == "moderation-seeds" else toxic, tester.options.kind)
