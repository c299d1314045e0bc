from __future__ import annotations

import json
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chi2, rankdata, wilcoxon
from statsmodels.stats.multitest import multipletests

from quire.errors import ConfigError, DataError, QuireError
from quire_tsc.catalogue import catalogue
from quire_tsc.reference import (
    INVALID,
    PAPER_MODELS,
    TITLES,
    archive_name,
    published,
    reference_results,
    reference_scores,
)
from quire_tsc.stats import (
    Pair,
    align,
    cliques,
    compare,
    critical_difference,
    friedman_test,
    group_table,
    nemenyi,
    plot_critical_difference,
    plot_groups,
    plot_pair,
    rank_table,
    read_results,
    significance,
    summarise,
    wilcoxon_bonferroni,
    wilcoxon_holm,
    wins,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from matplotlib.figure import Figure

LENGTHS = {
    "ElectricDevices": 96,
    "FordA": 500,
    "FordB": 500,
    "HandOutlines": 2709,
    "NonInvasiveFetalECGThorax1": 750,
    "NonInvasiveFetalECGThorax2": 750,
    "StarLightCurves": 1024,
    "UWaveGestureLibraryAll": 945,
}
"""Of the archive's own summary, for data sets that the catalogue could not count."""


@pytest.fixture(scope="module")
def ucr() -> pd.DataFrame:
    return reference_scores("ucr85", models=PAPER_MODELS)


@pytest.fixture(scope="module")
def mts() -> pd.DataFrame:
    return reference_scores("mts12", models=PAPER_MODELS)


@pytest.fixture(scope="module")
def both() -> pd.DataFrame:
    return reference_scores("ucr85", "mts12", models=PAPER_MODELS)


def scores_of(values: Any, models: Iterable[str] | None = None) -> pd.DataFrame:
    values = np.asarray(values, dtype=np.float64)
    names = list(models or "ABCDEFGHIJ"[: values.shape[1]])
    return pd.DataFrame(values, index=[f"set{i}" for i in range(len(values))], columns=names)


def p_values(pairs: Iterable[Pair], *, significant: bool) -> dict[frozenset[str], float]:
    return {frozenset((pair.first, pair.second)): pair.p_value for pair in pairs if pair.significant is significant}


def named(*pairs: str) -> set[frozenset[str]]:
    return {frozenset(pair.split()) for pair in pairs}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts if text.get_text()]


def score_tables(models: int = 4) -> st.SearchStrategy[pd.DataFrame]:
    """Scores in steps of .1, so that ties are frequent."""
    shapes = st.tuples(st.integers(1, 12), st.just(models))
    return shapes.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, 10))).map(
        lambda values: scores_of(values / 10)
    )


# ---- the published statistics ----------------------------------------------------------------------------------


def test_ranks_and_wins_of_the_85(ucr: pd.DataFrame) -> None:
    ranks = rank_table(ucr).mean()
    assert ucr.shape == (85, 9)
    assert ranks["fcn"] == pytest.approx(2.682353, abs=5e-7)
    expected = [4.612, 2.682, 1.994, 3.682, 8.018, 8.418, 5.365, 4.976, 5.253]
    assert ranks.round(3).tolist() == expected
    assert wins(ucr).tolist() == [4, 18, 41, 10, 0, 0, 3, 4, 1]
    assert (100 * ucr.mean()).round(1).tolist() == [72.6, 80.9, 82.5, 74.9, 38.5, 36.2, 68.2, 72.1, 68.0]


def test_friedman_of_the_85(ucr: pd.DataFrame) -> None:
    result = friedman_test(ucr)
    assert round(result.statistic, 2) == 424.98
    assert result.p_value == pytest.approx(8.4e-87, rel=6e-3)
    assert (result.n_models, result.n_datasets) == (9, 85)


def test_pairs_and_bars_of_the_85(ucr: pd.DataFrame) -> None:
    found = significance(ucr)
    alike = p_values(found.pairs, significant=False)
    assert set(alike) == named("mlp twiesn", "time_cnn twiesn", "mlp time_cnn", "mcdcnn twiesn")
    assert [round(p, 5) for p in sorted(alike.values())] == [0.01457, 0.01644, 0.29297, 0.82658]
    assert found.bars == (("mlp", "time_cnn", "twiesn"), ("twiesn", "mcdcnn"))
    (pair,) = (pair for pair in found.pairs if {pair.first, pair.second} == {"resnet", "fcn"})
    assert (pair.first, pair.wins, pair.ties, pair.losses) == ("resnet", 58, 3, 24)
    assert pair.p_value == pytest.approx(2.47e-5, rel=2e-3)
    assert pair.significant


