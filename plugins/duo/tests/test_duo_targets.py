"""Real targets: a spam filter retrained with and without controls, and the pipelines that split posts get through."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from PIL import Image
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from quire.dataset import InMemory
from quire.errors import DataError
from quire.model import Classifier
from quire.ocr import read_text
from quire.storage import content_hash
from quire.task import TEXT_CLASSIFICATION
from quire_duo.adapters import Concat, OcrText
from quire_duo.ensemble import OrEnsemble
from quire_duo.retrain import correct, divide, f1, leave_one_out, retrain
from quire_duo.seed_set import seeds_of
from quire_duo.task import CONTENT_MODERATION
from quire_duo.tester import Duo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import SimpleNamespace

    from quire.dataset import Dataset

RULES: dict[str, dict[str, Any]] = {
    "T.word_split": {"separator": "space"},
    "T.visual_sub": {"letters": "cyrillic", "only": "aceopxy", "rate": 1.0, "scope": "all"},
    "T.benign_context": {"n": 5},
}


class SpamFilter(Classifier):
    """TF-IDF of words and pairs of words, logistic regression."""

    task = TEXT_CLASSIFICATION

    @property
    def labels(self) -> tuple[str, ...]:
        return ("ham", "spam")

    @property
    def toxic_labels(self) -> frozenset[str]:
        return frozenset({"spam"})

    @property
    def deterministic(self) -> bool:
        return True

    def fit(self, train: Dataset, validation: Dataset | None = None, **_: Any) -> Self:
        self._features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
        features = self._features.fit_transform([train[index]["text"] for index in range(len(train))])
        self._model = LogisticRegression(C=100, max_iter=1000)
        self._model.fit(features, [train.target(index) for index in range(len(train))])
        return self

    def predict_proba(self, samples: Sequence[dict[str, Any]]) -> Any:
        texts = self._features.transform([sample["text"] for sample in samples])
        return self._model.predict_proba(texts).astype(np.float32)

    def fingerprint(self) -> str:
        return content_hash("tf-idf", self._model.coef_)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        raise NotImplementedError


@pytest.fixture(scope="module")
def messages(duo_data: Path) -> tuple[InMemory, InMemory]:
    """(training, test) messages, stratified 80/20."""
    lines = (duo_data / "SMSSpamCollection").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("\t")[::2] for line in lines if line.strip()]
    parts = train_test_split(pairs, test_size=0.2, stratify=[label for label, _ in pairs], random_state=0)
    train, test = (
        InMemory(
            [{"id": f"{name}-{n}", "text": text, "target": label} for n, (label, text) in enumerate(part)],
            task=TEXT_CLASSIFICATION,
            name=name,
        )
        for name, part in zip(("train", "test"), parts, strict=True)
    )
    return train, test


@pytest.fixture(scope="module")
def original(messages: tuple[InMemory, InMemory]) -> SpamFilter:
    return SpamFilter().fit(messages[0])


def make_tester(**options: Any) -> Duo:
    given = {"rules": tuple(RULES), "parameters": RULES, "per_rule": 150, "i_have_rights": True, "max_queries": None}
    return Duo(**{**given, **options})


def test_a_spam_filter_as_it_is(messages: tuple[InMemory, InMemory], original: SpamFilter) -> None:
    """Section 10A, the first row: .980 / .923; 131 of 149 detected; look-alikes .466, context 1.000."""
    right, predicted, targets = correct(original, messages[1])
    assert np.mean(right) == pytest.approx(0.980, abs=0.005)
    assert f1(predicted, targets, {"spam"}) == pytest.approx(0.923, abs=0.01)
    report = make_tester().test(original, seeds_of(messages[1], {"spam"}, "ads"))
    assert report.summary is not None
    assert (report.summary.plain_detection.hits, report.summary.plain_detection.n) == (131, 149)
    rates = {one.rule: one.efr for one in report.summary.rules}
    assert {rate.n for rate in rates.values()} == {131}
    assert rates["T.visual_sub"].value == pytest.approx(0.466, abs=0.05)
    assert rates["T.benign_context"].value == pytest.approx(1.0, abs=0.03)
    assert all((one.control_fpr.value or 0) < 0.05 for one in report.summary.rules)


def test_plain_forms_of_detected_seeds_are_all_flagged(
    messages: tuple[InMemory, InMemory], original: SpamFilter
) -> None:
    """The identity's EFR under seed_filter=detected is 0, whatever the target."""
    report = make_tester(rules=("T.visual_split",), parameters={}).test(original, seeds_of(messages[1], {"spam"}))
    used = set(report.seeds_used)
    plain = [one for one in report.outcomes if one.rule == "identity" and one.seed in used]
    assert len(plain) == len(used) > 100
    assert not any(one.error for one in plain)


