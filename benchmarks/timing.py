"""Provide what all benchmarks share.

This is rows of results, timing in turns, child processes with their peak memory, and a description
of the machine.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Row:
    """Hold one comparison.

    ours, rival: in `unit`; smaller is better. rival is a measurement, or a bound that ours must not
    exceed (target 1). target: the smallest wanted rival / ours. note: what else was measured.
    """

    case: str
    ours: float
    against: str
    rival: float
    _: KW_ONLY
    target: float | None = None
    unit: str = "s"
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.rival / self.ours

    @property
    def met(self) -> bool | None:
        """Return whether the target is met; None without a target."""
        return None if self.target is None else self.ratio >= self.target


PROCESSOR_TIME = "BENCHMARKS_PROCESSOR_TIME"


def clock() -> float:
    """Return seconds of wall-clock time, or of processor time where PROCESSOR_TIME is set.

    Processor time counts all threads together. With one thread, it can be measured on a machine
    that is shared with others.
    """
    return time.process_time() if os.environ.get(PROCESSOR_TIME) else time.perf_counter()


def in_turns(
    contestants: dict[str, Callable[[], object]], rounds: int, warm_up: int = 1
) -> dict[str, float]:
    """Time contestants in turns. Returns median seconds.

    Turns make other load of the machine slow all contestants alike.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(warm_up + rounds):
        for name, run in contestants.items():
            begin = clock()
            run()
            if turn >= warm_up:
                times[name].append(clock() - begin)
    return {name: median(values) for name, values in times.items()}


def child(module: str, *args: object) -> dict:
    """Run a module in a process of its own and return the JSON of its last line.

    Raises CalledProcessError when it fails.
    """
    command = [sys.executable, "-m", module, *map(str, args)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out.splitlines()[-1])


def peak_bytes() -> int:
    """Return the peak memory of this process, in bytes. Linux only.

    getrusage is not used, because its peak starts with that of the parent process.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def report(**values: object) -> None:
    """Print the values that `child` returns, with the peak memory of this process."""
    print(json.dumps({**values, "peak_bytes": peak_bytes()}))


def machine() -> dict[str, str]:
    """Describe the machine and the versions that matter."""
    info = Path("/proc/cpuinfo")
    models = (
        [
            line.split(":")[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        if info.exists()
        else []
    )
    packages = ("torch", "numpy", "polars", "torch-geometric")
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
