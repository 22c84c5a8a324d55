"""Where a training runs: its device, and the processes that share the work."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Devices:
    """Tell a process its device and its part of the work.

    device: of this process. rank: its number, from 0. num_processes: of the run, on all machines.
    With one process, everything here returns at once what it was given.
    """

    device: torch.device
    rank: int = 0
    num_processes: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes checkpoints, records and progress."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Cut `count` things into contiguous parts, one a process, and return this one's.

        The parts differ in size by one at most. A part is empty where there are too few things.
        """
        begin, end = (count * rank // self.num_processes for rank in (self.rank, self.rank + 1))
        return slice(begin, end)

    def add_up(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in place. Shapes must agree."""
        import torch.distributed

        self._together(tensors, torch.distributed.all_reduce)

    def copy_main(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by that of the main process, in place. Shapes must agree."""
        import torch.distributed

        self._together(tensors, lambda bucket: torch.distributed.broadcast(bucket, src=0))

    def agreed(self, value: float) -> float:
        """Return the main process's value, so that all processes decide alike."""
        import torch

        found = torch.tensor([value], dtype=torch.float64)
        self.copy_main([found])
        return found.item()

    def gather_rows(self, mine: torch.Tensor, count: int) -> torch.Tensor:
        """Put together the rows that each process has computed for `share(count)`.

        mine: (part, ...), on any device. Returns (count, ...) there, the same in all processes.
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

    def _together(self, tensors: Iterable[torch.Tensor], exchange) -> None:
        """Exchange tensors in one flat bucket for each type of number: one message, not one a
        tensor.
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
    """Find what this process runs on.

    `accelerate launch` (or torchrun) tells each process about the others by environment variables.
    Without them there is one process, on the GPU where there is one, and accelerate is not loaded.
    Processes on CPUs talk through Gloo, processes on GPUs through NCCL.
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
    """Let the C library keep freed blocks of up to 2 GB for the next step; where it is not glibc,
    do nothing.

    It gives blocks of some MB back to the system, and the next step gets them page by page, zeroed:
    a fifth of a training step on Gowalla for 2 % more memory (docs/performance.md). All is returned
    when the process ends.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None:
        for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            mallopt(option, 2**31 - 1)


def is_main_process() -> bool:
    """Tell whether this process writes results: the only one, or the first one of a launch."""
    return os.environ.get("RANK", "0") == "0"
