"""The evaluator against scikit-learn, its intervals, groups and protocols; explanations; the grid and its command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from quire.dataset import InMemory, Subset
from quire.errors import ConfigError, DataError, RunError
from quire_memefier.commands import parse_points
from quire_memefier.data.hateful_memes import HatefulMemes
from quire_memefier.data.memotion import Memotion7k
from quire_memefier.evaluate import MemeEvaluator, _Judged, accuracies, aurocs, error_rates, macro_f1s
from quire_memefier.explain import attribute, log_odds
from quire_memefier.grid import run_grid
from quire_memefier.heads import MISSING, Head
from quire_memefier.model import MemeFierClassifier
from quire_memefier.protocol import summarize
from quire_memefier.task import MEME_CLASSIFICATION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from quire.dataset import Dataset

BINARY = Head(labels=("no", "yes"))


def judged(shares: list[float], truth: list[int]) -> _Judged:
    positive = np.array(shares)
    return _Judged(BINARY, np.stack([1 - positive, positive], 1), np.array(truth)[:, None], {}, [None] * len(truth))


PAIRS = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.4, 0.6, 0.6, 0.9]), st.integers(0, 1)), min_size=1, max_size=15)


@given(PAIRS)
@settings(deadline=None)
def test_figures_are_scikit_learns(pairs: list[tuple[float, int]]) -> None:
    shares, truth = [s for s, _ in pairs], [t for _, t in pairs]
    guess = np.array(shares) > 0.5
    one = np.ones((1, len(pairs)))
    found = judged(shares, truth)
    assert accuracies(found, one)[0] == pytest.approx((guess == np.array(truth)).mean())
    assert macro_f1s(found, one)[0] == pytest.approx(f1_score(truth, guess, average="macro", zero_division=0))
    if 0 < sum(truth) < len(truth):
        assert aurocs(found, one)[0] == pytest.approx(roc_auc_score(truth, shares))
    else:
        assert np.isnan(aurocs(found, one)[0])


@given(PAIRS, st.integers(0, 100))
@settings(deadline=None)
def test_weights_stand_for_repeated_memes(pairs: list[tuple[float, int]], seed: int) -> None:
    n = len(pairs)
    drawn = np.random.default_rng(seed).integers(0, n, size=n)
    weights = np.bincount(drawn, minlength=n)[None].astype(float)
    whole = judged([s for s, _ in pairs], [t for _, t in pairs])
    repeated = judged([pairs[row][0] for row in drawn], [pairs[row][1] for row in drawn])
    for figure in (accuracies, macro_f1s, aurocs):
        expected = figure(repeated, np.ones((1, n)))[0]
        assert figure(whole, weights)[0] == pytest.approx(expected, nan_ok=True)


def test_memes_without_a_target_do_not_count() -> None:
    found = judged([0.9, 0.1, 0.6], [1, 0, MISSING])
    assert accuracies(found, np.ones((1, 3)))[0] == 1.0
    assert macro_f1s(found, np.ones((1, 3)))[0] == 1.0


def test_error_rates_of_a_group() -> None:
    assert error_rates(np.array([0, 0, 1, 1, 1]), np.array([1, 0, 0, 1, 1])) == (0.5, pytest.approx(1 / 3))
    assert error_rates(np.array([1, 1]), np.array([1, 0])) == (None, 0.5)


def test_the_report_on_a_model(trained: MemeFierClassifier, release: Path) -> None:
    test = HatefulMemes.open(release, split="test")
    report = MemeEvaluator(bootstrap=200).evaluate(trained, test)
    shares = trained.predict_proba(list(test))[:, 0]
    truth = [sample["target"] == "hateful" for sample in test]
    assert report["auroc"] == pytest.approx(roc_auc_score(truth, shares))
    assert report["average_precision"] == pytest.approx(average_precision_score(truth, shares))
    assert report["f1_positive"] == pytest.approx(f1_score(truth, shares > 0.5))
    score = report.metrics["auroc"]
    assert score.low is not None
    assert score.high is not None
    assert score.low <= report["auroc"] <= score.high
    assert report.provenance["protocol"] == "honest"
    assert "Protocol honest" in report.notes[0]
    again = MemeEvaluator(bootstrap=200).evaluate(trained, test)
    assert again.metrics["auroc"] == score


def test_several_heads_are_means(make: Callable[..., MemeFierClassifier], tmp_path: Path) -> None:
    release = Memotion7k.sample(tmp_path / "memotion")
    model = make().fit(Memotion7k.open(release, subtask="b"))
    report = MemeEvaluator(bootstrap=20).evaluate(model, Memotion7k.open(release, split="test", subtask="b"))
    table = next(table for table in report.tables if table.title == "Heads")
    column = table.columns.index("f1_macro")
    values = [float(row[column] or 0) for row in table.rows]
    assert len(values) == 4
    assert report["f1_macro"] == pytest.approx(np.mean(values))


def test_a_split_of_one_class_has_no_auroc_and_says_why(trained: MemeFierClassifier, memes: Dataset) -> None:
    single = Subset(memes, [row for row in range(len(memes)) if memes.target(row) == "hateful"])
    score = MemeEvaluator(bootstrap=5).evaluate(trained, single).metrics["auroc"]
    assert score.value is None
    assert score.reason == "all targets are 'hateful', and ranking needs two classes"


def test_groups_are_told_where_memes_have_attributes(trained: MemeFierClassifier, memes: Dataset) -> None:
    """Section 7, defect 10."""
    face = {"race": "Black", "gender": "Male", "age": "3-9"}
    samples = [{**sample, "attributes": [face] if row % 2 else []} for row, sample in enumerate(memes)]
    report = MemeEvaluator(bootstrap=0).evaluate(trained, InMemory(samples, task=MEME_CLASSIFICATION))
    table = next(table for table in report.tables if table.title == "Groups")
    assert [row[0] for row in table.rows] == ["age: 3-9", "gender: Male", "no face", "race: Black"]
    assert {row[1] for row in table.rows} == {16}
    assert "FairFace's guesses" in table.note
    assert not [
        table for table in MemeEvaluator(bootstrap=0).evaluate(trained, memes).tables if table.title == "Groups"
    ]


def test_the_references_protocol_is_named_and_apart(
    make: Callable[..., MemeFierClassifier], memes: Dataset, release: Path, trained: MemeFierClassifier
) -> None:
    """Section 7, defects 1 and 2."""
    validation, test = (HatefulMemes.open(release, split=split) for split in ("dev", "test"))
    model = make(epochs=3, early_stop={"patience": None}).fit(memes, validation)
    honest = MemeEvaluator(bootstrap=0).evaluate(model, test)
    reference = MemeEvaluator(bootstrap=0, protocol="reference").evaluate(model, test)
    assert honest.metrics == reference.metrics
    assert not [table for table in honest.tables if "Maxima" in table.title]
    table = next(table for table in reference.tables if "Maxima" in table.title)
    history = model.artefacts["history"]
    assert table.rows[-1][1] == max(epoch["val_auc"] for epoch in history)
    assert "Do not hold the two against each other" in reference.notes[0]
    with pytest.raises(DataError, match="no history"):
        MemeEvaluator(protocol="reference").evaluate(trained, test)


def test_tuned_thresholds_decide_on_demand(trained: MemeFierClassifier, memes: Dataset) -> None:
    try:
        trained.artefacts["thresholds"] = {"hateful": {"hateful": 1.0}}
        report = MemeEvaluator(bootstrap=0, decide="tuned").evaluate(trained, memes)
        assert report["accuracy"] == 0.5
        assert report["f1_positive"] == 0.0
    finally:
        del trained.artefacts["thresholds"]


# ---------------------------------------------------------------------------------------------------------- explanations


def test_an_attribution_is_what_fading_a_token_takes_away(trained: MemeFierClassifier, memes: Dataset) -> None:
    """The derivative of the log-odds by a token's scale, against a finite difference."""
    sample = memes[0]
    found = attribute(trained, sample, label="hateful")
    batch = {name: tensor.double() if tensor.is_floating_point() else tensor
             for name, tensor in trained.extractor().encode(trained.collate([sample])).items()}  # fmt: skip

    def odds(name: str, position: int, scale: float) -> float:
        tokens = batch[name].clone()
        tokens[0, position] *= scale
        with torch.no_grad():
            return float(log_odds(trained.heads[0], trained.network({**batch, name: tokens})[0], 1))

    for patch in (0, 7, 15):
        slope = (odds("image_tokens", patch + 1, 1.05) - odds("image_tokens", patch + 1, 0.95)) / 0.1
        assert found.patches.ravel()[patch] == pytest.approx(slope, rel=0.02, abs=1e-5)
    first = len(sample["text"].split()[0])
    slopes = [(odds("text_tokens", k, 1.05) - odds("text_tokens", k, 0.95)) / 0.1 for k in range(1, first + 1)]
    assert found.values[0] == pytest.approx(sum(slopes), rel=0.02, abs=1e-5)
    assert found.words == tuple(sample["text"].split())


