"""The head of more identities than one device holds: each process has some of the classes.

Process r of R has the classes [r ceil(C/R), min(C, (r+1) ceil(C/R))), which is how DTensor shards a dimension. Embeddings
and labels of all processes are gathered; maxima, sums of exponentials and target cosines are reduced over the shards, so the
loss is the mean over the global batch and does not depend on R.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard

from quire.errors import ConfigError, RunError, Where
from quire_amsoftmax.heads.collective import Alone, GatherEmbeddings, Group
from quire_amsoftmax.heads.head import MarginHead

if TYPE_CHECKING:
    from torch.optim import Optimizer

_BLOCK = 1024
"""Rows that are drawn from one generator, so that the first weight is the same for any number of processes."""


class ShardedMarginHead(MarginHead):
    """A MarginHead of which this process holds some classes; see MarginHead for the options.

    group: the processes that share it, by default all; without a process group it is one process's whole head. seed: of the
    first weight. backbone: "ddp" if the embeddings come from a module under DistributedDataParallel, which averages the
    processes' gradients: the embeddings' gradient is then multiplied by their number, so that the average is the gradient of
    the global mean; "exact" leaves it. Every process calls forward and backward together, with any number of its own
    embeddings, and gets the loss of the global batch; labels number all classes. The head itself belongs
    outside of DistributedDataParallel: its gradients are complete.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        kind: str = "amsoftmax",
        *,
        group: dist.ProcessGroup | None = None,
        seed: int = 0,
        backbone: Literal["ddp", "exact"] = "ddp",
        **options: Any,
    ) -> None:
        self._group, self._seed = group, seed
        self.backbone = backbone
        super().__init__(dim, num_classes, kind, **options)

    def _join(self) -> Alone:
        if self._group is None and not (dist.is_available() and dist.is_initialized()):
            return Alone()
        group = Group(self._group)
        if group.size > self.num_classes:
            raise ConfigError(
                f"{self.num_classes} classes can't be shared by {group.size} processes",
                where=Where(field="num_classes"),
            )
        return group

    @property
    def classes(self) -> range:
        """The classes that this process has."""
        per_process = -(-self.num_classes // self.processes.size)
        start = min(self.num_classes, self.processes.rank * per_process)
        return range(start, min(self.num_classes, start + per_process))

    def _initial(self) -> Tensor:
        first, last = (edge * self.sub_centers for edge in (self.classes.start, self.classes.stop))
        bound = math.sqrt(3 / self.dim)
        blocks = []
        for block in range(first // _BLOCK, -(-last // _BLOCK)):
            generator = torch.Generator().manual_seed((self._seed * 1_000_003 + block) % 2**63)
            rows = torch.empty(_BLOCK, self.dim).uniform_(-bound, bound, generator=generator)
            start = block * _BLOCK
            blocks.append(rows[max(first - start, 0) : max(0, last - start)])
        return torch.cat(blocks) if blocks else torch.empty(0, self.dim)

    def _gather(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(self.processes, Group):
            return embeddings, labels
        group = self.processes
        counts = group.counts(len(embeddings), embeddings.device)
        factor = float(group.size) if self.backbone == "ddp" else 1.0
        gathered = GatherEmbeddings.apply(embeddings, counts, group, factor)  # type: ignore[no-untyped-call]
        return gathered, group.gather(labels, counts)

    def _local(self, labels: Tensor) -> Tensor:
        own = self.classes
        mine = (labels >= own.start) & (labels < own.stop)
        return torch.where(mine, labels - own.start, -1)

    def _total(self, values: Tensor) -> Tensor:
        return values  # every process sees the whole batch

    def logits(self, embeddings: Tensor) -> Tensor:
        """[n, classes of this process], without any margin."""
        return super().logits(embeddings)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        if self.processes.size > 1:
            raise RunError("a state dict holds one shard of a sharded head", remedy="Use load_sharded.")
        super()._load_from_state_dict(state, prefix, *rest)

    def as_dtensor(self, shard: Tensor) -> Tensor:
        """A shard that is laid out like the weight's as the distributed tensor of all classes; alone, the tensor itself."""
        if not isinstance(self.processes, Group):
            return shard
        kind = shard.device.type
        mesh = DeviceMesh.from_group(self.processes.group, kind)  # type: ignore[arg-type]
        shape = torch.Size([self.num_classes * self.sub_centers, *shard.shape[1:]])
        stride = torch.empty(shape, device="meta").stride()
        return DTensor.from_local(shard, mesh, [Shard(0)], run_check=False, shape=shape, stride=stride)


def save_sharded(folder: Path, head: ShardedMarginHead, optimizer: Optimizer | None = None) -> None:
    """Write the head, and the optimiser's state of its parameters, by torch.distributed.checkpoint; called by all processes.

    The folder holds one safetensors file a process and nothing that could run code. It is replaced once all have written.
    """
    folder = Path(folder)
    building = folder.with_name(f".{folder.name}.writing")
    if head.processes.rank == 0:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
    _wait(head)
    writer = HuggingFaceStorageWriter(str(building), save_distributed=True)
    save(_tensors(head, optimizer), storage_writer=writer, **_how(head))
    _wait(head)
    if head.processes.rank == 0:
        if folder.exists():
            shutil.rmtree(folder)
        building.replace(folder)
    _wait(head)


def load_sharded(folder: Path, head: ShardedMarginHead, optimizer: Optimizer | None = None) -> None:
    """Read what `save_sharded` wrote, by any number of processes; called by all processes.

    RunError without a checkpoint, ConfigError for another number of classes.
    """
    folder = Path(folder)
    if not any(folder.glob("*.safetensors")):
        raise RunError("there is no checkpoint of a sharded head here", where=Where(file=folder))
    reader = HuggingFaceStorageReader(str(folder))
    saved = reader.read_metadata().state_dict_metadata
    there, here = tuple(cast("Any", saved["weight"]).size), (head.num_classes * head.sub_centers, head.dim)
    if there != here:
        raise ConfigError(
            f"the checkpoint's head has {there[0] // head.sub_centers} classes of {there[1]} numbers, "
            f"this one {head.num_classes} of {head.dim}",
            where=Where(file=folder, field="num_classes"),
            remedy="Fine-tune from a saved model to go on with other identities.",
        )
    if optimizer is not None:
        _make_state(head, optimizer, set(saved))
    tensors = _tensors(head, optimizer)
    load(tensors, storage_reader=reader, **_how(head))
    head.set_extra_state(tensors["step"])


def _how(head: ShardedMarginHead) -> dict[str, Any]:
    if isinstance(head.processes, Group):
        return {"process_group": head.processes.group}
    return {"no_dist": True}


def _wait(head: ShardedMarginHead) -> None:
    if isinstance(head.processes, Group):
        dist.barrier(group=head.processes.group)


def _tensors(head: ShardedMarginHead, optimizer: Optimizer | None) -> dict[str, Tensor]:
    """Name -> tensor in place: sharded parameters and their momenta as DTensors, statistics as they are."""
    tensors: dict[str, Tensor] = {"step": head.get_extra_state()}
    tensors.update(dict(head.named_buffers()))
    for name, parameter in head.named_parameters():
        tensors[name] = head.as_dtensor(parameter.detach())
        for key, value in (optimizer.state.get(parameter, {}) if optimizer is not None else {}).items():
            if isinstance(value, Tensor):
                sharded = value.shape == parameter.shape
                tensors[f"optimizer.{name}.{key}"] = head.as_dtensor(value) if sharded else value
    return tensors


def _make_state(head: ShardedMarginHead, optimizer: Optimizer, saved: set[str]) -> None:
    """Room for the optimiser's saved state, which a new optimiser does not have yet."""
    for name, parameter in head.named_parameters():
        prefix = f"optimizer.{name}."
        for entry in (each for each in saved if each.startswith(prefix)):
            key = entry.removeprefix(prefix)
            empty = torch.zeros(()) if key == "step" else torch.zeros_like(parameter)
            optimizer.state[parameter][key] = empty
