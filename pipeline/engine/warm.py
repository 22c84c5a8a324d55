"""Run a stage in a fork of a process that has imported the large libraries already.

The first stage of an engine's call leaves a folder. The second one starts the server, and from then
on each stage asks it for a fork. The server imports no code of this project, so an edit between two
stages counts. It ends with the engine. Where no fork can be had, the stage starts as usual.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

from setproctitle import setproctitle

from pipeline.engine.imports import ROOTS
from pipeline.engine.invocation import CLIENT, Invocation, die_with_parent
from pipeline.engine.processor import instructions, thread_limits

SERVERS = Path(".pipe/warm")
# =0: every stage starts as usual
SWITCH = "GLTA_WARM"
# Polars is not among them: it starts threads when it is imported, and a fork has none of them
LIBRARIES = (
    "numpy",
    "scipy.sparse",
    "scipy.linalg",
    "torch",
    "pydantic",
    "ruamel.yaml",
    "alembic.command",
    "mlflow",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "dvc.cachemgr",
    "dvc.dvcfile",
    "dvc.repo.index",
    "dvc.repo.status",
    "dvc.stage.cache",
    "dvc_data.index.checkout",
    "scmrepo.git",
)
UNWANTED = ("pandas", "polars", "pyarrow")


def run(module: str, arguments: list[str]) -> int | None:
    """Run `python -m MODULE ARGUMENTS...` in a fork of the server. Returns its exit status.

    SIGTERM and SIGINT are passed on. A kill of this process ends the fork. Returns None, and does
    nothing, when there is no server (yet).
    """
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        call = Invocation.current()
        # a job on another machine has an engine that is not a process here
        if not call.id.startswith(Invocation.of(call.pid).id):
            return None
        # a scheduler's job on the engine's machine has a control group, with limits, of its own
        if _group_of("self") != _group_of(call.pid):
            return None
        digest = hashlib.sha256(call.id.encode()).hexdigest()[:12]
        folder = SERVERS / f"{call.pid}-{digest}"
        connection = _connect(folder, call.pid)
    # a wrong value of a variable is the runner's to report
    except (OSError, ValueError):
        return None
    return _ask(connection, module, arguments) if connection else None


def _group_of(process: int | str) -> str:
    """Return the control groups of a process, by which Linux limits memory and devices."""
    return Path(f"/proc/{process}/cgroup").read_text()


def _connect(folder: Path, engine: int) -> socket.socket | None:
    """Connect to the server of a call, or start it when this is the second stage of the call."""
    with suppress(FileExistsError):
        folder.mkdir(parents=True)
        for other in SERVERS.iterdir():
            if not Path("/proc", other.name.partition("-")[0]).exists():
                shutil.rmtree(other, ignore_errors=True)
        return None
    connection = socket.socket(socket.AF_UNIX)
    with suppress(FileNotFoundError, ConnectionRefusedError):
        connection.connect(str(folder / "server"))
        return connection
    connection.close()
    with suppress(FileExistsError):
        (folder / "started").touch(exist_ok=False)
        subprocess.Popen(
            [sys.executable, "-m", "pipeline.engine.warm", str(folder), str(engine)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ
            | instructions(os.environ)
            | thread_limits(1)
            | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            # a kill of the engine's group leaves it to end the stages, and then itself
            process_group=0,
        )
    return None


def _ask(connection: socket.socket, module: str, arguments: list[str]) -> int:
    """Ask for a fork, pass signals on to it, and wait for its exit status."""

    def pass_on(signum: int, _: Any) -> None:
        with suppress(OSError):
            connection.send(bytes([signum]))

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, pass_on)
    die_with_parent(signal.SIGTERM)
    env = os.environ | {CLIENT: str(os.getpid())}
    request = json.dumps([module, arguments, env]).encode()
    with connection:
        socket.send_fds(connection, [struct.pack("!I", len(request))], [0, 1, 2])
        connection.sendall(request)
        status = connection.recv(1)
    if status:
        return status[0]
    print(
        "error: the process that starts the stages was killed; run again to go on", file=sys.stderr
    )
    return 1


def serve(folder: Path, engine: int) -> None:
    """Answer each connection with a fork, until the process `engine` has ended.

    A library that starts a thread would make forks unsafe; then there is no server.
    """
    ended = os.pidfd_open(engine)
    try:
        absent = block()
        for name in LIBRARIES:
            importlib.import_module(name)
        importlib.import_module("sqlalchemy.orm").configure_mappers()
        for name in absent:
            del sys.modules[name]
        if len(list(Path("/proc/self/task").iterdir())) > 1:
            return
        # a garbage collection in a fork would touch, and so copy, every page of the imports
        gc.collect()
        gc.freeze()
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(folder / "new"))
            listening.listen(64)
            (folder / "new").rename(folder / "server")
            _answer(listening, ended)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answer(listening: socket.socket, ended: int) -> None:
    # {descriptor of the fork's end: (its process, the connection)}
    forks: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as waiting:
        waiting.register(listening, selectors.EVENT_READ)
        waiting.register(ended, selectors.EVENT_READ)
        while forks or ended in waiting.get_map():
            for key, _ in waiting.select():
                if key.fileobj is listening:
                    connection, _ = listening.accept()
                    if process := _fork(connection, waiting):
                        descriptor = os.pidfd_open(process)
                        forks[descriptor] = process, connection
                        waiting.register(descriptor, selectors.EVENT_READ)
                        waiting.register(connection, selectors.EVENT_READ, process)
                elif key.fileobj == ended:
                    # the stages of a killed engine die of themselves
                    waiting.unregister(ended)
                    waiting.unregister(listening)
                elif key.data:
                    _pass_on(key.fileobj, key.data, waiting)
                else:
                    process, connection = forks.pop(key.fd)
                    _, status = os.waitpid(process, 0)
                    waiting.unregister(key.fd)
                    os.close(key.fd)
                    with suppress(KeyError, ValueError):
                        waiting.unregister(connection)
                    with connection, suppress(OSError):
                        connection.sendall(bytes([os.waitstatus_to_exitcode(status) % 256]))


def _pass_on(connection: Any, process: int, waiting: selectors.BaseSelector) -> None:
    """Send the process the signals that its client got; SIGTERM when the client is gone."""
    signals = b""
    with suppress(OSError):
        signals = connection.recv(16)
    if not signals:
        waiting.unregister(connection)
    for signum in signals or [signal.SIGTERM]:
        os.kill(process, signum)


def _fork(connection: socket.socket, waiting: selectors.BaseSelector) -> int | None:
    """Fork for the request of a connection. Returns the process, in the parent alone."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    if struct.unpack("3i", credentials)[1] != os.getuid():
        connection.close()
        return None
    try:
        head, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
        request = b""
        while len(request) < struct.unpack("!I", head)[0]:
            if not (more := connection.recv(1 << 20)):
                raise ConnectionError
            request += more
    except (OSError, struct.error):
        connection.close()
        return None
    server = os.getpid()
    if process := os.fork():
        for descriptor in descriptors:
            os.close(descriptor)
        return process
    waiting.close()
    connection.close()
    _become(descriptors, server, *json.loads(request))
    return None


