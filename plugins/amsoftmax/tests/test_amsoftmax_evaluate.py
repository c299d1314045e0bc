"""Evaluators against the whole matrix of scores, scikit-learn, closed forms and figures of real data."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score, roc_curve

from quire.errors import ConfigError, DataError, InvalidSample
from quire_amsoftmax.evaluate import folds as folding
from quire_amsoftmax.evaluate import streams
from quire_amsoftmax.evaluate.identification import leave_one_out, megaface, open_set, rank_probes, retrieval
from quire_amsoftmax.evaluate.ranks import Largest, scores_at
from quire_amsoftmax.evaluate.streams import AllPairs, ProbesAndDistractors, ScoreList, unit_rows
from quire_amsoftmax.evaluate.templates import paired_scores, pool_templates
from quire_amsoftmax.evaluate.verification import verify_pairs

ROOT = Path(os.environ["QUIRE_DATA"]) / "amsoftmax" if "QUIRE_DATA" in os.environ else None
real = pytest.mark.skipif(ROOT is None, reason="QUIRE_DATA is not set")


def grid_vectors(rng: np.random.Generator, n: int, dim: int = 3) -> np.ndarray:
    """Vectors of few values, so that scores tie."""
    vectors = rng.integers(-2, 3, (n, dim)).astype(np.float32)
    vectors[~vectors.any(axis=1), 0] = 1
    return vectors


def naive(vectors: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(scores, same) of all pairs i > j, from the whole matrix in double precision."""
    unit = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    below = np.tril_indices(len(vectors), -1)
    return (unit @ unit.T)[below], (labels[:, None] == labels)[below]


# --------------------------------------------------------------------------------------------------- order statistics

values = st.one_of(
    st.floats(-1, 1, width=32),
    st.sampled_from([0.0, -0.0, 0.5, 0.25, -1.0, 1.0]),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(values, min_size=1, max_size=120), st.integers(0, 3), st.data())
def test_ranks_are_those_of_a_full_sort(scores: list[float], kept: int, data: st.DataObject) -> None:
    stream = ScoreList(scores, [False] * len(scores))
    ranks = data.draw(st.lists(st.integers(1, len(scores)), min_size=1))
    ordered = np.sort(np.array(scores, np.float32))[::-1]
    for most_kept in (kept, 10**6):  # the two passes, unless few are wanted, and the buffer
        found = scores_at(stream, ranks, most_kept=most_kept)
        assert found == {rank: float(ordered[rank - 1]) for rank in ranks}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(values, max_size=20), max_size=12), st.integers(0, 15))
def test_the_largest_of_blocks(blocks: list[list[float]], k: int) -> None:
    largest = Largest(k)
    for block in blocks:
        largest.add(np.array(block, np.float32))
    ordered = np.sort(np.array([x for block in blocks for x in block], np.float32))[::-1]
    np.testing.assert_array_equal(largest.values(), ordered[:k])


