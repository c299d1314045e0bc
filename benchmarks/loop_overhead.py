"""What the training loop of quire costs over one written by hand: FCN on GunPoint, CPU seconds.

    QUIRE_DATA=/path/to/data python benchmarks/loop_overhead.py [--epochs 20] [--rounds 7]

Both train the same network from the same weights on the same batches, on one thread, with the same fused Adam, plateau
schedule, mean loss of the epoch and snapshot of the best weights; both must end with equal weights. quire's loop also
measures accuracy and throughput and calls its hooks. The two alternate in one process, and the ratio is that of the
medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import ReduceLROnPlateau

from quire.runtime import Runtime
from quire_tsc import TSC, Preprocessing, TimeSeriesDataset, TSCConfig
from quire_tsc.networks import FCN

BATCH = 5


def by_hand(x: torch.Tensor, y: torch.Tensor, epochs: int) -> dict[str, torch.Tensor]:
    """The best epoch's weights."""
    Runtime(device="cpu").seed_everything()
    network = FCN(1, x.shape[2], 2).train()
    Runtime(device="cpu").seed_everything(0, 0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-7, fused=True)
    schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=49, threshold=1e-4, threshold_mode="abs", min_lr=1e-4)
    best, weights = float("inf"), {}
    for epoch in range(epochs):
        order = np.random.default_rng([0, epoch]).permutation(len(x))
        total = torch.zeros(())
        for start in range(0, len(order), BATCH):
            batch = torch.as_tensor(order[start : start + BATCH])
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(network(x[batch]), y[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.detach() * len(batch)
        mean = float(total) / len(x)
        schedule.step(mean)
        if mean < best:
            best = mean
            weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    return weights


def by_quire(train: TimeSeriesDataset, epochs: int) -> dict[str, torch.Tensor]:
    """The best epoch's weights."""
    config = TSCConfig(architecture="fcn", recipe="paper", n_epochs=epochs)
    model = TSC(config, runtime=Runtime(device="cpu", threads=1)).fit(train)
    return model.network.state_dict()


def preprocessed(train: TimeSeriesDataset) -> tuple[torch.Tensor, torch.Tensor]:
    """Series float32 [n, 1, length] and classes int64 [n]."""
    samples = [train[index] for index in range(len(train))]
    series = [sample["series"] for sample in samples]
    x, _ = Preprocessing.fit(series).apply(series)
    return torch.from_numpy(x), torch.tensor([train.labels.index(sample["target"]) for sample in samples])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    train = TimeSeriesDataset.open(Path(os.environ["QUIRE_DATA"]) / "tsc" / "ucr_tsv" / "GunPoint")
    x, y = preprocessed(train)
    loops = {"by hand": partial(by_hand, x, y, options.epochs), "quire": partial(by_quire, train, options.epochs)}
    weights = {name: loop() for name, loop in loops.items()}  # warms up
    for name, tensor in weights["by hand"].items():
        torch.testing.assert_close(weights["quire"][name], tensor, rtol=0, atol=0)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(options.rounds):
        for name, loop in loops.items():
            started = time.process_time()
            loop()
            seconds[name].append(time.process_time() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        print(f"{name}: {medians[name]:.3f} CPU s, from {min(values):.3f} to {max(values):.3f}")
    print(f"ratio: {medians['quire'] / medians['by hand']:.3f} (wanted: at most 1.05)")


if __name__ == "__main__":
    main()
