"""The stages of dvc.yaml for Snakemake, and which of them DVC calls stale."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Stage(NamedTuple):
    name: str
    outs: dict[str, bool]  # path -> is it a directory?
    deps: dict[str, list[tuple[str, str]]]  # path -> the (stage, output) pairs it comes from; [] = not from a stage
    meta: dict
    key: Path  # rewritten whenever DVC calls the stage stale; safe to delete


def overlap(a: str, b: str) -> bool:
    """Tell whether the paths are equal or one lies inside the other."""
    return f"{a}/".startswith(f"{b}/") or f"{b}/".startswith(f"{a}/")


@contextmanager
def dvc_stages() -> Iterator[tuple]:
    """Give DVC's repository and its named stages, read under its lock: a neighbour may be half through writing dvc.lock."""
    from dvc.repo import Repo, lock_repo

    with Repo(_wait_for_lock=True) as repo:
        with lock_repo(repo):
            stages = [s for s in repo.index.stages if getattr(s, "name", None)]  # *.dvc files have no name
        yield repo, stages


def load_stages() -> list[Stage]:
    """Read the stages as DVC sees them: templates filled in, matrix expanded. Parameters stay DVC's business.

    Raises ValueError for stages that cannot be scheduled.
    """
    from dvc.dependency import ParamsDependency

    with dvc_stages() as (_, found):
        if odd := [s.name for s in found if s.frozen or s.always_changed or any(o.persist for o in s.outs)]:
            raise ValueError(f"dvc.yaml: frozen, always_changed and persist stages cannot be scheduled: {odd}")
        made = [(s.name, o.def_path) for s in found for o in s.outs]
        return [
            Stage(
                s.name,
                {o.def_path: o.annot.type == "dir" for o in s.outs},
                {
                    d.def_path: [m for m in made if overlap(d.def_path, m[1])]
                    for d in s.deps
                    if not isinstance(d, ParamsDependency)
                },
                s.meta or {},
                Path(f".pipe/keys/{s.name}.json"),
            )
            for s in found
        ]


class Oracle:
    """Hold what is stale: `direct`, the stages that DVC names as changed, and `tainted`, those and all downstream of them."""

    def __init__(self, stages: list[Stage], ask: bool, log: Callable[[str], None]):
        self.direct, self.tainted = {}, {s.name for s in stages}
        if not ask:  # a job's own parse of the Snakefile: the main process has decided
            return
        answer = subprocess.run(["dvc", "--wait-for-lock", "status", "--json"], capture_output=True, text=True)
        if answer.returncode:  # e.g. a stage is running: a guess would be worse than none
            raise RuntimeError(f"dvc status gave no answer:\n{answer.stderr}")
        status = json.loads(answer.stdout)
        self.direct = {s.name: status[s.name] for s in stages if s.name in status}
        self.tainted = set(self.direct)
        while more := {
            s.name
            for s in stages
            if s.name not in self.tainted and any(maker in self.tainted for sources in s.deps.values() for maker, _ in sources)
        }:
            self.tainted |= more
        for s in stages:
            s.key.parent.mkdir(parents=True, exist_ok=True)
            s.key.touch()
            if why := self.direct.get(s.name):  # the nonce: Snakemake passes over small inputs with unchanged content
                s.key.write_text(json.dumps({"why": why, "nonce": uuid.uuid4().hex}))
                log(f"stale: {s.name}: {json.dumps(why)}")

    def inputs(self, stage: Stage, ancient: Callable) -> list:
        """List a rule's inputs. Only a stale stage's key and the outputs of tainted stages count by modification time."""
        hot = {str(stage.key): stage.name in self.direct}
        for dep, sources in stage.deps.items():
            hot |= {out: maker in self.tainted for maker, out in sources} or {dep: False}
        return [path if is_hot else ancient(path) for path, is_hot in hot.items()]