# -------------------------------------------------------------------------------------------------------- verification


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 8), st.booleans())
def test_streamed_pairs_equal_the_whole_matrix(seed: int, n: int, people: int, keep: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "ROWS", 5)
        patch.setattr(streams, "COLUMNS", 7)
        rng = np.random.default_rng(seed)
        vectors, labels = rng.normal(size=(n, 4)), rng.integers(0, people, n)
        found = verify_pairs(AllPairs(vectors, labels), (0.0, 0.01, 0.1, 0.5, 1.0), most_kept=10**6 if keep else 0)
    scores, same = naive(vectors, labels)
    assert (found.n_genuine, found.n_impostor) == (same.sum(), (~same).sum())
    if not same.any() or same.all():
        assert found.auc is found.eer is found.best_accuracy is found.d_prime is None
        assert found.points == []
        assert found.reason
        return
    one_swap = 1 / (found.n_genuine * found.n_impostor)  # of scores that are equal in float32
    assert found.auc == pytest.approx(roc_auc_score(same, scores), abs=2 * one_swap)
    impostors = np.sort(scores[~same])[::-1]
    for point in found.points:
        assert point.k == round(point.far * len(impostors))
        if point.k:
            expected = impostors[point.k - 1]
            if point.k == len(impostors):
                expected = min(expected, scores[same].min())
            assert point.threshold == pytest.approx(expected, abs=1e-6)
        else:
            assert point.threshold > impostors[0] - 1e-6
            assert not point.resolvable


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=1, max_size=60))
def test_figures_of_score_lists_with_ties(pairs: list[tuple[int, bool]]) -> None:
    scores, same = np.array([score / 4 for score, _ in pairs]), np.array([flag for _, flag in pairs])
    found = verify_pairs(ScoreList(scores, same), (0.0, 0.1, 0.5))
    if found.reason:
        assert same.all() or not same.any()
        return
    assert found.auc == pytest.approx(roc_auc_score(same, scores))
    candidates = np.append(np.unique(scores), 9.0)
    assert found.best_accuracy == max(float(((scores >= t) == same).mean()) for t in candidates)
    assert found.eer == pytest.approx(naive_eer(scores, same))
    for point in found.points:
        assert point.vr == pytest.approx((scores[same] >= np.float32(point.threshold)).mean())
        if not point.k:
            assert not (scores[~same] >= point.threshold).any()
    assert found.impostor_mean == pytest.approx(scores[~same].mean(), abs=1e-6)
    assert int(found.impostor_histogram.sum()) == found.n_impostor


def naive_eer(scores: np.ndarray, same: np.ndarray) -> float:
    """The crossing of FAR and FRR on the polyline through all distinct thresholds, by small steps along it."""
    far, vr, _ = roc_curve(same, scores, drop_intermediate=False)
    gap = (1 - vr) - far  # falls along the curve from 1 to -1
    i = int(np.argmax(gap <= 0))
    share = gap[i - 1] / (gap[i - 1] - gap[i])
    return float(far[i - 1] + share * (far[i] - far[i - 1]))


def test_thresholds_equal_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    vectors, labels = rng.normal(size=(600, 16)) + rng.normal(size=(60, 16))[np.arange(600) // 10], np.arange(600) // 10
    stream = AllPairs(vectors, labels)
    genuine = stream.genuine()
    impostor = np.concatenate([block[np.isfinite(block)] for block in stream.impostor_blocks()])
    assert (len(genuine), len(impostor)) == (2700, 177000)
    same = np.repeat([1, 0], [len(genuine), len(impostor)])
    far, vr, thresholds = roc_curve(same, np.concatenate([genuine, impostor]), drop_intermediate=False)
    for most_kept in (0, 10**6):
        found = verify_pairs(stream, (1e-4, 1e-3, 1e-2, 1e-1), most_kept=most_kept)
        for point in found.points:
            at = np.flatnonzero(far * len(impostor) > point.k - 0.5)[0]
            assert np.float32(thresholds[at]) == np.float32(point.threshold)
            assert point.vr == pytest.approx(vr[at])
        assert found.auc == pytest.approx(roc_auc_score(same, np.concatenate([genuine, impostor])))
        for row_far, row_vr, threshold, k in found.roc(50):
            assert k == (impostor >= np.float32(threshold)).sum()
            assert row_far == k / len(impostor)
            assert row_vr == pytest.approx((genuine >= np.float32(threshold)).mean())
    assert len(found.roc(50)) <= 50


def test_rates_below_what_pairs_can_resolve() -> None:
    found = verify_pairs(ScoreList([0.9, 0.5, 0.1, 0.2], [True, True, False, False]), (1e-6, 0.5))
    first, second = found.points
    assert (first.k, first.resolvable, first.achieved_far) == (0, False, 0.0)
    assert first.threshold == pytest.approx(0.35)  # halfway between the largest impostor and the genuine above it
    assert first.vr == 1.0
    assert (second.k, second.threshold) == (1, pytest.approx(0.2))
    assert second.threshold_high is not None
    lonely = verify_pairs(ScoreList([0.1, 0.9], [True, False]), (0.0,)).points[0]
    assert lonely.threshold > 0.9
    assert lonely.vr == 0


def test_constant_and_perfect_scores() -> None:
    same = np.arange(100) % 2 == 0
    constant = verify_pairs(ScoreList(np.zeros(100), same))
    assert (constant.auc, constant.eer, constant.best_accuracy) == (0.5, 0.5, 0.5)
    perfect = verify_pairs(ScoreList(same.astype(float), same))
    assert (perfect.auc, perfect.eer, perfect.best_accuracy) == (1.0, 0.0, 1.0)
    fold = np.arange(100) // 10
    assert folding.fold_accuracy(np.zeros(100), same, fold).mean == 0.5
    assert folding.fold_accuracy(same.astype(float), same, fold).mean == 1.0


def test_the_order_of_pairs_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    scores, same, fold = rng.normal(size=200).round(1), rng.random(200) < 0.5, np.arange(200) // 20
    order = rng.permutation(200)
    one, other = (folding.fold_accuracy(scores[at], same[at], fold[at]) for at in (np.arange(200), order))
    np.testing.assert_array_equal(one.accuracies, other.accuracies)
    np.testing.assert_array_equal(one.thresholds, other.thresholds)
    one, other = (verify_pairs(ScoreList(scores[at], same[at])) for at in (np.arange(200), order))
    assert (one.auc, one.eer, one.points) == (other.auc, other.eer, other.points)


@pytest.mark.parametrize("n", [0, 1])
def test_no_pair_is_no_error(n: int) -> None:
    found = verify_pairs(AllPairs(np.ones((n, 4)), np.zeros(n)))
    assert found.reason == "there is no pair of one person"
    assert found.auc is None
    assert found.roc() == []


def test_bad_embeddings_and_scores_name_their_row() -> None:
    with pytest.raises(InvalidSample, match="sample 1: the embedding is zero"):
        unit_rows(np.array([[1.0, 0], [0, 0]]))
    with pytest.raises(InvalidSample, match="sample 1: the embedding is not finite"):
        unit_rows(np.array([[1.0, 0], [np.nan, 0]]))
    with pytest.raises(InvalidSample, match="sample 2: the score nan"):
        ScoreList([0, 1, float("nan")], [True, False, True])
    with pytest.raises(DataError, match="2 scores for 1 pairs"):
        ScoreList([0, 1], [True])
    with pytest.raises(ConfigError, match=r"within 0\.\.1, not 2"):
        verify_pairs(ScoreList([0, 1], [True, False]), (2,))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(1, 30))
