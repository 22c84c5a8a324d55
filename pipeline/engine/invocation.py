"""Which call of an engine a stage belongs to: one `snakemake ...` or one `dvc repro ...` is one pipeline run in MLflow."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

VARIABLE = "GLTA_PIPELINE"  # Snakemake's main process leaves its invocation here for its jobs, remote ones too


class Invocation(NamedTuple):
    """id: of the engine's main process, unique over machines and reboots. started: seconds since 1970."""

    id: str
    command: str
    started: float

    @classmethod
    def of(cls, pid: int) -> Invocation:
        """Describe a process that runs on this machine."""
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        booted = next(
            float(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
        )
        identity = f"{socket.gethostname()}-{int(booted)}-{pid}-{ticks}"
        return cls(identity, _command(pid), booted + ticks / os.sysconf("SC_CLK_TCK"))

    @classmethod
    def current(cls) -> Invocation:
        """Return what Snakemake has announced, else the outermost dvc above this process.

        Workers of `dvc queue` take one experiment after another, so the experiment's name is part of the identity.
        """
        if announced := os.environ.get(VARIABLE):
            return cls(**json.loads(base64.b64decode(announced)))
        above = list(_ancestors(os.getpid()))
        engines = [pid for pid in above if _command(pid).startswith("dvc ")]
        found = cls.of((engines or above)[-1 if engines else 0])
        experiment = os.environ.get("DVC_EXP_NAME")
        return found._replace(id=f"{found.id}-{experiment}") if experiment else found

    def announce(self) -> None:
        """Name this invocation to every process started from here.

        In base64: executors of clusters write it into job scripts, where quotes of the command line would end the text.
        """
        os.environ[VARIABLE] = base64.b64encode(json.dumps(self._asdict()).encode()).decode()


def _ancestors(pid: int) -> Iterator[int]:
    """Yield parent, grandparent, ... up to but not including the first process."""
    while (pid := int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])) > 1:
        yield pid


def _command(pid: int) -> str:
    """Return a process's command line, without the interpreter and folders in front of an engine's name."""
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    for n, argument in enumerate(arguments[:3]):
        if Path(argument).name in ("dvc", "snakemake"):
            return " ".join([Path(argument).name, *arguments[n + 1 :]])
    return " ".join(arguments)
