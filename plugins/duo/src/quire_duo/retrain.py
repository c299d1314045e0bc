"""Retraining (section 3.7): cases and matched controls of some seeds are trained on, others measure what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quire import registry
from quire.dataset import Concatenation, InMemory, new_release
from quire.errors import ConfigError, DataError, RunError, TaskMismatch, Where
from quire.model import Classifier
from quire.report import Report, Score, Table
from quire.run import Run
from quire_duo.export import split_of
from quire_duo.keeper import label_for
from quire_duo.produce import produce
from quire_duo.seed_set import seeds_of
from quire_duo.statistics import Difference, Rate, paired_difference
from quire_duo.verdict import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from quire.dataset import Dataset
    from quire.modality import Sample
    from quire.runtime import Runtime
    from quire_duo.generate import Made
    from quire_duo.report import EfrReport
    from quire_duo.rule import FusionRule
    from quire_duo.seed_set import SeedSet
    from quire_duo.summary import RuleFigures
    from quire_duo.tester import Duo

    Trainer = Callable[[Dataset], Classifier]
    """Trains from the original initialisation, with the original hyper-parameters, on the data that it is given."""

MIXING = 0.2
"""The usual bound on what is added, as a share of the original training set."""
RISE = 0.05
"""A rise of the control FPR that the report warns of."""


@dataclass
class RetrainReport(Report):
    """Before and after: rates per rule, the clean metrics, and whether a rule's cases were trained on (seen)."""

    before: EfrReport | None = None
    after: EfrReport | None = None
    clean: Difference | None = None
    added: dict[str, int] = field(default_factory=dict)


def divide(seeds: SeedSet, share: float = 0.5) -> tuple[SeedSet, SeedSet]:
    """(repair, holdout): seeds, not cases, divided by the hash of their ids; `share` of them is for repair."""
    repair = [info for info in seeds if split_of(info.id.removesuffix(f"#{info.modality}"), share) == "train"]
    chosen = {info.id for info in repair}
    return seeds.only(repair), seeds.only(info for info in seeds if info.id not in chosen)


