"""faiss behind an index: the same answers as numpy, bit for bit, or approximate ones that keep every promise."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from quire.cli.doctor import conflicting_distributions
from quire.errors import ConfigError, DataError, MissingExtra
from quire.index import HNSW, IVF, Accelerator, Flat, MultiHash, VectorIndex, pack_bits

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

try:
    import faiss
except ModuleNotFoundError:
    faiss = None

needs_faiss = pytest.mark.skipif(faiss is None, reason="faiss is not installed (the extra [faiss] or [faiss-gpu])")
N, QUERIES = 4000, 60
METRICS = ("cosine", "inner_product", "l2", "hamming")
DIMS = {"cosine": 24, "inner_product": 24, "l2": 24, "hamming": 100}
APPROXIMATE: list[tuple[str, Accelerator]] = [
    *((metric, options) for metric in METRICS for options in (HNSW(links=16), IVF(lists=30, probes=4))),
    ("hamming", MultiHash(tables=6, bits=16, flips=2)),
]


def draw(metric: str, n: int, seed: int) -> NDArray[Any]:
    """Around 40 centres, with every tenth vector twice, so that there are ties."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((40, DIMS[metric]))
    vectors = centres[rng.integers(0, 40, n)] + 0.5 * rng.standard_normal((n, DIMS[metric]))
    vectors[n // 2 :: 10] = vectors[: n - n // 2 : 10]
    return pack_bits(vectors > 0) if metric == "hamming" else vectors.astype(np.float32)


def made(folder: Path, metric: str, **options: Any) -> VectorIndex:
    index = VectorIndex.create(
        folder,
        dim=DIMS[metric],
        metric=metric,  # type: ignore[arg-type]
        ids="int64",
        columns={"group": "int64"},
        segment_bytes=50_000,
        **options,
    )
    index.add(np.arange(N), draw(metric, N, 0), {"group": np.arange(N) % 100})
    return index


def same(got: Any, wanted: Any) -> None:
    for name in ("ids", "scores", "found"):
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name))


FILTERS: dict[str, Any] = {
    "none": None,
    "most": lambda table: table["group"] != 3,
    "some": lambda table: table["group"] < 20,
    "few": lambda table: table["group"] == 7,
    "one": [5],
    "nobody": [],
}


@needs_faiss
@pytest.mark.parametrize("storage", ["float32", "float16"])
@pytest.mark.parametrize("metric", METRICS)
def test_flat_answers_as_numpy_does(tmp_path: Path, metric: str, storage: str) -> None:
    """Ids and scores, in every state of the index."""
    if metric == "hamming" and storage == "float16":
        pytest.skip("codes have one form")
    options = {} if metric == "hamming" else {"storage": storage}
    plain, fast = made(tmp_path / "plain", metric, **options), made(tmp_path / "fast", metric, **options)
    queries = draw(metric, QUERIES, 1)
    fast.accelerate(Flat())

    def compare() -> None:
        assert fast.describe()["accelerator"] == "flat"
        for where in FILTERS.values():
            for k in (1, 10, 300):
                got = fast.search(queries, k, where=where)
                assert got.exact
                same(got, plain.search(queries, k, where=where))
        same(fast.search(queries[0], 10), plain.search(queries[0], 10))

    compare()
    gone = np.random.default_rng(2).permutation(N)[:900]
    more = draw(metric, 300, 3)
    for index in (plain, fast):
        index.remove(gone)
    compare()
    for index in (plain, fast):  # these are not in the accelerator
        index.add(np.arange(N, N + 300), more, {"group": np.arange(300) % 100})
        index.add(np.arange(0, 300), more[::-1], {"group": np.arange(300) % 100}, replace=True)
    compare()
    fast.close()
    fast = VectorIndex.open(tmp_path / "fast", threads=2)
    compare()