@pytest.mark.slow
def test_controls_decide_what_retraining_teaches(messages: tuple[InMemory, InMemory], original: SpamFilter) -> None:
    """Section 10A: without controls disguise itself is flagged, and the report says so; with them it is not."""
    train, test = messages
    repair, holdout = (seeds_of(part, {"spam"}, "ads") for part in messages)
    tester = make_tester(per_rule=600)
    found = {}
    for controls in (False, True):
        _, report = retrain(
            tester,
            original,
            lambda data: SpamFilter().fit(data),
            train,
            test,
            repair=repair,
            holdout=holdout,
            controls=controls,
            mixing=None,
        )
        found[controls] = report
        assert report.added.keys() == RULES.keys()
        for (
            count
        ) in report.added.values():  # some messages have none of the seven letters; a case goes with its control
            assert count % 2 == 0 or not controls
            assert 0.95 * 598 < count / (2 if controls else 1) <= 598
        assert report["clean_accuracy_change"] >= -0.01
        assert report.clean is not None
        assert report.clean.low <= report.clean.value <= report.clean.high
    rates = {
        controls: {one.rule: (one.efr.value, one.control_fpr.value) for one in report.after.summary.rules}  # type: ignore[union-attr]
        for controls, report in found.items()
    }
    assert all(efr <= 0.20 and fpr <= 0.05 + 0.02 for efr, fpr in rates[True].values())  # type: ignore[operator]
    assert all(efr <= 0.05 for efr, _ in rates[False].values())  # type: ignore[operator]
    assert rates[False]["T.visual_sub"][1] > 0.3  # type: ignore[operator]
    assert rates[False]["T.benign_context"][1] > 0.15  # type: ignore[operator]
    (first, *warnings) = found[False].notes
    assert first.startswith("Toxic cases alone")
    assert any(note.startswith("T.visual_sub: the EFR fell because benign messages") for note in warnings)
    assert not any("T.visual_sub" in note for note in found[True].notes)


@pytest.mark.slow
def test_a_rule_that_was_left_out_is_tested_all_the_same(
    messages: tuple[InMemory, InMemory], original: SpamFilter
) -> None:
    train, test = messages
    repair, holdout = (seeds_of(part, {"spam"}, "ads") for part in messages)
    rules = {name: RULES[name] for name in ("T.visual_sub", "T.word_split")}
    reports = leave_one_out(
        make_tester(rules=tuple(rules), parameters=rules, per_rule=60),
        original,
        lambda data: SpamFilter().fit(data),
        train,
        test,
        repair=repair,
        holdout=holdout,
    )
    assert reports.keys() == rules.keys()
    for rule, report in reports.items():
        assert rule not in report.added
        assert {row[0]: row[1] for row in report.tables[0].rows} == {
            name: "no" if name == rule else "yes" for name in rules
        }
        assert sum(report.added.values()) <= 0.2 * len(train)
    seen = {row[0]: row[4] for row in reports["T.word_split"].tables[0].rows}
    unseen = {row[0]: row[4] for row in reports["T.visual_sub"].tables[0].rows}
    assert seen["T.visual_sub"] < unseen["T.visual_sub"]  # type: ignore[operator]


def test_what_is_tested_is_not_trained_on(messages: tuple[InMemory, InMemory], original: SpamFilter) -> None:
    seeds = seeds_of(messages[1], {"spam"})
    repair, holdout = divide(seeds)
    assert {info.id for info in repair} | {info.id for info in holdout} == {info.id for info in seeds}
    assert not {info.id for info in repair} & {info.id for info in holdout}
    assert 0.45 < len(repair) / len(seeds) < 0.55
    with pytest.raises(DataError, match="both for repair and held out"):
        retrain(make_tester(), original, SpamFilter().fit, *messages, repair=seeds, holdout=holdout)


class Glorps(SpamFilter):
    """A lexicon: "glorp is bad" is toxic."""

    def predict_proba(self, samples: Sequence[dict[str, Any]]) -> Any:
        bad = np.array(
            [0.9 if "glorp is bad" in sample["text"].lower() else 0.1 for sample in samples], dtype=np.float32
        )
        return np.stack([1 - bad, bad], axis=1)

    def fingerprint(self) -> str:
        return content_hash("glorps")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("tesseract") is None, reason="the program tesseract is not installed")
def test_a_split_post_gets_through_to_those_who_judge_its_parts(tmp_path: Path, duo_kit: SimpleNamespace) -> None:
    """Section 10C: cut inside the keyword, EFR is 1 for a pipeline of single judges and 0 for one that joins the post."""
    samples: list[dict[str, Any]] = [  # dark, so that tesseract reads the outlined capitals without a fault
        {"id": f"night-{n}", "image": Image.new("RGB", (640, 480), (30, 30, 40 + n)), "target": "benign"}
        for n in range(3)
    ]
    samples += [
        {"id": f"t{n}", "text": f"{word} glorp is bad", "target": "toxic", "kind": "hate"}
        for n, word in enumerate(("the", "any", "every", "that old", "our"))
    ]
    samples += [
        {"id": f"b{n}", "text": f"{word} bread is good", "target": "benign", "kind": "hate"}
        for n, word in enumerate(("the", "any", "every", "that old", "our"))
    ]
    (tmp_path / "lexicon.txt").write_text("glorp")
    tester = Duo(
        rules="TI.split_caption",
        parameters={"TI.split_caption": {"inside_keyword": True}},
        lexicon=tmp_path / "lexicon.txt",
        i_have_rights=True,
    )
    seeds = InMemory(samples, task=CONTENT_MODERATION, name="glorps")
    read: dict[bytes, str] = {}

    def reader(image: Image.Image) -> str:
        """Each picture is read once for both targets."""
        key = image.tobytes()
        if key not in read:
            read[key] = read_text(image)
        return read[key]

    parts = tester.test(OrEnsemble([Glorps(), OcrText(Glorps(), reader)]), seeds)
    whole = tester.test(Concat(Glorps(), reader=reader, separators=("",)), seeds)
    for report in (parts, whole):
        assert report.summary is not None
        assert report.summary.rules[0].efr.n == 5
        assert report["control_fpr"] == 0.0
    assert (parts["efr"], whole["efr"]) == (1.0, 0.0)
