"""Test the forks in which stages run from the third stage of a call on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.engine import warm
from pipeline.engine.invocation import VARIABLE, Invocation, die_with_parent

CLIENT = "import sys; from pipeline.engine import warm; sys.exit(warm.run('probe', sys.argv[1:]))"
PROBE = """
import os, signal, sys, time
from pathlib import Path
from pipeline.engine.warm import start_script

match sys.argv[1:]:
    case ["say", word]:
        print(word, os.environ["WORD"], "torch" in sys.modules, "polars" in sys.modules)
        sys.exit(7)
    case ["fail"]:
        sys.exit("error: one line")
    case ["wait"]:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
        script = start_script(["python", "-m", "probe", "sleep"], dict(os.environ), 1)
        Path("started").write_text(f"{os.getpid()} {script._process}")
        try:
            time.sleep(60)
        finally:
            Path("ended").touch()
    case ["sleep"]:
        time.sleep(60)
"""


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


class Call:
    """Hold a call of an engine whose stages are `probe.py`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.folder = folder
        self.engine = subprocess.Popen(["sleep", "600"])
        monkeypatch.setenv(VARIABLE, "")
        Invocation.of(self.engine.pid).announce()

    def start(self, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-c", CLIENT, *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        started = self.start(*arguments)
        out, err = started.communicate(timeout=60)
        return started.returncode, out, err

    def servers(self) -> list[Path]:
        return list((self.folder / warm.SERVERS).glob("*/server"))

    def wait_in_fork(self) -> tuple[subprocess.Popen, list[int]]:
        """Start a third stage, which waits. Returns its client, its fork, and the fork's script."""
        self.run("say", "x")
        self.run("say", "x")
        until(lambda: bool(self.servers()))
        client = self.start("wait")
        until((self.folder / "started").exists)
        return client, [int(pid) for pid in (self.folder / "started").read_text().split()]


@pytest.fixture
def small_libraries(tmp_path: Path) -> None:
    """Put empty packages in the place of the libraries, so that a server starts at once."""
    for name in (*warm.LIBRARIES, "sqlalchemy.orm"):
        folder = tmp_path.joinpath(*name.split("."))
        folder.mkdir(parents=True, exist_ok=True)
        for package in (folder, *folder.parents):
            if package == tmp_path:
                break
            (package / "__init__.py").touch()
    (tmp_path / "sqlalchemy/orm/__init__.py").write_text("def configure_mappers(): pass")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    (tmp_path / "probe.py").write_text(PROBE)
    (tmp_path / "pipeline").symlink_to(Path(warm.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv(warm.SWITCH, "1")
    call = Call(tmp_path, monkeypatch)
    yield call
    call.engine.kill()
    call.engine.wait()
    until(lambda: not call.servers())


def test_the_third_stage_is_a_fork_that_behaves_as_a_process_of_its_own(call, monkeypatch):
    # run() returned None: nothing was done, the stage would start as usual
    assert call.run("say", "x") == (0, "", "") and not call.servers()
    assert call.run("say", "x") == (0, "", "")
    until(lambda: bool(call.servers()))
    monkeypatch.setenv("WORD", "now")
    assert call.run("say", "hello") == (7, "hello now True False\n", "")
    assert call.run("fail") == (1, "", "error: one line\n")
    monkeypatch.setenv(warm.SWITCH, "0")
    assert call.run("say", "x") == (0, "", "")


def test_a_job_of_a_scheduler_on_the_same_machine_is_no_fork(monkeypatch):
    """It has limits of its own, which a fork of another job would escape."""
    monkeypatch.setenv(VARIABLE, "")
    Invocation.of(os.getpid()).announce()
    monkeypatch.setattr(warm, "_connect", lambda *_: pytest.fail("asks for a fork"))
    monkeypatch.setattr(warm, "_group_of", lambda process: f"job {process}")
    assert warm.run("toy.train", []) is None


@pytest.mark.usefixtures("small_libraries")
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_what_ends_the_client_ends_the_fork_and_its_script(call, sig):
    client, forks = call.wait_in_fork()
    client.send_signal(sig)
    assert client.wait(60) == (9 if sig == signal.SIGTERM else -sig)
    until(lambda: not any(map(is_alive, forks)))
    assert (call.folder / "ended").exists()


def test_a_fork_whose_parent_has_ended_already_dies_at_once():
    """A parent that ends between the fork and the call sends no signal."""
    process = os.fork()
    if not process:
        die_with_parent(signal.SIGKILL, os.getpid())  # which is not its parent
        os._exit(0)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


@pytest.mark.usefixtures("small_libraries")
def test_the_server_ends_after_the_engine_and_its_last_stage(call):
    client, forks = call.wait_in_fork()
    server = parent(forks[0])
    call.engine.kill()
    call.engine.wait()
    time.sleep(1)
    # it waits for the stages, which die of themselves
    assert is_alive(server) and all(map(is_alive, forks))
    client.kill()
    until(lambda: not is_alive(server) and not any(map(is_alive, forks)))


@pytest.mark.usefixtures("small_libraries")
def test_a_killed_server_ends_its_stages_with_one_line(call):
    client, forks = call.wait_in_fork()
    os.kill(parent(forks[0]), signal.SIGKILL)
    assert "was killed; run again" in client.communicate(timeout=60)[1]
    assert client.returncode == 1
    until(lambda: not is_alive(forks[1]))
    # the stages after it start as usual
    assert call.run("say", "x") == (0, "", "")
    call.servers()[0].unlink()
