"""A small tester keeps the rules, and for each rule a variant that breaks it fails that check and no other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import Field

from quire.conformance import Outcome, check_class, checks_for, testers
from quire.modality import Vector
from quire.task import VECTOR_CLASSIFICATION, Task
from quire.tester import Finding, FindingStore, Tester, TestReport

if TYPE_CHECKING:
    from pathlib import Path

    from quire.modality import Sample

Class = Any  # of the tester that a variant is made of
Maker = Callable[[Class], type]
BREAKS: list[tuple[str, Maker]] = []
NUMBERS = count()


class Nudge(Tester):
    """Adds noise to every seed and keeps what changes its label."""

    name = "nudge"
    task: Any = VECTOR_CLASSIFICATION

    class Options(Tester.Options):
        """What a user can choose."""

        strength: float = Field(0.5, gt=0, description="standard deviation of the noise")

    options: Options

    def changed(self, seed: Sample, index: int) -> Sample:
        rng = np.random.default_rng(index)
        return {**seed, "vector": seed["vector"] + self.noise(rng, len(seed["vector"]))}

    def noise(self, rng: np.random.Generator, dim: int) -> Any:
        return rng.normal(0, self.options.strength, dim).astype(np.float32)

    def finding(self, sample: Sample, got: str) -> Finding:
        return Finding(f"{sample['id']}-nudged", sample, expected=sample["target"], got=got, reason="noise was added")

    def test(self, target: Any, seeds: Any, *, runtime: Any = None, folder: Path | None = None) -> TestReport:
        self.prepare(target, seeds, runtime)
        store = None if folder is None else FindingStore(folder / "findings", seeds.task)
        findings = []
        for index, seed in enumerate(seeds):
            sample = self.changed(seed, index)
            (got,) = target.predict([sample])
            if got != sample["target"]:
                findings.append(self.finding(sample, got))
                if store is not None:
                    store.add(findings[-1])
        left_out = list(map(str, seeds.skipped))
        report = TestReport("Nudge", findings=findings, task=seeds.task, n_used=len(seeds), left_out=left_out)
        self.sign(report, target, seeds)
        return report


def breaks(check: str) -> Callable[[Maker], Maker]:
    """Marks a function that makes a tester which breaks exactly `check`."""

    def register(maker: Maker) -> Maker:
        BREAKS.append((check, maker))
        return maker

    return register


def variant(base: Class, **members: Any) -> type:
    made = type(f"Variant{next(NUMBERS)}", (base,), {"__module__": __name__, "__doc__": "A variant.", **members})
    setattr(sys.modules[__name__], made.__name__, made)
    return made


def changed_report(base: Class, change: Callable[[TestReport], TestReport]) -> type:
    return variant(base, test=lambda self, *arguments, **options: change(base.test(self, *arguments, **options)))


def failed(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.check: outcome.message for outcome in outcomes if outcome.outcome == "failed"}


@breaks("planted_fault")
def changes_nothing(base: Class) -> type:
    return variant(base, changed=lambda self, seed, index: dict(seed))


@breaks("planted_fault")
def counts_what_it_does_not_show(base: Class) -> type:
    return changed_report(base, lambda report: replace(report, findings=[], failures=report.n_failures))


@breaks("planted_fault")
def gives_up(base: Class) -> type:
    def finding(self: Any, sample: Any, got: str) -> Finding:
        raise RuntimeError("what is this?")

    return variant(base, finding=finding)


@breaks("perfect_target")
def always_counts_a_failure(base: Class) -> type:
    return changed_report(base, lambda report: replace(report, failures=max(1, report.n_failures)))


@breaks("repeatable")
def draws_without_a_seed(base: Class) -> type:
    def changed(self: Any, seed: Sample, index: int) -> Sample:
        return {**seed, "vector": seed["vector"] + self.noise(np.random.default_rng(), len(seed["vector"]))}

    return variant(base, changed=changed)


@breaks("findings")
def one_id_for_all(base: Class) -> type:
    def test(self: Any, *arguments: Any, **options: Any) -> TestReport:
        report: TestReport = base.test(self, *arguments, **options)
        first = report.findings[0].id if report.findings else ""
        return replace(report, findings=[replace(finding, id=first) for finding in report.findings])

    return variant(base, test=test)


@breaks("findings")
def keeps_the_seed_in_place_of_the_sample(base: Class) -> type:
    def test(self: Any, target: Any, seeds: Any, **options: Any) -> TestReport:
        report: TestReport = base.test(self, target, seeds, **options)
        by_id = {f"{seed['id']}-nudged": seed for seed in seeds}
        return replace(report, findings=[replace(each, sample=by_id[each.id]) for each in report.findings])

    return variant(base, test=test)


@breaks("findings")
def keeps_no_fields(base: Class) -> type:
    return changed_report(
        base, lambda report: replace(report, findings=[replace(each, sample={}) for each in report.findings], task=None)
    )


@breaks("findings")
def expects_what_it_got(base: Class) -> type:
    return changed_report(
        base,
        lambda report: replace(report, findings=[replace(each, expected=each.got) for each in report.findings]),
    )


@breaks("kept_findings")
def keeps_nothing(base: Class) -> type:
    def test(self: Any, target: Any, seeds: Any, *, runtime: Any = None, folder: Any = None) -> TestReport:
        report: TestReport = base.test(self, target, seeds, runtime=runtime)
        return report

    return variant(base, test=test)


@breaks("kept_findings")
def finds_less_with_a_folder(base: Class) -> type:
    def test(self: Any, target: Any, seeds: Any, *, runtime: Any = None, folder: Any = None) -> TestReport:
        report: TestReport = base.test(self, target, seeds, folder=folder)
        return report if folder is None else replace(report, findings=report.findings[1:])

    return variant(base, test=test)


@breaks("interruption")
def does_not_go_on(base: Class) -> type:
    def test(self: Any, target: Any, seeds: Any, *, runtime: Any = None, folder: Any = None) -> TestReport:
        if folder is not None and (folder / "findings").exists():
            return TestReport("Nothing left to do", task=seeds.task)
        report: TestReport = base.test(self, target, seeds, folder=folder)
        return report

    return variant(base, test=test)


@breaks("mismatch")
def asks_at_once(base: Class) -> type:
    def test(self: Any, target: Any, seeds: Any, **options: Any) -> TestReport:
        target.predict([seeds[0]])
        report: TestReport = base.test(self, target, seeds, **options)
        return report

    return variant(base, test=test)


@breaks("mismatch")
def takes_any_target(base: Class) -> type:
    return variant(base, prepare=lambda self, target, seeds, runtime: None)


@breaks("report")
def counts_no_seed(base: Class) -> type:
    return changed_report(base, lambda report: replace(report, n_used=0))


@breaks("page")
def page_with_a_script(base: Class) -> type:
    made = variant(TestReport, to_html=lambda self: TestReport.to_html(self) + "<script>1</script>")
    return changed_report(base, lambda report: made(**vars(report)))


@breaks("left_out")
def silent_about_what_is_left_out(base: Class) -> type:
    return changed_report(base, lambda report: replace(report, left_out=[], n_left_out=0))


def test_a_tester_passes(toy_plugin: Path) -> None:
    assert {(each.check, each.outcome) for each in check_class("nudge", "tester", Nudge)} == {
        (rule.__name__.removeprefix("check_"), "passed") for rule in checks_for("tester")
    }


def test_a_tester_of_any_task_passes(toy_plugin: Path) -> None:
    free = variant(Nudge, task=None)
    assert {each.outcome for each in check_class("nudge", "tester", free)} == {"passed"}


def test_a_tester_with_seeds_of_its_own_begins_with_them(toy_plugin: Path) -> None:
    def changed(self: Any, seed: Sample, index: int) -> Sample:
        return {**seed, "vector": seed["vector"] + np.float32(0.1)}

    own = variant(Nudge, seeds="toy-points", changed=changed)
    outcomes = check_class("nudge", "tester", own)
    assert failed(outcomes) == {}
    assert {each.check for each in outcomes if each.outcome == "skipped"} == {"left_out"}


def test_a_tester_that_no_stand_in_suits_is_not_judged(toy_plugin: Path) -> None:
    strange = Task("strange", {"field": Vector()}, target=VECTOR_CLASSIFICATION.target)
    outcomes = check_class("nudge", "tester", variant(Nudge, task=strange))
    assert failed(outcomes) == {}
    ours = {
        rule.__name__.removeprefix("check_") for rule in checks_for("tester") if rule.__module__ == testers.__name__
    }
    assert {each.check for each in outcomes if each.outcome == "skipped"} == ours


def test_the_options_of_a_quick_search_are_used(toy_plugin: Path) -> None:
    slow = variant(Nudge, quick={"strength": 2.5})
    seen = []

    def test(self: Any, *arguments: Any, **options: Any) -> TestReport:
        seen.append(self.options.strength)
        report: TestReport = Nudge.test(self, *arguments, **options)
        return report

    assert failed(check_class("nudge", "tester", variant(slow, test=test))) == {}
    assert set(seen) == {2.5}


@pytest.mark.parametrize(
    ("check", "maker"), [pytest.param(check, maker, id=f"{check}-{maker.__name__}") for check, maker in BREAKS]
)
def test_a_variant_fails_exactly_the_check_that_it_breaks(toy_plugin: Path, check: str, maker: Maker) -> None:
    made = maker(Nudge)
    found = failed(check_class("nudge", "tester", made))
    assert set(found) == {check}, found
    assert found[check].startswith(f"{__name__}:{made.__qualname__} ")
    assert ". " in found[check], "it says how to mend it"


def test_every_rule_for_testers_has_a_variant_that_breaks_it() -> None:
    rules = {rule.__name__ for rule in checks_for("tester") if rule.__module__ == testers.__name__}
    assert {rule.removeprefix("check_") for rule in rules} == {check for check, _ in BREAKS}