def test_statistics_of_all_97(both: pd.DataFrame) -> None:
    found = significance(both)
    assert found.friedman is not None
    assert round(found.friedman.statistic, 2) == 476.77
    assert {model: round(rank, 3) for model, rank in found.mean_ranks.items()} == {
        "resnet": 2.103,
        "fcn": 2.603,
        "encoder": 3.608,
        "mlp": 4.680,
        "time_cnn": 4.933,
        "twiesn": 5.201,
        "mcdcnn": 5.546,
        "mcnn": 7.959,
        "tlenet": 8.366,
    }
    alike = p_values(found.pairs, significant=False)
    assert set(alike) == named("mlp twiesn", "mlp time_cnn", "mcdcnn twiesn")
    assert [round(p, 5) for p in sorted(alike.values())] == [0.03705, 0.50103, 0.57703]
    assert ("mlp", "twiesn") in found.bars, "this bar jumps over time_cnn"
    assert found.bars == (("mlp", "time_cnn"), ("mlp", "twiesn"), ("twiesn", "mcdcnn"))


def test_statistics_of_the_12_multivariate(mts: pd.DataFrame) -> None:
    found = significance(mts)
    assert found.friedman is not None
    assert round(found.friedman.statistic, 2) == 58.43
    assert found.friedman.p_value == pytest.approx(9.5e-10, rel=3e-3)
    assert sum(not pair.significant for pair in found.pairs) == 26
    assert found.message == "26 of 36 pairs of models do not differ significantly at alpha = 0.05."
    assert (100 * mts.mean()).round(1).tolist() == [80.2, 92.8, 90.2, 89.9, 38.4, 37.5, 70.8, 86.4, 84.6]
    assert wins(mts).tolist() == [0, 5, 3, 0, 0, 0, 0, 0, 2]


def test_inception_time_of_the_85() -> None:
    five = reference_scores("ucr85", models=("inception_time", "resnet", "fcn", "encoder", "mlp"))
    assert round(100 * five["inception_time"].mean(), 2) == 85.03
    assert rank_table(five).mean().tolist() == pytest.approx([1.706, 2.359, 2.929, 3.729, 4.2765], abs=5e-4)
    (pair,) = wilcoxon_holm(five[["resnet", "inception_time"]])
    assert (pair.first, pair.wins, pair.ties, pair.losses) == ("inception_time", 59, 4, 22)
    assert pair.p_value == pytest.approx(1.1e-4, rel=4e-2)


def test_means_of_the_128() -> None:
    assert (100 * reference_scores("ucr128").mean()).round(1).to_dict() == {
        "encoder": 70.2,
        "fcn": 78.6,
        "inception": 83.6,
        "inception_time": 84.4,
        "mcdcnn": 65.7,
        "mlp": 70.5,
        "resnet": 80.7,
        "time_cnn": 70.4,
        "tlenet": 32.8,
        "twiesn": 68.2,
    }


def test_ranks_by_length_of_the_85(ucr: pd.DataFrame) -> None:
    table = group_table(ucr, "length", properties=LENGTHS)
    assert list(table.counts) == ["< 81", "81–250", "251–450", "451–700", "701–1000", "> 1000"]
    assert table.values["resnet"].round(2).tolist() == [2.43, 1.79, 1.64, 1.92, 1.60, 1.43]
    assert table.values["fcn"].round(2).tolist() == [3.36, 1.63, 2.73, 2.69, 1.90, 2.71]
    assert sum(table.counts.values()) == 85
    assert not table.left_out
    assert not table.note


def test_shares_won_by_theme_of_the_85(ucr: pd.DataFrame) -> None:
    table = group_table(ucr, "theme")
    assert list(table.counts) == ["device", "ECG", "image", "motion", "sensor", "simulated", "spectro"]
    assert table.values["resnet"].round().tolist() == [83, 29, 48, 71, 75, 100, 71]
    assert table.values["fcn"].round().tolist() == [50, 71, 34, 29, 38, 33, 14]


# ---- the tests and their definitions ---------------------------------------------------------------------------


@given(score_tables(models=5))
@settings(deadline=None, max_examples=15)
def test_holm_is_that_of_statsmodels(scores: pd.DataFrame) -> None:
    pairs = wilcoxon_holm(scores, alpha=0.2)
    reject, adjusted, *_ = multipletests([pair.p_value for pair in pairs], alpha=0.2, method="holm")
    assert [pair.significant for pair in pairs] == list(reject)
    np.testing.assert_allclose([pair.adjusted for pair in pairs], adjusted, rtol=1e-12)


@pytest.mark.parametrize("benchmark", ["ucr85", "mts12"])
def test_holm_of_the_published_figures_is_that_of_statsmodels(benchmark: str) -> None:
    pairs = wilcoxon_holm(reference_scores(benchmark, models=PAPER_MODELS))
    reject, adjusted, *_ = multipletests([pair.p_value for pair in pairs], alpha=0.05, method="holm")
    assert [pair.significant for pair in pairs] == list(reject)
    np.testing.assert_allclose([pair.adjusted for pair in pairs], adjusted, rtol=1e-12)


def test_bonferroni_is_that_of_statsmodels(mts: pd.DataFrame) -> None:
    pairs = wilcoxon_bonferroni(mts)
    reject, adjusted, *_ = multipletests([pair.p_value for pair in pairs], alpha=0.05, method="bonferroni")
    assert [pair.significant for pair in pairs] == list(reject)
    np.testing.assert_allclose([pair.adjusted for pair in pairs], adjusted, rtol=1e-12)
    assert {pair.critical for pair in pairs} == {0.05 / 36}


