"""The tester: any classifier is asked about inputs that are toxic by construction."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any, ClassVar

from quire.errors import ConfigError, DataError, QuireError, TaskMismatch
from quire.model import Classifier
from quire.storage import content_hash
from quire.tester import Tester
from quire_duo.adapters import adapt
from quire_duo.composition import read_pairs
from quire_duo.content import Placement
from quire_duo.exhibits import choose, exhibit
from quire_duo.generate import Maker
from quire_duo.journal import Journal
from quire_duo.keeper import Keeper
from quire_duo.options import DuoOptions
from quire_duo.plain import IDENTITY
from quire_duo.report import EfrReport, metrics_of, tables_of
from quire_duo.rule import FusionRule, find_rules
from quire_duo.runner import BudgetSpent, Runner
from quire_duo.search import Search
from quire_duo.seed_set import PAIR, SeedSet, seeds_of
from quire_duo.summary import summarise
from quire_duo.tables import read_lexicon, read_substitutes
from quire_duo.task import CONTENT_MODERATION
from quire_duo.validity import ClassifierJudge, LexiconJudge
from quire_duo.verdict import Policy
from quire_duo.workshop import Workshop

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from quire.dataset import Dataset
    from quire.runtime import Runtime
    from quire_duo.validity import Judge

MEDIA = frozenset({"text", "image", "audio", "video", PAIR})
"""Kinds of seeds that the user must have a right to use."""


class Duo(Tester):
    """Finds what a classifier lets pass, by semantic fusion (Wang et al., ISSTA 2023).

    `fusion_rules` are taken in the place of the installed ones that the option `rules` names; `reference` is a classifier
    of single contents that judges the parts of split and composed cases, beside the lexicon.
    """

    name = "duo"
    Options: ClassVar[type[DuoOptions]] = DuoOptions
    quick: ClassVar[dict[str, Any]] = {"rules": ("T.*", "TI.screenshot"), "per_rule": 3}
    """Options with which the conformance suite's searches take seconds."""
    options: DuoOptions

    def __init__(
        self,
        options: DuoOptions | None = None,
        /,
        *,
        fusion_rules: Sequence[FusionRule] | None = None,
        reference: Classifier | None = None,
        **values: Any,
    ) -> None:
        super().__init__(options, **values)
        if reference is not None and not reference.toxic_labels:
            raise ConfigError("the reference judge does not say which of its labels are toxic")
        self.fusion_rules = fusion_rules
        self.reference = reference

    def test(
        self,
        target: Classifier,
        seeds: Dataset | SeedSet,
        *,
        runtime: Runtime | None = None,
        folder: Path | None = None,
    ) -> EfrReport:
        """Make cases of `seeds`, which may be of any task, and ask `target`; see DuoOptions for how.

        With a folder, everything stands there as soon as it is known: results.jsonl (a line for every planned case, in
        an order that depends on options, seeds and target alone), cases/, findings/; the report is the caller's to write.
        Called again with the folder, an interrupted run goes on, and its files are those of one that was not interrupted.
        Raises ConfigError and DataError before anything is asked where options, seeds and target do not go together,
        TargetFault where the target answers what no classifier may.
        """
        if not isinstance(target, Classifier):
            raise TaskMismatch(f"{type(target).__name__} is no classifier", remedy="Duo tests what gives labels.")
        if runtime is not None:
            target.runtime = runtime
        if self.options.adapter is not None:
            target = adapt(target, self.options.adapter)
        policy = Policy.of(target, self.options)
        prepared = self.prepared(seeds, target)
        workshop = self.workshop()
        applicable, not_applicable = self.rules_for(target, prepared, workshop)
        config = self._described(target, prepared, applicable)
        journal = Journal.open(folder, config)
        maker = self.maker(target, prepared, workshop)
        keeper = Keeper(folder, target, policy, maker, keep_all=self.options.keep == "all", seeds=prepared)
        runner = Runner(target, policy, maker, journal, self.options, keeper.keep)
        search = Search(
            runner, prepared, applicable, workshop, self.options, all_rules=self.fusion_rules or find_rules()
        )
        spent = False
        with runner.running():
            try:
                search.run()
            except BudgetSpent:
                spent = True
        if not any(search.usable.values()):
            raise self._nothing_detected(search, runner, spent=spent)
        report = self._report(target, policy, runner, search, not_applicable, keeper, spent=spent)
        self._signed(report, target, prepared, seeds, config)
        return report

    def prepared(self, seeds: Dataset | SeedSet, target: Classifier) -> SeedSet:
        """The seeds of the kinds wanted, with the pairs of the composition table.

        Raises DataError where toxic or benign ones are lacking, ConfigError for a kind that none has and where the user
        has not stated a right to use them.
        """
        options = self.options
        found = seeds if isinstance(seeds, SeedSet) else seeds_of(seeds, self._toxic_in(seeds, target), options.kind)
        if options.composition is not None:
            pairs = read_pairs(options.composition, found, trust=options.trust)
            found = found.extended(pairs, ["toxic" if pair.toxic else "benign" for pair in pairs])
        if not options.i_have_rights and not found.are_placeholders and any(info.modality in MEDIA for info in found):
            raise ConfigError(
                "you have not stated that you may lawfully possess and use these seeds",
                remedy="If you may, pass i_have_rights=true.",
            )
        kinds = {info.kind for info in found if info.toxic}
        unknown = [kind for kind in options.kinds if kind != "all" and kind not in kinds]
        if unknown:
            raise ConfigError(
                f"no toxic seed is of the kind {unknown[0]!r}", remedy=f"Their kinds are {', '.join(sorted(kinds))}."
            )
        if not kinds:
            raise DataError(
                f"{found.name} has no toxic seed",
                remedy="Name the labels of the seeds that count as toxic by the option toxic_labels.",
            )
        if options.controls and not found.select(toxic=False):
            raise DataError(
                f"{found.name} has no benign seed, of which controls are made",
                remedy="Add some, or pass controls=false and know nothing of false alarms.",
            )
        return found

    def _toxic_in(self, seeds: Dataset, target: Classifier) -> frozenset[str]:
        """The labels of the seeds' own data set that are toxic."""
        if seeds.task.name == CONTENT_MODERATION.name:
            return frozenset({"toxic"})
        named = self.options.toxic_labels or tuple(target.toxic_labels)
        groups = named.values() if isinstance(named, dict) else [named]
        return frozenset(label for labels in groups for label in labels)

    def workshop(self) -> Workshop:
        """What rules work with."""
        options = self.options
        lexicon = {} if options.lexicon is None else {"lexicon": read_lexicon(options.lexicon)}
        return Workshop(
            canvas=options.canvas,
            speech=options.tts,
            film=options.video,
            fonts=options.fonts,
            tables={name: read_substitutes(path) for name, path in options.tables.items()},
            cache=None if options.cache_dir is None else options.cache_dir / "made",
            **lexicon,
        )

    def maker(self, target: Classifier, seeds: SeedSet, workshop: Workshop) -> Maker:
        """What makes cases for a target."""
        judge: Judge | None = None
        if self.reference is not None:
            toxic = self.reference.toxic_labels
            judge = ClassifierJudge(self.reference, toxic, LexiconJudge(workshop.lexicon))
        return Maker(target, seeds, workshop, checks=self.options.validity, judge=judge)

    def rules_for(
        self, target: Classifier, seeds: SeedSet, workshop: Workshop
    ) -> tuple[list[FusionRule], dict[str, str]]:
        """The rules that can be applied, and of the others why not. ConfigError where none can."""
        rules = list(find_rules(self.options.rules) if self.fusion_rules is None else self.fusion_rules)
        unknown = [name for name in self.options.parameters if name not in {rule.id for rule in rules}]
        if unknown:
            raise ConfigError(f"parameters are given for {unknown[0]!r}, which is none of the rules of this run")
        placement = Placement.of(target)
        reasons = {rule.id: why_not(rule, placement, seeds, workshop) for rule in rules}
        applicable = [rule for rule in rules if reasons[rule.id] is None]
        refused = {name: reason for name, reason in reasons.items() if reason is not None}
        if not applicable:
            table = "\n".join(f"  {name}: {reason}" for name, reason in refused.items())
            raise ConfigError(f"no rule can be applied to {target.task.name} with these seeds:\n{table}")
        return applicable, refused

    def _described(self, target: Classifier, seeds: SeedSet, rules: Sequence[FusionRule]) -> dict[str, Any]:
        """All that the results depend on."""
        options = self.options
        files = [options.lexicon, options.composition, *options.tables.values(), *options.fonts]
        return {
            "options": options.determining(),
            "files": [None if file is None else content_hash(file) for file in files],
            "target": target.fingerprint(),
            "seeds": content_hash(seeds.fingerprint, [info.id for info in seeds]),
            "rules": [rule.id for rule in rules],
            "reference": None if self.reference is None else self.reference.fingerprint(),
        }

    def _nothing_detected(self, search: Search, runner: Runner, *, spent: bool) -> QuireError:
        if spent and not runner.costs.cases:
            return ConfigError("the budget does not suffice for one case")
        asked = [
            outcome for outcome in runner.outcomes.values() if outcome.rule == IDENTITY and outcome.expected == "toxic"
        ]
        without = search.without_plain_form
        extra = f"; {without} more have no plain form that the target takes" if without else ""
        return DataError(
            f"none of {len(asked)} toxic seeds is flagged by the target in plain form{extra}, so that nothing could be "
            "learnt from what it lets pass",
            remedy="Check toxic_labels and threshold, or pass seed_filter=all to test with seeds that it does not know.",
        )

    def _report(
        self,
        target: Classifier,
        policy: Policy,
        runner: Runner,
        search: Search,
        not_applicable: dict[str, str],
        keeper: Keeper,
        *,
        spent: bool,
    ) -> EfrReport:
        outcomes = list(runner.outcomes.values())
        summary = summarise(outcomes, not_applicable)
        price = target.cost_per_call if self.options.price is None else self.options.price
        costs = runner.costs
        amounts = {
            "cases": costs.cases,
            "queries": costs.queries,
            "requests": costs.asked,
            "answers_known_before": costs.cached,
            "seconds": round(costs.seconds, 3),
            "money": None if price is None else price * costs.asked,
        }
        answered = [outcome for outcome in outcomes if outcome.answered]
        report = EfrReport(
            "Semantic fusion",
            metrics=metrics_of(summary),
            tables=tables_of(summary, amounts),
            findings=keeper.findings(),
            task=target.task,
            n_used=len(answered),
            notes=self._notes(search, runner, spent=spent),
            summary=summary,
            costs=amounts,
            exhibits=_exhibits(runner, search),
            outcomes=outcomes,
            seeds_used=[info.id for infos in search.usable.values() for info in infos],
        )
        report.left_out = search.seeds.skipped
        report.n_left_out = len(report.left_out)
        return report

    def _notes(self, search: Search, runner: Runner, *, spent: bool) -> list[str]:
        options = self.options
        notes = []
        if spent:
            notes.append("The budget of cases, queries or seconds ended the run: later waves of all rules are missing.")
        if not options.controls:
            notes.append(
                "Controls were off. An EFR says nothing by itself: a target that flags every unusual message, benign or "
                "not, has an EFR of 0."
            )
        if options.seed_filter == "all":
            notes.append("All seeds were used, also those that the target does not know in plain form.")
        if options.strategy == "escalate":
            notes.append(
                "Cases were made from mild to strong until one passed: look at minimal strengths and seed success; the "
                "EFR is of all cases on the way."
            )
        if search.without_plain_form:
            notes.append(f"{search.without_plain_form} toxic seeds have no plain form that the target takes.")
        if any(outcome.flaky for outcome in runner.outcomes.values()):
            notes.append("The target is flaky: repeats of one case did not all get the same verdict.")
        elif not search.runner.target.deterministic and options.repeats == 1:
            notes.append("The target is not deterministic and was asked once: pass repeats=3 to see how flaky it is.")
        return notes

    def _signed(
        self,
        report: EfrReport,
        target: Classifier,
        prepared: SeedSet,
        seeds: Dataset | SeedSet,
        config: dict[str, Any],
    ) -> None:
        if isinstance(seeds, SeedSet):
            report.provenance = {
                "target": config["target"],
                "seeds": config["seeds"],
                "python": platform.python_version(),
            }
        else:
            self.sign(report, target, seeds)
        report.provenance |= {"configuration hash": content_hash(config), "rules": config["rules"]}


