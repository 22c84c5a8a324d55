"""Make a repository with toy stages, run by the real Snakefile, oracle and runner."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TRAINS = ["train@popularity", "train@text-knn"]
EVALUATES = ["evaluate@popularity", "evaluate@text-knn"]
LOCAL = shutil.ignore_patterns(".site", "warm")
"""What copies of a repository leave out: DVC's caches of its folder, and the socket of the server
of forks. They are of no use to a copy, and a process that ends may still be closing them."""
DOWNSTREAM = {*TRAINS, *EVALUATES, "report"}
OVERRIDE = r"^(  sample:\n(?:    .*\n)*?    settings: .*lightgcn-text-knn: )\{[^}]*\}"
"""What params.yaml holds in place of the toy's parameter for the dataset `sample`."""


class Toy:
    """Hold a repository with toy stages."""

    def __init__(self, folder: Path):
        self.folder = folder
        unset = {
            "OMP_NUM_THREADS",
            "MLFLOW_TRACKING_URI",
            "PYTHONPATH",
            "GLTA_CHECKPOINT",
            "GLTA_RECORDS",
        }
        self.path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {
            "PATH": self.path,
            "DVC_SITE_CACHE_DIR": str(folder / ".site"),
            "DVC_NO_ANALYTICS": "1",
        }
        own |= {
            f"GIT_{who}_{what}": "toy@localhost"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        self.env = {k: v for k, v in os.environ.items() if k not in unset} | own

    def quick(self, commands: str) -> Toy:
        """Let the engines be those of a folder of commands that start at once."""
        self.env["PATH"] = f"{commands}{os.pathsep}{self.path}"
        return self

    @classmethod
    def create(cls, folder: Path, commands: str) -> Toy:
        """Make the repository, in which nothing has run. commands: see `quick`."""
        from glta.params.file import render_params
        from glta.params.model import Params

        shutil.copytree(REPOSITORY / "tests/pipeline/toy", folder / "toy")
        # not named dvc.yaml below tests/, because DVC would read it as part of this repository
        (folder / "toy/stages.yaml").rename(folder / "dvc.yaml")
        shutil.copytree(REPOSITORY / "profiles", folder / "profiles")
        for name in ("Snakefile", ".dvcignore"):
            shutil.copy(REPOSITORY / name, folder / name)
        for name in ("glta", "pipeline"):
            (folder / name).symlink_to(REPOSITORY / name)
        two = {"methods": ["popularity", "text-knn"], "report": {"reference": "popularity"}}
        (folder / "params.yaml").write_text(render_params(Params.model_validate(two)))
        # with /data/*, DVC would ignore all of data/, and raw.txt.dvc in a clone too
        ignored = [
            "/glta",
            "/pipeline",
            "/data/prepare",
            "/data/models",
            "/data/evaluate",
            ".pipe/",
            ".snakemake/",
            ".site/",
        ]
        ignored += [
            "__pycache__/",
            "/mlflow.db*",
            "/mlartifacts/",
            "/*.log",
            "/hold",
            "/training@*",
        ]
        (folder / ".gitignore").write_text("\n".join(ignored))
        toy = cls(folder).quick(commands)
        toy("git", "init", "-q")
        toy("dvc", "init", "-q")
        (folder / "data").mkdir()
        (folder / "data/raw.txt").write_text("raw 1")
        toy("dvc", "add", "-q", "data/raw.txt")
        toy.commit("toy")
        return toy

    def commit(self, message: str) -> None:
        self("git", "add", "-A")
        self("git", "commit", "-qm", message, "--allow-empty")

    def __call__(self, *cmd: str, status: int | None = 0) -> str:
        done = subprocess.run(cmd, cwd=self.folder, env=self.env, capture_output=True, text=True)
        output = done.stdout + done.stderr
        assert status is None or done.returncode == status, output
        return output

    def snakemake(self, *args: str) -> str:
        return self("snakemake", "--cores", "2", *args)

    def repro(self) -> str:
        return self("dvc", "repro")

    def start(self, *cmd: str, env: dict[str, str] | None = None) -> subprocess.Popen:
        """Start an engine in its own process group, with its output in a file.

        It is the real command, which takes signals.
        """
        own = self.env | {"PATH": self.path} | (env or {})
        with (self.folder / "engine.log").open("w") as log:
            return subprocess.Popen(
                [shutil.which(cmd[0], path=self.path), *cmd[1:]],
                cwd=self.folder,
                env=own,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def await_end(self, session: int) -> None:
        """Wait until all processes of the session with this process id have ended."""
        deadline = time.monotonic() + 30
        while found := self.alive(session):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def alive(self, session: int) -> list[str]:
        """Return the processes of a session, zombies too.

        DVC takes zombies for living processes.
        """
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[3]) == session:
                    found.append((stat.parent / "cmdline").read_text().replace("\0", " "))
            except (FileNotFoundError, ProcessLookupError):
                pass
        return found

    def output(self) -> str:
        """Return what a started engine has printed so far."""
        return (self.folder / "engine.log").read_text()

    def executed(self) -> list[str]:
        """Return the stages that scripts have recorded since the last call."""
        log = self.folder / "ran.log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return sorted(lines)

    def stale(self) -> set[str]:
        cmd = ["dvc", "status", "--json"]
        return set(
            json.loads(
                subprocess.run(
                    cmd, cwd=self.folder, env=self.env, capture_output=True, check=True
                ).stdout
            )
        )

    def planned(self) -> set[str]:
        """Return the stages that `snakemake -n` lists."""
        _, found, names = self.snakemake("-n").partition(" would run:\n")
        # they are indented
        lines = [line for line in names.splitlines() if line.startswith("  ")]
        return set(re.findall(r"[^\s,]+", "\n".join(lines))) if found else set()

    def assert_clean(self) -> None:
        # it asks DVC, and prints the stages that DVC reports as stale
        output = self.snakemake("-n")
        assert "Nothing to be done" in output and "stale: " not in output

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in a file. The text must occur in it."""
        file = self.folder / path
        text, count = re.subn(old, new, file.read_text(), count=1, flags=re.M)
        assert count, f"{old} is not in {path}"
        file.write_text(text)

    def sync(self) -> str:
        """Run `glta params sync`, and restore the toy's own dvc.yaml afterwards."""
        own = (self.folder / "dvc.yaml").read_bytes()
        output = self("glta", "params", "sync")
        (self.folder / "dvc.yaml").write_bytes(own)
        (self.folder / "plan.yaml").unlink(missing_ok=True)
        return output

    def set_steps(self, steps: int) -> None:
        self.edit("params.yaml", r"^    weight_steps: \d+", f"    weight_steps: {steps}")

    def mlflow(self):
        from mlflow import MlflowClient

        return MlflowClient(f"sqlite:///{self.folder}/mlflow.db")

    def all_runs(self) -> list:
        client = self.mlflow()
        return client.search_runs([client.get_experiment_by_name("glta").experiment_id])

    def runs(self) -> list:
        """Return the runs of stages, newest first."""
        return [run for run in self.all_runs() if "stage" in run.data.tags]

    def pipeline_runs(self) -> list:
        """Return the runs of engines, newest first."""
        return [run for run in self.all_runs() if "stage" not in run.data.tags]

    def provenance(self) -> list[dict]:
        ask = (
            "import json; from pipeline.lineage.results import costs, provenance; "
            "print(json.dumps([provenance(), costs()]))"
        )
        return json.loads(self(sys.executable, "-c", ask).splitlines()[-1])

    def hold(self) -> None:
        """Make the next trainings wait, and forget earlier ones."""
        (self.folder / "hold").touch()
        for mark in self.folder.glob("training@*"):
            mark.unlink()

    def release(self) -> None:
        (self.folder / "hold").unlink()

    def wait_for_training(self, count: int = 1) -> list[int]:
        """Wait until this many trainings are stopped in the middle. Returns their process ids."""
        deadline = time.monotonic() + 60
        while (
            len(found := [m.read_text() for m in self.folder.glob("training@*")]) < count
            or "" in found
        ):
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.1)
        return [int(pid) for pid in found]
