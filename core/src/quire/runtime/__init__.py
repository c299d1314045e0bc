"""The runtime: one typed object between a plugin's code and the machine, on top of accelerate."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from quire.errors import ConfigError
from quire.runtime.device import Precision, choose_device, choose_precision, choose_threads
from quire.runtime.loading import Job, load_jobs
from quire.runtime.memory import (
    available_memory,
    in_batches_that_fit,
    is_out_of_memory,
    largest_batch,
    release_memory,
    reset_peak_memory,
)
from quire.runtime.meter import Meter, Throughput, count_flop
from quire.runtime.processes import sum_over_processes, synchronize_batch_norm
from quire.runtime.seeds import make_deterministic, random_state, restore_random_state, seed_everything

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from accelerate import Accelerator
    from torch.optim import Optimizer

    from quire.runtime.loading import Loader

__all__ = [
    "Job",
    "Meter",
    "Runtime",
    "Throughput",
    "available_memory",
    "count_flop",
    "in_batches_that_fit",
    "is_out_of_memory",
    "largest_batch",
    "release_memory",
    "seed_everything",
]
log = logging.getLogger(__name__)
FUSED_ON = ("cpu", "cuda", "mps", "xpu")
ModuleT = TypeVar("ModuleT", bound=nn.Module)


@functools.cache
def _accelerator(cpu: bool) -> Accelerator:
    """The process group and the wrappers for it: one per process, as accelerate keeps its state per process.

    Precision and placement stay with Runtime, so that runtimes of different settings can live in one process.
    `cpu`: the group's messages are of CPU tensors.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    return Accelerator(
        cpu=cpu,
        mixed_precision="no",
        device_placement=False,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)],
    )


