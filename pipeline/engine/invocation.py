"""Identify the call of an engine that a stage belongs to.

One call of `snakemake` or `dvc repro` is one pipeline run in MLflow. Only one call at a time may
use a checkout: `Invocation.claim`.
"""

from __future__ import annotations

import base64
import ctypes
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
# in a fork of the server of warm.py: the process that it stands for
CLIENT = "GLTA_CLIENT"
# names the run that uses the checkout; locked as long, so a kill leaves nothing to clean up
CLAIM = Path(".pipe/engine.json")
# seconds; `snakemake -n` uses the checkout for about that long
PATIENCE = 5
# open until this process ends
_claims: list[IO[str]] = []


class BusyError(ValueError):
    """Report that another run is using the checkout."""


class Invocation(NamedTuple):
    """Describe one call of an engine.

    id: of the engine's main process, unique over machines and reboots. started: seconds since 1970.
    """

    id: str
    command: str
    started: float
    pid: int

    @classmethod
    def of(cls, pid: int) -> Invocation:
        """Describe a process of this machine."""
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
        """Return what Snakemake has announced, or else the outermost dvc above this process.

        A worker of `dvc queue` runs several experiments in turn, so the experiment's name is part
        of the id.
        """
        if announced := os.environ.get(VARIABLE):
            return cls(**json.loads(base64.b64decode(announced)))
        above = list(_ancestors(int(os.environ.get(CLIENT, os.getpid()))))
        engines = [pid for pid in above if _command(pid).startswith("dvc ")]
        found = cls.of((engines or above)[-1 if engines else 0])
        experiment = os.environ.get("DVC_EXP_NAME")
        return found._replace(id=f"{found.id}-{experiment}") if experiment else found

    def claim(self, path: Path = CLAIM, doing: str = "uses this checkout") -> None:
        """Take the lock at a path, and hold it until this process ends.

        doing: what the holder does, for the message to others. Raises BusyError, with the name of
        the holder, when the lock is not free within PATIENCE, and ValueError when the checkout
        cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
        except OSError as error:
            raise ValueError(
                f"{path.absolute()}: cannot be written ({error.strerror}), and the engines work in "
                "this folder; work in a copy that is yours, on a file system that is not read-only"
            ) from None
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BusyError(_busy(path.read_text(), doing)) from None
                time.sleep(0.2)
        file.truncate(0)
        file.write(json.dumps(self._asdict() | {"user": user(), "host": socket.gethostname()}))
        file.flush()
        _claims.append(file)

    def announce(self) -> None:
        """Pass this invocation on to all processes started from here, in an environment variable.

        It is encoded in base64, because executors of clusters write it into job scripts, where
        quotes in the command line would end the text.
        """
        os.environ[VARIABLE] = base64.b64encode(json.dumps(self._asdict()).encode()).decode()


def die_with_parent(sig: int, parent: int | None = None) -> None:
    """Ask Linux to send a signal when the parent dies, for whatever reason (PR_SET_PDEATHSIG).

    parent: its process id, when a fork asks; if it has died before this call, the signal comes now.
    """
    ctypes.CDLL(None).prctl(1, sig)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), sig)


def user() -> str:
    """Return the name of the current user, or the number in a container without names."""
    try:
        return getpass.getuser()
    # OSError from Python 3.13 on
    except (KeyError, OSError):
        return str(os.getuid())


def _busy(claim: str, doing: str) -> str:
    """Write a message that says who holds a claim."""
    try:
        who = json.loads(claim)
    # the holder is just writing it
    except ValueError:
        return "another run has just started in this checkout; wait for it to end"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(who["started"]))
    return (
        f"`{who['command']}` of {who['user']} {doing} since {since} (process {who['pid']} on "
        f"{who['host']}); wait for it to end, or work in a clone of your own"
    )


def _ancestors(pid: int) -> Iterator[int]:
    """Yield parent, grandparent, ... up to but not including the first process."""
    while (pid := int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])) > 1:
        yield pid


def _command(pid: int) -> str:
    """Return a process's command line.

    The interpreter and the folder before an engine's name are left out.
    """
    arguments = (
        Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    )
    for n, argument in enumerate(arguments[:3]):
        if Path(argument).name in ("dvc", "snakemake"):
            return " ".join([Path(argument).name, *arguments[n + 1 :]])
    return " ".join(arguments)