def test_the_other_label_is_explained_by_the_opposite(trained: MemeFierClassifier, memes: Dataset) -> None:
    for_it, against = (attribute(trained, memes[0], label=label) for label in ("hateful", "not-hateful"))
    assert np.allclose(for_it.patches, -against.patches)
    assert np.allclose(for_it.values, -against.values)


def test_missing_parts_have_no_attribution(trained: MemeFierClassifier, memes: Dataset) -> None:
    sample = memes[0]
    text_alone = attribute(trained, {"text": sample["text"]})
    assert not text_alone.patches.any()
    image_alone = attribute(trained, {"image": sample["image"]})
    assert image_alone.words == ()
    assert image_alone.text == 0.0


@pytest.mark.parametrize("part", ["both", "image", "text"])
def test_a_picture_is_drawn_of_each_explanation(trained: MemeFierClassifier, memes: Dataset, part: str) -> None:
    sample = {key: value for key, value in memes[0].items() if key == "id" or part in ("both", key)}
    (found,) = trained.explain([sample])
    assert found.sample == sample["id"]
    assert found.arrays["patches"].shape == (4, 4)
    assert [axes.get_title() for axes in found.figure.axes] == [
        "", "patches: red speaks for it, blue against" if part != "text" else "", "words" if part != "image" else "",
    ]  # fmt: skip