def _become(
    descriptors: list[int], server: int, module: str, arguments: list[str], env: dict[str, str]
) -> None:
    """Run the module in place of the client. Does not return."""
    die_with_parent(signal.SIGTERM, server)
    # the terminal takes this process for one in the background, and may stop it when it writes
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = _stream(1)
    sys.stderr = _stream(2)
    os._exit(_run_module(module, arguments, env))


def _stream(descriptor: int) -> IO[str]:
    return open(
        descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )


def _run_module(module: str, arguments: list[str], env: dict[str, str]) -> int:
    """Run `python -m MODULE ARGUMENTS...` in this process. Returns its exit status."""
    _let_go()
    # it imports this project's code anew, as a process of its own would
    for name in [name for name in sys.modules if name.partition(".")[0] in ROOTS]:
        del sys.modules[name]
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [module, *arguments]
    sys.orig_argv = ["python", "-m", module, *arguments]
    setproctitle(" ".join(sys.orig_argv))
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _let_go() -> None:
    """Let go of the parent's files, and so of the locks on them.

    Their numbers stay taken: an object that closes its file later must not close another one.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in sorted(int(path.name) for path in Path("/proc/self/fd").iterdir()):
        if descriptor > 2 and descriptor != nothing:
            with suppress(OSError):
                os.fstat(descriptor)
                os.dup2(nothing, descriptor)


class Script(Protocol):
    """A process that runs a stage's command; returncode is None until `wait` has returned."""

    returncode: int | None

    def wait(self) -> int: ...

    def kill(self) -> None: ...


class Fork:
    """Run `python -m MODULE ARGUMENTS...` in a fork of this process. See `Script`."""

    def __init__(self, module: str, arguments: list[str], env: dict[str, str]):
        self.returncode: int | None = None
        # two threads may wait
        self._waiting = threading.Lock()
        parent = os.getpid()
        self._process = os.fork()
        if self._process == 0:
            prepare_script(parent)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os._exit(_run_module(module, arguments, env))

    def wait(self) -> int:
        with self._waiting:
            if self.returncode is None:
                _, status = os.waitpid(self._process, 0)
                self.returncode = os.waitstatus_to_exitcode(status)
            return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._process, signal.SIGKILL)


def start_script(cmd: list[str], env: dict[str, str], threads: int) -> Script:
    """Start a stage's command. It dies with this process.

    In a fork of the server it is a fork too, when it is Python with one thread, as the server is.
    """
    if CLIENT in os.environ and cmd[:2] == ["python", "-m"] and threads == 1:
        return Fork(cmd[2], cmd[3:], env)
    return subprocess.Popen(cmd, env=env, preexec_fn=partial(prepare_script, os.getpid()))


def prepare_script(parent: int) -> None:
    """Let the script, which calls this, die with the process that starts it, and ignore Ctrl-C.

    That process ends the script at Ctrl-C, so that the script prints no traceback of its own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(signal.SIGKILL, parent)


def block(names: Iterable[str] = UNWANTED) -> set[str]:
    """Let imports of packages fail from now on. Returns those that were not imported before.

    MLflow imports the UNWANTED ones where they are installed, and needs them for nothing here.
    """
    absent = set(names) - sys.modules.keys()
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # "not to be imported"
    return absent


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
