"""What an index answers: every metric beside a slow one written out, ties, filters, and what it refuses."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from quire.errors import ConfigError, DataError, InvalidSample, RunError
from quire.index import VectorIndex, pack_bits
from quire.index.candidates import true_places

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

METRICS = ("cosine", "inner_product", "l2", "hamming")
RNG = np.random.default_rng(0)


def draw(metric: str, n: int, dim: int, seed: int = 0) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    if metric == "hamming":
        return pack_bits(rng.random((n, dim)) < 0.5)
    return rng.standard_normal((n, dim)).astype(np.float32)


def slow_scores(metric: str, queries: NDArray[Any], vectors: NDArray[Any], dim: int) -> NDArray[Any]:
    """One pair at a time, as the definition says."""
    scores = np.empty((len(queries), len(vectors)))
    for i, query in enumerate(queries):
        for j, vector in enumerate(vectors):
            if metric == "hamming":
                bits = [np.unpackbits(code, bitorder="little")[:dim] for code in (query, vector)]
                scores[i, j] = np.sum(bits[0] != bits[1])
                continue
            q, x = query.astype(np.float64), vector.astype(np.float64)
            dot = float(np.sum(q * x))
            scores[i, j] = {
                "inner_product": dot,
                "cosine": dot / np.sqrt(np.sum(q * q)) / np.sqrt(np.sum(x * x)),
                "l2": np.sqrt(np.sum((q - x) ** 2)),
            }[metric]
    return scores.astype(np.int32 if metric == "hamming" else np.float32)


def slow_order(metric: str, scores: NDArray[Any]) -> NDArray[Any]:
    return np.argsort(scores if metric in ("l2", "hamming") else -scores, axis=1, kind="stable")


def made(path: Path, metric: str, vectors: NDArray[Any], dim: int, **options: Any) -> VectorIndex:
    index = VectorIndex.create(path, dim=dim, metric=metric, ids="int64", **options)  # type: ignore[arg-type]
    index.add(np.arange(len(vectors)), vectors)
    return index


@pytest.mark.parametrize("dim", [1, 7, 12, 33, 64, 100, 300])
@pytest.mark.parametrize("metric", METRICS)
def test_search_is_the_definition(tmp_path: Path, metric: str, dim: int) -> None:
    vectors, queries = draw(metric, 300, dim), draw(metric, 9, dim, seed=1)
    vectors[200:] = vectors[:100]  # every one of these distances occurs twice
    with made(tmp_path / "i", metric, vectors, dim, segment_bytes=2000) as index:
        hits = index.search(queries, 250)
        within = index.search_range(queries, radius := float(hits.scores[0, 40]))
    scores = slow_scores(metric, queries, vectors, dim)
    order = slow_order(metric, scores)
    assert hits.exact
    assert hits.found.all()
    if metric == "hamming":
        np.testing.assert_array_equal(hits.ids, order[:, :250])
    else:  # near ties of the slow sum may fall the other way
        assert (hits.ids != order[:, :250]).mean() < 0.01
    np.testing.assert_allclose(hits.scores, np.take_along_axis(scores, hits.ids, axis=1), rtol=1e-5, atol=1e-6)
    nearer = scores <= radius if metric in ("l2", "hamming") else scores >= radius
    counts = [len(each) for each in within]
    assert np.abs(np.array(counts) - nearer.sum(axis=1)).max() <= (0 if metric == "hamming" else 2)
    assert within[0][0][0] == hits.ids[0, 0]
    assert {an_id for an_id, _ in within[0]} >= set(hits.ids[0, :41])


def test_an_exact_duplicate_is_at_distance_zero_however_far_from_the_origin(tmp_path: Path) -> None:
    """|x|^2 - 2 q.x + |q|^2 in float32 has nothing left of distances this small."""
    vectors = (1000 + 0.01 * RNG.standard_normal((500, 64))).astype(np.float32)
    with made(tmp_path / "i", "l2", vectors, 64) as index:
        hits = index.search(vectors[:50], 3)
    distances = slow_scores("l2", vectors[:50], vectors, 64)
    np.testing.assert_array_equal(hits.ids, slow_order("l2", distances)[:, :3])
    np.testing.assert_array_equal(hits.ids[:, 0], np.arange(50))
    assert (hits.scores[:, 0] == 0).all()


@pytest.mark.parametrize("metric", METRICS)
def test_an_answer_depends_neither_on_the_batch_nor_on_threads_nor_on_segments(tmp_path: Path, metric: str) -> None:
    vectors, queries = draw(metric, 9000, 40), draw(metric, 300, 40, seed=1)
    vectors[5000:] = vectors[:4000]
    whole = made(tmp_path / "a", metric, vectors, 40, threads=1).search(queries, 20)
    pieces = made(tmp_path / "b", metric, vectors, 40, threads=3, segment_bytes=10_000)
    alone = [pieces.search(query, 20) for query in queries[:20]]
    together = pieces.search(queries, 20)
    for name in ("ids", "scores"):
        np.testing.assert_array_equal(getattr(together, name), getattr(whole, name))
        np.testing.assert_array_equal(
            np.concatenate([getattr(each, name) for each in alone]), getattr(whole, name)[:20]
        )


def test_searches_in_several_threads_leave_the_matrix_library_as_it_was(tmp_path: Path) -> None:
    vectors, queries = draw("cosine", 5000, 40), draw("cosine", 64, 40, seed=1)
    index = made(tmp_path / "i", "cosine", vectors, 40, threads=2)
    wanted = index.search(queries, 10)

    def blas_threads() -> list[int]:
        return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]

    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda _: index.search(queries, 10), range(24)))
        assert blas_threads() == before
    for hits in found:
        np.testing.assert_array_equal(hits.ids, wanted.ids)
        np.testing.assert_array_equal(hits.scores, wanted.scores)


@pytest.mark.parametrize(("metric", "most"), [("hamming", 60 << 20), ("l2", 160 << 20)])
def test_a_search_holds_some_blocks_in_memory_and_not_all_distances(tmp_path: Path, metric: str, most: int) -> None:
    """Of 300,000 vectors and 600 queries, those would take 180 MB and 720 MB."""
    vectors = draw(metric, 300_000, 8)
    with made(tmp_path / "i", metric, vectors, 8, threads=1) as index:
        index.search(vectors[:2], 10)
        tracemalloc.start()
        index.search(vectors[:600], 10)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < most


@pytest.mark.parametrize("metric", METRICS)
def test_a_radius_of_any_size(tmp_path: Path, metric: str) -> None:
    vectors = draw(metric, 51, 12)
    with made(tmp_path / "i", metric, vectors, 12) as index:
        index.remove([7])
        for radius in (1e300, -1e300):
            everything = (radius > 0) == (metric in ("l2", "hamming"))
            assert [len(row) for row in index.search_range(vectors[:3], radius)] == [50 if everything else 0] * 3


def test_equal_vectors_come_in_the_order_in_which_they_were_added(tmp_path: Path) -> None:
    """Far more of them than k, so that a search must choose."""
    for metric in METRICS:
        vectors = np.repeat(draw(metric, 2, 16), 40_000, axis=0)
        with made(tmp_path / metric, metric, vectors, 16) as index:
            hits = index.search(vectors[[0, -1]], 5)
        np.testing.assert_array_equal(hits.ids, [[0, 1, 2, 3, 4], [40_000, 40_001, 40_002, 40_003, 40_004]])


def test_bits_beyond_the_length_of_a_code_never_count(tmp_path: Path) -> None:
    for bits in (*range(1, 18), 23, 31, 33, 63, 64, 65, 127, 128, 129):
        codes = RNG.integers(0, 256, (20, (bits + 7) // 8), dtype=np.uint8)
        with made(tmp_path / str(bits), "hamming", codes, bits) as index:
            hits = index.search(codes[:3], 20)
            kept = index.get(np.arange(20))
        plain = np.unpackbits(codes, axis=1, bitorder="little")[:, :bits]
        distances = (plain[:3, None] != plain[None]).sum(axis=2)
        np.testing.assert_array_equal(hits.ids, np.argsort(distances, axis=1, kind="stable"))
        np.testing.assert_array_equal(hits.scores, np.sort(distances, axis=1))
        np.testing.assert_array_equal(kept, pack_bits(plain.astype(bool)))


def test_half_precision_keeps_the_ranking_of_what_it_keeps(tmp_path: Path) -> None:
    vectors, queries = draw("cosine", 2000, 64), draw("cosine", 20, 64, seed=1)
    with made(tmp_path / "half", "cosine", vectors, 64, storage="float16") as half:
        hits = half.search(queries, 10)
        size = half.describe()["bytes"]
        kept = half.get(np.arange(2000))
    with made(tmp_path / "kept", "cosine", kept, 64) as full:
        same = full.search(queries, 10)
        assert size < 0.6 * full.describe()["bytes"]
    np.testing.assert_array_equal(hits.ids, same.ids)
    np.testing.assert_array_equal(hits.scores, same.scores)
    np.testing.assert_array_equal(kept, vectors.astype(np.float16).astype(np.float32))


def test_cosine_does_not_see_lengths(tmp_path: Path) -> None:
    vectors, queries = draw("cosine", 500, 20), draw("cosine", 10, 20, seed=1)
    lengths = np.float32(2) ** RNG.integers(-20, 20, (500, 1))
    with made(tmp_path / "a", "cosine", vectors, 20) as a, made(tmp_path / "b", "cosine", vectors * lengths, 20) as b:
        np.testing.assert_array_equal(a.search(queries, 50).ids, b.search(8 * queries, 50).ids)
        np.testing.assert_array_equal(a.search(queries, 50).scores, b.search(8 * queries, 50).scores)
        np.testing.assert_array_equal(b.get([3]), vectors[[3]] * lengths[3])


def test_more_neighbours_than_there_are(tmp_path: Path) -> None:
    nothing = {"cosine": -np.inf, "inner_product": -np.inf, "l2": np.inf, "hamming": 13}
    for metric in METRICS:
        with VectorIndex.create(tmp_path / metric, dim=12, metric=metric) as index:
            queries = draw(metric, 2, 12)
            empty = index.search(queries, 3)
            assert (empty.scores == nothing[metric]).all()
            assert not empty.found.any()
            assert (empty.ids == np.full((2, 3), None)).all()
            assert [list(each) for each in index.search_range(queries, 5)] == [[], []]
            index.add(["a", "b"], queries)
            hits = index.search(queries, 5)
            np.testing.assert_array_equal(hits.found.sum(axis=1), [2, 2])
            assert (hits.scores[:, 2:] == nothing[metric]).all()
            assert [an_id for an_id, _ in hits[0]] == ["a", "b"]
            assert len(index.search(queries[:0], 5)) == 0
            assert len(index.search_range(queries[:0], 5)) == 0


# ------------------------------------------------------------------------------------------------------------- filters


def test_filters(tmp_path: Path) -> None:
    vectors, queries = draw("l2", 400, 8), draw("l2", 5, 8, seed=1)
    years = RNG.integers(1990, 2020, 400)
    names = np.array([f"{'ab'[i % 2]}/{i}é" for i in range(400)], object)
    columns: dict[str, Any] = {"year": "int64", "path": "str", "weight": "float64", "good": "bool"}
    index = VectorIndex.create(tmp_path / "i", dim=8, metric="l2", columns=columns, segment_bytes=1000)
    given_ = {"year": years, "path": names, "weight": years / 7, "good": years % 2 == 0}
    index.add(names, vectors, given_)
    index.remove(names[::10])
    alive = np.arange(400) % 10 != 0
    order = slow_order("l2", slow_scores("l2", queries, vectors, 8))

    def expected(mask: NDArray[np.bool_]) -> list[list[str]]:
        return [names[row[mask[row]]][:7].tolist() for row in order]

    for where, mask in (
        (None, alive),
        (lambda table: table["year"] > 2005, years > 2005),
        (lambda table: table["path"].str.startswith("a") & table["good"], (np.arange(400) % 2 == 0) & (years % 2 == 0)),
        (lambda table: table["year"] == table["year"].max(), years == years[alive].max()),
        ((years < 1993)[alive], years < 1993),
        (names[:60].tolist(), np.arange(400) < 60),
        (["b/1é", "nobody"], np.arange(400) == 1),
        ([], np.zeros(400, bool)),
    ):
        hits = index.search(queries, 7, where=where)
        assert [[an_id for an_id, _ in each] for each in hits] == expected(mask & alive)
        ranged = index.search_range(queries, 1e9, where=where)
        assert [[an_id for an_id, _ in each][:7] for each in ranged] == expected(mask & alive)
    found = index.table(["b/7é", "b/3é"])
    assert found["id"].tolist() == ["b/7é", "b/3é"]
    assert found["year"].tolist() == [years[7], years[3]]
    assert index.table()["weight"].tolist() == (years / 7)[alive].tolist()
    for wrong in (np.ones(400, bool), lambda table: table["year"], lambda _: True):
        with pytest.raises(DataError, match="one bool for each of 360 vectors"):
            index.search(queries, 7, where=wrong)


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("metric", "value", "message"),
    [
        ("l2", np.nan, "sample three: the vector has values that are not finite"),
        ("cosine", np.inf, "sample three: the vector has values that are not finite"),
        ("inner_product", 1e30, "sample three: the vector is too long"),
        ("cosine", 0, "sample three: the vector is zero"),
    ],
)
def test_a_vector_that_is_no_vector_is_named(tmp_path: Path, metric: Any, value: float, message: str) -> None:
    with VectorIndex.create(tmp_path / "i", dim=4, metric=metric) as index:
        vectors = np.ones((3, 4), np.float32)
        vectors[2, :] = value
        with pytest.raises(InvalidSample, match=message):
            index.add(["one", "two", "three"], vectors)
        with pytest.raises(InvalidSample, match=message.replace("three", "query 2")):
            index.search(vectors, 1)
        assert len(index) == 0


def test_what_does_not_fit_float16_is_refused(tmp_path: Path) -> None:
    with VectorIndex.create(tmp_path / "i", dim=2, metric="l2", storage="float16") as index:
        with pytest.raises(InvalidSample, match="sample b: the vector has values that are not finite in float16"):
            index.add(["a", "b"], [[1.0, 2.0], [1e5, 0.0]])
        index.add(["a"], [[1.0, 2.0]])
        assert index.search([1e5, 0.0], 1)[0][0][0] == "a"


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    index = VectorIndex.create(tmp_path / "i", dim=4, columns={"year": "int64", "name": "str"})
    ones, columns = np.ones((2, 4)), {"year": [1, 2], "name": ["a", "b"]}
    cases: list[tuple[tuple[Any, ...], str]] = [
        ((["a", "b"], np.ones((2, 5)), columns), r"vectors of this index are floats \[n, 4\], not float64 \[2, 5\]"),
        ((["a", "b"], np.ones(4), columns), r"not float64 \[4\]"),
        ((["a", "b"], np.full((2, 4), "x"), columns), "not <U1"),
        ((["a"], ones, {"year": [1], "name": ["a"]}), "2 vectors and 1 ids"),
        ((["a", "a"], ones, columns), "id 'a' is given 2 times"),
        (([1, 2], ones, columns), "an id of this index is a string, not 1"),
        ((["a", "\ud800"], ones, columns), "not valid text"),
        ((["a", "b"], ones, {"year": [1, 2]}), "column 'name' is missing"),
        ((["a", "b"], ones, {**columns, "yaer": [1, 2]}), "no column 'yaer' .did you mean 'year'"),
        ((["a", "b"], ones, {**columns, "year": [1.5, 2]}), "column 'year' is int64, not float64"),
        ((["a", "b"], ones, {**columns, "year": [1]}), "column 'year' has shape"),
        ((["a", "b"], ones, {**columns, "name": [1, 2]}), "a value of column 'name' of this index is a string, not 1"),
    ]
    for arguments, message in cases:
        with pytest.raises((DataError, ConfigError), match=message):
            index.add(*arguments)
    index.add(["a", "b"], ones, columns)
    with pytest.raises(DataError, match="id 'a' is already in the index and so are 1 others"):
        index.add(["a", "b"], ones, columns)
    with pytest.raises(DataError, match="id 'c' is not in the index"):
        index.remove(["a", "c"])
    with pytest.raises(DataError, match="id 'c' is not in the index"):
        index.get(["c"])
    assert index.remove(["a", "c", "a"], missing="ignore") == 1
    for k in (0, -1, 2.0, True):
        with pytest.raises(DataError, match="neighbours can't be searched for"):
            index.search(ones, k)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no radius"):
        index.search_range(ones, float("nan"))
    assert index.verify() == []
    assert index.ids().tolist() == ["b"]


def test_whole_numbers_as_ids(tmp_path: Path) -> None:
    index = VectorIndex.create(tmp_path / "i", dim=2, metric="l2", ids="int64")
    for wrong in ([-1, 2], ["a", "b"], [0.5, 1.5], np.array([2**63, 1], np.uint64)):
        with pytest.raises(DataError, match="a whole number from 0"):
            index.add(wrong, np.ones((2, 2)))
    index.add(np.array([2**63 - 1, 0], np.uint64), [[0.0, 0.0], [1.0, 1.0]])
    assert index.search([0.0, 0.1], 3).ids.tolist() == [[2**63 - 1, 0, -1]]
    assert 0 in index
    assert 5 not in index
    assert "a" not in index


def test_codes_that_are_no_codes(tmp_path: Path) -> None:
    index = VectorIndex.create(tmp_path / "i", dim=12, metric="hamming")
    for wrong in (np.ones((1, 12)), np.ones((1, 12), bool), np.ones((1, 3), np.uint8), np.ones((1, 2), np.int8)):
        with pytest.raises(DataError, match=r"uint8 \[n, 2\] \(12 bits\).*pack_bits"):
            index.add(["a"], wrong)
    with pytest.raises(DataError, match="bits are bool"):
        pack_bits(np.ones((1, 12)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "0 dimensions"),
        ({"dim": 4, "metric": "cosin"}, "did you mean 'cosine'"),
        ({"dim": 4, "metric": "hamming", "storage": "float32"}, "Bits go with"),
        ({"dim": 4, "storage": "bits"}, "Bits go with"),
        ({"dim": 4, "columns": {"id": "str"}}, "'id' is taken"),
        ({"dim": 4, "columns": {"../x": "str"}}, "can't be called"),
        ({"dim": 4, "columns": {"x": "date"}}, "'date' is not one of"),
    ],
)
def test_options_that_make_no_index(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VectorIndex.create(tmp_path / "i", **options)
    assert not (tmp_path / "i").exists()


def test_vectors_of_another_model_are_refused(tmp_path: Path) -> None:
    index = VectorIndex.create(tmp_path / "i", dim=2, fingerprint="model a")
    index.add(["x"], [[1.0, 0.0]])
    index.close()
    message = "the index was built with model 'model a', not with model 'model b'"
    with pytest.raises(DataError, match=message):
        VectorIndex.open(tmp_path / "i", fingerprint="model b")
    again = VectorIndex.open(tmp_path / "i", fingerprint="model a")
    with pytest.raises(DataError, match=message):
        again.search([1.0, 0.0], 1, fingerprint="model b")
    assert again.search([1.0, 0.0], 1, fingerprint="model a")[0] == [("x", 1.0)]
    with pytest.raises(RunError, match="open for reading"):
        again.add(["y"], [[1.0, 0.0]])
    VectorIndex.create(tmp_path / "j", dim=2).close()
    with pytest.raises(DataError, match="built without a model's fingerprint, not with model 'a'"):
        VectorIndex.open(tmp_path / "j", fingerprint="a")


@given(st.lists(st.booleans(), max_size=70))
@settings(max_examples=50)
def test_true_places(flags: list[bool]) -> None:
    np.testing.assert_array_equal(true_places(np.array(flags, bool)), np.flatnonzero(flags))