def retrain(
    tester: Duo,
    target: Classifier,
    trainer: Trainer,
    train: Dataset,
    test: Dataset,
    *,
    repair: SeedSet,
    holdout: SeedSet,
    controls: bool = True,
    mixing: float | None = MIXING,
    leave_out: Sequence[str] = (),
) -> tuple[Classifier, RetrainReport]:
    """The retrained classifier, and what it is worth on data that neither training has seen.

    target: trained on `train` by `trainer`. repair: seeds of which training cases are made, by the rules of `tester`
    but those in `leave_out`; holdout: seeds that both classifiers are tested with, by all rules: those that the first
    one flags in plain form. controls: add a matched benign case for every toxic one; without them, a classifier learns
    that disguise is toxic. mixing: at most this share of the training set is added, evenly from all rules; None adds all.
    Raises DataError for seeds on both sides, ConfigError for a rule that is not there.
    """
    _require_apart(repair, holdout)
    target.task.require_fit(train.task, this="the target", that=train.name)
    policy = Policy.of(target, tester.options)
    repair_rules = _repair_rules(tester, target, repair, leave_out)
    samples = cases_to_train_on(tester, target, policy, repair, repair_rules, controls=controls)
    if mixing is not None:
        samples = samples[: int(mixing * len(train)) // (2 if controls else 1) * (2 if controls else 1)]
    if not samples:
        raise DataError("no case may be added: the training set is too small for the mixing ratio")
    added = InMemory(samples, task=train.task, name="cases", split=train.split)
    after_target = trainer(Concatenation([train, added], name=f"{train.name}+cases"))
    if tuple(after_target.labels) != tuple(target.labels):
        raise TaskMismatch(f"the retrained classifier has the labels {after_target.labels}, not {target.labels}")
    before = tester.test(target, holdout)
    used = set(before.seeds_used)
    same = holdout.only(info for info in holdout if info.id in used or not info.toxic)
    after = _with(tester, seed_filter="all").test(after_target, same)
    counts = {
        rule: sum(sample["rule"] == rule for sample in samples) for rule in sorted({one["rule"] for one in samples})
    }
    report = _report(target, after_target, test, before, after, counts, set(leave_out), controls=controls)
    return after_target, report


def cases_to_train_on(
    tester: Duo,
    target: Classifier,
    policy: Policy,
    repair: SeedSet,
    rules: Sequence[FusionRule] | None = None,
    *,
    controls: bool = True,
) -> list[Sample]:
    """Samples of the target's task with targets, made of the repair seeds: in turn of the rules, a toxic case and, with
    `controls`, its control after it. Each tells its rule under "rule"."""
    own = {info.id: info.label for info in repair}
    made: dict[str, Made] = {}

    def receive(one: Made) -> None:
        if one.dropped is None:
            made[one.plan.id] = one

    produce(_with(tester, controls=controls, seed_filter="all"), target, repair, receive, rules=rules)
    beside = {one.plan.control_of: one for one in made.values() if one.plan.control_of is not None}
    by_rule: dict[str, list[list[Made]]] = {}
    for one in made.values():
        if one.plan.expected == "toxic" and (not controls or one.plan.id in beside):
            group = [one, beside[one.plan.id]] if controls else [one]
            by_rule.setdefault(one.plan.rule.id, []).append(group)
    samples: dict[str, Sample] = {}
    for turn in range(max(map(len, by_rule.values()), default=0)):
        for groups in by_rule.values():
            for one in (each for group in groups[turn : turn + 1] for each in group):
                label = label_for(one.plan, target.labels, policy, own)
                samples[one.plan.id] = {**(one.sample or {}), "target": label, "rule": one.plan.rule.id}
    return list(samples.values())


def leave_one_out(
    tester: Duo, target: Classifier, trainer: Trainer, train: Dataset, test: Dataset, **options: Any
) -> dict[str, RetrainReport]:
    """Rule -> the report of a retraining without its cases: how far repair reaches to forms that were not trained on."""
    rules = [figures.rule for figures in _figures(tester.test(target, options["holdout"]))]
    return {
        rule: retrain(tester, target, trainer, train, test, **{**options, "leave_out": (rule,)})[1] for rule in rules
    }


def trainer_of(run: Run, *, runtime: Runtime | None = None) -> tuple[Trainer, Dataset]:
    """How the model of a run is trained again, and its training data.

    Same model, options and seed as the run. Raises RunError for a run that does not say how its data is read, TaskMismatch
    for one that is no classifier's.
    """
    if run.info.data is None:
        raise RunError("this run does not say on which data it was trained", where=Where(file=run.path))
    train = run.info.data.open()
    split = run.info.data.validation_split
    validation = None if split is None or _is_share(split) else run.info.data.open(split)

    def fit(data: Dataset) -> Classifier:
        model = registry.create(run.info.model, **run.info.config)
        if not isinstance(model, Classifier):
            raise TaskMismatch(f"{run.info.model} is no classifier")
        return model.fit(data, validation, runtime=runtime)

    return fit, train


def _is_share(split: str) -> bool:
    return split.replace(".", "", 1).isdigit()


def _require_apart(repair: SeedSet, holdout: SeedSet) -> None:
    common = {info.id for info in repair} & {info.id for info in holdout}
    same_data = repair.fingerprint == holdout.fingerprint
    if common and same_data:
        raise DataError(
            f"the seed {min(common)!r} is both for repair and held out: what is tested must not be trained on"
        )


def _repair_rules(tester: Duo, target: Classifier, repair: SeedSet, leave_out: Sequence[str]) -> list[FusionRule]:
    rules, _ = tester.rules_for(target, repair, tester.workshop())
    unknown = set(leave_out) - {rule.id for rule in rules}
    if unknown:
        raise ConfigError(f"{min(unknown)!r} is to be left out and is none of the rules that can be applied")
    kept = [rule for rule in rules if rule.id not in leave_out]
    if not kept:
        raise ConfigError("no rule is left to repair with")
    return kept


def _with(tester: Duo, **changes: Any) -> Duo:
    """The tester with other options."""
    values = {**dict(tester.options), **changes}
    return type(tester)(
        tester.Options.parse(values, owner=tester.name), fusion_rules=tester.fusion_rules, reference=tester.reference
    )


def correct(model: Classifier, data: Dataset) -> tuple[list[bool], list[str], list[str]]:
    """(correct or not, predicted, target) for every sample of a data set, 256 at a time."""
    predicted: list[str] = []
    for start in range(0, len(data), 256):
        predicted += model.predict([data[index] for index in range(start, min(start + 256, len(data)))])
    targets = [str(data.target(index)) for index in range(len(data))]
    return [a == b for a, b in zip(predicted, targets, strict=True)], predicted, targets


def f1(predicted: Sequence[str], targets: Sequence[str], toxic: Iterable[str]) -> float | None:
    """F1 of the toxic labels taken together; None where there are none and none was predicted."""
    wanted = frozenset(toxic)
    hits = sum(a in wanted and b in wanted for a, b in zip(predicted, targets, strict=True))
    either = sum(a in wanted for a in predicted) + sum(b in wanted for b in targets)
    return 2 * hits / either if either else None


def _figures(report: EfrReport) -> list[RuleFigures]:
    return [] if report.summary is None else report.summary.rules


def _report(
    target: Classifier,
    after_target: Classifier,
    test: Dataset,
    before: EfrReport,
    after: EfrReport,
    added: dict[str, int],
    unseen: set[str],
    *,
    controls: bool,
) -> RetrainReport:
    was, was_predicted, targets = correct(target, test)
    now, now_predicted, _ = correct(after_target, test)
    clean = paired_difference(was, now)
    toxic = target.toxic_labels
    rows: list[list[Any]] = []
    notes = []
    later = {figures.rule: figures for figures in _figures(after)}
    for first in _figures(before):
        second = later.get(first.rule)
        if second is None:
            continue
        rows.append(
            [
                first.rule,
                "no" if first.rule in unseen else "yes",
                first.efr.n,
                first.efr.value,
                second.efr.value,
                first.control_fpr.n,
                first.control_fpr.value,
                second.control_fpr.value,
            ]
        )
        notes += _warning(first, second)
    columns = [
        "rule",
        "trained on",
        "n",
        "EFR before",
        "EFR after",
        "controls",
        "control FPR before",
        "control FPR after",
    ]
    tables = [Table("Rules, on seeds held out", columns, rows), _clean_table(was, now, clean)]
    tables.append(Table("Cases added to the training set", ["rule", "cases"], [[name, n] for name, n in added.items()]))
    if not controls:
        notes.insert(0, "Toxic cases alone were added, without controls.")
    report = RetrainReport("Retraining with semantic fusion", tables=tables, notes=notes, n_used=len(test))
    report.before, report.after, report.clean, report.added = before, after, clean, added
    report.metrics = {
        "clean_accuracy_before": Rate.of(was).score(higher_is_better=True),
        "clean_accuracy_after": Rate.of(now).score(higher_is_better=True),
        "clean_accuracy_change": Score(clean.value, low=clean.low, high=clean.high, higher_is_better=True),
        "toxic_f1_before": _optional(f1(was_predicted, targets, toxic)),
        "toxic_f1_after": _optional(f1(now_predicted, targets, toxic)),
        "efr_before": before.metrics["efr"],
        "efr_after": after.metrics["efr"],
        "control_fpr_before": before.metrics["control_fpr"],
        "control_fpr_after": after.metrics["control_fpr"],
    }
    report.provenance = {"before": before.provenance, "after": after.provenance}
    return report


def _clean_table(was: Sequence[bool], now: Sequence[bool], clean: Difference) -> Table:
    row: list[Any] = [sum(was) / len(was), sum(now) / len(now), clean.value, clean.low, clean.high, clean.p]
    columns = ["accuracy before", "after", "difference", "low", "high", "McNemar p"]
    return Table("Clean test data", columns, [row], "Intervals: paired bootstrap, 95 %.")


def _warning(before: RuleFigures, after: RuleFigures) -> list[str]:
    first, second = before.control_fpr.value, after.control_fpr.value
    if first is None or second is None or second - first <= RISE:
        return []
    return [
        f"{before.rule}: the EFR fell because benign messages of this form are flagged now "
        f"(control FPR {first:.3f} before, {second:.3f} after)."
    ]


def _optional(value: float | None) -> Score:
    return Score(value, None if value is not None else "there is no toxic sample", higher_is_better=True)


def retrain_run(
    tester: Duo,
    run_path: Path,
    folder: Path,
    *,
    seeds: SeedSet | None = None,
    test_split: str = "test",
    controls: bool = True,
    mixing: float | None = MIXING,
    leave_out: Sequence[str] = (),
    runtime: Runtime | None = None,
) -> RetrainReport:
    """Retrain the model of a run and write model/, report.json and report.html to the new folder.

    The seeds are divided in halves by the hash of their ids: one half makes the cases that are trained on, the other one
    those that both models are tested with. Without seeds, the run's training data are for repair, its test data are held
    out. Raises DataError if `folder` holds anything.
    """
    run = Run.open(run_path)
    trainer, train = trainer_of(run, runtime=runtime)
    target = run.load_model(runtime=runtime)
    if not isinstance(target, Classifier):
        raise TaskMismatch(f"{run.info.model} is no classifier")
    if run.info.data is None:
        raise RunError("this run does not say on which data it was trained", where=Where(file=run.path))
    test = run.info.data.open(test_split)
    toxic = tester.options.toxic_labels or tuple(target.toxic_labels)
    if seeds is None:
        labels = [label for group in toxic.values() for label in group] if isinstance(toxic, dict) else toxic
        kind = tester.options.kind
        repair = tester.prepared(seeds_of(train, labels, kind), target)
        holdout = tester.prepared(seeds_of(test, labels, kind), target)
    else:
        repair, holdout = divide(tester.prepared(seeds, target))
    after, report = retrain(
        tester,
        target,
        trainer,
        train,
        test,
        repair=repair,
        holdout=holdout,
        controls=controls,
        mixing=mixing,
        leave_out=leave_out,
    )
    with new_release(folder) as building:
        after.save(building / "model")
        report.write(building)
    return report
