"""What the cache of frozen features saves memefier: one training, and the published grid of 64. CPU seconds, one thread.

    python benchmarks/memefier_cache.py [--memes 32] [--epochs 2] [--rounds 3]

There are random weights in the shape of CLIP ViT-B/32, which cost what real ones cost. Training: `fit` at d=512, one
encoder layer, batch 32, with captions, with cache=off and with cache=disk that is filled already; both must end with the
same weights, bit for bit. Grid: the time of the backbone for a meme, and of a training step for a meme at each of the
grid's eight network shapes, are measured; the cost of the 64 runs with all their epochs is computed from these, with one
pass of the backbone and with a pass in every epoch.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from quire.runtime import Runtime
from quire_memefier import HatefulMemes, MemeFierClassifier, MemeFierConfig, grid_options
from quire_memefier.backbone import write_random_backbone
from quire_memefier.presets import DECODERS, ENCODERS, GRID_SIZE

VISION = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "image_size": 224, "patch_size": 32,
}  # fmt: skip
TEXT = {
    "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8,
    "max_position_embeddings": 77,
}  # fmt: skip
RUNTIME = Runtime(device="cpu", precision="fp32", threads=1)


def model(backbone: Path, **options: Any) -> MemeFierClassifier:
    values = {"backbone": str(backbone), "d_model": 512, "encoder": ENCODERS[0], "decoder": DECODERS[0], **options}
    return MemeFierClassifier(MemeFierConfig(**values), runtime=RUNTIME)


def trained(backbone: Path, train: HatefulMemes, **options: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """CPU seconds of a training, and its weights."""
    learner = model(backbone, **options)
    started = time.process_time()
    learner.fit(train)
    return time.process_time() - started, learner.network.state_dict()


def step_seconds(backbone: Path, train: HatefulMemes, batch: int, rounds: int, **options: Any) -> float:
    """CPU seconds of a training step for one meme, its features at hand."""
    learner = model(backbone, batch_size=batch, **options)
    learner.facts = learner.study(train)
    learner._network = RUNTIME.place(learner.build())
    learner.training_only = torch.nn.ModuleDict(learner.build_training_only())
    inputs = learner.loader(train, training=True)(range(batch), None)
    modules = {"network": learner.network, **learner.training_only}
    (optimization,) = learner._optimizations(modules, RUNTIME)
    taken = []
    for _ in range(rounds + 1):
        started = time.process_time()
        optimization.optimizer.zero_grad(set_to_none=True)
        learner.step(inputs)["loss"].backward()
        optimization.optimizer.step()
        taken.append(time.process_time() - started)
    return statistics.median(taken[1:]) / batch


def encoding_seconds(backbone: Path, train: HatefulMemes, memes: int) -> float:
    """CPU seconds of the backbone for one meme."""
    extractor = model(backbone).extractor()
    raw = extractor.raw([train[index] for index in range(memes)])
    started = time.process_time()
    extractor.encode(raw)
    return (time.process_time() - started) / memes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memes", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    RUNTIME.begin()
    with tempfile.TemporaryDirectory() as home:
        os.environ["QUIRE_CACHE"] = f"{home}/cache"
        backbone, release = Path(home) / "clip", Path(home) / "memes"
        backbone.mkdir()
        write_random_backbone(backbone, vision=VISION, text=TEXT, projection=512, seed=0)
        HatefulMemes.sample(release, train=given.memes, validation=4, test=4)
        train = HatefulMemes.open(release, captions=release / "captions.json")

        fresh, _ = trained(backbone, train, cache="disk", epochs=given.epochs)
        cached, kept = trained(backbone, train, cache="disk", epochs=given.epochs)
        recomputed, weights = trained(backbone, train, cache="off", epochs=given.epochs)
        if not all(torch.equal(kept[name], tensor) for name, tensor in weights.items()):
            raise SystemExit("cached and recomputed features gave different weights")
        print(f"training, {given.memes} memes, {given.epochs} epochs, d=512, 1 layer, batch 32; equal weights")
        print(f"  recomputed {recomputed:.2f} s   cached {cached:.2f} s (with its filling {fresh:.2f} s)")
        print(f"  ratio {recomputed / cached:.1f}")

        encoding = encoding_seconds(backbone, train, min(8, given.memes))
        steps = {
            (d_model, e, d): step_seconds(
                backbone, train, 4, given.rounds, d_model=d_model, encoder=ENCODERS[e], decoder=DECODERS[d]
            )
            for d_model, e, d in itertools.product((512, 1024), (0, 1), (0, 1))
        }
        heads = passes = 0.0
        for index in range(GRID_SIZE):
            point = grid_options(index)
            shape = (point["d_model"], ENCODERS.index(point["encoder"]), DECODERS.index(point["decoder"]))
            heads += point["epochs"] * steps[shape]
            passes += point["epochs"]
        print(f"grid of 64, a training meme: backbone {encoding:.3f} s, step {min(steps.values()):.3f} to "
              f"{max(steps.values()):.3f} s")  # fmt: skip
        print(f"  backbone: {passes:.0f} passes against 1; backbone and heads: {passes * encoding + heads:.0f} s "
              f"against {encoding + heads:.0f} s")  # fmt: skip
        print(f"  ratio {(passes * encoding + heads) / (encoding + heads):.1f}")


if __name__ == "__main__":
    main()
