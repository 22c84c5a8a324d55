"""The real stages on a very small bookshop, in a repository of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import NamedTuple

from tests.pipeline.repository import REPOSITORY, Toy
from tests.tiny import WRITERS

METHODS, ABLATION, TRAINED = (
    ["lightgcn", "glta"],
    "glta-without-profile",
    ("pretrain", "align_items", "align_users", "ablate"),
)


class Moment(NamedTuple):
    """Where to stand still: in processes whose command matches, at the count-th audit event about a
    matching path.
    """

    stage: str
    process: str
    event: str
    path: str
    count: int = 1


class Real(Toy):
    """A repository with the real stages, 60 readers, 40 books and two methods."""

    @classmethod
    def create(cls, folder: Path) -> Real:
        from glta.params.check import check_params
        from glta.params.file import render_params
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
        params = small_params().model_dump() | {
            "methods": METHODS,
            "baselines": ["lightgcn"],
            "ablations": [ABLATION],
        }
        params["align_items"]["epochs"] = params["align_users"]["epochs"] = 3
        (folder / "params.yaml").write_text(render_params(check_params(params)))
        real = cls(folder)
        real("git", "init", "-q")
        real("dvc", "init", "-q")
        real.commit("real")
        return real

    def kill_at(self, moment: Moment, engine: str, sig: signal.Signals) -> None:
        """Start an engine on one stage and what it needs, and kill its whole group once the moment
        is reached.
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
        """Kill a started engine with its whole group, and see that nothing of it lives on."""
        os.killpg(started.pid, sig)
        started.wait(60)
        self.await_end(started.pid)

    def results(self) -> dict[str, bytes]:
        """Read every result but the report's page, which shows durations."""
        data = self.folder / "data"
        files = {
            path.relative_to(data).as_posix(): path for path in data.rglob("*") if path.is_file()
        }
        passed = {name for name in files if name.endswith(".snakemake_timestamp")} | {
            "report/index.html"
        }
        return {name: files[name].read_bytes() for name in sorted(files.keys() - passed)}

    def curves(self) -> dict[str, list[dict]]:
        """Read what the trainings say of themselves: {stage: one record an epoch}."""
        cell = self.folder / "data/books/0"
        history = {
            f"pretrain@books-0-{e}": json.loads((cell / f"pretrain/{e}/history.json").read_text())
            for e in EDGES
        }
        both = json.loads((cell / "models/glta/history.json").read_text())
        return history | {
            f"{stage}@books-0": both[stage] for stage in ("align_items", "align_users")
        }


EDGES = ("all", "graph")
ENGINES = {"snakemake": ("snakemake", "--cores", "2"), "dvc": ("dvc", "repro")}