def test_log_odds_of_each_kind_of_head() -> None:
    values = torch.tensor([0.3, -1.2, 2.0])
    classes = Head(kind="multiclass", labels=("a", "b", "c"))
    shares = torch.softmax(values, 0)
    assert torch.allclose(log_odds(classes, values, 1), torch.log(shares[1] / (1 - shares[1])))
    grades = Head(kind="ordinal", labels=("a", "b", "c", "d"))
    expected = np.log(grades.probabilities(values[None].double().numpy())[0])
    assert np.allclose([float(log_odds(grades, values, k)) for k in range(4)], expected, atol=1e-6)


# -------------------------------------------------------------------------------------------------------------- the grid

SMALL: dict[str, Any] = {
    "epochs": 1, "d_model": 16, "encoder": {"heads": 2, "ffn": 16, "layers": 1}, "decoder": {"d": 8, "heads": 2},
}  # fmt: skip


def test_a_grid_is_resumed_and_summarized(
    memes: Dataset, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Any
) -> None:
    validation, test = (HatefulMemes.open(release, split=split) for split in ("dev", "test"))
    options = {"preset": "tiny"}

    def run(indices: list[int], **more: Any) -> Any:
        return run_grid(
            memes,
            validation,
            test,
            tmp_path,
            options=options,
            overrides=SMALL,
            indices=indices,
            runtime=runtime,
            **more,
        )

    first = run([0, 33])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00", "33"]
    fitted: list[int] = []
    fit = MemeFierClassifier.fit

    def counted(self: MemeFierClassifier, *parts: Any, **more: Any) -> MemeFierClassifier:
        fitted.append(1)
        return fit(self, *parts, **more)

    monkeypatch.setattr(MemeFierClassifier, "fit", counted)
    both = run([0, 33, 2])
    assert len(fitted) == 1
    assert both[:2] == first
    honest = summarize(both, ["auc", "accuracy"])
    assert honest.figures["auc"] == both[honest.chosen or 0].test["auc"]
    with pytest.raises(RunError, match="of other options or data"):
        run_grid(memes, validation, None, tmp_path, options=options, overrides=SMALL, indices=[0], runtime=runtime)


def test_grid_points_of_the_command() -> None:
    assert parse_points("0-3,34") == [0, 1, 2, 3, 34]
    for bad in ("64", "a", "3-", "", "5-2"):
        with pytest.raises(ConfigError, match="grid point"):
            parse_points(bad)


def test_the_check_of_a_download(release: Path, tmp_path: Path) -> None:
    import shutil

    from typer.testing import CliRunner

    from quire import registry
    from quire_memefier.commands import app

    if "memefier" not in registry.names("model"):
        pytest.skip("quire-memefier is not installed, only on the path")
    good = CliRunner().invoke(app, ["check", "--data", str(release)])
    assert good.exit_code == 0, good.output
    assert "train: 32 memes (hateful 16, not-hateful 16)" in good.output
    broken = tmp_path / "broken"
    shutil.copytree(release, broken)
    (broken / "img" / "00000.png").write_bytes(b"no picture")
    bad = CliRunner().invoke(app, ["check", "--data", str(broken), "--dataset", "hateful-memes"])
    assert bad.exit_code == 1
    assert "problem: " in bad.output
    assert "00000.png" in bad.output
