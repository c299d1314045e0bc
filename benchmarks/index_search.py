"""Exact search of `quire.index` with numpy alone beside plain faiss, and what adding, committing and opening cost.

    OMP_NUM_THREADS=1 python benchmarks/index_search.py [--rows 10000,100000,1000000] [--rounds 5] [--write]

64-bit codes and 512-d float32 vectors (inner product), drawn at random; one query alone and a batch of 256; k = 10. faiss
searches its own array in memory, quire its memory-mapped files with string ids; both on one thread, in turn in one
process, CPU time. The ratio is that of the medians: what numpy takes of faiss's time. Both must find the same vectors.
Identification: the nearest of 1,000,000 distractors (512-d, cosine, k = 1) for a batch of 256 probes. `--write` puts the
figures into benchmarks/results/index_search.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from quire.index import Flat, VectorIndex

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results" / "index_search.json"
BITS, DIM = 64, 512
BATCHES = (1, 256)
MOST = 1_000_000


def draw(kind: str, rows: int, seed: int) -> NDArray[Any]:
    """Codes uint8 [rows, 8], or float32 [rows, 512]."""
    rng = np.random.default_rng(seed)
    if kind == "codes":
        return rng.integers(0, 256, (rows, BITS // 8), dtype=np.uint8)
    return rng.standard_normal((rows, DIM), dtype=np.float32)


def medians(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """CPU seconds of each call; the calls alternate, so that a machine that gets slower slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():  # warms up
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.process_time()
            call()
            seconds[name].append(time.process_time() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def wall(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def plain_faiss(kind: str, metric: str, vectors: NDArray[Any]) -> Any:
    index = faiss.IndexBinaryFlat(BITS) if kind == "codes" else faiss.IndexFlatIP(DIM)
    if metric == "cosine":
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    index.add(vectors)
    return index


def compare(kind: str, metric: str, rows: int, k: int, batches: tuple[int, ...], rounds: int, folder: Path) -> Any:
    """One index of `rows` vectors: writing, opening, searching beside faiss."""
    vectors = draw(kind, rows, seed=0)
    ids = [f"{row:09d}" for row in range(rows)]
    made = VectorIndex.create(folder, dim=BITS if kind == "codes" else DIM, metric=metric)
    added = wall(lambda: made.add(ids, vectors))
    small = [f"small-{row}" for row in range(2560)]
    parts = range(0, len(small), 256)
    in_small = wall(lambda: [made.add(small[at : at + 256], vectors[at : at + 256]) for at in parts])
    made.remove(small)
    made.compact()
    made.close()
    opened = statistics.median(wall(lambda: VectorIndex.open(folder)) for _ in range(5))
    index, other = VectorIndex.open(folder, threads=1), plain_faiss(kind, metric, vectors)
    row = {
        "kind": kind,
        "metric": metric,
        "rows": rows,
        "k": k,
        "add_seconds": added,
        "add_rows_per_second": rows / added,
        "commits_of_256_per_second": len(parts) / in_small,
        "open_milliseconds": 1e3 * opened,
        "batches": [beside(index, other, kind, metric, k, batch, rounds) for batch in batches],
    }
    print(json.dumps(row, indent=2))
    return row


def beside(index: VectorIndex, other: Any, kind: str, metric: str, k: int, batch: int, rounds: int) -> Any:
    queries = draw(kind, batch, seed=1)
    asked = queries / np.linalg.norm(queries, axis=1, keepdims=True) if metric == "cosine" else queries
    ours, (_, theirs) = index.search(queries, k), other.search(asked, k)
    agree = np.mean(
        [set(map(int, some)) == set(others) for some, others in zip(ours.ids, theirs.tolist(), strict=True)]
    )
    seconds = medians(
        {"quire": lambda: index.search(queries, k), "faiss": lambda: other.search(asked, k)},
        rounds if batch * len(index) < 10**8 else min(rounds, 3),
    )
    return {
        "queries": batch,
        "quire_ms_per_query": 1e3 * seconds["quire"] / batch,
        "faiss_ms_per_query": 1e3 * seconds["faiss"] / batch,
        "ratio": seconds["quire"] / seconds["faiss"],
        "queries_with_the_same_answer": float(agree),
    }


def accelerated(folder: Path, rounds: int) -> Any:
    """What quire adds to faiss when faiss is its accelerator: ids, exact scores, the check that nothing was missed."""
    with VectorIndex.open(folder, writable=True, threads=1) as index:
        kind, metric = ("codes" if index.spec.storage == "bits" else "floats"), index.spec.metric
        other = plain_faiss(kind, metric, draw(kind, len(index), seed=0))
        index.accelerate(Flat())
        return [
            {"kind": kind, "rows": len(index), "accelerator": "flat"}
            | beside(index, other, kind, metric, 10, batch, rounds)
            for batch in BATCHES
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="10000,100000,1000000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    rows = [int(each) for each in options.rows.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        results = {
            "date": datetime.date.today().isoformat(),
            "environment": {
                "cpu": platform.processor() or platform.machine(),
                "cores": os.cpu_count(),
                "threads": 1,
                "numpy": np.__version__,
                "faiss": faiss.__version__,
                "python": platform.python_version(),
            },
            "exact": [
                compare(kind, metric, n, 10, BATCHES, options.rounds, root / f"{kind}-{n}")
                for kind, metric in (("codes", "hamming"), ("floats", "inner_product"))
                for n in rows
            ],
            "identification": compare("floats", "cosine", min(MOST, max(rows)), 1, (256,), 3, root / "identification"),
            "accelerated": [
                row for kind in ("codes", "floats") for row in accelerated(root / f"{kind}-{max(rows)}", options.rounds)
            ],
        }
    print(json.dumps(results["accelerated"], indent=2))
    if options.write:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
