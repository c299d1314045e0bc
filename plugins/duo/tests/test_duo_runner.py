"""The loop of a run: targets whose answers are known, budgets, interruptions, caches, what is kept and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quire import registry
from quire.dataset import InMemory
from quire.errors import ConfigError, DataError, InvalidSample, QuireError, RunError
from quire.evaluator import wilson
from quire.modality import Audio, Frames, Image, Series, Video, Waveform
from quire.model import ItemError
from quire.task import SERIES_CLASSIFICATION
from quire_duo.case import Case
from quire_duo.journal import read_results
from quire_duo.media import MARK, mark_of, write_case
from quire_duo.plain import Plain
from quire_duo.rule import Fused, FusionRule, Slot
from quire_duo.seeds import Seed
from quire_duo.tester import Duo
from quire_duo.verdict import TargetFault
from quire_duo.witness import Witness

if TYPE_CHECKING:
    from types import SimpleNamespace

    from quire_duo.report import EfrReport


def duo(kit: SimpleNamespace, *rules: FusionRule, **options: Any) -> Duo:
    return Duo(fusion_rules=rules or (kit.Dots(),), **{"i_have_rights": True, **options})


def figures(report: EfrReport, rule: str) -> Any:
    assert report.summary is not None
    (found,) = [one for one in report.summary.rules if one.rule == rule]
    return found


def chance(salt: str, share: float) -> Any:
    """A target that flags a share of all contents, at random but always the same ones."""

    def toxicity(sample: dict[str, Any]) -> float:
        digest = hashlib.sha256((salt + sample["text"]).encode()).digest()
        return 0.9 if int.from_bytes(digest[:8], "big") < share * 2**64 else 0.1

    return toxicity


def test_a_target_that_flags_everything(duo_kit: SimpleNamespace) -> None:
    report = duo(duo_kit).test(duo_kit.Told(lambda sample: 1.0), duo_kit.make_seeds())
    assert (report["efr"], report["control_fpr"]) == (0.0, 1.0)
    assert not [one for one in report.findings if one.expected == "spam"]
    assert {one.expected for one in report.findings} == {"ham"}


def test_a_target_that_passes_everything(duo_kit: SimpleNamespace) -> None:
    with pytest.raises(DataError, match=r"none of 30 toxic seeds is flagged .* pass seed_filter=all"):
        duo(duo_kit).test(duo_kit.Told(lambda sample: 0.0), duo_kit.make_seeds())
    report = duo(duo_kit, seed_filter="all").test(duo_kit.Told(lambda sample: 0.0), duo_kit.make_seeds())
    assert (report["efr"], report["control_fpr"], report["plain_detection"]) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_target_that_passes_at_random(duo_kit: SimpleNamespace, share: float) -> None:
    target = duo_kit.Told(chance("salt", 1 - share))
    run = duo(duo_kit, duo_kit.Shuffle(), seed_filter="all", per_rule=400)
    report = run.test(target, duo_kit.make_seeds(400, 400))
    rate = figures(report, "X.shuffle").efr
    assert rate.n == 400
    low, high = wilson(rate.hits, rate.n, confidence=0.999)
    assert low <= share <= high
    assert report["efr"] == rate.hits / rate.n
    score = report.metrics["efr"]
    assert (score.low, score.high) == wilson(rate.hits, rate.n)


def test_only_detected_seeds_are_used_and_the_rest_is_told(duo_kit: SimpleNamespace) -> None:
    target = duo_kit.Told(lambda sample: 0.9 if re.search(r"number\d*[02468] ", sample["text"]) else 0.1)
    report = duo(duo_kit, duo_kit.Around()).test(target, duo_kit.make_seeds())
    assert report["plain_detection"] == 0.5
    assert {int(seed[1:]) % 2 for seed in report.seeds_used} == {0}
    assert figures(report, "X.around").efr.n == 15
    every = duo(duo_kit, duo_kit.Around(), seed_filter="all").test(target, duo_kit.make_seeds())
    assert figures(every, "X.around").efr.n == 30


def test_figures_are_those_of_a_count_by_hand(duo_kit: SimpleNamespace) -> None:
    """Each line of results decides by itself what the report says of it."""
    report = duo(duo_kit, duo_kit.Dots(), duo_kit.Around()).test(
        duo_kit.Told(duo_kit.sees("glorp")), duo_kit.make_seeds()
    )
    for rule in ("X.dots", "X.around"):
        lines = [one for one in report.outcomes if one.rule == rule]
        toxic = [one for one in lines if one.expected == "toxic"]
        benign = [one for one in lines if one.expected == "benign"]
        found = figures(report, rule)
        assert (found.efr.n, found.efr.hits) == (len(toxic), sum(one.scores[0][1] < 0.5 for one in toxic))
        assert (found.control_fpr.n, found.control_fpr.hits) == (len(benign), sum(one.flagged for one in benign))
    passing = {one.seed for one in report.outcomes if one.error}
    assert report["seed_success"] == len(passing) / 30
    assert {one.id for one in report.findings} == {one.case for one in report.outcomes if one.error}


def test_every_case_has_a_control_of_the_same_form_and_like_length(duo_kit: SimpleNamespace) -> None:
    seeds = duo_kit.make_seeds(20, 60)
    report = duo(duo_kit, duo_kit.Dots(), duo_kit.Around(), per_rule=20).test(
        duo_kit.Told(duo_kit.sees("glorp")), seeds
    )
    by_case = {one.case: one for one in report.outcomes}
    controls = [one for one in report.outcomes if one.expected == "benign" and one.phase == "search"]
    assert len(controls) == 40
    for control in controls:
        case = by_case[control.control_of]
        assert (control.rule, control.parameters, control.seeds[1:]) == (case.rule, case.parameters, case.seeds[1:])
        assert control.seeds[0].startswith("b")
        assert control.seeds[0] not in control.seeds[1:]
    around = [one.seeds[0] for one in controls if one.rule == "X.around"]
    assert len(set(around)) == len(around)


@pytest.fixture
def whole(duo_kit: SimpleNamespace, tmp_path: Path) -> bytes:
    """The results of an uninterrupted run of `interrupted_run`."""
    interrupted_run(duo_kit, tmp_path / "whole")
    return (tmp_path / "whole" / "results.jsonl").read_bytes()


def interrupted_run(kit: SimpleNamespace, folder: Path, *, after: int | None = None, **options: Any) -> Any:
    """A run with three rules; after that many answers the target raises KeyboardInterrupt."""
    target = kit.Told(kit.sees("glorp"))
    answer = target.predict_proba

    def predict_proba(samples: Any) -> Any:
        if after is not None and len(target.asked) + len(samples) > after:
            raise KeyboardInterrupt
        return answer(samples)

    target.predict_proba = predict_proba
    rules = (kit.Dots(), kit.Shuffle(), kit.Around())
    report = duo(kit, *rules, per_rule=12, shrink=True, **{"batch_size": 8, **options}).test(
        target, kit.make_seeds(), folder=folder
    )
    return target, report


@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 5}, {"batch_size": 1}, {"batch_size": 100}])
def test_results_depend_on_neither_workers_nor_batches(
    duo_kit: SimpleNamespace, tmp_path: Path, whole: bytes, options: dict[str, int]
) -> None:
    interrupted_run(duo_kit, tmp_path / "other", **options)
    assert (tmp_path / "other" / "results.jsonl").read_bytes() == whole


@pytest.mark.parametrize("after", [0, 3, 40, 90])
def test_an_interrupted_run_goes_on(duo_kit: SimpleNamespace, tmp_path: Path, whole: bytes, after: int) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        interrupted_run(duo_kit, folder, after=after)
    before = read_results(folder)
    target, report = interrupted_run(duo_kit, folder)
    assert (folder / "results.jsonl").read_bytes() == whole
    assert not {one.case for one in before} & set(target.asked)
    assert len(report.findings) == len({row["id"] for row in stored(folder)}) == len(stored(folder))
    again, _ = interrupted_run(duo_kit, folder)
    assert again.asked == []
    assert (folder / "results.jsonl").read_bytes() == whole


def stored(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "findings" / "train.jsonl").read_text().splitlines()]


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_at_any_byte_goes_on(
    duo_kit: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory, whole: bytes, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut") / "run"
    interrupted_run(duo_kit, folder)
    size = data.draw(st.integers(0, len(whole)))
    (folder / "results.jsonl").write_bytes(whole[:size])
    interrupted_run(duo_kit, folder)
    assert (folder / "results.jsonl").read_bytes() == whole


KILLED = """
    import importlib.util, os, signal, sys
    spec = importlib.util.spec_from_file_location("kit", sys.argv[1])
    kit = importlib.util.module_from_spec(spec); spec.loader.exec_module(kit)
    from pathlib import Path
    from quire_duo.tester import Duo
    target = kit.Told(kit.sees("glorp"))
    answer = target.predict_proba
    def predict_proba(samples):
        if len(target.asked) + len(samples) > int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer(samples)
    target.predict_proba = predict_proba
    Duo(fusion_rules=(kit.Dots(), kit.Shuffle(), kit.Around()), i_have_rights=True, per_rule=12, shrink=True,
        batch_size=8).test(target, kit.make_seeds(), folder=Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_killed_process_leaves_what_another_one_goes_on_with(
    duo_kit: SimpleNamespace, tmp_path: Path, whole: bytes
) -> None:
    folder = tmp_path / "run"
    for after in (30, 75, 10**9):
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(Path(__file__).with_name("conftest.py"))]
        done = subprocess.run(
            [*command, str(folder), str(after)], check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == (-9 if after < 10**9 else 0)
    assert (folder / "results.jsonl").read_bytes() == whole


def test_an_answer_that_is_cached_is_not_asked_for(duo_kit: SimpleNamespace, tmp_path: Path) -> None:
    def run(folder: str, name: str = "told") -> Any:
        target = duo_kit.Told(duo_kit.sees("glorp"), name=name)
        report = duo(duo_kit, cache_dir=tmp_path / "cache").test(target, duo_kit.make_seeds(), folder=tmp_path / folder)
        return target, report

    first, _ = run("first")
    second, report = run("second")
    assert first.asked
    assert second.asked == []
    assert report.costs["requests"] == 0
    assert (tmp_path / "first/results.jsonl").read_bytes() == (tmp_path / "second/results.jsonl").read_bytes()
    other, _ = run("third", name="another model")
    assert len(other.asked) == len(first.asked)


def test_equal_content_is_asked_for_once(duo_kit: SimpleNamespace) -> None:
    target = duo_kit.Told(duo_kit.sees("glorp"))
    report = duo(duo_kit, parameters={"X.dots": {"longer": 99}}, per_rule=30).test(target, duo_kit.make_seeds())
    assert len(target.asked) == len(set(target.asked)) == 60  # the plain forms: what the rule leaves as it was is known
    assert report["efr"] == 0
    assert figures(report, "X.dots").efr.n == 30


@pytest.mark.parametrize(("failing", "valid"), [(0.05, True), (0.3, False)])
def test_cases_without_a_verdict_are_counted_apart(duo_kit: SimpleNamespace, failing: float, valid: bool) -> None:
    class Unsteady(duo_kit.Told):  # type: ignore[misc,name-defined]
        def answer_each(self, samples: Any) -> Any:
            rows = super().answer_each(samples)
            fails = chance("fail", failing)
            return [
                ItemError(i, "timed out") if fails(sample) > 0.5 and "." in sample["text"] else row
                for i, (sample, row) in enumerate(zip(samples, rows, strict=True))
            ]

    run = duo(duo_kit, parameters={"X.dots": {"longer": 1, "every": [1, 2, 3]}}, per_rule=200, max_queries=None)
    report = run.test(Unsteady(duo_kit.sees("glorp")), duo_kit.make_seeds(80, 80))
    found = figures(report, "X.dots")
    lost = [one for one in report.outcomes if one.status == "inconclusive"]
    assert lost
    assert {one.reason for one in lost} == {"timed out"}
    assert all(one.flagged is None and one.error is None for one in lost)
    assert found.efr.n == 200 - found.dropped["inconclusive"]
    assert report.summary is not None
    assert report.summary.valid is valid
    assert ("This run is invalid" in report.to_html()) is not valid
    assert report.gate(max_efr=1.0) == (
        [] if valid else ["the run is invalid: more than 10 % of its cases got no verdict"]
    )


def test_a_target_at_fault_ends_the_run_with_its_answer(duo_kit: SimpleNamespace, tmp_path: Path) -> None:
    target = duo_kit.Told(lambda sample: float("nan") if "." in sample["text"] else duo_kit.sees("glorp")(sample))
    with pytest.raises(TargetFault, match=r"is not finite: \[nan, nan\]"):
        duo(duo_kit).test(target, duo_kit.make_seeds(), folder=tmp_path / "run")
    assert {one.rule for one in read_results(tmp_path / "run")} == {"identity"}


def test_labels_may_not_change(duo_kit: SimpleNamespace) -> None:
    class Changing(duo_kit.Told):  # type: ignore[misc,name-defined]
        @property
        def labels(self) -> tuple[str, ...]:
            return ("spam", "ham") if len(self.asked) > 10 else ("ham", "spam")

    with pytest.raises(TargetFault, match=r"labels were \['ham', 'spam'\] and are now \['spam', 'ham'\]"):
        duo(duo_kit).test(Changing(duo_kit.sees("glorp")), duo_kit.make_seeds())


def test_repeats_show_a_flaky_target(duo_kit: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    target = duo_kit.Told(lambda sample: 0.9 if "glorp" in sample["text"] or rng.random() < 0.3 else 0.1)
    report = duo(duo_kit, repeats=3).test(target, duo_kit.make_seeds())
    assert report["flaky"] > 0.1
    assert any("flaky" in note for note in report.notes)
    assert all(len(one.scores) == 3 for one in report.outcomes if one.answered)
    for one in report.outcomes:
        assert one.flagged is (sum(row[1] >= 0.5 for row in one.scores) >= 2)


@pytest.mark.parametrize("budget", [{"max_queries": 75}, {"max_cases": 75}])
def test_a_budget_ends_the_run_evenly(duo_kit: SimpleNamespace, budget: dict[str, int]) -> None:
    target = duo_kit.Told(duo_kit.sees("glorp"))
    report = duo(duo_kit, duo_kit.Shuffle(), duo_kit.Around(), **budget).test(target, duo_kit.make_seeds(15, 30))
    assert len(report.outcomes) == 75
    assert abs(figures(report, "X.shuffle").planned - figures(report, "X.around").planned) <= 8
    assert any("budget" in note for note in report.notes)
    with pytest.raises(DataError, match="none of 1 toxic seeds"):
        duo(duo_kit, max_queries=1).test(duo_kit.Told(lambda sample: 0.0), duo_kit.make_seeds())


def test_a_budget_of_time(duo_kit: SimpleNamespace) -> None:
    report = duo(duo_kit, max_seconds=1e-9, seed_filter="all")
    with pytest.raises(QuireError, match="budget"):
        report.test(duo_kit.Told(duo_kit.sees("glorp")), duo_kit.make_seeds())


def test_escalation_finds_the_minimal_strength(duo_kit: SimpleNamespace) -> None:
    """Level 0 leaves "glorp" whole, level 1 (every 3 letters, words of 5) breaks it: all walks end there."""
    target = duo_kit.Told(duo_kit.sees("glorp"))
    report = duo(duo_kit, strategy="escalate", per_rule=10).test(target, duo_kit.make_seeds())
    found = figures(report, "X.dots")
    assert found.minimal == {
        "seeds": 10,
        "walked": 10,
        "median_level": 1,
        "lowest_level": 1,
        "parameters": {"every": 3, "longer": 5},
    }
    assert found.efr.n == 20
    assert {one.level for one in report.outcomes if one.rule == "X.dots"} == {0, 1}


def test_shrinking_finds_the_mildest_parameters(duo_kit: SimpleNamespace) -> None:
    """ "glorp" is broken whenever words of five letters are changed, whatever the step: "glor.p" is the mildest."""
    target = duo_kit.Told(duo_kit.sees("glorp"))
    run = duo(duo_kit, strategy="grid", per_rule=2, shrink=True, controls=False)
    report = run.test(target, duo_kit.make_seeds())
    assert figures(report, "X.dots").efr.n == 24  # 4 x 3 points of two seeds: what is shrunk is not counted
    milder = {exhibit.minimal for exhibit in report.exhibits if exhibit.minimal}
    assert milder == {"every=4, longer=5"}


def test_parameters_of_ones_own(duo_kit: SimpleNamespace) -> None:
    target = duo_kit.Told(duo_kit.sees("glorp"))
    report = duo(duo_kit, parameters={"X.dots": {"longer": 5, "every": [5, 6]}}).test(target, duo_kit.make_seeds())
    assert {json.dumps(one.parameters) for one in report.outcomes if one.rule == "X.dots"} == {
        '{"every": 5, "longer": 5}',
        '{"every": 6, "longer": 5}',
    }
    for parameters, told in (
        ({"X.dots": {"evry": 1}}, "no parameter 'evry'"),
        ({"X.dots": {"every": 99}}, "outside"),
        ({"X.dot": {}}, "none of the rules"),
    ):
        with pytest.raises(ConfigError, match=told):
            duo(duo_kit, parameters=parameters).test(target, duo_kit.make_seeds())


def test_rules_that_do_not_apply_are_told(duo_kit: SimpleNamespace) -> None:
    class Spoken(duo_kit.Dots):  # type: ignore[misc,name-defined]
        id = "X.spoken"
        produces = frozenset({"audio"})

    class Lacking(duo_kit.Dots):  # type: ignore[misc,name-defined]
        id = "X.lacking"

        def unavailable(self, workshop: Any) -> str | None:
            return "install espeak-ng: apt-get install espeak-ng"

    class OnPictures(duo_kit.Dots):  # type: ignore[misc,name-defined]
        id = "X.pictures"
        slots = (Slot("toxic", "text", "toxic"), Slot("picture", "image", "benign"))

    target = duo_kit.Told(duo_kit.sees("glorp"))
    rules = (duo_kit.Dots(), Spoken(), Lacking(), OnPictures())
    report = duo(duo_kit, *rules).test(target, duo_kit.make_seeds())
    assert report.summary is not None
    assert report.summary.not_applicable == {
        "X.spoken": "not applicable: it makes audio, the target takes text (an adapter would help: AsrText)",
        "X.lacking": "not applicable: install espeak-ng: apt-get install espeak-ng",
        "X.pictures": "not applicable: there are too few benign seeds of image",
    }
    (table,) = [table for table in report.tables if table.title == "Rules that were not applied"]
    assert len(table.rows) == 3
    with pytest.raises(ConfigError, match=r"(?s)no rule can be applied.*X.spoken: .*AsrText"):
        duo(duo_kit, Spoken()).test(target, duo_kit.make_seeds())


def test_seeds_that_do_not_admit_a_rule_are_counted(duo_kit: SimpleNamespace) -> None:
    samples = [duo_kit.make_seeds()[i] for i in range(60)]
    for sample in samples[:10]:
        sample["text"] = "glorp"
    report = duo(duo_kit, duo_kit.Shuffle()).test(
        duo_kit.Told(duo_kit.sees("glorp")), InMemory(samples, task=duo_kit.make_seeds().task)
    )
    found = figures(report, "X.shuffle")
    assert (found.planned, found.efr.n, found.dropped["not applicable"]) == (30, 20, 10)
    assert report.summary is not None
    assert report.summary.reasons["X.shuffle"] == {"not applicable: a single word has no other order": 10}


def test_cases_that_fail_a_check_are_dropped_and_counted(duo_kit: SimpleNamespace) -> None:
    class Forgetful(duo_kit.TextRule):  # type: ignore[misc,name-defined]
        id = "X.forgetful"
        summary = "loses the last word of every second seed"

        def apply(self, parts: Any, parameters: Any, rng: Any, workshop: Any) -> Fused:
            fused = duo_kit.Shuffle().apply(parts, parameters, rng, workshop)
            (unit,) = fused.witness.units
            lost = int(parts["toxic"][0].id[1:]) % 2 == 0
            tokens = unit.tokens[:-1] if lost else unit.tokens
            return Fused(fused.content, Witness((type(unit)(unit.place, tokens, surface=unit.surface),)))

    report = duo(duo_kit, Forgetful()).test(duo_kit.Told(duo_kit.sees("glorp")), duo_kit.make_seeds())
    found = figures(report, "X.forgetful")
    assert (found.planned, found.efr.n, found.dropped["invalid"]) == (30, 15, 15)
    assert found.checks_failed == {"V1": 15}
    unchecked = duo(duo_kit, Forgetful(), validity=()).test(duo_kit.Told(duo_kit.sees("glorp")), duo_kit.make_seeds())
    assert figures(unchecked, "X.forgetful").efr.n == 30


def test_what_a_target_does_not_take_is_no_error_of_it(duo_kit: SimpleNamespace) -> None:
    from quire.model import Limits

    class Short(duo_kit.Told):  # type: ignore[misc,name-defined]
        @property
        def limits(self) -> Limits:
            return Limits(text_characters=70)

    report = duo(duo_kit, duo_kit.Around()).test(Short(duo_kit.sees("glorp")), duo_kit.make_seeds())
    found = figures(report, "X.around")
    assert found.efr.n == 0
    assert found.dropped["refused"] == 30
    assert "more than the 70" in next(iter(report.summary.reasons["X.around"]))  # type: ignore[union-attr]


def test_seeds_must_be_the_users_to_use(duo_kit: SimpleNamespace) -> None:
    target = duo_kit.Told(duo_kit.sees("glorp"))
    with pytest.raises(ConfigError, match="lawfully possess"):
        duo(duo_kit, i_have_rights=False).test(target, duo_kit.make_seeds())
    only_toxic = InMemory([duo_kit.make_seeds()[0]], task=duo_kit.make_seeds().task)
    with pytest.raises(DataError, match="no benign seed"):
        duo(duo_kit).test(target, only_toxic)
    with pytest.raises(DataError, match="no toxic seed"):
        duo(duo_kit).test(target, InMemory([duo_kit.make_seeds()[40]], task=duo_kit.make_seeds().task))
    with pytest.raises(ConfigError, match="no toxic seed is of the kind 'porn'"):
        duo(duo_kit, kinds=("porn",)).test(target, duo_kit.make_seeds())


def test_a_folder_holds_one_run(duo_kit: SimpleNamespace, tmp_path: Path) -> None:
    target, folder = duo_kit.Told(duo_kit.sees("glorp")), tmp_path / "run"
    duo(duo_kit).test(target, duo_kit.make_seeds(), folder=folder)
    assert "*" in (folder / ".gitignore").read_text().splitlines()
    with pytest.raises(ConfigError, match="other options: per_rule, seed"):
        duo(duo_kit, seed=3, per_rule=5).test(target, duo_kit.make_seeds(), folder=folder)
    with pytest.raises(RunError, match="other seeds"):
        duo(duo_kit).test(target, duo_kit.make_seeds(29), folder=folder)
    with pytest.raises(RunError, match="other target"):
        duo(duo_kit).test(duo_kit.Told(duo_kit.sees("x"), name="new"), duo_kit.make_seeds(), folder=folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="the folder is not empty"):
        duo(duo_kit).test(target, duo_kit.make_seeds(), folder=tmp_path / "full")


def test_findings_are_data_of_the_targets_task(duo_kit: SimpleNamespace, tmp_path: Path) -> None:
    target = duo_kit.Told(lambda sample: 0.9 if "glorp" in sample["text"] or "b.r" in sample["text"] else 0.1)
    report = duo(duo_kit, parameters={"X.dots": {"every": 1}}).test(
        target, duo_kit.make_seeds(), folder=tmp_path / "run"
    )
    report.write(tmp_path / "run")
    data = registry.get("table", "dataset").open(tmp_path / "run" / "findings", task="text-classification")
    assert len(data) == len(report.findings) > 30
    assert set(data.labels) == {"ham", "spam"}
    assert all((data.target(i) == "spam") == ("g.l.o" in data[i]["text"]) for i in range(len(data)))
    kept = {path.name for path in (tmp_path / "run" / "cases").iterdir()}
    assert {
        one.case for one in report.outcomes if one.error or (one.expected == "toxic" and one.phase == "search")
    } <= kept
    described = json.loads((tmp_path / "run" / "cases" / report.findings[0].id / "case.json").read_text())
    assert described["mark"] == MARK
    assert described["witness"][0]["tokens"]


def test_results_tell_hashes_and_not_contents(duo_kit: SimpleNamespace, tmp_path: Path) -> None:
    for log, folder in ((False, "hashes"), (True, "texts")):
        run = duo(duo_kit, log_content=log)
        run.test(duo_kit.Told(duo_kit.sees("glorp")), duo_kit.make_seeds(), folder=tmp_path / folder)
        assert ("glorp" in (tmp_path / folder / "results.jsonl").read_text()) is log
        assert "glorp" not in (tmp_path / folder / "costs.jsonl").read_text()


def test_series_are_seeds_as_any_other_data(duo_kit: SimpleNamespace) -> None:
    class Upside(FusionRule):
        id, summary, guarantee = "X.upside", "turned over", "carrier"
        slots = (Slot("toxic", "series", "toxic"),)
        produces = frozenset({"series"})

        def apply(self, parts: Any, parameters: Any, rng: Any, workshop: Any) -> Fused:
            fused = Plain("series").apply({"seed": parts["toxic"]}, {}, rng, workshop)
            return Fused({"series": -fused.content["series"]}, fused.witness)

    rng = np.random.default_rng(0)
    samples = [
        {"id": f"s{n}", "series": (n % 2) * 3 + rng.normal(size=(1, 30)), "target": ("calm", "fault")[n % 2]}
        for n in range(40)
    ]
    data = InMemory(samples, task=SERIES_CLASSIFICATION)
    target = duo_kit.Told(
        lambda sample: 0.9 if sample["series"].mean() > 1.5 else 0.1,
        task=SERIES_CLASSIFICATION,
        labels=("calm", "fault"),
        toxic=frozenset({"fault"}),
    )
    report = Duo(fusion_rules=(Upside(),), validity=()).test(target, data)  # no media: nobody's rights are at stake
    assert (report["efr"], report["control_fpr"], report["plain_detection"]) == (1.0, 0.0, 1.0)
    assert {(one.expected, one.got) for one in report.findings} == {("fault", "calm")}


def test_every_file_of_a_case_is_marked_and_opens(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tone = Waveform(0.5 * np.sin(np.arange(4001) / 9).astype(np.float32)[None], 8000)
    film = Frames(rng.integers(0, 255, (6, 33, 40, 3), dtype=np.uint8), 5.0)
    picture = Image().validate(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8))
    content = {
        "text": "the glorps",
        "image": picture,
        "audio": tone,
        "video": film,
        "series": np.ones((1, 9), np.float32),
    }
    from quire.modality import Text

    kinds = {"text": Text(), "image": Image(), "audio": Audio(), "video": Video(), "series": Series()}
    seed = Seed("s", "hate", True, "text", "the glorps")
    case = Case("X", {}, (seed,), "hate", "toxic", "carrier", content, Witness(()), 1)
    place = write_case(case, tmp_path, kinds)
    described = json.loads((place / "case.json").read_text())
    assert described["files"].keys() == content.keys()
    assert mark_of(place / "image.png") == mark_of(place / "audio.wav") == MARK
    from PIL import Image as Pillow

    with Pillow.open(place / "image.png") as opened:
        assert opened.text["Comment"] == MARK
    assert np.array_equal(np.asarray(Image().read(place / "image.png")), np.asarray(picture))
    heard = Audio().read(place / "audio.wav")
    assert heard.rate == 8000
    assert np.abs(heard.samples - tone.samples).max() < 1e-4
    av = pytest.importorskip("av")
    with av.open(str(place / "video.mp4")) as container:
        assert container.metadata["comment"] == MARK
        assert len(list(container.decode(video=0))) == 6
        assert [stream.type for stream in container.streams] == ["video", "audio"]
    assert (place / "text.txt").read_text() == "the glorps\n"


def test_a_film_without_pyav_is_a_gif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image as Pillow

    from quire_duo.media import encoded

    monkeypatch.setitem(sys.modules, "av", None)
    film = Frames(np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3), dtype=np.uint8), 5.0)
    suffix, data = encoded(film, Video())
    assert suffix == ".gif"
    (tmp_path / "film.gif").write_bytes(data)
    with Pillow.open(tmp_path / "film.gif") as opened:
        assert opened.n_frames == 4
        assert MARK.encode() in opened.info["comment"]


def test_a_file_that_cannot_be_read_is_left_out_and_told(duo_kit: SimpleNamespace) -> None:
    data = duo_kit.make_seeds()
    data.skipped.append(InvalidSample("can't be read"))
    report = duo(duo_kit).test(duo_kit.Told(duo_kit.sees("glorp")), data)
    assert report.left_out == ["can't be read"]
