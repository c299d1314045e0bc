"""Verification at low false-accept rates beside scikit-learn's roc_curve, and identification beside plain faiss.

    OMP_NUM_THREADS=1 python benchmarks/amsoftmax_evaluation.py [--images 9708] [--distractors 1000000] [--rounds 3] [--write]

Verification: a trial of BLUFR's size, 9,708 embeddings of 4,249 people, 512-d, 47 million impostor pairs. Both begin
with the embeddings. scikit-learn needs all scores and labels at once and gets them from the very blocks that quire
streams, so that thresholds can be compared to the last bit; the time of making them counts for both. `thresholds` is
quire's streaming of the thresholds at false-accept rates up to 1e-3, `all figures` also AUC, EER, accuracy, histogram
and the whole ROC, at rates up to 0.1 (for 0.01 and below one pass would do). CPU time of one thread; memory is the
growth of the peak over the process's size before, each in a process of its own. Identification: `Gallery.search` of 256
probes among distractors with names, beside faiss.IndexFlatIP over the array in memory, in turn. `--write` puts the
figures into benchmarks/results/amsoftmax_evaluation.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quire_amsoftmax.evaluate.ranks import scores_at
from quire_amsoftmax.evaluate.streams import AllPairs
from quire_amsoftmax.evaluate.verification import verify_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results" / "amsoftmax_evaluation.json"
DIM, PROBES = 512, 256
LOW = (1e-6, 1e-5, 1e-4, 1e-3)
ALL = (*LOW, 1e-2, 1e-1)
PER_PERSON = 9708 / 4249


def draw(images: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Embeddings around their person's direction, and whose they are; how many a person has falls off as in LFW."""
    rng = np.random.default_rng(0)
    people = round(images / PER_PERSON)
    weights = 1 / (np.arange(people) + 20.0)
    more = rng.choice(people, images - people, p=weights / weights.sum())
    labels = np.concatenate([np.arange(people), more])
    centres = rng.standard_normal((people, DIM), dtype=np.float32)
    return centres[labels] + 2.0 * rng.standard_normal((images, DIM), dtype=np.float32), labels


def thresholds(embeddings: Any, labels: Any) -> dict[str, Any]:
    """Streamed thresholds at low rates."""
    stream = AllPairs(embeddings, labels)
    ranks = {far: round(far * stream.n_impostor) for far in LOW}
    found = scores_at(stream, [rank for rank in ranks.values() if rank])
    return {"thresholds": {f"{far:g}": found[rank] for far, rank in ranks.items() if rank}}


def all_figures(embeddings: Any, labels: Any) -> dict[str, Any]:
    """Every figure of a report."""
    stream = AllPairs(embeddings, labels)
    found = verify_pairs(stream, ALL)
    return {
        "impostor_pairs": found.n_impostor,
        "genuine_pairs": found.n_genuine,
        "thresholds": {f"{point.far:g}": point.threshold for point in found.points if point.k},
        "vr": {f"{point.far:g}": point.vr for point in found.points if point.k},
        "auc": found.auc,
    }


def scikit_learn(embeddings: Any, labels: Any) -> dict[str, Any]:
    """The same of roc_curve over all scores."""
    from sklearn.metrics import roc_curve

    stream = AllPairs(embeddings, labels)
    genuine = stream.genuine()
    scores = np.empty(len(genuine) + stream.n_impostor, np.float32)
    scores[: len(genuine)] = genuine
    at = len(genuine)
    for block in stream.impostor_blocks():
        found = block[block > -np.inf]
        scores[at : at + len(found)] = found
        at += len(found)
    same = np.zeros(len(scores), np.int8)
    same[: len(genuine)] = 1
    far, vr, values = roc_curve(same, scores, drop_intermediate=False)
    counts = np.round(far * stream.n_impostor)
    first = {f"{rate:g}": int(np.searchsorted(counts, round(rate * stream.n_impostor))) for rate in ALL}
    first = {name: index for name, index in first.items() if counts[index] > 0}
    return {
        "thresholds": {name: float(values[index]) for name, index in first.items()},
        "vr": {name: float(vr[index]) for name, index in first.items()},
        "auc": float(np.trapezoid(vr, far)),
    }


TASKS: dict[str, Callable[[Any, Any], dict[str, Any]]] = {
    "thresholds": thresholds,
    "all figures": all_figures,
    "scikit-learn": scikit_learn,
}