@needs_faiss
@pytest.mark.parametrize("metric", METRICS)
def test_faiss_itself_finds_what_numpy_finds(tmp_path: Path, metric: str) -> None:
    """Without quire's own checks in between."""
    vectors, queries = draw(metric, N, 0)[:800], draw(metric, QUERIES, 1)
    with VectorIndex.create(tmp_path / "i", dim=DIMS[metric], metric=metric, ids="int64") as index:  # type: ignore[arg-type]
        index.add(np.arange(800), vectors)
        hits = index.search(queries, 15)
    if metric == "hamming":
        vectors, queries = (np.pad(codes, ((0, 0), (0, -codes.shape[1] % 8))) for codes in (vectors, queries))
        other = faiss.IndexBinaryFlat(8 * vectors.shape[1])
    else:
        if metric == "cosine":
            vectors, queries = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (vectors, queries))
        other = faiss.IndexFlat(DIMS[metric], faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT)
    other.add(vectors)
    distances, ids = other.search(queries, 15)
    np.testing.assert_allclose(hits.scores, np.sqrt(distances) if metric == "l2" else distances, rtol=1e-4, atol=1e-5)
    agree = [set(some) == set(others) for some, others in zip(hits.ids.tolist(), ids.tolist(), strict=True)]
    assert np.mean(agree) > 0.9  # a pair of equal vectors at the end may fall either way


@needs_faiss
@pytest.mark.parametrize(("metric", "options"), APPROXIMATE, ids=lambda value: getattr(value, "kind", value))
def test_an_approximate_accelerator_keeps_its_promises(tmp_path: Path, metric: str, options: Accelerator) -> None:
    """k hits where there are k, none that is removed or filtered out, the scores of the vectors that they name."""
    index = made(tmp_path / "i", metric)
    queries = draw(metric, QUERIES, 1)
    index.accelerate(options)
    assert index.recall(queries, 10) > 0.7
    index.remove(np.random.default_rng(2).permutation(N)[:900])
    index.add(np.arange(N, N + 200), draw(metric, 200, 3), {"group": np.arange(200) % 100})
    approximate = 0
    for name, where in FILTERS.items():
        exact = index.search(queries, 25, where=where, exact=True)
        got = index.search(queries, 25, where=where)
        assert exact.exact
        approximate += not got.exact
        np.testing.assert_array_equal(got.found, exact.found)
        allowed = set(index.search(queries[:1], N, where=where, exact=True).ids[0].tolist())
        assert set(got.ids[got.found].tolist()) <= allowed
        assert all(len(set(row[here])) == here.sum() for row, here in zip(got.ids, got.found, strict=True))
        better = (got.scores > exact.scores) if metric in ("cosine", "inner_product") else (got.scores < exact.scores)
        assert not better.any()
        known = {(q, an_id): s for q in range(QUERIES) for an_id, s in exact[q]}
        assert all(known.get((q, an_id), s) == s for q in range(QUERIES) for an_id, s in got[q])
        if name in ("few", "one", "nobody"):  # a filter that leaves few is answered exactly
            same(got, exact)
    assert approximate
    same(
        index.search(queries[:3], 25, exact=True), VectorIndex.open(tmp_path / "i").search(queries[:3], 25, exact=True)
    )


@needs_faiss
def test_an_accelerator_outlives_changes_and_is_built_again_after_compaction(tmp_path: Path) -> None:
    index = made(tmp_path / "i", "l2")
    with pytest.raises(DataError, match="no accelerator was built yet"):
        index.accelerate()
    assert index.describe()["accelerator_missing"] == "no accelerator was built"
    index.accelerate(HNSW(links=8, breadth=99))
    reader = VectorIndex.open(tmp_path / "i")
    index.remove([1, 2, 3])
    index.add([7000], draw("l2", 1, 5), {"group": [1]})
    assert index.describe()["accelerator"] == "hnsw"
    index.compact()
    assert "another state" in index.describe()["accelerator_missing"]
    assert reader.describe()["accelerator"] == "hnsw"  # it still sees the state before
    reader.search(draw("l2", 3, 1), 5)
    index.accelerate()
    assert index.describe()["accelerated"] == len(index) == N - 2
    value = json.loads((tmp_path / "i" / "accelerator.json").read_text())
    assert value["options"] == {"links": 8, "build_breadth": 100, "breadth": 99}
    assert len(list((tmp_path / "i").glob("accelerator-*.faiss"))) == 1
    reader.refresh()
    same(reader.search(draw("l2", 3, 1), 5), index.search(draw("l2", 3, 1), 5))
    assert index.verify() == []


