"""Which call of an engine a stage belongs to: one `snakemake ...` or one `dvc repro ...` is one
pipeline run in MLflow.

One call at a time has a checkout: `Invocation.claim`.
"""

from __future__ import annotations

import base64
import fcntl
import getpass
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

# Snakemake's main process leaves its invocation here for its jobs, remote ones too
VARIABLE = "GLTA_PIPELINE"
CLAIM = Path(
    ".pipe/engine.json"
)  # who has the checkout: locked while they do, so a kill leaves nothing to clean up
PATIENCE = 5  # seconds: `snakemake -n` has the checkout for about that long
_claims: list[IO[str]] = []  # open until this process ends


class BusyError(ValueError):
    """Somebody else's run has the checkout."""


class Invocation(NamedTuple):
    """id: of the engine's main process, unique over machines and reboots.

    started: seconds since 1970.
    """

    id: str
    command: str
    started: float
    pid: int

    @classmethod
    def of(cls, pid: int) -> Invocation:
        """Describe a process that runs on this machine."""
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        booted = next(
            float(line.split()[1])
            for line in Path("/proc/stat").read_text().splitlines()
            if line.startswith("btime")
        )
        identity = f"{socket.gethostname()}-{int(booted)}-{pid}-{ticks}"
        return cls(identity, _command(pid), booted + ticks / os.sysconf("SC_CLK_TCK"), pid)

    @classmethod
    def current(cls) -> Invocation:
        """Return what Snakemake has announced, else the outermost dvc above this process.

        Workers of `dvc queue` take one experiment after another, so the experiment's name is part
        of the identity.
        """
        if announced := os.environ.get(VARIABLE):
            return cls(**json.loads(base64.b64decode(announced)))
        above = list(_ancestors(os.getpid()))
        engines = [pid for pid in above if _command(pid).startswith("dvc ")]
        found = cls.of((engines or above)[-1 if engines else 0])
        experiment = os.environ.get("DVC_EXP_NAME")
        return found._replace(id=f"{found.id}-{experiment}") if experiment else found

    def claim(self, path: Path = CLAIM, deed: str = "has this checkout") -> None:
        """Have what a path stands for until this process ends. Raises BusyError with who has it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BusyError(_busy(path.read_text(), deed)) from None
                time.sleep(0.2)
        file.truncate(0)
        file.write(json.dumps(self._asdict() | {"user": user(), "host": socket.gethostname()}))
        file.flush()
        _claims.append(file)

    def announce(self) -> None:
        """Name this invocation to every process started from here.

        In base64: executors of clusters write it into job scripts, where quotes of the command line
        would end the text.
        """
        os.environ[VARIABLE] = base64.b64encode(json.dumps(self._asdict()).encode()).decode()


def user() -> str:
    """Name who runs this; by number in a container that has no name for them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # until, and from Python 3.13
        return str(os.getuid())


def _busy(claim: str, deed: str) -> str:
    """Say who has what a claim stands for."""
    try:
        who = json.loads(claim)
    except ValueError:  # in the moment of writing
        return "another run has just started in this checkout; wait for it to end"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(who["started"]))
    return (
        f"`{who['command']}` of {who['user']} {deed} since {since} (process {who['pid']} on "
        f"{who['host']}); "
        "wait for it to end, or work in a clone of your own"
    )


def _ancestors(pid: int) -> Iterator[int]:
    """Yield parent, grandparent, ... up to but not including the first process."""
    while (pid := int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])) > 1:
        yield pid


def _command(pid: int) -> str:
    """Return a process's command line, without the interpreter and folders in front of an engine's
    name.
    """
    arguments = (
        Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    )
    for n, argument in enumerate(arguments[:3]):
        if Path(argument).name in ("dvc", "snakemake"):
            return " ".join([Path(argument).name, *arguments[n + 1 :]])
    return " ".join(arguments)
