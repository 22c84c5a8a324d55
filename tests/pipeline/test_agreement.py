"""Test that Snakemake and DVC always agree which stages are stale, and that either repairs all.

Every step damages or changes something at random and lets a random engine run. Before and after,
the stages that DVC reports, and all downstream of them, must be the jobs that `snakemake -n` plans.
After a full run there are none, and every result follows from its parameters, data and code. `make
test-engines` runs the long form; GLTA_AGREEMENT=SEEDSxSTEPS any other. A failure prints its seed
and steps, and `GLTA_AGREEMENT_SEED=N pytest tests/pipeline/test_agreement.py` repeats one seed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.engine.oracle import overlap
from tests.pipeline.repository import OVERRIDE, Toy

NUM_SEEDS, NUM_STEPS = map(int, os.environ.get("GLTA_AGREEMENT", "2x6").split("x"))
SEEDS = (
    [int(os.environ["GLTA_AGREEMENT_SEED"])]
    if "GLTA_AGREEMENT_SEED" in os.environ
    else range(NUM_SEEDS)
)
OTHERS = ["text-knn", "lightgcn"]  # beside popularity, the report's reference


class World:
    """Hold a toy repository, its history, and what its results must be."""

    def __init__(self, toy: Toy, seed: int):
        self.toy, self.folder, self.random = toy, toy.folder, random.Random(seed)
        self.log: list[str] = []
        self.commits = 0
        if seed % 2:
            toy("dvc", "config", "cache.type", "hardlink")
        self.commit()

    # what a step may do; each method returns a text for the log

    def parameter(self) -> str:
        key, value = self.random.choice(
            [
                ("weight_steps", self.random.randint(21, 24)),
                ("user_core", self.random.randint(5, 7)),
            ]
        )
        self.toy.edit("params.yaml", rf"^( +){key}: \d+", rf"\g<1>{key}: {value}")
        return f"{key} = {value}"

    def override(self) -> str:
        value = self.random.choice(["{}", "{weight_steps: 31}"])
        self.toy.edit("params.yaml", OVERRIDE, rf"\1{value}")
        return f"override {value}"

    def matrix(self) -> str:
        methods = ["popularity", *sorted(self.random.sample(OTHERS, self.random.randint(0, 2)))]
        self.toy.edit("params.yaml", r"^methods: \[.*\]", f"methods: [{', '.join(methods)}]")
        return f"methods {methods}"

    def comment(self) -> str:
        script = self.random.choice(["prepare", "train", "evaluate", "report"])
        with (self.folder / f"toy/{script}.py").open("a") as f:
            f.write(f"# comment {self.random.random()}\n")
        return f"comment in {script}.py"

    def code(self) -> str:
        version = self.random.randint(0, 2)
        self.toy.edit("toy/prepare.py", r"^VERSION = \d+", f"VERSION = {version}")
        return f"version {version} of prepare.py"

    def raw(self) -> str:
        value = self.random.randint(1, 3)
        (self.folder / "data/raw.txt").write_text(f"raw {value}")
        if added := self.random.random() < 0.5:
            self.toy("dvc", "add", "-q", "data/raw.txt")
        return f"raw data {value}{', added' * added}"

    def touch(self) -> str:
        when = time.time() + self.random.choice([-1e6, 0, 1e4])
        some = self.random.random() < 0.5
        for path in self._files(".git/"):
            if not some or self.random.random() < 0.3:
                os.utime(path, (when, when))
        return f"touched {'some' if some else 'all'}"

    def delete(self) -> str:
        path = self.random.choice(self._results())
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return f"deleted {path.relative_to(self.folder)}"

    def corrupt(self) -> str:
        files = [
            f
            for path in self._results()
            for f in ([path] if path.is_file() else sorted(path.glob("*")))
            if f.is_file()
        ]
        path = self.random.choice(files)
        path.unlink()
        path.write_text("by hand")
        return f"overwrote {path.relative_to(self.folder)}"

    def checkout(self) -> str:
        back = self.random.randint(1, self.commits)
        self.toy("git", "checkout", "-qf", f"step{back}")
        # results that the cache has lost are computed again later
        self.toy("dvc", "checkout", "-qf", status=None)
        return f"checked out step{back}"

    def wipe(self) -> str:
        target = self.random.choice(
            [
                ".snakemake",
                ".pipe",
                ".site",
                ".dvc/tmp",
                ".dvc/cache/runs",
                "mlflow.db",
                ".dvc/cache",
            ]
        )
        path = self.folder / target
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        return f"wiped {target}"

    # what is checked

    def step(self) -> None:
        acts = [self.parameter, self.override, self.matrix, self.comment, self.code, self.raw]
        acts += [self.touch, self.delete, self.corrupt, self.checkout, self.wipe] * 2
        self.log.append(self.random.choice(acts)())
        stale = self.agree()
        if stale and self.random.random() < 0.25:
            one = self.random.choice(sorted(stale))
            engine = self.random.choice([["dvc", "repro", one], ["snakemake", "--cores", "2", one]])
            self.log[-1] += f"; {' '.join(engine)}"
            self.toy(*engine)
            self.agree()
        engine = self.random.choice(
            [["dvc", "repro"], ["snakemake", "--cores", "1"], ["snakemake", "--cores", "2"]]
        )
        self.log[-1] += f"; {' '.join(engine)}"
        self.toy(*engine)
        self.toy.assert_clean()
        self.assert_results()
        self.toy.executed()
        if self.random.random() < 0.3:
            self.commit()

    def agree(self) -> set[str]:
        """Ask both engines. Returns the stale stages and all stages downstream of them."""
        direct, planned = self.toy.stale() - {"data/raw.txt.dvc"}, self.toy.planned()
        expected = self._downstream(direct)
        assert planned == expected, (
            f"DVC: {sorted(expected)} (names {sorted(direct)}); Snakemake: {sorted(planned)}"
        )
        return planned

    def assert_results(self) -> None:
        """Compute every result independently and compare."""
        params = YAML(typ="safe").load(self.folder / "params.yaml")
        usual, own = (
            settings["lightgcn-text-knn"]
            for settings in (params["settings"], params["overrides"]["sample"]["settings"])
        )
        steps = own.get("weight_steps", usual["weight_steps"])
        version = (self.folder / "toy/prepare.py").read_text().split("VERSION = ")[1].split()[0]
        raw = (self.folder / "data/raw.txt").read_text()
        pairs = f"core {params['prepare']['user_core']} v{version} {raw}"
        assert (self.folder / "data/prepare/pairs.txt").read_text() == pairs
        scores = {}
        for method in params["methods"]:
            model, folder = f"{method} {steps} {pairs}", self.folder / "data/models" / method
            assert sorted(p.name for p in folder.glob("[!.]*")) == ["model.txt", "threads.txt"]
            assert (
                (folder / "model.txt").read_text()
                == (self.folder / f"data/evaluate/{method}/users.txt").read_text()
                == model
            )
            scores[method] = {
                "ndcg@20": (steps - (method != "popularity")) / 100,
                "valid/ndcg@20": 1 / len(method),
            }
        assert json.loads((self.folder / "data/report/metrics.json").read_text()) == scores
        assert (self.folder / "data/report/index.html").read_text() == str(
            dict(sorted(scores.items()))
        )

    def commit(self) -> None:
        self.commits += 1
        self.toy.commit("step")
        self.toy("git", "tag", f"step{self.commits}")

    def _files(self, without: str) -> list[Path]:
        found = sorted(p for p in self.folder.rglob("*") if p.is_file() and not p.is_symlink())
        return [p for p in found if without not in p.as_posix()]

    def _results(self) -> list[Path]:
        """List the results of stages that exist."""
        patterns = ("data/prepare", "data/models/*", "data/evaluate/*/*", "data/report/*")
        return [
            p
            for pattern in patterns
            for p in sorted(self.folder.glob(pattern))
            if not p.name.startswith(".")
        ]

    def _downstream(self, names: set[str]) -> set[str]:
        """Add all stages that read the results of these stages.

        The paths come from dvc.yaml as DVC lists them.
        """
        listed = self._stages()
        found = set(names)
        while more := {
            stage
            for stage, (deps, _) in listed.items()
            if stage not in found
            and any(
                overlap(dep, out) for dep in deps for other in found for out in listed[other][1]
            )
        }:
            found |= more
        return found

    def _stages(self) -> dict[str, tuple[list[str], list[str]]]:
        """Repeat the toy's graph here, so that the test does not use the code that it tests."""
        methods = YAML(typ="safe").load(self.folder / "params.yaml")["methods"]
        graph = {
            "prepare": ([], ["data/prepare"]),
            "report": (["data/evaluate"], ["data/report/index.html"]),
        }
        for m in methods:
            graph[f"train@{m}"] = (["data/prepare"], [f"data/models/{m}"])
            graph[f"evaluate@{m}"] = (
                [f"data/models/{m}", "data/prepare"],
                [f"data/evaluate/{m}/users.txt"],
            )
        return graph


@pytest.mark.engines
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", SEEDS)
def test_engines_never_disagree(toy, seed):
    world = World(toy, seed)
    try:
        for _ in range(NUM_STEPS):
            world.step()
    except AssertionError as error:
        steps = "\n".join(f"  {n}. {words}" for n, words in enumerate(world.log))
        raise AssertionError(f"seed {seed}, after\n{steps}\n{error}") from None