@dataclass(frozen=True)
class Runtime:
    """The machine as a training or a prediction sees it.

    device: "auto" or a torch device name; precision: "auto" is bf16 where the device is fast in it, else fp32;
    compile: torch.compile the network; seed: of everything random; deterministic: refuse kernels that are not;
    workers: processes that load data (0: none); threads: CPU threads, "auto" is one for small networks.
    Under torchrun or `accelerate launch` each process takes its share of every batch.
    """

    device: str = "auto"
    precision: Precision = "auto"
    compile: bool = False
    seed: int = 0
    deterministic: bool = False
    workers: int = 0
    threads: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ConfigError(f"workers is {self.workers}, but can't be negative")
        if self.threads != "auto" and self.threads < 1:
            raise ConfigError(f"threads is {self.threads}, but must be at least 1 or auto")
        if self.seed < 0:
            raise ConfigError(f"the seed is {self.seed}, but can't be negative")
        choose_precision(self.precision, self.torch_device)

    @functools.cached_property
    def torch_device(self) -> torch.device:
        """The device that tensors go to; under several processes, this process's own."""
        device = choose_device(self.device)
        if device.type != "cpu" and self.processes > 1:
            return torch.device(self._accelerator.device)
        return device

    @functools.cached_property
    def _accelerator(self) -> Accelerator:
        return _accelerator(choose_device(self.device).type == "cpu")

    @functools.cached_property
    def autocast_dtype(self) -> torch.dtype:
        """float32 means that nothing is cast."""
        return choose_precision(self.precision, self.torch_device)

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return int(self._accelerator.num_processes) if _launched() else 1

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        return int(self._accelerator.process_index) if _launched() else 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def describe(self) -> dict[str, Any]:
        """The settings and what was chosen for them, for run.json."""
        return {
            "device": str(self.torch_device),
            "device_name": _device_name(self.torch_device),
            "precision": str(self.autocast_dtype).removeprefix("torch."),
            "compile": self.compile,
            "seed": self.seed,
            "deterministic": self.deterministic,
            "workers": self.workers,
            "threads": self.threads,
            "processes": self.processes,
        }

    def begin(self, module: nn.Module | None = None) -> None:
        """Set this process up for the runtime: threads for `module`'s size, TF32, deterministic kernels."""
        parameters = sum(p.numel() for p in module.parameters()) if module is not None else 0
        torch.set_num_threads(choose_threads(self.threads, parameters))
        if self.torch_device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.allow_tf32 = True
        if self.deterministic:
            make_deterministic()
        reset_peak_memory(self.torch_device)

    def seed_everything(self, *salt: int) -> None:
        """Seed all global generators from the runtime's seed and `salt` (a phase, a member of an ensemble)."""
        seed = self.seed
        for number in salt:
            seed = (seed * 1_000_003 + number + 1) % 2**63
        seed_everything(seed)

    def random_state(self) -> dict[str, Any]:
        """The state of all generators; see `restore_random_state`."""
        return random_state(self.torch_device)

    def restore_random_state(self, state: dict[str, Any]) -> None:
        """Continue all generators from `state`."""
        restore_random_state(state, self.torch_device)

    def place(self, module: ModuleT) -> ModuleT:
        """`module` on the device, channels-last where its convolutions are two-dimensional and the device is a GPU."""
        module = module.to(self.torch_device)
        if self.torch_device.type == "cuda" and any(isinstance(m, nn.Conv2d) for m in module.modules()):
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module

    def wrap(self, module: nn.Module) -> nn.Module:
        """`module` compiled if asked for, and averaging its gradients over all processes when there are several."""
        if self.compile:
            module.compile()
        if self.processes == 1:
            return module
        synchronize_batch_norm(module)
        warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
        wrapped: nn.Module = self._accelerator.prepare_model(module, device_placement=False)
        return wrapped

    def without_sync(self, module: nn.Module) -> AbstractContextManager[Any]:
        """A context in which the gradients of a wrapped module stay local (all micro-batches but the last)."""
        return self._accelerator.no_sync(module) if self.processes > 1 else contextlib.nullcontext()

    def move(self, batch: Any) -> Any:
        """`batch` (any nesting of dicts, lists, tuples and tensors) on the device."""
        if self.torch_device.type == "cpu":
            return batch
        from accelerate.utils import send_to_device

        return send_to_device(batch, self.torch_device, non_blocking=True)

    def load(self, load: Loader, jobs: Sequence[Job]) -> Iterator[Any]:
        """Loaded, prefetched batches; see runtime.loading. They are not moved to the device yet."""
        return load_jobs(load, jobs, seed=self.seed, workers=self.workers, pin_memory=self.torch_device.type == "cuda")

    def autocast(self) -> AbstractContextManager[Any]:
        """The mixed-precision region of a forward pass; a no-op in fp32."""
        if self.autocast_dtype is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.torch_device.type, dtype=self.autocast_dtype)

    def gradient_scaler(self) -> torch.amp.GradScaler:
        """Loss scaling for fp16; disabled, hence transparent, in any other precision."""
        return torch.amp.GradScaler(self.torch_device.type, enabled=self.autocast_dtype is torch.float16)

    def optimizer(self, kind: type[Optimizer], parameters: Any, **options: Any) -> Optimizer:
        """An optimiser in its fused form where it has one: the same update in one kernel."""
        groups = _parameter_groups(parameters)
        fusible = all(isinstance(p, Tensor) and p.is_floating_point() for group in groups for p in group["params"])
        if fusible and "fused" in inspect.signature(kind).parameters and self.torch_device.type in FUSED_ON:
            with contextlib.suppress(RuntimeError):  # options that exclude the fused form
                return kind([dict(group) for group in groups], **{"fused": True, **options})
        return kind(groups, **options)

    def share(self, batch: Sequence[int]) -> list[int]:
        """This process's part of a global batch."""
        return list(batch[self.rank :: self.processes])

    def sum(self, values: Tensor) -> Tensor:
        """The sum of `values` over all processes."""
        return sum_over_processes(values)

    def sum_each(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each of the scalars `values` summed over all processes, in one message."""
        if self.processes == 1 or not values:
            return dict(values)
        sums = self.sum(torch.stack([value.detach().float() for value in values.values()]))
        return dict(zip(values, sums, strict=True))

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """Each of `flags`: whether it holds in at least one process."""
        if self.processes == 1:
            return list(flags)
        counts = self.sum(torch.tensor(flags, dtype=torch.int32, device=self.torch_device))
        return [bool(count) for count in counts.tolist()]

    def average_gradients(self, module: nn.Module) -> None:
        """Average the gradients of `module` over all processes, for a training step that a model owns entirely."""
        if self.processes > 1:
            for parameter in module.parameters():
                if parameter.grad is not None:
                    parameter.grad.copy_(self.sum(parameter.grad) / self.processes)

    def broadcast(self, module: nn.Module) -> None:
        """Give every process the main process's weights and buffers."""
        if self.processes > 1:
            from accelerate.utils import broadcast

            for tensor in [*module.parameters(), *module.buffers()]:
                tensor.data.copy_(broadcast(tensor.data))

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.processes > 1:
            self._accelerator.wait_for_everyone()


def _parameter_groups(parameters: Any) -> list[dict[str, Any]]:
    """What an optimiser takes, as groups that do not run out when they are read twice."""
    entries = list(parameters)
    groups = entries if entries and isinstance(entries[0], dict) else [{"params": entries}]
    return [{**g, "params": [g["params"]] if isinstance(g["params"], Tensor) else list(g["params"])} for g in groups]


def _launched() -> bool:
    """Whether a launcher started several processes; without one, accelerate is not even imported."""
    import os

    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    import platform

    return platform.processor() or platform.machine()