def measured(task: str, images: int) -> dict[str, Any]:
    """What a task finds, its CPU seconds and the growth of its peak memory, in this process."""
    import sklearn.metrics  # noqa: F401 - imports count for nobody

    data = draw(images)
    TASKS[task](*draw(200))
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = memory("VmRSS")
    started = time.process_time()
    found = TASKS[task](*data)
    seconds = time.process_time() - started
    grown = (memory("VmHWM") - before) / 1024
    return {**found, "cpu_seconds": seconds, "mebibytes": grown}


def memory(what: str) -> int:
    """VmRSS, what this process holds, or VmHWM, the most that it held, in KiB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1])


def in_a_process(task: str, images: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--task", task, "--images", str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def verification(images: int, rounds: int) -> dict[str, Any]:
    """Medians of `rounds`, each task in a process of its own, in turn."""
    runs: dict[str, list[dict[str, Any]]] = {task: [] for task in TASKS}
    for _ in range(rounds):
        for task, done in runs.items():
            done.append(in_a_process(task, images))
    peer = runs["scikit-learn"]
    row: dict[str, Any] = {"images": images} | {
        name: runs["all figures"][0][name] for name in ("impostor_pairs", "genuine_pairs")
    }
    for task, done in runs.items():
        row[task] = {name: statistics.median(each[name] for each in done) for name in ("cpu_seconds", "mebibytes")} | {
            "thresholds": done[0]["thresholds"]
        }
        if task != "scikit-learn":
            row[task]["time_ratio"] = row[task]["cpu_seconds"] / statistics.median(each["cpu_seconds"] for each in peer)
            row[task]["memory_ratio"] = row[task]["mebibytes"] / statistics.median(each["mebibytes"] for each in peer)
            row[task]["equal_thresholds"] = all(
                np.float32(value) == np.float32(peer[0]["thresholds"][far])
                for far, value in done[0]["thresholds"].items()
            )
    row["vr_difference"] = max(abs(runs["all figures"][0]["vr"][far] - peer[0]["vr"][far]) for far in peer[0]["vr"])
    row["auc_difference"] = abs(runs["all figures"][0]["auc"] - peer[0]["auc"])
    return row


def identification(distractors: int, rounds: int) -> dict[str, Any]:
    """The nearest of named distractors for a batch of probes."""
    import faiss

    from quire.index import VectorIndex
    from quire_amsoftmax.gallery import Gallery

    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((distractors, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    probes = rng.standard_normal((PROBES, DIM), dtype=np.float32)
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    other = faiss.IndexFlatIP(DIM)
    other.add(vectors)
    with tempfile.TemporaryDirectory() as folder:
        with VectorIndex.create(Path(folder) / "g", dim=DIM, columns={"identity": "str"}) as made:
            names = [f"{number // 2:07}" for number in range(distractors)]
            made.add([f"{number:07}" for number in range(distractors)], vectors, {"identity": names})
        del vectors
        gallery = Gallery(VectorIndex.open(Path(folder) / "g", threads=1))
        seconds: dict[str, list[float]] = {"quire": [], "faiss": []}
        calls: dict[str, Callable[[], Any]] = {
            "quire": lambda: gallery.search(probes, 1),
            "faiss": lambda: other.search(probes, 1),
        }
        answers = {name: call() for name, call in calls.items()}
        for _ in range(rounds):
            for name, call in calls.items():
                started = time.process_time()
                call()
                seconds[name].append(time.process_time() - started)
    scores, rows = answers["faiss"]
    ours = answers["quire"]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "distractors": distractors,
        "probes": PROBES,
        "cpu_seconds": medians,
        "ratio": medians["quire"] / medians["faiss"],
        "same_nearest": float(np.mean([int(each[0].image) == row[0] for each, row in zip(ours, rows, strict=True)])),
        "largest_score_difference": float(
            max(abs(each[0].score - float(score[0])) for each, score in zip(ours, scores, strict=True))
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=9708)
    parser.add_argument("--distractors", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--task", choices=list(TASKS), help="measure one of them in this process")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.task:
        print(json.dumps(measured(options.task, options.images)))
        return
    results: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "environment": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS", "default"),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "verification": verification(options.images, options.rounds),
    }
    print(json.dumps(results, indent=2), flush=True)
    if options.distractors:
        results["identification"] = identification(options.distractors, options.rounds)
        print(json.dumps(results["identification"], indent=2))
    if options.write:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
