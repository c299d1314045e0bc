"""One of several processes that share a head: python sharded_worker.py RANK WORLD STORE OUT [RESUME_FROM].

Writes what it found to OUT/RANK.safetensors. `single` in the test does the same with a MarginHead and plain torch.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn

from quire_amsoftmax.heads import MarginHead, RowSGD, ShardedMarginHead, load_sharded, save_sharded

KINDS = ("softmax", "amsoftmax", "sphereface", "arcface", "subcenter", "curricularface", "adaface", "magface")
DIM, CLASSES, ROWS = 6, 11, 13
SHARES = {1: (13,), 2: (8, 5), 3: (6, 4, 3)}
STEPS, MORE = 4, 3
LR = 0.3


def batch(step: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(ROWS, DIM, dtype=torch.float64, generator=generator)
    return x * torch.linspace(1, 20, ROWS)[:, None], torch.randint(CLASSES, (ROWS,), generator=generator)


def own(values: Tensor, rank: int, world: int) -> Tensor:
    start = sum(SHARES[world][:rank])
    return values[start : start + SHARES[world][rank]]


def options(kind: str) -> dict[str, object]:
    return {"logit_chunk": 3 * 6} if kind == "arcface" else {}


def backbone() -> nn.Linear:
    layer = nn.Linear(DIM, DIM).double()
    with torch.no_grad():
        layer.weight.copy_(torch.eye(DIM))
        layer.bias.fill_(0.1)
    return layer


def train(head: MarginHead, net: nn.Module, optimizer: RowSGD, steps: range, rank: int = 0, world: int = 1) -> None:
    """Some steps; the network's own gradients are averaged if it is wrapped."""
    for step in steps:
        x, y = (own(values, rank, world) for values in batch(step))
        optimizer.zero_grad()
        head.step_to(step)
        head(net(x), y).backward()
        optimizer.step()


def optimizer_of(head: MarginHead, net: nn.Module) -> RowSGD:
    return RowSGD([*head.parameters(), *net.parameters()], lr=LR, momentum=0.9, weight_decay=0.01)


def main() -> None:
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    out = Path(sys.argv[4])
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world)
    found: dict[str, Tensor] = {}
    for kind in KINDS:
        head = ShardedMarginHead(DIM, CLASSES, kind, backbone="exact", **options(kind)).double()
        x, y = (own(values, rank, world) for values in batch())
        x.requires_grad_()
        judged = head.judge(x, y)
        judged.loss.backward()
        found[f"{kind}.loss"] = judged.loss.detach()
        found[f"{kind}.hardest"] = judged.hardest_cosine.clone()
        found[f"{kind}.x"] = x.grad
        found[f"{kind}.weight"] = head.weight.grad
        for name, buffer in head.named_buffers():
            found[f"{kind}.{name}"] = buffer
    net = backbone()
    wrapped = nn.parallel.DistributedDataParallel(net)
    head = ShardedMarginHead(DIM, CLASSES, "curricularface", seed=1).double()
    optimizer = optimizer_of(head, net)
    first = 0
    if len(sys.argv) > 5:
        load_sharded(Path(sys.argv[5]), head, optimizer)
        saved = torch.load(Path(sys.argv[5]).with_suffix(".net"), weights_only=True)
        net.load_state_dict(saved["net"])
        for parameter, momentum in zip(net.parameters(), saved["momentum"], strict=True):
            optimizer.state[parameter]["momentum_buffer"] = momentum
        first = STEPS
    train(head, wrapped, optimizer, range(first, first + (MORE if first else STEPS)), rank, world)
    found.update(
        {"trained.weight": head.weight.detach(), "trained.net": net.weight.detach(), "trained.t": head.margin.t}
    )
    save_sharded(out / "head", head, optimizer)
    if rank == 0:
        momenta = [optimizer.state[parameter]["momentum_buffer"] for parameter in net.parameters()]
        torch.save({"net": net.state_dict(), "momentum": momenta}, out / "head.net")
    save_file({name: value.contiguous() for name, value in found.items()}, out / f"{rank}.safetensors")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