@needs_faiss
def test_a_damaged_accelerator_costs_only_its_speed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    index = made(tmp_path / "i", "hamming")
    queries = draw("hamming", 5, 1)
    wanted = index.search(queries, 10)
    index.accelerate(Flat())
    index.close()
    (path,) = (tmp_path / "i").glob("*.faiss")
    whole = path.read_bytes()
    for content, told in (
        (whole[:-9], "missing or cut"),
        (bytes(40) + whole[40:], "can't be read|has 0 vectors"),
        (None, "missing or cut"),
    ):
        path.write_bytes(content) if content else path.unlink()
        caplog.clear()
        again = VectorIndex.open(tmp_path / "i")
        assert "is searched without its accelerator" in caplog.text
        assert again.describe()["accelerator"] is None
        import re

        assert re.search(told, again.describe()["accelerator_missing"])
        same(again.search(queries, 10), wanted)
        assert ["is damaged; build it again with accelerate()" in fault for fault in again.verify()] == [True]
    (tmp_path / "i" / ".quire-abc.tmp").write_bytes(b"what a crash left of an accelerator")
    (tmp_path / "i" / "accelerator-abc.faiss").write_bytes(b"the same, a moment later")
    with VectorIndex.open(tmp_path / "i", writable=True) as again:
        again.accelerate()
        assert len(list((tmp_path / "i").glob("accelerator-*.faiss"))) == 1
        assert not list((tmp_path / "i").glob(".quire-*"))
        assert again.verify() == []
        (tmp_path / "i" / "accelerator.json").write_text('{"format": 1, "kind": "magic"}')
        assert len(again.verify()) == 1
        same(VectorIndex.open(tmp_path / "i").search(queries, 10), wanted)


@needs_faiss
def test_options_that_do_not_fit(tmp_path: Path) -> None:
    floats, codes = made(tmp_path / "a", "l2"), made(tmp_path / "b", "hamming")
    for index, options, message in (
        (floats, MultiHash(), "multihash is for codes"),
        (codes, MultiHash(tables=8, bits=16), "more than the 100 bits of a code"),
        (codes, IVF(lists=N + 1), "can't make 4001 lists"),
        (floats, HNSW(links=0), "links is a whole number from 1, not 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            index.accelerate(options)
    with VectorIndex.create(tmp_path / "c", dim=3) as empty, pytest.raises(DataError, match="the index is empty"):
        empty.accelerate(Flat())
    floats.close()
    with pytest.raises(Exception, match="open for reading"):
        floats.accelerate(Flat())


def test_without_faiss_everything_but_accelerate_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = made(tmp_path / "i", "cosine")
    queries = draw("cosine", 5, 1)
    wanted = index.search(queries, 10)
    if faiss is not None:
        index.accelerate(HNSW())
    index.close()
    monkeypatch.setitem(sys.modules, "faiss", None)
    with VectorIndex.open(tmp_path / "i", writable=True) as again:
        assert again.describe()["accelerator"] is None
        same(again.search(queries, 10), wanted)
        with pytest.raises(MissingExtra, match=r"pip install 'quire-core\[faiss\]'"):
            again.accelerate(Flat())


@needs_faiss
@pytest.mark.skipif(faiss is not None and not hasattr(faiss, "StandardGpuResources"), reason="this is faiss-cpu")
@pytest.mark.parametrize("metric", METRICS)
def test_on_a_gpu(tmp_path: Path, metric: str) -> None:
    if not faiss.get_num_gpus():
        pytest.skip("faiss sees no GPU")
    index = made(tmp_path / "i", metric)
    queries = draw(metric, QUERIES, 1)
    wanted = {name: index.search(queries, 20, where=where) for name, where in FILTERS.items()}
    index.accelerate(Flat())
    index.close()
    with VectorIndex.open(tmp_path / "i", device="gpu") as again:
        assert again.describe()["accelerator_device"] == "gpu"
        for name, where in FILTERS.items():
            same(again.search(queries, 20, where=where), wanted[name])


@needs_faiss
@pytest.mark.skipif(faiss is not None and hasattr(faiss, "StandardGpuResources"), reason="this is faiss-gpu")
def test_asking_for_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    made(tmp_path / "i", "l2").accelerate(Flat())
    with pytest.raises(ConfigError, match=r"this faiss sees no GPU.*quire-core\[faiss-gpu\]"):
        VectorIndex.open(tmp_path / "i", device="gpu")


def test_doctor_names_distributions_that_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    for owners, told in (([], 0), (["faiss-cpu"], 0), (["faiss-cpu", "faiss-cpu"], 0), (["faiss-gpu", "faiss-cpu"], 1)):
        monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda owners=owners: {"faiss": owners})
        assert len(conflicting_distributions()) == told
    assert conflicting_distributions()[0].startswith("faiss-cpu and faiss-gpu are installed together")