def test_holm_stops_at_the_first_that_is_not_significant() -> None:
    rng = np.random.default_rng(0)
    pairs = wilcoxon_holm(scores_of(rng.random((9, 5)) + np.arange(5) * 0.2))
    decisions = [pair.significant for pair in pairs]
    assert decisions == sorted(decisions, reverse=True)
    assert 0 < sum(decisions) < len(pairs)
    assert [pair.critical for pair in pairs] == [0.05 / (10 - index) for index in range(10)]


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8))
@settings(deadline=None)
def test_exact_wilcoxon_counts_all_signs(steps: list[int]) -> None:
    ranks = rankdata(np.abs(steps)) * (np.array(steps) != 0)
    observed = ranks[np.array(steps) > 0].sum()
    sums = np.array([ranks @ signs for signs in product((0, 1), repeat=len(steps))])
    expected = min(1.0, 2 * min((sums <= observed + 1e-9).mean(), (sums >= observed - 1e-9).mean()))
    (pair,) = wilcoxon_holm(scores_of([[0.5 + step / 10, 0.5] for step in steps]))
    assert pair.p_value == pytest.approx(expected)


@pytest.mark.parametrize("n", [5, 13, 50, 51, 90])
def test_wilcoxon_without_ties_is_scipys(n: int) -> None:
    scores = scores_of(np.random.default_rng(n).random((n, 2)) + np.array([0.1, 0.0]))
    (pair,) = wilcoxon_holm(scores)
    expected = wilcoxon(scores["A"], scores["B"], zero_method="pratt", method="auto").pvalue
    assert pair.p_value == pytest.approx(expected)


@given(score_tables())
@settings(deadline=None, max_examples=40)
def test_friedman_is_its_formula(scores: pd.DataFrame) -> None:
    n, k = scores.shape
    ranks = np.array([rankdata(-row) for row in scores.to_numpy()])
    spread = (ranks**2).sum() - n * k * (k + 1) ** 2 / 4
    result = friedman_test(scores)
    if spread == 0:
        assert (result.statistic, result.p_value) == (0.0, 1.0)
        return
    statistic = (k - 1) * ((ranks.sum(axis=0) - n * (k + 1) / 2) ** 2).sum() / spread
    assert result.statistic == pytest.approx(statistic)
    assert result.p_value == pytest.approx(chi2.sf(statistic, k - 1))


# Demsar (2006), table 5
@pytest.mark.parametrize(
    ("test", "alpha", "values"),
    [
        ("nemenyi", 0.05, [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]),
        ("nemenyi", 0.10, [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920]),
        ("bonferroni", 0.05, [1.960, 2.241, 2.394, 2.498, 2.576, 2.638, 2.690, 2.734, 2.773]),
        ("bonferroni", 0.10, [1.645, 1.960, 2.128, 2.241, 2.326, 2.394, 2.450, 2.498, 2.539]),
    ],
)
def test_critical_values_are_those_of_the_tables(test: Any, alpha: float, values: list[float]) -> None:
    for k, q in enumerate(values, 2):
        assert critical_difference(k, 30, alpha=alpha, test=test) == pytest.approx(
            q * np.sqrt(k * (k + 1) / 180), abs=1.5e-3
        )


def test_nemenyi_decides_by_the_critical_difference(ucr: pd.DataFrame) -> None:
    ranks, limit = rank_table(ucr).mean(), critical_difference(9, 85)
    pairs = nemenyi(ucr)
    assert len(pairs) == 36
    for pair in pairs:
        assert pair.significant == (ranks[pair.second] - ranks[pair.first] >= limit)
    found = significance(ucr, test="nemenyi")
    assert found.critical_difference == limit
    assert found.bars[0] == ("resnet", "fcn")


@given(st.lists(st.booleans(), min_size=15, max_size=15))
def test_cliques_are_the_maximal_sets_without_a_difference(decisions: list[bool]) -> None:
    models = list("ABCDEF")
    pairs = [
        Pair(first, second, 0, 0, 0, 0.5, 0.5, 0.5, significant)
        for (first, second), significant in zip(combinations(models, 2), decisions, strict=True)
    ]
    alike = {frozenset((pair.first, pair.second)) for pair in pairs if not pair.significant}
    sets = [
        set(members)
        for size in range(2, 7)
        for members in combinations(models, size)
        if all(frozenset(two) in alike for two in combinations(members, 2))
    ]
    maximal = sorted(sorted(one) for one in sets if not any(one < other for other in sets))
    assert [list(members) for members in cliques(models, pairs)] == maximal


# ---- what must not matter --------------------------------------------------------------------------------------


