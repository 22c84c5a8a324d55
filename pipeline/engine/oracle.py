"""Read the stages of dvc.yaml for Snakemake, and which of them DVC reports as stale."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Stage(NamedTuple):
    """Hold one stage of dvc.yaml.

    outs: {path: whether it is a directory}. deps: {path: the (stage, output) pairs that it comes
    from}; no stage makes a path without pairs. key: a file that is rewritten whenever DVC reports
    the stage as stale; it is safe to delete.
    """

    name: str
    outs: dict[str, bool]
    deps: dict[str, list[tuple[str, str]]]
    meta: dict
    key: Path


def overlap(a: str, b: str) -> bool:
    """Tell whether two paths are equal or one lies inside the other."""
    return f"{a}/".startswith(f"{b}/") or f"{b}/".startswith(f"{a}/")


@contextmanager
def dvc_stages() -> Iterator[tuple]:
    """Yield DVC's repository and its named stages.

    They are read under the repository's lock, because another process may be writing dvc.lock.
    """
    from dvc.repo import lock_repo

    with open_repository() as repo:
        with lock_repo(repo):
            stages = _named(repo)
        yield repo, stages


@contextmanager
def open_repository() -> Iterator:
    """Yield DVC's repository of this folder.

    Raises ValueError, with the fix, where DVC cannot work: without git, and in a folder that is
    read-only.
    """
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        opened = Repo(_wait_for_lock=True)
        # DVC looks for git here
        _ = opened.scm
    except SCMError:
        raise ValueError(
            f"{Path.cwd()}: is not a git repository, and DVC works in one alone; make it one: "
            "`git init && git add -A && git commit -m start`"
        ) from None
    tmp = Path(opened.tmp_dir or opened.root_dir)
    place = tmp if tmp.is_dir() else tmp.parent
    if not os.access(place, os.W_OK):
        raise ValueError(
            f"{place}: cannot be written, and DVC and the records need it; work in a copy that is "
            "yours (git clone, or cp -r), on a file system that is not read-only"
        )
    with opened as repo:
        yield repo


def _named(repo) -> list:
    # stages of *.dvc files have no name
    return [s for s in repo.index.stages if getattr(s, "name", None)]


def ask_status(repo, stages: list) -> dict[str, list]:
    """Compute what `dvc status` reports: {stage: reasons}, under the repository's lock.

    DVC's own command checks each dependency of each stage, and writes a lock file twice for each
    stage. Most dependencies are program files that hundreds of stages share, so here each path is
    checked once, and the lock is taken once. Raises LockError, as DVC does, while another process
    writes one of the paths.
    """
    from dvc.dependency import ParamsDependency
    from dvc.rwlock import rwlock

    known: dict[tuple, dict[str, str]] = {}

    def changes(entries: list) -> dict[str, str]:
        found: dict[str, str] = {}
        for entry in entries:
            # parameters are not shared: every stage has its own
            if isinstance(entry, ParamsDependency):
                found |= entry.status()
                continue
            key = type(entry), entry.fs_path, entry.hash_info
            if key not in known:
                known[key] = entry.status()
            found |= known[key]
        return found

    def reasons(stage) -> list:
        parts = {"changed deps": changes(stage.deps), "changed outs": changes(stage.outs)}
        return [{kind: found} for kind, found in parts.items() if found] + [
            "changed command"
        ] * stage.cmd_changed

    paths = sorted({entry.fs_path for s in stages for entry in [*s.deps, *s.outs]})
    with rwlock(
        repo.tmp_dir,
        repo.fs,
        " ".join(sys.argv),
        paths,
        [],
        repo.config["core"].get("hardlink_lock", False),
    ):
        return {s.name: why for s in stages if (why := reasons(s))}


def _busy(words: str) -> str:
    """Say in one line which processes hold paths that DVC wants. words: DVC's, of many lines."""
    path = re.search(r"'(.*)' is busy", words)
    running = re.findall(r"\(PID (\d+)\): (.*)", words)
    who = ", ".join(f"`{command.strip()}` (process {process})" for process, command in running)
    return (
        f"dvc status failed: {path[1] if path else 'a path'} is busy: {who} is still running, as "
        "its engine alone was killed; it will end well, and count: wait for it, and run again. If "
        "no such process runs on any machine: `rm .dvc/tmp/rwlock`"
    )


