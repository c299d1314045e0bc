"""Batches as large as the memory allows."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, TypeVar

import psutil
import torch

from quire.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device, or the host's allocator, had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def release_memory() -> None:
    """Give unused memory back to the device's allocator."""
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.memory.empty_cache()


def largest_batch(attempt: Callable[[int], object], *, start: int = 1, limit: int = 65_536) -> int:
    """The largest batch size up to `limit` for which `attempt(size)` finds enough memory.

    Doubles from `start`, then bisects. Raises TrainingError if not even `start` fits.
    """

    def fits(size: int) -> bool:
        try:
            attempt(size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        else:
            return True
        release_memory()  # only here does the error's traceback no longer hold the tensors
        return False

    if not fits(start):
        raise TrainingError(f"a batch of {start} does not fit into memory", remedy="Use a smaller model or input.")
    good = start
    while good < limit:
        size = min(good * 2, limit)
        if not fits(size):
            bad = size
            break
        good = size
    else:
        return good
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def in_batches_that_fit(items: Sequence[T], size: int, work: Callable[[Sequence[T]], object]) -> Iterator[object]:
    """`work` on consecutive batches of at most `size` items; a batch that does not fit into memory is halved, for good."""
    start = 0
    while start < len(items):
        batch = items[start : start + size]
        try:
            result = work(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise TrainingError(
                    "a single sample does not fit into memory", remedy="Use a smaller model or input."
                ) from error
            size = max(1, len(batch) // 2)
        else:
            yield result
            start += len(batch)
            continue
        release_memory()


def peak_memory(device: torch.device) -> int:
    """Peak bytes: of the device's allocator since `reset_peak_memory`, on a CPU of the process so far."""
    if device.type == "cpu":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    return int(torch.accelerator.memory.max_memory_allocated(device))


def reset_peak_memory(device: torch.device) -> None:
    """Start counting the peak anew, where the device can."""
    if device.type not in ("cpu", "mps"):
        torch.accelerator.memory.reset_peak_memory_stats(device)


def available_memory(device: torch.device) -> int:
    """Free bytes of the device, or of the host for a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
