"""Where a training runs: its device, and the processes that share the work."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Devices:
    """Describe the device of this process, and its part of the work.

    device: of this process. rank: number of this process, from 0. num_processes: of the run, on all
    machines. With one process, the methods exchange nothing and return at once.
    """

    device: torch.device
    rank: int = 0
    num_processes: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes checkpoints, records and progress."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Return this process's slice of `count` things.

        The slices of all processes are contiguous, and differ in size by one at most. With fewer
        things than processes, some slices are empty.
        """
        begin = count * self.rank // self.num_processes
        end = count * (self.rank + 1) // self.num_processes
        return slice(begin, end)

    def add_up(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in place.

        All processes must have tensors of the same shapes.
        """
        import torch.distributed

        self._together(tensors, torch.distributed.all_reduce)

    def copy_main(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by that of the main process, in place.

        All processes must have tensors of the same shapes.
        """
        import torch.distributed

        self._together(tensors, lambda bucket: torch.distributed.broadcast(bucket, src=0))

    def agreed(self, value: float) -> float:
        """Return the main process's value in all processes, so that all of them decide alike."""
        import torch

        found = torch.tensor([value], dtype=torch.float64)
        self.copy_main([found])
        return found.item()

    def gather_rows(self, mine: torch.Tensor, count: int) -> torch.Tensor:
        """Join the rows that the processes have computed, each for its `share(count)`.

        mine: (rows of this process, ...), on any device. Returns (count, ...) on the same device,
        equal in all processes.
        """
        if self.num_processes == 1:
            return mine
        whole = mine.new_zeros(count, *mine.shape[1:])
        whole[self.share(count)] = mine
        self.add_up([whole])
        return whole

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.num_processes > 1:
            import torch.distributed

            torch.distributed.barrier()

    def _together(
        self, tensors: Iterable[torch.Tensor], exchange: Callable[[torch.Tensor], Any]
    ) -> None:
        """Exchange tensors between the processes, and write the results into them.

        Tensors of one type of number are joined, so that they need only one message. exchange:
        changes a flat tensor in place.
        """
        if self.num_processes == 1:
            return
        import torch

        by_type: dict[torch.dtype, list[torch.Tensor]] = {}
        for tensor in tensors:
            by_type.setdefault(tensor.dtype, []).append(tensor)
        with torch.no_grad():
            for same in by_type.values():
                bucket = torch.cat([tensor.detach().reshape(-1).to(self.device) for tensor in same])
                exchange(bucket)
                parts = bucket.split([tensor.numel() for tensor in same])
                for tensor, part in zip(same, parts, strict=True):
                    tensor.copy_(part.view(tensor.shape))


@cache
def find_devices() -> Devices:
    """Find the device of this process, and the number of processes.

    `accelerate launch` or torchrun describe the processes of a run by environment variables.
    Without these there is one process, which uses a GPU if there is one. accelerate is not imported
    then. Several processes communicate by Gloo on CPUs, and by NCCL on GPUs.
    """
    import torch

    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Devices(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    state = PartialState(cpu=on_cpu)
    return Devices(state.device, state.process_index, state.num_processes)


def keep_freed_memory() -> None:
    """Let the C library (glibc only) keep freed memory for the next training step.

    By default it returns freed blocks of some MB to the system. The next step gets them back page
    by page, filled with zeros. Keeping blocks of up to 2 GB saves a fifth of a training step on
    Gowalla, for 2 % more memory (docs/performance.md). The memory is free when the process ends.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None:
        for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            mallopt(option, 2**31 - 1)


def is_main_process() -> bool:
    """Return whether this process writes results: it is the only one, or the first of several."""
    return os.environ.get("RANK", "0") == "0"
