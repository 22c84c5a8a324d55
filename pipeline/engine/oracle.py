"""The stages of dvc.yaml for Snakemake, and which of them DVC calls stale."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Stage(NamedTuple):
    name: str
    outs: dict[str, bool]  # path -> is it a directory?
    deps: dict[
        str, list[tuple[str, str]]
    ]  # path -> the (stage, output) pairs it comes from; [] = not from a stage
    meta: dict
    key: Path  # rewritten whenever DVC calls the stage stale; safe to delete


def overlap(a: str, b: str) -> bool:
    """Tell whether the paths are equal or one lies inside the other."""
    return f"{a}/".startswith(f"{b}/") or f"{b}/".startswith(f"{a}/")


@contextmanager
def dvc_stages() -> Iterator[tuple]:
    """Give DVC's repository and its named stages, read under its lock: a neighbour may be half
    through writing dvc.lock.
    """
    from dvc.repo import Repo, lock_repo

    with Repo(_wait_for_lock=True) as repo:
        with lock_repo(repo):
            stages = _named(repo)
        yield repo, stages


def _named(repo) -> list:
    return [s for s in repo.index.stages if getattr(s, "name", None)]  # *.dvc files have no name


def ask_status(repo, stages: list) -> dict[str, list]:
    """Say what `dvc status` says about stages: {stage: reasons}, under the repository's lock.

    DVC's own call looks at each dependency of each stage and writes a lock file twice for each
    stage; most dependencies are program files that hundreds of stages share. Here a path is looked
    at once and the lock is taken once. Raises LockError, as DVC does, while another process writes
    one of the paths.
    """
    from dvc.dependency import ParamsDependency
    from dvc.rwlock import rwlock

    known: dict[tuple, dict[str, str]] = {}

    def changes(entries: list) -> dict[str, str]:
        found: dict[str, str] = {}
        for entry in entries:
            if isinstance(entry, ParamsDependency):  # every stage has values of its own
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


def read_stages(ask: bool) -> tuple[list[Stage], dict[str, list] | None]:
    """Read the stages as DVC sees them (templates filled in, matrix expanded), and with `ask` what
    `dvc status` says.

    Parameters stay DVC's business. Status: {stage: reasons} of those that changed. Raises
    ValueError for stages that cannot be scheduled, and when DVC cannot tell, as while a stage runs:
    a guess would be worse than none.
    """
    from dvc.dependency import ParamsDependency
    from dvc.exceptions import DvcException
    from dvc.repo import Repo, lock_repo

    try:
        # under one lock: taken again, DVC would read all stages a second time
        with Repo(_wait_for_lock=True) as repo, lock_repo(repo):
            found = _named(repo)
            if odd := [
                s.name
                for s in found
                if s.frozen or s.always_changed or any(o.persist for o in s.outs)
            ]:
                raise ValueError(
                    "dvc.yaml: frozen, always_changed and persist stages cannot be scheduled: "
                    f"{odd}"
                )
            status = ask_status(repo, found) if ask else None
    except DvcException as error:
        torn = [
            path
            for path in ("dvc.lock", ".dvc/tmp/rwlock")
            if path in str(error) and "is busy" not in str(error)
        ]
        # DVC writes both in place
        fix = (
            f"; a kill left it half written: `rm {torn[0]}` and run again, nothing is lost"
            if torn
            else ""
        )
        raise ValueError(f"dvc status gives no answer: {error}{fix}") from error
    made = [(s.name, o.def_path) for s in found for o in s.outs]

    @cache  # most dependencies are program files that hundreds of stages share
    def makers(path: str) -> list[tuple[str, str]]:
        return [m for m in made if overlap(path, m[1])]

    stages = [
        Stage(
            s.name,
            {o.def_path: o.annot.type == "dir" for o in s.outs},
            {d.def_path: makers(d.def_path) for d in s.deps if not isinstance(d, ParamsDependency)},
            s.meta or {},
            Path(f".pipe/keys/{s.name}.json"),
        )
        for s in found
    ]
    return stages, status


def downstream(
    stages: list[Stage], names: set[str], settled: Collection[str] = frozenset()
) -> set[str]:
    """Return the named stages and all that depend on them.

    settled: dependencies that will come out as they are, although a stale stage makes them.
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

    Stages with long chains go first, or a core would be idle at the end.
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
    """Hold what is stale: `direct`, the stages that DVC names as changed, and `tainted`, those and
    all downstream of them.

    status: of `read_stages`; None in a job's own parse of the Snakefile, where the main process has
    decided already. settled: see `downstream`.
    """

    def __init__(
        self,
        stages: list[Stage],
        status: dict[str, list] | None,
        log: Callable[[str], None],
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
            # the nonce: Snakemake passes over small inputs with unchanged content
            if why := self.direct.get(s.name):
                s.key.write_text(json.dumps({"why": why, "nonce": uuid.uuid4().hex}))
                log(f"stale: {s.name}: {json.dumps(why)}")

    def inputs(self, stage: Stage, ancient: Callable) -> list:
        """List a rule's inputs. Only a stale stage's key and the outputs of tainted stages count by
        modification time.

        What no stage makes, the code above all, is not among them: it would take Snakemake a fifth
        of its plan, to no effect.
        """
        hot = {str(stage.key): stage.name in self.direct}
        for path, sources in stage.deps.items():
            for maker, out in sources:
                moves = maker in self.tainted and path not in self.settled
                hot[out] = hot.get(out, False) or moves
        return [path if is_hot else ancient(path) for path, is_hot in hot.items()]


def _leave_the_future(path: Path) -> None:
    """Bring a modification time that lies ahead back to now: Snakemake refuses a result that is
    older than its input.

    Archives, copies from other machines and a clock that was wrong leave such times; hashes alone
    decide what is stale.
    """
    for each in (
        path,
        path / ".snakemake_timestamp",
    ):  # Snakemake's mark in a folder stands for the folder
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            if each.stat().st_mtime > time.time():
                os.utime(each)
