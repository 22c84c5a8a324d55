"""Where a training runs: its device, and the processes that share the work."""

from __future__ import annotations

import ctypes
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from glta.training.ranks import num_processes

if TYPE_CHECKING:
    import torch


AFTER_OTHERS = 10
"""Seconds that a process waits to be ended when it has lost another one."""


class ProcessLost(ValueError):
    """Another process of the run has ended."""


@contextmanager
def _with_others() -> Iterator[None]:
    """Exchange something with the other processes. Raises ProcessLost when one of them has ended.

    What launched them knows why, says so, and ends this process meanwhile.
    """
    try:
        yield
    except RuntimeError as error:
        time.sleep(AFTER_OTHERS)
        raise ProcessLost(
            "another process of this training has ended, or cannot be reached; run again to go on "
            "from the last checkpoint"
        ) from error


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

            with _with_others():
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
                with _with_others():
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

    if num_processes() == 1:
        return Devices(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    from accelerate import PartialState

    state = PartialState(cpu=_on_cpu())
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


def launch(module: str, arguments: Sequence[str], count: int) -> int:
    """Run `python -m MODULE ARGUMENTS...` in `count` processes of this machine.

    It is what `accelerate launch` does. When one process fails or is killed, the others are ended.
    Returns the exit status. A process that fails says why by itself; of one that was killed, one
    line is written here. Raises ValueError when there are GPUs, but too few.
    """
    import torch
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    if not _on_cpu() and (gpus := torch.cuda.device_count()) < count:
        raise ValueError(
            f"training.processes = {count}: this machine has {gpus} GPUs; lower it, or set "
            "ACCELERATE_USE_CPU=true to train on CPUs"
        )
    # its messages are of many lines; the processes' own are not affected
    logging.disable()
    # `--cpu` would start one process; what `--multi_gpu` starts works on CPUs as well
    options = ["--multi_gpu", "--num_processes", str(count), "--num_machines", "1"]
    options += ["--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"]
    try:
        launch_command(launch_command_parser().parse_args([*options, "-m", module, *arguments]))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            print(
                f"error: process {rank + 1} of {count} was killed "
                f"({signal.Signals(-failure.exitcode).name}), and the others were ended; run again "
                "to go on from the last checkpoint",
                file=sys.stderr,
            )
        return 1
    return 0


def end_with_launcher() -> None:
    """Let this process be killed when the one that launched it has ended. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _on_cpu() -> bool:
    """Return whether several processes train on CPUs."""
    import torch
    from accelerate.utils import parse_flag_from_env

    return bool(parse_flag_from_env("ACCELERATE_USE_CPU")) or not torch.cuda.is_available()