def test_probes_and_distractors_equal_the_whole_matrix(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    probes, labels, others = grid_vectors(rng, n), rng.integers(0, 3, n), grid_vectors(rng, m)
    stream = ProbesAndDistractors(probes, labels, others)
    found = np.sort(np.concatenate([block.ravel() for block in stream.impostor_blocks()]))
    np.testing.assert_allclose(found, np.sort((unit_rows(probes) @ unit_rows(others).T).ravel()), atol=1e-6)
    assert len(found) == stream.n_impostor == n * m


# ---------------------------------------------------------------------------------------------------------- real scores

PUBLISHED = {
    "Facenet_cosine": (1.0, 1.0),
    "VGG-Face_cosine": (0.9905, 0.9750),
    "VGG-Face_euclidean": (0.9626, 0.8893),
    "OpenFace_cosine": (0.8191, 0.7429),
    "DeepFace_cosine": (0.7429, 0.7000),
}


@real
@pytest.mark.parametrize("column", PUBLISHED)
def test_real_pair_scores(column: str) -> None:
    from quire_amsoftmax.protocols.pairs import read_scores

    file = ROOT / "verification_scores" / "face-recognition-pivot.csv"  # type: ignore[operator]
    read = read_scores(file, column=column, same="decision", distance=True)
    found = verify_pairs(ScoreList(read.scores, read.same))
    assert (found.n_genuine, found.n_impostor) == (140, 140)
    assert (round(found.auc, 4), round(found.best_accuracy, 4)) == PUBLISHED[column]  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------- ORL without learning


@cache
def orl() -> tuple[np.ndarray, np.ndarray]:
    """Pixels float64 [400, 10304] and people 1..40."""
    pixels, people = [], []
    for person in range(1, 41):
        for number in range(1, 11):
            with Image.open(ROOT / "att_faces" / f"s{person}" / f"{number}.pgm") as image:  # type: ignore[operator]
                pixels.append(np.asarray(image, np.float64).ravel())
            people.append(person)
    return np.array(pixels), np.array(people)


def figures(embeddings: np.ndarray, people: np.ndarray) -> tuple[float, float, float, float]:
    found = verify_pairs(AllPairs(embeddings, people), (1e-3, 1e-2))
    assert (found.n_genuine, found.n_impostor) == (900, 19000)
    rank_1 = leave_one_out(embeddings, people).hit_rate(1)
    return found.points[0].vr, found.points[1].vr, found.eer, rank_1  # type: ignore[return-value]


@real
def test_orl_by_pixels() -> None:
    pixels, people = orl()
    assert figures(pixels[200:], people[200:]) == pytest.approx((0.270, 0.467, 0.179, 0.980), abs=6e-4)


@real
def test_orl_by_pca_and_lda() -> None:
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    pixels, people = orl()
    pca = PCA(80, svd_solver="randomized", random_state=0).fit(pixels[:200])
    train, test = pca.transform(pixels[:200]), pca.transform(pixels[200:])
    # With the full decomposition the figures are .292 .454 .180 .985, and .371 .529 .149 .985 after LDA.
    assert figures(test, people[200:]) == pytest.approx((0.289, 0.454, 0.180, 0.985), abs=6e-4)
    lda = LinearDiscriminantAnalysis().fit(train, people[:200])
    assert figures(lda.transform(test), people[200:]) == pytest.approx((0.362, 0.554, 0.146, 0.990), abs=6e-4)


# ---------------------------------------------------------------------------------------------------------------- folds


def naive_exact(scores: np.ndarray, same: np.ndarray, fold: np.ndarray) -> list[float]:
    accuracies = []
    for name in np.unique(fold):
        other = fold != name
        distinct = np.unique(scores[other])
        candidates = [distinct[0] - 1, *((distinct[1:] + distinct[:-1]) / 2), distinct[-1] + 1]
        rights = [((scores[other] >= t) == same[other]).sum() for t in candidates]
        best = [t for t, right in zip(candidates, rights, strict=True) if right == max(rights)]
        accuracies.append(((scores[~other] >= best[(len(best) - 1) // 2]) == same[~other]).mean())
    return accuracies


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6))
def test_fold_accuracy_equals_trying_every_threshold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    same = np.tile([True, True, False, False], 6)
    scores, fold = (rng.normal(size=24) + same).round(1), np.repeat(np.arange(3), 8)
    np.testing.assert_allclose(folding.fold_accuracy(scores, same, fold).accuracies, naive_exact(scores, same, fold))
    grid = np.arange(-10000, 10001) / 10000
    inside = np.clip(scores / 4, -1, 1)
    other = fold != 0
    rights = np.array([(inside[other & same] > t).sum() + (inside[other & ~same] < t).sum() for t in grid])
    threshold = grid[rights == rights.max()].mean()
    found = folding.fold_accuracy(inside, same, fold, variant="sphereface")
    assert found.thresholds[0] == pytest.approx(threshold)
    distances = 2 - 2 * inside
    steps = np.arange(0, 4, 0.01)
    rights = np.array([((distances[other] < t) == same[other]).sum() for t in steps])
    found = folding.fold_accuracy(inside, same, fold, variant="insightface")
    assert found.thresholds[0] == steps[rights.argmax()]
    assert found.std == pytest.approx(np.std(found.accuracies))
    assert found.standard_error == pytest.approx(np.std(found.accuracies, ddof=1) / np.sqrt(3))


def test_accuracy_is_cross_validated() -> None:
    """The threshold that suits one fold alone is not used on it (a defect of a port: one threshold for all)."""
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.3, 0.2, 0.1, 0.0])
    same = np.array([True, True, False, False] * 2)
    fold = np.repeat([0, 1], 4)
    assert folding.fold_accuracy(scores, same, fold).mean == 0.5  # 0.15 accepts all of fold 0, 0.75 nobody of fold 1


def test_folds_that_can_not_be_used() -> None:
    same = np.array([True, True, False, False])
    with pytest.raises(DataError, match="fold 0 has pairs of one person only"):
        folding.fold_accuracy(np.arange(4), same, [0, 0, 1, 1])
    with pytest.raises(DataError, match="one fold leaves no other"):
        folding.fold_accuracy(np.arange(4), same, [0, 0, 0, 0])


def test_val_and_centring() -> None:
    rng = np.random.default_rng(0)
    same, fold = np.tile([True, False], 100), np.repeat(np.arange(10), 20)
    left = rng.normal(size=(200, 8)) + 3 * rng.normal(size=8)  # a common mean hides what centring shows
    right = np.where(same[:, None], left + 0.5 * rng.normal(size=(200, 8)), rng.permutation(left))
    centred = folding.centred_accuracy(left.astype(np.float32), right.astype(np.float32), same, fold)
    mean = np.concatenate([left[fold != 3], right[fold != 3]]).mean(axis=0)
    one, other = left - mean, right - mean
    cosines = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert centred.thresholds[3] == folding.fold_accuracy(cosines, same, fold, variant="sphereface").thresholds[3]
    assert centred.accuracies[3] == ((cosines > centred.thresholds[3]) == same)[fold == 3].mean()
    val, std, far = folding.insightface_val(np.where(same, 0.9, 0.1) + 0.01 * rng.normal(size=200), same, fold)
    assert (val, std) == (1.0, 0.0)
    assert far <= 0.02


# ------------------------------------------------------------------------------------------------------- identification


def naive_ranks(scores: np.ndarray, mates: np.ndarray) -> list[tuple[float, int, float]]:
    rows = []
    for row, mate in zip(scores, mates, strict=True):
        best = row[mate].max(initial=-np.inf)
        others = row[~mate & np.isfinite(row)]
        rows.append((best, 1 + int((others > best).sum()) if np.isfinite(best) else 0, others.max(initial=-np.inf)))
    return rows


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 16), st.integers(1, 20))
def test_ranks_equal_the_whole_matrix(seed: int, n: int, m: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quire_amsoftmax.evaluate.identification.ROWS", 5)
        patch.setattr("quire_amsoftmax.evaluate.identification.COLUMNS", 7)
        rng = np.random.default_rng(seed)
        probes, gallery = rng.normal(size=(n, 5)), rng.normal(size=(m, 5))
        mine, theirs = rng.integers(0, 5, n), rng.integers(0, 5, m)
        found = rank_probes(probes, mine, gallery, theirs)
        alone = leave_one_out(gallery, theirs)
    scores = unit_rows(probes) @ unit_rows(gallery).T
    check_ranks(found, scores, mine[:, None] == theirs)
    own = unit_rows(gallery) @ unit_rows(gallery).T
    np.fill_diagonal(own, -np.inf)
    check_ranks(alone, own, (theirs[:, None] == theirs) & ~np.eye(m, dtype=bool))


def check_ranks(found: Any, scores: np.ndarray, mates: np.ndarray) -> None:
    expected = naive_ranks(scores, mates)
    np.testing.assert_allclose(found.best_mate, [row[0] for row in expected], atol=1e-6)
    np.testing.assert_array_equal(found.rank, [row[1] for row in expected])
    np.testing.assert_allclose(found.best_other, [row[2] for row in expected], atol=1e-6)
    if scores.shape[1] > 1:
        np.testing.assert_array_equal(found.top, scores.argmax(axis=1))


def test_open_set_by_hand() -> None:
    gallery = np.eye(4)
    probes = np.array([[1, 0.1, 0, 0], [0.1, 1, 0, 0], [0.9, 0, 1, 0], [1, 0, 0, 0.5]])
    genuine = rank_probes(probes, ["a", "b", "c", "d"], gallery, ["a", "b", "c", "d"])
    np.testing.assert_array_equal(genuine.rank, [1, 1, 1, 2])
    strangers = np.array([0.95, 0.6, 0.5, 0.2], np.float32)
    found = open_set(genuine, strangers, 0.25, (1, 2))
    assert (found.k, found.threshold, found.achieved_far) == (1, np.float32(0.95), 0.25)
    assert found.rates == {1: 0.5, 2: 0.5}
    lower = open_set(genuine, strangers, 1.0, (1, 2))
    assert lower.rates == {1: 0.75, 2: 1.0}
    none = open_set(genuine, strangers, 0.01)
    assert none.k == 0
    assert 0.95 < none.threshold < 0.9951
    with pytest.raises(DataError, match="no impostor probe"):
        open_set(genuine, np.zeros(0, np.float32), 0.1)
    with pytest.raises(DataError, match="the gallery is empty"):
        rank_probes(probes, "abcd", np.zeros((0, 4)), [])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_megaface_equals_one_gallery_for_each_pair(seed: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    probes, labels, others = rng.normal(size=(9, 4)), np.arange(9) // 3, rng.normal(size=(m, 4))
    found = megaface(probes, labels, others, ranks=(1, 3))
    unit, far = unit_rows(probes), unit_rows(others)
    ranks = [
        1 + int((far @ unit[i] >= unit[i] @ unit[j]).sum())
        for i in range(9)
        for j in range(9)
        if i != j and labels[i] == labels[j]
    ]
    assert found.n_pairs == len(ranks) == 18
    assert found.rates[m] == {rank: pytest.approx(np.mean(np.array(ranks) <= rank)) for rank in (1, 3)}


def test_megaface_is_harder_with_more_distractors_and_a_tie_is_no_hit() -> None:
    rng = np.random.default_rng(0)
    probes, labels, others = rng.normal(size=(40, 6)), np.arange(40) // 4, rng.normal(size=(3000, 6))
    rates = megaface(probes, labels, others, sizes=(10, 100, 3000), ranks=(1, 10)).rates
    firsts = [rates[size][1] for size in (10, 100, 3000)]
    assert firsts == sorted(firsts, reverse=True)
    assert rates[3000] == megaface(probes, labels, others, ranks=(1, 10)).rates[3000]
    tied = megaface(np.array([[1.0, 0], [1, 0]]), [0, 0], np.array([[1.0, 0]]))
    assert tied.rates[1][1] == 0
    with pytest.raises(DataError, match="no probe has a mate"):
        megaface(np.eye(2), [0, 1], np.eye(2))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 20))
