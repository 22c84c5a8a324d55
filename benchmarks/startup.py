"""Time what a user waits for before any work starts.

This is `glta --help`, and Snakemake's plan of a large matrix that has never run.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.timing import PROCESSOR_TIME, Row

DATASETS = ["sample", "ml-latest-small", "ml-100k", "ml-1m"]
METHODS = [
    "popularity",
    "text-knn",
    "item-knn",
    "ease",
    "lightgcn",
    "lightgcn-text-knn",
    "lightgcn-plus",
    "hccf",
    "hccf-plus",
    "rlmrec-con",
    "rlmrec-gen",
    "glta",
]


def seconds_of(command: list[str], folder: Path, rounds: int) -> float:
    """Run a command several times in a folder. Returns the median seconds.

    Raises RuntimeError with the command's output when it fails.
    """
    times = []
    for _ in range(rounds):
        wall = time.perf_counter()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {(done.stdout + done.stderr)[-2000:]}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        times.append(used if os.environ.get(PROCESSOR_TIME) else time.perf_counter() - wall)
    return float(np.median(times))


def repository(folder: Path, num_datasets: int, num_seeds: int, num_methods: int) -> int:
    """Clone the last commit into a folder with a larger matrix.

    Returns the number of cells: methods times datasets times seeds.
    """
    subprocess.run(["git", "clone", "-q", "--depth", "1", Path.cwd().as_uri(), folder], check=True)
    values = {
        "datasets": DATASETS[:num_datasets],
        "seeds": list(range(num_seeds)),
        "methods": METHODS[: num_methods - 1] + METHODS[-1:],
    }
    params = folder / "params.yaml"
    text = params.read_text()
    for key, value in values.items():
        text = re.sub(
            rf"^{key}: \[.*?\]", f"{key}: [{', '.join(map(str, value))}]", text, flags=re.MULTILINE
        )
    params.write_text(text)
    subprocess.run(
        [Path(sys.executable).parent / "glta", "params", "sync"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return num_datasets * num_seeds * num_methods


def run(quick: bool) -> list[Row]:
    """Time both commands.

    The plan is for 4 datasets, 3 seeds and 12 methods (quick: 1, 1 and 2).
    """
    rounds, size = (1, (1, 1, 2)) if quick else (3, (4, 3, 12))
    binaries = Path(sys.executable).parent
    rows = [
        Row(
            "glta --help",
            seconds_of([str(binaries / "glta"), "--help"], Path.cwd(), rounds),
            "0.5 s",
            0.5,
            target=None if quick else 1,
        )
    ]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "glta")
        cells = repository(copy, *size)
        command = [str(binaries / "snakemake"), "-n", "--cores", "1", "--quiet", "all"]
        rows.append(
            Row(
                f"snakemake -n, {cells} results",
                seconds_of(command, copy, rounds),
                "5 s",
                5,
                target=None if quick else 1,
            )
        )
    return rows