@given(score_tables(models=5), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_order_of_data_sets_and_models_does_not_matter(scores: pd.DataFrame, random: Any) -> None:
    rows, columns = list(scores.index), list(scores.columns)
    random.shuffle(rows)
    random.shuffle(columns)
    shuffled = scores.loc[rows, columns]
    for test in ("holm", "nemenyi"):
        assert significance(shuffled, test=test) == significance(scores, test=test)
    pd.testing.assert_frame_equal(rank_table(shuffled).loc[scores.index, scores.columns], rank_table(scores))


def test_order_of_the_rows_of_a_file_does_not_matter(tmp_path: Path, ucr: pd.DataFrame) -> None:
    table = reference_results("ucr85")[["model", "dataset", "accuracy"]]
    table.sample(frac=1.0, random_state=3).to_csv(tmp_path / "results.csv", index=False)
    scores = align(read_results(tmp_path / "results.csv"), models=PAPER_MODELS)
    pd.testing.assert_frame_equal(scores, ucr, check_names=False, check_exact=True)


@given(score_tables(), st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_rounding_noise_breaks_no_tie(scores: pd.DataFrame, seed: int) -> None:
    noisy = scores + np.random.default_rng(seed).uniform(-1e-8, 1e-8, scores.shape)
    assert significance(noisy) == significance(scores)
    assert wins(noisy).tolist() == wins(scores).tolist()


@given(score_tables())
@settings(max_examples=30)
def test_ranks_add_up_and_rank_one_alone_is_a_win(scores: pd.DataFrame) -> None:
    ranks = rank_table(scores)
    assert (ranks.sum(axis=1) == 10).all()
    values = scores.to_numpy()
    alone = [(values[i] == values[i].max()).sum() == 1 for i in range(len(values))]
    expected = np.bincount(values.argmax(axis=1)[alone], minlength=4)
    assert wins(scores).tolist() == expected.tolist()


def test_rank_methods() -> None:
    scores = scores_of([[0.9, 0.9, 0.5], [0.994, 0.996, 0.1], [0.994, 0.995, 0.1]])
    assert rank_table(scores).to_numpy().tolist() == [[1.5, 1.5, 3], [2, 1, 3], [2, 1, 3]]
    # .996 becomes 1.00; .995 is stored as .99499... and becomes .99, as the paper's tables have it
    least = rank_table(scores, method="min", decimals=2)
    assert least.to_numpy().tolist() == [[1, 1, 3], [2, 1, 3], [1, 1, 3]]


def test_equal_models_do_not_differ() -> None:
    scores = scores_of([[0.5, 0.5, 0.5]] * 4)
    found = significance(scores)
    assert found.friedman is not None
    assert found.friedman.p_value == 1.0
    assert found.bars == (("A", "B", "C"),)
    (pair,) = wilcoxon_holm(scores[["A", "B"]])
    assert (pair.p_value, pair.ties, pair.significant) == (1.0, 4, False)


# ---- tables of results -----------------------------------------------------------------------------------------


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_runs_are_averaged_and_failed_runs_left_out(tmp_path: Path) -> None:
    path = write(
        tmp_path / "results.csv",
        "model,dataset,run,seed,accuracy,status,error\nfcn,Coffee,0,7,0.8,done,\nfcn,Coffee,1,8,0.9,done,\n"
        "fcn,Coffee,2,9,,failed,out of memory\nmlp,Coffee,0,7,0.5,done,\n",
    )
    table = read_results(path)
    assert table.index.tolist() == [2, 3, 4, 5]
    assert align(table).to_dict("index") == {"Coffee": {"fcn": pytest.approx(0.85), "mlp": 0.5}}
    summary = summarise(table).set_index("model")
    assert summary.loc["fcn", ["mean", "std", "n_runs"]].tolist() == pytest.approx([0.85, np.sqrt(0.005), 2])
    assert summary["n_runs"].tolist() == [2, 1]
    assert np.isnan(summary.loc["mlp", "std"])


@pytest.mark.parametrize(
    "text",
    [
        "classifier_name,dataset_name,accuracy\nfcn,Coffee,1\nmlp,Coffee,0.5\n",
        "dataset;mlp;fcn\nCoffee;0.5;1\n",
        ",fcn,mlp\nCoffee,1.0,0.5\n",
        "classifier_name,archive_name,dataset_name,precision,accuracy\nfcn,A,Coffee,1,1\nfcn,A_itr_1,Coffee,1,1\n"
        "mlp,A,Coffee,0,0.5\n",
        "benchmark,dataset,model,n_runs,acc_mean,acc_std\nx,Coffee,fcn,10,1,0\nx,Coffee,mlp,10,0.5,0.1\n",
    ],
    ids=["cd-diagram", "wide", "wide, unnamed", "runs of dl-4-tsc", "means"],
)
def test_layouts_of_published_tables(tmp_path: Path, text: str) -> None:
    scores = align(read_results(write(tmp_path / "table.csv", text)))
    assert scores.to_dict("index") == {"Coffee": {"fcn": 1.0, "mlp": 0.5}}


def test_percentages_are_read_on_demand(tmp_path: Path) -> None:
    path = write(tmp_path / "table.csv", "model,dataset,accuracy,std\nfcn,Coffee,97.5,1.5\n")
    summary = summarise(read_results(path, percent=True))
    assert summary[["mean", "std"]].to_numpy().ravel().tolist() == pytest.approx([0.975, 0.015])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "model,accuracy\nfcn,1\n",
            "the table has no column 'dataset' (it has model, accuracy). Name it one of dataset,",
        ),
        ("dataset,accuracy\nCoffee,1\n", "the table has no column 'model'"),
        ("model,dataset,score\nfcn,Coffee,1\n", "the table has no column 'accuracy'"),
        ("model,dataset,accuracy\n", "table.csv: the table has no row"),
        ("model,dataset,accuracy\nfcn,Coffee,1\nmlp,Coffee,good\n", "line 3, column accuracy: 'good' is not a number"),
        (
            "model,dataset,accuracy\nfcn,Coffee,93.5\n",
            "line 2, column accuracy: the accuracy 93.5 is not between 0 and 1",
        ),
        (
            "model,dataset,accuracy\nfcn,Coffee,inf\n",
            "line 2, column accuracy: the accuracy inf is not between 0 and 1",
        ),
        ("model,dataset,accuracy\nfcn, ,1\n", "line 2, column dataset: the dataset has no name"),
        ("dataset,fcn\nCoffee,99.1(.7)\n", "line 2, column accuracy: '99.1(.7)' is not a number"),
        ("model,dataset,accuracy\nfcn,Coffee\n", "line 2: 2 cells where the header names 3 columns"),
        (
            "model,dataset,run,accuracy\nfcn,Coffee,0,1\nfcn,Coffee,1,1\nfcn,Coffee,1,0.9\n",
            "line 4, column run: model 'fcn', data set 'Coffee', run 1 appears a second time. Keep one of the rows",
        ),
        ("model,dataset,accuracy\nfcn,Coffee,1\nfcn,Coffee,1\n", "line 3, column run: model 'fcn'"),
    ],
)
def test_faults_of_a_file_are_told_with_their_place(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "table.csv", text)
    with pytest.raises(DataError) as error:
        read_results(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read_results(tmp_path / "none.csv")


def test_a_missing_result_is_named_or_dropped(caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame(
        [("fcn", "A", 0.1), ("fcn", "B", 0.2), ("fcn", "C", 0.3), ("mlp", "A", 0.4), ("mlp", "C", 0.5)],
        columns=["model", "dataset", "accuracy"],
    )
    with pytest.raises(DataError, match=r"mlp has no result on B\. Run what is missing, or .* use the 2 data sets"):
        align(table)
    assert align(table, on_missing="drop").index.tolist() == ["A", "C"]
    assert "1 data sets are left out: mlp has no result on B" in caplog.text
    assert align(table, models=["fcn"]).index.tolist() == ["A", "B", "C"]
    with pytest.raises(DataError, match="no data set has results of all models: fcn has no result on"):
        align(table[(table["model"] == "fcn") != (table["dataset"] == "A")], on_missing="drop")


def test_a_failed_data_set_is_missing() -> None:
    table = pd.DataFrame({"model": ["fcn", "fcn"], "dataset": ["A", "B"], "accuracy": [0.5, None]})
    with pytest.raises(DataError, match="fcn has no result on B"):
        align(table)


def test_faults_of_a_frame_are_told() -> None:
    table = reference_results()
    with pytest.raises(DataError, match=r"several benchmarks \(mts12, ucr128, ucr85\)"):
        align(table)
    with pytest.raises(DataError, match="several benchmarks"):
        summarise(table)
    with pytest.raises(ConfigError, match=r"no model 'resnets' \(did you mean 'resnet'"):
        align(reference_results("mts12"), models=["resnets"])
    twice = pd.DataFrame({"model": "fcn", "dataset": "A", "accuracy": [0.5, 0.5]}, index=[4, 9])
    with pytest.raises(DataError, match="column run, sample at index 9: model 'fcn', data set 'A', run 0 appears"):
        align(twice)


@pytest.mark.parametrize("function", [rank_table, friedman_test, wilcoxon_holm, nemenyi, significance])
def test_scores_with_faults_are_refused(function: Callable[[pd.DataFrame], object]) -> None:
    good = scores_of([[0.1, 0.2, 0.3], [0.3, 0.1, 0.2]])
    with pytest.raises(DataError, match=r"B has no result on set0\. Use align"):
        function(good.where(good != 0.2, np.nan).assign(C=good["C"]))
    with pytest.raises(DataError, match="data set 'set0' appears twice"):
        function(good.rename(index={"set1": "set0"}))
    with pytest.raises(DataError, match="model 'A' appears twice"):
        function(good.rename(columns={"C": "A"}))
    with pytest.raises(DataError, match="the scores are of no data set"):
        function(good.iloc[:0])


def test_too_few_models_and_wrong_options_are_refused(ucr: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="3 models or more are needed, and the scores are of 2"):
        friedman_test(ucr[["fcn", "resnet"]])
    with pytest.raises(DataError, match="2 models or more are needed, and the scores are of 1"):
        plot_critical_difference(ucr[["fcn"]])
    with pytest.raises(
        ConfigError, match=r"alpha: the level of significance 5 is not between 0 and 1\. 0\.05 is usual"
    ):
        significance(ucr, alpha=5)
    with pytest.raises(ConfigError, match=r"there is no test 'dunn'\. Choose one of holm, bonferroni, nemenyi"):
        significance(ucr, test="dunn")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="needs two models or more and a data set or more"):
        critical_difference(1, 10)


# ---- figures ---------------------------------------------------------------------------------------------------


def bars_drawn(figure: Figure) -> list[int]:
    """The number of dots on each bar."""
    return [len(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "o"]


def test_diagram_of_the_85(ucr: pd.DataFrame) -> None:
    figure = plot_critical_difference(ucr)
    assert bars_drawn(figure) == [3, 2]
    shown = texts(figure)
    assert {TITLES[model] for model in PAPER_MODELS} <= set(shown)
    assert "Friedman χ²(8)\u00a0=\u00a0424.98, p\u00a0=\u00a08.4×10⁻⁸⁷." in shown[-1].replace("\n", " ")
    assert "dashed" not in shown[-1]
    places = {text.get_text(): text.get_position()[0] for text in figure.axes[0].texts}
    assert places["ResNet"] > places["t-LeNet"], "the best is at the right"
    assert places["1"] > places["9"]


def test_a_bar_that_jumps_is_dashed_and_has_no_dot_on_the_model_between(both: pd.DataFrame) -> None:
    figure = plot_critical_difference(both)
    axes = figure.axes[0]
    assert bars_drawn(figure) == [2, 2, 2]
    dashed = [line for line in axes.lines if line.is_dashed()]
    assert len(dashed) == 1
    dots = [line for line in axes.lines if line.get_marker() == "o" and line.get_ydata()[0] == dashed[0].get_ydata()[0]]
    (jumping,) = (line for line in dots if set(line.get_xdata()) == set(dashed[0].get_xdata()))
    ranks = significance(both).mean_ranks
    low, high = min(jumping.get_xdata()), max(jumping.get_xdata())
    between = low + (high - low) * (ranks["twiesn"] - ranks["time_cnn"]) / (ranks["twiesn"] - ranks["mlp"])
    assert low < between < high
    assert any(line.get_xdata()[0] == pytest.approx(between) for line in axes.lines), "the stem of time_cnn passes"
    assert not any(x == pytest.approx(between) for line in dots for x in line.get_xdata() if line is jumping)
    assert "A bar is dashed where it passes" in texts(figure)[-1].replace("\n", " ")


def test_diagram_without_rejection_has_one_bar_and_says_so() -> None:
    scores = scores_of(np.random.default_rng(0).random((10, 4)))
    figure = plot_critical_difference(scores)
    assert bars_drawn(figure) == [4]
    assert "Friedman's test does not reject that all models rank alike (p = 0.241" in texts(figure)[-1]
    found = significance(scores)
    assert found.pairs == ()
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["bars"] == [["C", "B", "A", "D"]]


def test_diagram_of_two_models_and_options(ucr: pd.DataFrame) -> None:
    figure = plot_critical_difference(ucr[["fcn", "resnet"]], best="left", titles={"fcn": "Net one"}, width=5)
    assert bars_drawn(figure) == []
    assert figure.get_figwidth() == 5
    places = {text.get_text(): text.get_position()[0] for text in figure.axes[0].texts}
    assert places["resnet"] < places["Net one"]
    assert "All pairs of models differ significantly" in texts(figure)[-1]
    assert not any("Mean ranks" in text for text in texts(plot_critical_difference(ucr, caption=False)))
    assert "CD = 1.30" in texts(plot_critical_difference(ucr, test="nemenyi"))


def test_pair_figure_of_the_85(ucr: pd.DataFrame) -> None:
    figure = plot_pair(ucr, "fcn", "resnet")
    axes = figure.axes[0]
    assert axes.get_title() == "85 data sets, 3 equal; Wilcoxon p =\u00a02.5×10⁻⁵"
    assert {"FCN better: 24", "ResNet better: 58"} <= set(texts(figure))
    assert [len(points.get_offsets()) for points in axes.collections] == [24, 58, 3]
    first = axes.collections[0].get_offsets()
    assert (first[:, 1] > first[:, 0]).all(), "the first model's accuracy is upwards"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("accuracy of ResNet", "accuracy of FCN")


def test_pair_figure_names_data_sets_where_there_is_room(ucr: pd.DataFrame) -> None:
    figure = plot_pair(ucr, "resnet", "fcn", annotate=4)
    named_sets = [text for text in figure.axes[0].texts if text.get_text() in ucr.index]
    assert "Wine" in {text.get_text() for text in named_sets}
    figure.draw_without_rendering()
    extents = [text.get_window_extent() for text in figure.axes[0].texts]
    assert not any(one.overlaps(other) for one, other in combinations(extents, 2))
    assert not {text.get_text() for text in plot_pair(ucr, "resnet", "fcn", annotate=0).axes[0].texts} & set(ucr.index)


def test_pair_figure_refuses_wrong_models(ucr: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match=r"first: the scores have no model 'resnt' \(did you mean 'resnet'\?\)"):
        plot_pair(ucr, "resnt", "fcn")
    with pytest.raises(ConfigError, match="'fcn' can't be compared with itself"):
        plot_pair(ucr, "fcn", "fcn")


def test_group_figure_shows_the_table(ucr: pd.DataFrame) -> None:
    table = group_table(ucr, "length", properties=LENGTHS)
    figure = plot_groups(table)
    axes = figure.axes[0]
    assert next(label.get_text() for label in axes.get_yticklabels()) == "ResNet"
    assert axes.get_xticklabels()[1].get_text() == "81–250\n(n = 19)"
    cells = texts(figure)
    assert len(cells) == 54
    assert cells[:6] == ["2.43", "1.79", "1.64", "1.92", "1.60", "1.43"]
    bold = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"]
    assert bold == ["2.43", "1.64", "1.92", "1.60", "1.43", "1.63"]
    assert texts(plot_groups(group_table(ucr, "theme")))[:3] == ["83", "29", "48"]


def test_groups_leave_out_what_is_not_known_and_say_so(ucr: pd.DataFrame) -> None:
    table = group_table(ucr, "n_train")
    unknown = {name for name, entry in catalogue().items() if entry.n_train is None}
    assert set(table.left_out) == unknown & set(ucr.index)
    assert sum(table.counts.values()) == 85 - len(table.left_out)
    assert set(table.counts) == {"< 100", "100–399", "400–799", "> 799"}
    if table.left_out:
        assert f"{len(table.left_out)} data sets are left out" in table.note
    report = table.to_table()
    assert report.columns == ["number of training series", "data sets", *PAPER_MODELS]
    assert [row[0] for row in report.rows] == list(table.counts)


def test_groups_of_own_data() -> None:
    scores = scores_of([[0.9, 0.1], [0.9, 0.9], [0.2, 0.3]])
    table = group_table(scores, "n_classes", measure="share_won", properties={"set0": 2, "set1": 3, "set2": 40})
    assert table.values.to_dict("index") == {
        "< 3": {"A": 100.0, "B": 0.0},
        "3": {"A": 100.0, "B": 100.0},
        "> 12": {"A": 0.0, "B": 100.0},
    }
    assert table.title == "Share of data sets won (%) by number of classes"
    with pytest.raises(DataError, match=r"the theme of no data set is known \(set0, set1, set2\)\. Tell them"):
        group_table(scores, "theme")
    with pytest.raises(
        ConfigError, match=r"by: there is no 'lenght' \(did you mean 'length'\?\)\. Choose one of theme"
    ):
        group_table(scores, "lenght")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"measure: there is no 'wins'\. Choose one of rank, share_won"):
        group_table(scores, "length", measure="wins")  # type: ignore[arg-type]


# ---- published figures and comparison --------------------------------------------------------------------------


def test_packaged_figures_are_the_computed_ones(release: Path) -> None:
    computed = pd.read_csv(release / "reference_results.csv")
    table = reference_results()
    assert len(table) == len(computed) == 2238
    columns = {"published_name": "dataset", "accuracy": "acc_mean", "std": "acc_std", "low": "acc_min"}
    for ours, theirs in columns.items():
        pd.testing.assert_series_equal(table[ours], computed[theirs], check_names=False)


def test_published_figures_by_either_name() -> None:
    old, new = published("ucr85", "fcn", "Gun_Point"), published("ucr85", "fcn", "GunPoint")
    assert old is not None
    assert old == new
    assert (old.mean, old.std, old.n_runs, old.valid) == (1.0, 0.0, 10, True)
    ensemble = published("ucr128", "inception_time", "Chinatown")
    assert ensemble is not None
    assert (ensemble.std, ensemble.n_runs, ensemble.train_seconds) == (None, 1, 2815.3)
    assert old.train_seconds is None
    assert published("ucr128", "mcnn", "GunPoint") is None
    assert archive_name("synthetic_control") == "SyntheticControl"
    assert archive_name("MyOwn") == "MyOwn"


def test_the_multivariate_wafer_is_not_the_archives_wafer(both: pd.DataFrame) -> None:
    assert {"ucr85/Wafer", "mts12/Wafer"} <= set(both.index)
    assert published("mts12", "fcn", "Wafer") != published("ucr85", "fcn", "wafer")
    assert published("mts12", "fcn", "wafer") is None


def test_figures_of_tlenet_are_marked() -> None:
    table = reference_results()
    assert set(table.loc[~table["valid"], "model"]) == set(INVALID) == {"tlenet"}
    figure = published("ucr85", "tlenet", "GunPoint")
    assert figure is not None
    assert not figure.valid


def test_wrong_benchmarks_and_models_are_refused() -> None:
    for call in (
        lambda: reference_results("ucr58"),
        lambda: published("ucr58", "fcn", "GunPoint"),
        lambda: compare(
            pd.DataFrame({"model": ["fcn"], "dataset": ["GunPoint"], "accuracy": [1.0]}), benchmark="ucr58"
        ),
    ):
        with pytest.raises(ConfigError, match=r"benchmark 'ucr58' \(did you mean 'ucr85'\?\)\. Choose one of ucr85"):
            call()
    with pytest.raises(ConfigError, match=r"no published figures of 'mcn' for all of ucr85 \(did you mean 'mcnn'"):
        reference_scores("ucr85", models=("mcn",))


OURS = pd.DataFrame(
    [
        ("fcn", "GunPoint", 0, 1.0),
        ("fcn", "GunPoint", 1, 1.0),
        ("fcn", "ItalyPowerDemand", 0, 0.950),
        ("fcn", "ItalyPowerDemand", 1, 0.952),
        ("fcn", "synthetic_control", 0, 0.985),
        ("fcn", "Coffee", 0, 0.9),
        ("fcn", "Pump", 0, 0.9),
        ("tlenet", "GunPoint", 0, 0.73),
        ("inception_time", "GunPoint", 0, 0.5),
    ],
    columns=["model", "dataset", "run", "accuracy"],
)


def test_comparison_with_the_paper() -> None:
    result = compare(OURS, benchmark="ucr85")
    rows = result.table.set_index(["model", "dataset"])
    italy = published("ucr85", "fcn", "ItalyPowerDemand")
    assert italy is not None
    assert italy.std is not None
    row = rows.loc[("fcn", "ItalyPowerDemand")]
    assert (row["ours"], row["ours_runs"], row["published_runs"]) == (pytest.approx(0.951), 2, 10)
    assert row["difference"] == pytest.approx(0.951 - italy.mean)
    assert row["deviations"] == pytest.approx((0.951 - italy.mean) / italy.std)
    assert row["outside"]
    assert rows.loc[("fcn", "GunPoint"), "deviations"] == 0.0, "both are always right"
    assert rows.loc[("fcn", "Coffee"), "deviations"] == -np.inf, "no published run differs from 1"
    assert not rows.loc[("fcn", "SyntheticControl"), "outside"]
    for without in (("tlenet", "GunPoint"), ("inception_time", "GunPoint")):
        assert np.isnan(rows.loc[without, "deviations"])
        assert not rows.loc[without, "outside"]
    assert result.invalid == ("tlenet",)
    assert result.outside["dataset"].tolist() == ["Coffee", "ItalyPowerDemand"]
    assert result.only_ours == (("fcn", "Pump"),)
    assert ("fcn", "Adiac") in result.only_published
    assert not any(model == "resnet" for model, _ in result.only_published)
    assert result.messages[0] == "2 of 4 means differ by more than 2 standard deviations."
    assert "tlenet are not compared: its vote was taken over the whole test set" in result.messages[1]
    assert result.messages[2] == "There is no published figure for fcn on Pump."
    assert not compare(OURS, benchmark="ucr85", threshold=np.inf).table["outside"].any()


def test_comparison_does_not_depend_on_the_order_of_rows() -> None:
    shuffled = compare(OURS.iloc[::-1], reference_results().sample(frac=1, random_state=0), benchmark="ucr85")
    pd.testing.assert_frame_equal(shuffled.table, compare(OURS, benchmark="ucr85").table)


def test_comparison_with_any_table(tmp_path: Path) -> None:
    path = write(
        tmp_path / "theirs.csv",
        "classifier_name,archive_name,dataset_name,accuracy\nfcn,A,Gun_Point,0.98\nfcn,A_itr_1,Gun_Point,1.0\n",
    )
    result = compare(OURS, read_results(path))
    assert result.table[["dataset", "published", "published_runs"]].to_numpy().tolist() == [["GunPoint", 0.99, 2]]
    assert result.table["deviations"].tolist() == pytest.approx([0.01 / np.std([0.98, 1.0], ddof=1)])


def test_published_figures_equal_themselves() -> None:
    for benchmark in ("ucr85", "ucr128", "mts12"):
        theirs = reference_results(benchmark)
        ours = theirs[["model", "dataset", "accuracy"]]
        result = compare(ours, benchmark=benchmark)
        assert len(result.table) == len(theirs)
        assert not result.table["outside"].any()
        assert (result.table["difference"] == 0).all()
        assert set(result.table.loc[result.table["deviations"].isna(), "model"]) <= {"tlenet", "inception_time"}


def test_faults_of_a_comparison_are_told() -> None:
    with pytest.raises(ConfigError, match=r"which published figures .* Give a table, or the benchmark: one of ucr85"):
        compare(OURS)
    with pytest.raises(ConfigError, match=r"holds the benchmarks mts12, ucr128, ucr85\. Choose one"):
        compare(OURS, reference_results())
    with pytest.raises(ConfigError, match=r"holds the benchmarks mts12, not 'ucr85'"):
        compare(OURS, reference_results("mts12"), benchmark="ucr85")
    with pytest.raises(DataError, match=r"no model and data set in common: ours has fcn on GunPoint.*AUSLAN"):
        compare(OURS, benchmark="mts12")
    both_names = pd.concat([OURS, OURS.assign(dataset=OURS["dataset"].replace("GunPoint", "Gun_Point"))])
    with pytest.raises(QuireError, match="appears a second time"):
        compare(both_names.drop_duplicates(), benchmark="ucr85")
