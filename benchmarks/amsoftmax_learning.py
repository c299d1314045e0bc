"""What the additive margin is good for, on real images that a CPU can learn from.

    QUIRE_DATA=... OMP_NUM_THREADS=1 python benchmarks/amsoftmax_learning.py [--part orl,fashion] [--seeds 3] [--write]

orl: trains on the AT&T faces of 20 people and verifies the 20 others (900 genuine, 19,000 impostor pairs): AM-Softmax and
plain softmax on the same network, each with the learning rate of RATES that was best for it on people 16 to 20 after
training on the first 15; beside PCA + LDA on pixels, fitted on the same 20 people. fashion: LeNet++ with 3-D embeddings
on the first 3,000 of 3,615 Fashion-MNIST images: angles within and between classes, and the figure. About ten CPU
minutes. `--write` puts the figures into benchmarks/results/amsoftmax_learning.json and amsoftmax_geometry.png.

Twenty people make a smoke test, not a verifier that anyone could use.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from quire import InMemory, Runtime
from quire.task import IMAGE_CLASSIFICATION
from quire_amsoftmax import AMSoftmax, AMSoftmaxConfig, draw_geometry, measure_geometry
from quire_amsoftmax.evaluate.identification import leave_one_out
from quire_amsoftmax.evaluate.streams import AllPairs
from quire_amsoftmax.evaluate.verification import verify_pairs

HERE = Path(__file__).parent / "results"
RATES = (0.005, 0.01, 0.02, 0.05, 0.1)
TUNING_SEED = 100
ORL = {
    "backbone": "sphere20",
    "width": 0.25,
    "input_size": (56, 48),
    "channel_order": "grey",
    "embedding_dim": 128,
    "schedule": "one_cycle",
    "batch_size": 50,
    "epochs": 40,
    "grad_clip": 5.0,
    "shift": 3,
    "gain": 0.1,
    "offset": 0.05,
}
FASHION = {
    "backbone": "lenetpp",
    "width": 0.25,
    "input_size": (28, 28),
    "channel_order": "grey",
    "pixel_mean": 128.0,
    "embedding_dim": 3,
    "schedule": "one_cycle",
    "batch_size": 128,
    "epochs": 14,
    "grad_clip": 5.0,
    "hflip": 0.0,
    "flip_test": "none",
}
LOSSES: dict[str, dict[str, Any]] = {
    "softmax": {"head": "softmax", "lr": 0.02},
    "NormFace s=10": {"head": "normface", "scale": 10.0, "lr": 0.05},
    "AM s=10 m=.2": {"head": "amsoftmax", "scale": 10.0, "margin": 0.2, "lr": 0.05},
    "AM s=10 m=.35": {"head": "amsoftmax", "scale": 10.0, "margin": 0.35, "lr": 0.05},
    "AM s=10 m=.5": {"head": "amsoftmax", "scale": 10.0, "margin": 0.5, "lr": 0.05},
}
REPEATED = ("softmax", "AM s=10 m=.35")
AM = {"head": "amsoftmax", "scale": 10.0, "margin": 0.35}
SOFTMAX = {"head": "softmax"}


def train(data: InMemory, seed: int, **options: Any) -> AMSoftmax:
    config = AMSoftmaxConfig.parse(options, owner="amsoftmax")
    return AMSoftmax(config, runtime=Runtime(device="cpu", precision="fp32", threads=1, seed=seed)).fit(data)


def people(root: Path, numbers: range) -> InMemory:
    samples = []
    for person in numbers:
        for number in range(1, 11):
            with Image.open(root / f"att_faces/s{person}/{number}.pgm") as image:
                small = image.convert("L").resize((48, 56), Image.Resampling.BOX)
            samples.append({"id": f"s{person}/{number}", "image": small, "target": f"s{person}"})
    return InMemory(samples, task=IMAGE_CLASSIFICATION, name="ORL")


def targets(data: InMemory) -> list[str]:
    return [data.target(index) for index in range(len(data))]


def verification(vectors: np.ndarray, labels: list[str]) -> dict[str, float]:
    found = verify_pairs(AllPairs(vectors, labels), (1e-3, 1e-2))
    rank1 = leave_one_out(vectors, labels).hit_rate(1)
    return {"vr@1e-3": found.points[0].vr, "vr@1e-2": found.points[1].vr, "eer": found.eer, "rank1": rank1}


def pca_lda(train_set: InMemory, test_set: InMemory) -> dict[str, float]:
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline

    pixels = [np.stack([np.asarray(s["image"], dtype=float).ravel() for s in data]) for data in (train_set, test_set)]
    model = make_pipeline(PCA(80, random_state=0), LinearDiscriminantAnalysis()).fit(pixels[0], targets(train_set))
    return verification(model.transform(pixels[1]).astype(np.float32), targets(test_set))


def orl(root: Path, seeds: int) -> dict[str, Any]:
    first, held_out = people(root, range(1, 16)), people(root, range(16, 21))
    train_set, test_set = people(root, range(1, 21)), people(root, range(21, 41))
    result: dict[str, Any] = {"pca_lda": pca_lda(train_set, test_set)}
    print("PCA-80 + LDA", result["pca_lda"], flush=True)
    for name, loss in (("amsoftmax", AM), ("softmax", SOFTMAX)):
        tuned = {}
        for rate in RATES:
            model = train(first, TUNING_SEED, **ORL, **loss, lr=rate)
            tuned[rate] = verification(model.embed(list(held_out)), targets(held_out))["eer"]
        best = min(tuned, key=tuned.__getitem__)
        print(name, "EER on people 16..20 by learning rate", tuned, flush=True)
        runs = []
        for seed in range(seeds):
            started = time.process_time()
            model = train(train_set, seed, **ORL, **loss, lr=best)
            taken = time.process_time() - started
            run = verification(model.embed(list(test_set)), targets(test_set))
            run["train_eer"] = verification(model.embed(list(train_set)), targets(train_set))["eer"]
            runs.append({**run, "cpu_seconds": taken})
            print(name, seed, runs[-1], flush=True)
        mean = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
        result[name] = {"tuning": tuned, "lr": best, "runs": runs, "mean": mean}
        print(name, "mean", mean, flush=True)
    return result


def garments(root: Path) -> tuple[InMemory, InMemory]:
    folder = root / "fashion_mnist_head"
    images = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes())
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28)
    names = np.frombuffer(labels, np.uint8, offset=8)
    samples = [{"id": str(k), "image": pixels[k], "target": str(names[k])} for k in range(len(pixels))]
    parts = samples[:3000], samples[3000:]
    first, second = (InMemory(part, task=IMAGE_CLASSIFICATION, name="Fashion-MNIST") for part in parts)
    return first, second


def accuracy(model: AMSoftmax, data: InMemory) -> float:
    with torch.no_grad():
        guess = model.head.logits(model.outputs(list(data))).argmax(dim=1)
    return float(np.mean([model.labels[int(k)] == target for k, target in zip(guess, targets(data), strict=True)]))


def fashion(root: Path, seeds: int, *, write: bool) -> dict[str, Any]:
    train_set, test_set = garments(root)
    result: dict[str, Any] = {}
    panels = []
    for name, loss in LOSSES.items():
        runs = []
        for seed in range(seeds if name in REPEATED else 1):
            model = train(train_set, seed, **FASHION, **loss)
            vectors, labels = model.embed(list(test_set)), targets(test_set)
            shape = measure_geometry(vectors, labels)
            runs.append(
                {
                    "accuracy": accuracy(model, test_set),
                    "within_degrees": shape.mean_within,
                    "nearest_degrees": shape.mean_nearest,
                    "eer": verification(vectors, labels)["eer"],
                    "train_eer": verification(model.embed(list(train_set)), targets(train_set))["eer"],
                }
            )
            if seed == 0:
                panels.append((name, vectors, labels))
            print(name, seed, runs[-1], flush=True)
        result[name] = {"runs": runs, "mean": {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}}
    if write:
        draw_geometry(panels).savefig(HERE / "amsoftmax_geometry.png", dpi=80)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", default="orl,fashion")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    root = Path(os.environ["QUIRE_DATA"]) / "amsoftmax"
    path = HERE / "amsoftmax_learning.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    results["date"] = datetime.date.today().isoformat()
    results["environment"] = {
        "cpu": platform.processor() or platform.machine(),
        "threads": 1,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if "orl" in options.part:
        results["orl"] = orl(root, options.seeds)
    if "fashion" in options.part:
        results["fashion"] = fashion(root, options.seeds, write=options.write)
    print(json.dumps(results, indent=2))
    if options.write:
        path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