def test_retrieval_equals_its_definition(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, labels = rng.normal(size=(n, 4)), rng.integers(0, 4, n)
    found = retrieval(vectors, labels, (1, 3))
    scores = unit_rows(vectors) @ unit_rows(vectors).T
    hits, precisions = [], []
    for i in range(n):
        others = sorted((j for j in range(n) if j != i), key=lambda j, i=i: -scores[i, j])
        right = np.array([labels[j] == labels[i] for j in others])
        r = int(right.sum())
        if r:
            hits.append(right[:3].any())
            precisions.append(sum(right[:k].mean() for k in range(1, r + 1) if right[k - 1]) / r)
    if not hits:
        assert found == {}
        return
    assert found["recall@3"] == pytest.approx(np.mean(hits))
    assert found["map@r"] == pytest.approx(np.mean(precisions))


# ------------------------------------------------------------------------------------------------------------ templates


def test_a_template_is_the_sum_of_the_means_of_its_media() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(6, 3))
    templates, media = [7, 7, 7, 3, 3, 7], [1, 1, 2, 1, 5, 2]
    ids, pooled = pool_templates(vectors, templates, media)
    unit = unit_rows(vectors).astype(np.float64)
    expected = [unit[3] + unit[4], unit[[0, 1]].mean(axis=0) + unit[[2, 5]].mean(axis=0)]
    np.testing.assert_array_equal(ids, [3, 7])
    np.testing.assert_allclose(pooled, [each / np.linalg.norm(each) for each in expected], atol=1e-6)
    _, kept = pool_templates(vectors, templates, media, norm="keep", detector_scores=[1, 1, 1, 0, 1, 1])
    np.testing.assert_allclose(kept[0], vectors[4] / np.linalg.norm(vectors[4]), atol=1e-6)
    scores = paired_scores(pooled, ids, np.array([3, 7, 7]), np.array([7, 7, 3]))
    np.testing.assert_allclose(scores, [pooled[0] @ pooled[1], 1, pooled[0] @ pooled[1]], atol=1e-6)
    with pytest.raises(DataError, match="template 9"):
        paired_scores(pooled, ids, np.array([9]), np.array([3]))
