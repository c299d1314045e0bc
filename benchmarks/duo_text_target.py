"""What retraining on disguised spam does to a spam filter, with and without benign controls.

    QUIRE_DATA=... OMP_NUM_THREADS=1 python benchmarks/duo_text_target.py [--seeds 0,1,2] [--write]

The target is TF-IDF (words and pairs of words) with logistic regression on the SMS Spam Collection, split 80/20. Rules:
words of a short list split in two, seven Cyrillic look-alikes everywhere, five benign messages of the training set on
either side. Rows: the target as it is, retrained with the disguised spam of its training set, and with as many disguised
benign messages beside it. EFR: on the held-out spam that the first target detects; control FPR: on all held-out benign
messages in the same form. Figures are means over the seeds of what is drawn (which letters, which context). The reference
figures, of one seed, are those of an implementation of the same protocol apart from this one, whose list of words is not
known. `--write` puts the figures into benchmarks/results/duo_text_target.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from quire.dataset import InMemory
from quire.model import Classifier
from quire.storage import content_hash
from quire.task import TEXT_CLASSIFICATION
from quire_duo.retrain import correct, f1, retrain
from quire_duo.seed_set import seeds_of
from quire_duo.tester import Duo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quire.dataset import Dataset
    from quire_duo.seed_set import SeedInfo, SeedSet

RESULTS = Path(__file__).parent / "results" / "duo_text_target.json"
RULES: dict[str, dict[str, Any]] = {
    "T.word_split": {"separator": "space"},
    "T.visual_sub": {"letters": "cyrillic", "only": "aceopxy", "rate": 1.0, "scope": "all"},
    "T.benign_context": {"n": 5},
}
KEYWORDS = ("free", "win", "won", "prize", "claim", "cash", "txt", "text", "call", "urgent", "mobile", "stop", "reply")
REFERENCE = {  # accuracy, F1, EFR by rule, control FPR by rule
    "original": (0.980, 0.923, (0.122, 0.466, 1.000), (0.002, 0.004, 0.000)),
    "toxic cases only": (0.980, 0.925, (0.008, 0.000, 0.008), (0.052, 0.536, 0.266)),
    "toxic cases and controls": (0.980, 0.927, (0.000, 0.000, 0.176), (0.020, 0.032, 0.016)),
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
        self._model = LogisticRegression(C=100, max_iter=2000)
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


def messages(root: Path) -> tuple[InMemory, InMemory]:
    """(training, test) messages, stratified 80/20."""
    lines = (root / "SMSSpamCollection").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("\t")[::2] for line in lines if line.strip()]
    train, test = train_test_split(pairs, test_size=0.2, stratify=[label for label, _ in pairs], random_state=0)
    return tuple(  # type: ignore[return-value]
        InMemory(
            [{"id": f"{name}-{number}", "text": text, "target": label} for number, (label, text) in enumerate(part)],
            task=TEXT_CLASSIFICATION,
            name=name,
        )
        for name, part in (("train", train), ("test", test))
    )


def make_tester(folder: Path, seed: int, **options: Any) -> Duo:
    """All seeds, one case each: every rule has one parameter point."""
    lexicon = folder / "lexicon.txt"
    lexicon.write_text("\n".join(KEYWORDS), encoding="utf-8")
    given = {"rules": tuple(RULES), "parameters": RULES, "lexicon": lexicon, "validity": ("V1",)}
    return Duo(**given, seed=seed, i_have_rights=True, per_rule=2000, max_queries=None, **options)


def flagged(tester: Duo, target: SpamFilter, seeds: SeedSet, shown: Sequence[SeedInfo]) -> list[float]:
    """By rule, the share of the messages `shown`, of either label, that are flagged in its form, with benign context
    from the training set."""
    asked = [replace(info, toxic=True) for info in shown]
    context = [info for info in seeds if not info.toxic and info.id.startswith("train")]
    report = tester.test(target, seeds.only([*asked, *context]))
    return [
        1 - one.efr.hits / one.efr.n
        for one in sorted(report.summary.rules, key=lambda one: list(RULES).index(one.rule))
    ]


def measure(root: Path, folder: Path, seed: int) -> dict[str, Any]:
    train, test = messages(root)
    both = InMemory([part[i] for part in (train, test) for i in range(len(part))], task=TEXT_CLASSIFICATION, name="sms")
    seeds = seeds_of(both, {"spam"}, "ads")
    repair, holdout = (seeds.only(info for info in seeds if info.id.startswith(name)) for name in ("train", "test"))
    original = SpamFilter().fit(train)
    right, predicted, _ = correct(original, test)
    detected = [info for info, label in zip(holdout, predicted, strict=True) if info.toxic and label == "spam"]
    ham = [info for info in holdout if not info.toxic]
    judge = make_tester(folder, seed, seed_filter="all", controls=False)
    rows: dict[str, Any] = {}
    models = {"original": original}
    for name, controls in (("toxic cases only", False), ("toxic cases and controls", True)):
        models[name], report = retrain(
            make_tester(folder, seed),
            original,
            lambda data: SpamFilter().fit(data),
            train,
            test,
            repair=repair,
            holdout=holdout,
            controls=controls,
            mixing=None,
        )
        rows[name] = {"warnings of the report": report.notes}
    for name, model in models.items():
        right, predicted, targets = correct(model, test)
        rows[name] = rows.get(name, {}) | {
            "n": len(detected),
            "controls": len(ham),
            "accuracy": float(np.mean(right)),
            "f1": f1(predicted, targets, {"spam"}),
            "efr": [1 - share for share in flagged(judge, model, seeds, detected)],
            "control_fpr": flagged(judge, model, seeds, ham),
        }
    return rows


def averaged(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of every figure; the texts of the first row."""
    return {
        key: value if key == "warnings of the report" else np.mean([row[key] for row in rows], axis=0).round(4).tolist()
        for key, value in rows[0].items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(os.environ["QUIRE_DATA"]) / "duo"
        runs = [measure(root, Path(folder), int(seed)) for seed in arguments.seeds.split(",")]
    rows = {name: averaged([run[name] for run in runs]) for name in REFERENCE}
    worst = 0.0
    for name, reference in REFERENCE.items():
        ours = rows[name]
        print(f"{name} (n = {ours['n']})")
        for what, value, other in (
            ("accuracy, F1", [ours["accuracy"], ours["f1"]], reference[:2]),
            ("EFR split / look-alike / context", ours["efr"], reference[2]),
            ("control FPR", ours["control_fpr"], reference[3]),
        ):
            worst = max(worst, *(abs(a - b) for a, b in zip(value, other, strict=True)))
            shown = (" / ".join(f"{number:.3f}" for number in numbers) for numbers in (value, other))
            print("  {:34} {:24} reference {}".format(what, *shown))
    print(f"largest difference {worst:.3f}; {time.perf_counter() - started:.0f} s")
    if arguments.write:
        RESULTS.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
