"""Run the real stages on a very small bookshop, in a repository of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

from tests.pipeline.repository import REPOSITORY, Toy
from tests.tiny import WRITERS

ABLATION = "glta-without-profile"
METHODS = ["lightgcn", ABLATION, "glta"]
TRAINED = ("pretrain-all", "align_items", "align_users", ABLATION)


class Moment(NamedTuple):
    """Name the moment at which a process stops: the count-th audit event about a matching path.

    Only processes whose command matches stop.
    """

    stage: str
    process: str
    event: str
    path: str
    count: int = 1


class Real(Toy):
    """Hold a repository with the real stages, 60 readers, 40 books and a few methods."""

    @classmethod
    def create(cls, folder: Path, methods: Sequence[str] = METHODS) -> Real:
        from glta.params.file import render_params
        from glta.params.own_models import with_model_checksums
        from glta.params.plan import render_plan
        from tests.pipeline.test_stages import small_params, write_tables

        folder.mkdir()
        for name in ("Snakefile", "dvc.yaml", ".dvcignore", ".gitignore"):
            shutil.copy(REPOSITORY / name, folder / name)
        for name in ("glta", "pipeline", "profiles"):
            shutil.copytree(
                REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        with (folder / ".gitignore").open("a") as ignored:
            ignored.write(".site/\n/reached\n/engine.log\n")
        WRITERS["encoder"](folder / "tiny")
        write_tables(folder)
        longer = {"align_items": {"epochs": 3}, "align_users": {"epochs": 3}}
        params = small_params(
            methods=list(methods), settings={"glta": longer}, report={"reference": None}
        )
        with chdir(folder):
            params = with_model_checksums(params)
        (folder / "params.yaml").write_text(render_params(params))
        (folder / "plan.yaml").write_text(render_plan(params))
        real = cls(folder)
        real("git", "init", "-q")
        real("dvc", "init", "-q")
        real.commit("real")
        return real

    def kill_at(self, moment: Moment, engine: str, sig: signal.Signals) -> None:
        """Start an engine on one stage and the stages before it, and kill it at the given moment.

        The whole process group is killed.
        """
        reached = self.folder / "reached"
        reached.unlink(missing_ok=True)
        watch = "\t".join([moment.process, moment.event, moment.path, str(moment.count)])
        own = {"TEST_MOMENT": watch, "PYTHONPATH": str(Path(__file__).parent / "faults")}
        started = self.start(*ENGINES[engine], moment.stage, env=own)
        deadline = time.monotonic() + 120
        while not reached.exists():
            assert started.poll() is None and time.monotonic() < deadline, (
                f"{moment} not reached\n{self.output()}"
            )
            time.sleep(0.02)
        self.kill(started, sig)

    def kill(self, started, sig: signal.Signals) -> None:
        """Kill a started engine with its whole group, and check that no process is left."""
        os.killpg(started.pid, sig)
        started.wait(60)
        self.await_end(started.pid)

    def results(self) -> dict[str, bytes]:
        """Read every result except the report's page, which shows durations."""
        data = self.folder / "data"
        files = {
            path.relative_to(data).as_posix(): path for path in data.rglob("*") if path.is_file()
        }
        passed = {name for name in files if name.endswith(".snakemake_timestamp")} | {
            "report/index.html"
        }
        return {name: files[name].read_bytes() for name in sorted(files.keys() - passed)}

    def curves(self) -> dict[str, list[dict]]:
        """Read the histories of all trainings: {stage: one record for each epoch}."""
        cell = self.folder / "data/books/0"

        def history(step: str) -> Any:
            return json.loads((cell / step / "history.json").read_text())

        alone = ("pretrain-all", "pretrain-graph", "align_items")
        both = history("models/glta")
        assert both == history("align_users") and both["align_items"] == history("align_items")
        found = {step: history(step) for step in alone} | {"align_users": both["align_users"]}
        return {f"{step}@books-0": records for step, records in found.items()}


ENGINES = {"snakemake": ("snakemake", "--cores", "2"), "dvc": ("dvc", "repro")}