def why_not(rule: FusionRule, placement: Placement, seeds: SeedSet, workshop: Workshop) -> str | None:
    """Why a rule can't be applied to a target with these seeds; None if it can."""
    lacking = placement.missing(rule.produces)
    if lacking:
        makes, takes = ", ".join(sorted(rule.produces)), ", ".join(sorted(placement.fields))
        return f"not applicable: it makes {makes}, the target takes {takes}{_adapter(rule, placement)}"
    reason = rule.unavailable(workshop)
    if reason is not None:
        return f"not applicable: {reason}"
    for slot in rule.slots:
        toxic = slot is rule.toxic_slot
        if len(seeds.select(toxic=toxic, modality=slot.modality)) < slot.least:
            return f"not applicable: there are too few {'toxic' if toxic else 'benign'} seeds of {slot.modality}"
    return None


def _adapter(rule: FusionRule, placement: Placement) -> str:
    """Which adapter would bring the rule's content to the target."""
    helpful = {"image": "OcrText", "audio": "AsrText", "video": "FrameSampler"}
    named = [helpful[kind] for kind in sorted(rule.produces - placement.fields.keys()) if kind in helpful]
    return f" (an adapter would help: {', '.join(named)})" if named and "text" in placement.fields else ""


def _exhibits(runner: Runner, search: Search) -> list[Any]:
    """Failing cases for the page, made once more."""
    failing = [one for one in runner.outcomes.values() if one.error and one.phase == "search" and one.rule != IDENTITY]
    shown = []
    for outcome in choose(failing):
        made = runner.maker.make(runner.plans[outcome.case])
        if made.case is not None and made.dropped is None:
            milder = search.shrunk.get(outcome.case)
            parameters = runner.plans[milder].parameters if milder else {}
            minimal = ", ".join(f"{name}={value}" for name, value in parameters.items())
            shown.append(exhibit(made.case, runner.maker.placement.modalities, outcome, minimal))
    return shown