def read_stages(ask: bool) -> tuple[list[Stage], dict[str, list] | None]:
    """Read the stages as DVC sees them, templates and matrix expanded, and their status.

    ask: True to compute the status {stage: reasons} of the stages that changed; otherwise it is
    None. Parameters are compared by DVC alone. Raises ValueError for stages that cannot be
    scheduled, and when DVC cannot compute the status, for example while a stage runs; a guess would
    be worse than an error.
    """
    from dvc.dependency import ParamsDependency
    from dvc.exceptions import DvcException
    from dvc.repo import lock_repo

    try:
        # one lock for all: if it were taken again, DVC would read all stages a second time
        with open_repository() as repo, lock_repo(repo):
            found = _named(repo)
            if odd := [
                s.name
                for s in found
                if s.frozen or s.always_changed or any(o.persist for o in s.outs)
            ]:
                raise ValueError(
                    "dvc.yaml: frozen, always_changed and persist stages cannot be scheduled: "
                    f"{', '.join(odd)}"
                )
            status = ask_status(repo, found) if ask else None
    except DvcException as error:
        if "is busy" in str(error):
            raise ValueError(_busy(str(error))) from None
        torn = [path for path in ("dvc.lock", ".dvc/tmp/rwlock") if path in str(error)]
        # DVC writes both files in place
        fix = (
            f"; a kill left it half written: `rm {torn[0]}` and run again, nothing is lost"
            if torn
            else ""
        )
        raise ValueError(f"dvc status failed: {error}{fix}") from error
    made = [(s.name, o.def_path) for s in found for o in s.outs]

    # most dependencies are program files that hundreds of stages share
    @cache
    def makers(path: str) -> list[tuple[str, str]]:
        return [m for m in made if overlap(path, m[1])]

    stages = [
        Stage(
            name=s.name,
            outs={o.def_path: o.annot.type == "dir" for o in s.outs},
            deps={
                d.def_path: makers(d.def_path)
                for d in s.deps
                if not isinstance(d, ParamsDependency)
            },
            meta=s.meta or {},
            key=Path(f".pipe/keys/{s.name}.json"),
        )
        for s in found
    ]
    return stages, status


def downstream(
    stages: list[Stage], names: set[str], settled: Collection[str] = frozenset()
) -> set[str]:
    """Return the named stages and all stages that depend on them.

    settled: dependencies that will not change although a stale stage makes them.
    """
    found = set(names)
    while more := {
        s.name
        for s in stages
        if s.name not in found
        and any(
            maker in found
            for path, sources in s.deps.items()
            if path not in settled
            for maker, _ in sources
        )
    }:
        found |= more
    return found


def stages_after(stages: list[Stage]) -> dict[str, int]:
    """Count for each stage the stages of the longest chain that waits for it.

    Stages with long chains should run first; otherwise a core may be idle at the end.
    """
    readers: dict[str, set[str]] = {s.name: set() for s in stages}
    for s in stages:
        for sources in s.deps.values():
            for maker, _ in sources:
                readers[maker].add(s.name)

    @cache
    def count(name: str) -> int:
        return max((count(reader) + 1 for reader in readers[name]), default=0)

    return {s.name: count(s.name) for s in stages}


class Oracle:
    """Hold which stages are stale.

    direct: the stages that DVC reports as changed. tainted: these and all stages downstream of
    them.

    status: of `read_stages`. It is None when a job parses the Snakefile, because the main process
    has decided already. settled: see `downstream`.
    """

    def __init__(
        self,
        stages: list[Stage],
        status: dict[str, list] | None,
        settled: Collection[str] = frozenset(),
    ):
        self.direct: dict[str, list] = {}
        self.tainted = {s.name for s in stages}
        self.settled = settled
        if status is None:
            return
        self.direct = {s.name: status[s.name] for s in stages if s.name in status}
        self.tainted = downstream(stages, set(self.direct), settled)
        for path in {path for s in stages for path in s.outs}:
            _leave_the_future(Path(path))
        for s in stages:
            s.key.parent.mkdir(parents=True, exist_ok=True)
            s.key.touch()
            # Snakemake ignores small inputs with unchanged content; the nonce changes it
            if why := self.direct.get(s.name):
                s.key.write_text(json.dumps({"why": why, "nonce": uuid.uuid4().hex}))

    def inputs(self, stage: Stage, ancient: Callable) -> list:
        """List the inputs of a stage's rule.

        Snakemake compares modification times of two kinds of inputs only: the key of a stale stage,
        and the outputs of tainted stages. Files that no stage makes, above all code, are left out:
        they would take Snakemake a fifth of its planning time and change nothing.

        Of a job that waits for another job, Snakemake does not look at its own key. It runs such a
        job only when one of the awaited inputs counts. So all of them count for a stale stage, the
        settled ones too.
        """
        is_direct = stage.name in self.direct
        hot = {str(stage.key): is_direct}
        for path, sources in stage.deps.items():
            for maker, out in sources:
                moves = maker in self.tainted and (is_direct or path not in self.settled)
                hot[out] = hot.get(out, False) or moves
        return [path if is_hot else ancient(path) for path, is_hot in hot.items()]


def _leave_the_future(path: Path) -> None:
    """Set a modification time in the future to now.

    Snakemake refuses a result that is older than its input. Archives, copies from other machines
    and wrong clocks leave such times. Hashes alone decide what is stale.
    """
    # Snakemake reads the time of a folder from this file in it
    for each in (path, path / ".snakemake_timestamp"):
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            if each.stat().st_mtime > time.time():
                os.utime(each)
