"""Run commands without their start-up time: dvc, snakemake, glta and python -m.

Each command is a fork of a process that has already imported most packages. The entry points and
the code that runs are the real ones. `Warm` puts small clients with these names into a folder for
the PATH. Signals are not passed on, so tests that kill use the real commands.
The pipeline's own server of forks (pipeline/engine/warm.py) is off.
"""

from __future__ import annotations

import array
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

from setproctitle import getproctitle, setproctitle

HEAVY = (
    "alembic.command",
    "alembic.config",
    "configobj",
    "docutils.core",
    "dulwich.client",
    "dulwich.repo",
    "dvc.cachemgr",
    "dvc.cli.parser",
    "dvc.data_cloud",
    "dvc.dvcfile",
    "dvc.lock",
    "dvc.repo.index",
    "dvc.repo.reproduce",
    "dvc.repo.status",
    "dvc.scm",
    "dvc.stage.cache",
    "dvc_data.index.checkout",
    "dvc_render",
    "flatten_dict",
    "jinja2",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "networkx",
    "numpy",
    "platformdirs",
    "pydantic",
    "pyparsing",
    "rich.console",
    "rich.table",
    "ruamel.yaml",
    "scmrepo.git",
    "scipy.sparse",
    "smart_open",
    "snakemake.cli",
    "snakemake.report",
    "snakemake.storage",
    "snakemake.workflow",
    "typer",
    "yte",
)

CLIENT = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect({address!r})
    request = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(s, [len(request).to_bytes(4, "big")], [0, 1, 2])
    s.sendall(request)
    status = s.recv(1)
os._exit(status[0] if status else 70)
"""


class Warm:
    """Start the server. `with Warm(folder) as bin` yields the folder to put first in the PATH."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self) -> Path:
        address = self.folder / "server"
        self._server = subprocess.Popen([sys.executable, __file__, address], start_new_session=True)
        while not address.exists():
            assert self._server.poll() is None, "the server of warm commands did not start"
            time.sleep(0.1)
        bin_ = self.folder / "bin"
        bin_.mkdir()
        for name in ("python", "dvc", "snakemake", "glta"):
            (bin_ / name).write_text(CLIENT.format(python=sys.executable, address=str(address)))
            (bin_ / name).chmod(0o755)
        return bin_

    def __exit__(self, *_) -> None:
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()


def serve(address: str) -> None:
    """Answer every connection with a fork, until this process is killed."""
    for name in HEAVY:
        importlib.import_module(name)
    importlib.import_module("sqlalchemy.orm").configure_mappers()

    # before a fork changes its environment, in whose place titles are written
    setproctitle(getproctitle())
    gc.collect()
    # a garbage collection in a fork would touch, and so copy, every page of the imports
    gc.freeze()

    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{address}.new")
    listening.listen(64)
    Path(f"{address}.new").rename(address)
    # no process waits for the handlers
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            handle(connection)
        connection.close()


def handle(connection: socket.socket) -> None:
    """Run one command in another fork and send its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, fds, _, _ = socket.recv_fds(connection, 4, 3)
    size, request = int.from_bytes(head, "big"), b""
    while len(request) < size:
        request += connection.recv(size - len(request))
    if (worker := os.fork()) == 0:
        connection.close()
        for target, fd in enumerate(array.array("i", fds)):
            os.dup2(fd, target)
        status = 1
        try:
            status = run(*json.loads(request))
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    _, status = os.waitpid(worker, 0)
    connection.sendall(bytes([os.waitstatus_to_exitcode(status) % 256]))
    os._exit(0)


def run(argv: list[str], folder: str, env: dict[str, str]) -> int:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env | {"GLTA_WARM": "0"})
    command = Path(argv[0])
    sys.executable = str(command.with_name("python"))
    sys.argv = argv
    setproctitle(" ".join([command.name, *argv[1:]]))
    sys.path[:0] = env["PYTHONPATH"].split(os.pathsep) if env.get("PYTHONPATH") else []
    if command.name == "dvc":
        from dvc.cli import main

        return main(argv[1:])
    if command.name == "snakemake":
        from snakemake.cli import main

        main(argv[1:])
        return 0
    if command.name == "glta":
        # the code of the checkout, as an installed command has it
        if Path("pipeline").is_dir():
            sys.path.insert(0, folder)
        from pipeline.cli.main import main

        main()
        return 0
    assert argv[1] == "-m", argv
    sys.path[0], sys.argv = folder, argv[2:]
    runpy.run_module(argv[2], run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
