"""The command line, the gate, exports, people's labels, and retraining, from files to files."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from quire import registry
from quire.conformance.command_line import run_command
from quire.errors import ConfigError, DataError, InvalidSample
from quire_duo.annotate import import_labels, write_pack
from quire_duo.export import export, split_of
from quire_duo.gate import compare, gate
from quire_duo.journal import read_results
from quire_duo.seed_files import SeedFile
from quire_duo.statistics import mcnemar
from quire_duo.tester import Duo

if TYPE_CHECKING:
    from pathlib import Path
    from types import SimpleNamespace


def finished(kit: SimpleNamespace, folder: Path, words: str = "glorp", **options: Any) -> Path:
    """A finished test of a target that flags texts with any of some words."""
    flags = [kit.sees(word) for word in words.split()]
    target = kit.Told(lambda sample: max(flag(sample) for flag in flags), name=words)
    given = {"fusion_rules": (kit.Dots(), kit.Around()), "i_have_rights": True, "per_rule": 24, **options}
    Duo(**given).test(target, kit.make_seeds(), folder=folder).write(folder)
    return folder


def test_the_gate_holds_limits_and_a_baseline(duo_kit: SimpleNamespace, tmp_path: Path) -> None:
    good = finished(duo_kit, tmp_path / "good", "glorp g.l.o.r.p gl.or.p glo.rp glor.p", seed_filter="all")
    bad = finished(duo_kit, tmp_path / "bad", "glorp", seed_filter="all")
    alarming = finished(duo_kit, tmp_path / "alarming", "glorp .", seed_filter="all")
    assert gate(good, max_efr=0.1, max_control_fpr=0.05, baseline=bad) == []
    (run, rule) = gate(bad, max_efr=0.1)
    assert run.startswith("the EFR of the run is 0.")
    assert rule.startswith("the EFR of X.dots is 0.")
    assert gate(bad, max_efr=0.1, least=25) == [run]
    (step_back,) = gate(bad, baseline=good)
    assert step_back.startswith("the EFR rose by 0.")
    assert any("control FPR of X.dots" in told for told in gate(alarming, max_control_fpr=0.05))
    assert any("control FPR rose" in told for told in gate(alarming, baseline=good))
    with pytest.raises(DataError, match="no finished run"):
        gate(tmp_path, max_efr=0.5)


def test_two_targets_are_compared_case_by_case(duo_kit: SimpleNamespace, tmp_path: Path) -> None:
    first = finished(duo_kit, tmp_path / "first", "glorp", seed_filter="all")
    second = finished(duo_kit, tmp_path / "second", "glorp gl.or.p", seed_filter="all")
    before, after = ({one.case: one for one in read_results(folder)} for folder in (first, second))
    assert before.keys() == after.keys()
    wins = sum(bool(one.error) and not after[case].error for case, one in before.items() if one.phase == "search")
    found = compare(first, second)["EFR"]
    assert wins > 0
    assert (found.only_first, found.only_second) == (wins, 0)
    assert found.p == mcnemar(wins, 0)
    assert found.value == -wins / found.n
    answer = run_command("duo", "compare", first, second, "--json")
    assert answer.json()["EFR"]["only_first"] == wins


def test_the_gate_on_the_command_line(duo_kit: SimpleNamespace, tmp_path: Path) -> None:
    folder = finished(duo_kit, tmp_path / "run")
    assert run_command("duo", "gate", folder, "--max-efr", 1).code == 0
    failed = run_command("duo", "gate", folder, "--max-efr", 0.01)
    assert failed.code == 1
    assert "the EFR of the run" in failed.out
    assert "nothing to hold the test to" in run_command("duo", "gate", folder).error


def test_exports_are_divided_by_seeds(duo_kit: SimpleNamespace, tmp_path: Path) -> None:
    folder = finished(duo_kit, tmp_path / "run")
    failing = {one.case: one for one in read_results(folder) if one.error}
    parts = {}
    for part in ("train", "test"):
        path, count = export(folder, tmp_path / part, format="jsonl", split=part)  # type: ignore[arg-type]
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(rows) == count
        assert {row["id"] for row in rows} == {case for case, one in failing.items() if split_of(one.seed) == part}
        assert {row["target"] for row in rows} == {"toxic"}
        parts[part] = {row["seeds"][0] for row in rows}
    assert parts["train"]
    assert parts["test"]
    assert not parts["train"] & parts["test"]
    path, count = export(folder, tmp_path / "table", format="table", failing=False)
    data = registry.get("table", "dataset").open(path, task="content-moderation")
    assert len(data) == count > len(failing)
    with pytest.raises(DataError, match="not an empty folder"):
        export(folder, tmp_path / "table")


def test_an_export_of_memes(duo_kit: SimpleNamespace, tmp_path: Path) -> None:
    from quire.dataset import InMemory
    from quire.task import IMAGE_TEXT_CLASSIFICATION
    from quire_duo.task import CONTENT_MODERATION

    samples: list[dict[str, Any]] = [
        {"id": "sky", "image": Image.new("RGB", (64, 64), (99, 150, 200)), "target": "benign", "concept": "sky"},
        {"id": "b", "text": "fine words", "target": "benign"},
    ]
    table = tmp_path / "pairs.csv"
    table.write_text("text_template,image_id,kind,annotators,agreement\nlove it,sky,hate,3,1\nlike it,sky,benign,3,1\n")
    target = duo_kit.Told(
        lambda sample: 0.2, task=IMAGE_TEXT_CLASSIFICATION, labels=("benign", "toxic"), toxic=frozenset({"toxic"})
    )
    run = Duo(rules="TI.compose", composition=table, i_have_rights=True)
    run.test(target, InMemory(samples, task=CONTENT_MODERATION), folder=tmp_path / "run").write(tmp_path / "run")
    path, _ = export(tmp_path / "run", tmp_path / "memes", format="memes.csv")
    with path.open() as file:
        (row,) = list(csv.DictReader(file))
    assert (row["text"], row["label"]) == ("love it", "1")
    with Image.open(path.parent / row["image"]) as picture:
        assert picture.size == (64, 64)


def test_people_judge_cases(duo_kit: SimpleNamespace, tmp_path: Path) -> None:
    folder = finished(duo_kit, tmp_path / "run")
    count = write_pack(folder, tmp_path / "pack", most=12)
    assert count == 12
    page = (tmp_path / "pack" / "index.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    with (tmp_path / "pack" / "labels.csv").open() as file:
        cases = [row["case"] for row in csv.DictReader(file)]
    assert len(set(cases)) == 12
    outcomes = {one.case.rpartition("-")[2]: one for one in read_results(folder)}
    assert "X." not in page
    assert {outcomes[case].rule for case in cases} == {"X.dots", "X.around"}
    doubted = next(case for case in cases if outcomes[case].error)
    lines = ["case,annotator,toxic,realism"]
    for case in cases:
        for person in ("ada", "ben", "cyd"):
            toxic = case != doubted or person == "ada"
            lines.append(f"{case},{person},{int(toxic)},{4 if person == 'ada' else 2}")
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join([*lines, f"{cases[0]},dan,,"]))
    figures = import_labels(folder, labels)
    errors = sum(bool(outcomes[case].error) for case in cases)
    assert (figures.judged, figures.toxic.hits, figures.toxic.n) == (12, 11, 12)
    assert (figures.efr.hits, figures.efr.n) == (errors, 12)
    assert (figures.efr_human.hits, figures.efr_human.n) == (errors - 1, 11)
    assert figures.realism == pytest.approx(8 / 3)
    agree = (11 + 1 / 3) / 12
    chance = (34 / 36) ** 2 + (2 / 36) ** 2
    assert figures.kappa == pytest.approx((agree - chance) / (1 - chance))
    answer = run_command("duo", "annotate", folder, "--import", labels, "--json").json()
    assert answer["efr_human"]["n"] == 11
    assert json.loads((folder / "human.json").read_text()) == answer


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("nothing,ada,1,3", "line 2, field case: the run has no case 'nothing'"),
        ("{case},,1,3", "line 2, field annotator: the field is empty"),
        ("{case},ada,perhaps,3", "line 2, field toxic: expected 1 or 0"),
        ("{case},ada,1,9", "line 2, field realism: expected 1 to 5"),
        ("{case},ada,1,3\n{case},ada,0,3", "line 3, field annotator: ada has judged"),
    ],
)
def test_labels_that_cannot_be_used(duo_kit: SimpleNamespace, tmp_path: Path, row: str, told: str) -> None:
    folder = finished(duo_kit, tmp_path / "run", per_rule=3)
    case = next(one.case for one in read_results(folder) if one.phase == "search")
    (tmp_path / "labels.csv").write_text("case,annotator,toxic,realism\n" + row.format(case=case))
    with pytest.raises(InvalidSample, match=told):
        import_labels(folder, tmp_path / "labels.csv")


def test_rules_are_listed_with_what_they_need() -> None:
    found = run_command("duo", "rules", "T.*", "--json").json()
    assert {"T.word_split", "T.benign_context", "T.homophone"} <= {one["rule"] for one in found}
    (homophone,) = [one for one in found if one["rule"] == "T.homophone"]
    assert "homophones" in homophone["unavailable"]
    assert "T.word_split" in run_command("duo", "rules").out
    assert (
        "no rule matches 'T.wrd_split' (did you mean 'T.word_split'?)"
        in run_command("duo", "rules", "T.wrd_split").error
    )


def test_cases_without_a_target(tmp_path: Path) -> None:
    seeds = SeedFile.sample(tmp_path / "seeds")
    command = ("duo", "generate", "--seeds", seeds, "--option", "rules=T.mask,TI.screenshot", "--option", "per_rule=3")
    for name in ("one", "two"):
        answer = run_command(*command, "--out", tmp_path / name, "--json").json()
        assert (answer["cases"], answer["controls"]) == (6, 6)
    lines = [json.loads(line) for line in (tmp_path / "one" / "manifest.jsonl").read_text().splitlines()]
    assert {line["rule"] for line in lines} == {"T.mask", "TI.screenshot"}
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert all((tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes() for path in files)
    assert sum(path.suffix == ".png" for path in files) == 6
    assert "not an empty folder" in run_command(*command, "--out", tmp_path / "one").error


def test_a_users_seeds_need_a_statement(tmp_path: Path) -> None:
    seeds = tmp_path / "mine.jsonl"
    rows = [{"id": n, "kind": "ads", "toxic": n < 2, "modality": "text", "text": f"words {n} here"} for n in range(4)]
    seeds.write_text("\n".join(map(json.dumps, rows)))
    command = ("duo", "generate", "--seeds", seeds, "--out", tmp_path / "out", "--option", "rules=T.mask")
    assert "lawfully possess" in run_command(*command).error
    assert run_command(*command, "--i-have-rights").code == 0


def test_a_test_from_the_command_line(tmp_path: Path) -> None:
    """A callable target, shipped seeds, a folder that is gone on with, the gate on what came of it."""
    seeds = SeedFile.sample(tmp_path / "seeds")
    (tmp_path / "moderation.py").write_text(
        "def score(samples):\n"
        "    bad = [any(w in s.get('text', '').lower() for w in ('glorp', 'free', 'win', 'claim')) for s in samples]\n"
        "    return [[0.1, 0.9] if one else [0.9, 0.1] for one in bad]\n"
    )
    command = ["test", "duo", "--target", "moderation:score", "--task", "text-classification", "--labels", "ok,bad"]
    command += ["--toxic-labels", "bad", "--data", str(seeds), "--dataset", "moderation-seeds"]
    command += ["--option", "rules=T.*", "--option", "per_rule=4", "--out", "report"]
    answer = run_command(*command, "--json", folder=tmp_path)
    assert answer.code == 1, answer.err
    found = answer.json()
    assert found["failures"] > 0
    folder = tmp_path / "report"
    assert {"results.jsonl", "report.html", "summary.json", "findings", "cases"} <= {
        path.name for path in folder.iterdir()
    }
    before = (folder / "results.jsonl").read_bytes()
    assert "there is something here already" in run_command(*command, folder=tmp_path).error
    assert run_command(*command, "--resume", folder=tmp_path).code == 1
    assert (folder / "results.jsonl").read_bytes() == before
    assert run_command("duo", "gate", folder, "--max-efr", 0.0).code == 1


def test_a_run_is_retrained(tmp_path: Path) -> None:
    """A run of an installed classifier is trained again through core, and tested on its own test data."""
    if "tsc" not in registry.names("model"):
        pytest.skip("tsc is not installed: retraining a run was not tried")
    rng = np.random.default_rng(0)
    lines = {"TRAIN": [], "TEST": []}
    for number in range(120):
        label = number % 2 + 1
        series = rng.normal(0, 0.4, 40)
        series[10:30] += 2 * np.sin(np.arange(20) / 3) * (1 if label == 2 else -1)
        lines["TRAIN" if number < 80 else "TEST"].append("\t".join([str(label), *(f"{x:.4f}" for x in series)]))
    data = tmp_path / "Waves"
    data.mkdir()
    for split, rows in lines.items():
        (data / f"Waves_{split}.tsv").write_text("\n".join(rows))
    train = run_command("train", "tsc", "--data", data, "architecture=minirocket", "--name", "r", folder=tmp_path)
    assert train.code == 0, train.err
    command = ["duo", "retrain", tmp_path / "runs" / "r", "--toxic-labels", "2", "--option", "rules=S.noise,S.overlay"]
    answer = run_command(*command, "--option", "per_rule=20", "--out", tmp_path / "again", "--json")
    assert answer.code == 0, answer.err
    report = answer.json()["report"]
    (rules, _, added) = report["tables"]
    assert {row[0] for row in rules["rows"]} == {"S.noise", "S.overlay"}
    assert sum(row[1] for row in added["rows"]) <= 0.2 * 80
    assert report["metrics"]["clean_accuracy_before"]["value"] > 0.9
    assert (tmp_path / "again" / "model" / "config.json").is_file()
    assert (tmp_path / "again" / "report.html").is_file()


def test_options_that_do_not_exist() -> None:
    with pytest.raises(ConfigError, match=r"duo has no option 'per_rules' \(did you mean 'per_rule'"):
        Duo(per_rules=3)
