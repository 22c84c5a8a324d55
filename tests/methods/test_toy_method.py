"""A new method is one new folder, and no other file changes: everything else finds it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from glta.params.plan import render_plan
from pipeline.engine.definition import render_definition
from tests.starting import starting_params, starting_text

REPOSITORY = Path(__file__).resolve().parents[2]

SPEC = '''\
"""A method of two steps, for a test."""

from typing import Annotated

from pydantic import Field

from glta.config import Positive, Search, Section
from glta.methods.spec import Ablation, MethodSpec, StepSpec


class FactorSettings(Section):
    """Factorise the training pairs."""

    width: Positive = Field(4, description="of the factors")
    learning_rate: Annotated[float, Search(0.01, 0.2, log=True)] = Field(
        0.05, gt=0, description="Adam"
    )
    epochs: Positive = Field(40, description="at most")
    patience: Positive = Field(10, description="epochs without a better validation NDCG@20")


class LiftSettings(Section):
    """Lift popular items."""

    weight: Annotated[float, Search(0.0, 1.0)] = Field(0.0, ge=0, description="of popularity")


class ToyTwoSettings(Section):
    """Factorise, then lift popular items."""

    factors: FactorSettings = FactorSettings()
    lift: LiftSettings = LiftSettings()


SPEC = MethodSpec(
    name="toy-two",
    title="Toy of two",
    paper="made up for a test",
    settings=ToyTwoSettings,
    recommender="glta.methods.toy_two.model:ToyTwo",
    steps=(
        StepSpec("toy-factors", "glta.methods.toy_two.model:Factorise", settings=("factors",)),
        StepSpec(
            "toy-two",
            "glta.methods.toy_two.model:Lift",
            reads=("prepare", "toy-factors"),
            settings=("lift",),
            memory_mb=1234,
        ),
    ),
    ablations={"lifted": Ablation({"lift.weight": 0.5})},
    place=45,
)
'''

MODEL = '''\
"""A toy: factors by gradient descent, and popularity as one more column of them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from glta.evaluation.validation import embeddings_ndcg
from glta.methods.base import Job, Step
from glta.methods.shared.dot_product import DotProduct
from glta.methods.toy_two.spec import FactorSettings, LiftSettings
from glta.storage.arrays import load_arrays, save_arrays
from glta.storage.files import write_json


@dataclass
class Factors:
    user: np.ndarray
    item: np.ndarray
    history: list = field(default_factory=list)

    def save(self, folder: Path) -> None:
        save_arrays(folder / "model.safetensors", {"user": self.user, "item": self.item})
        write_json(folder / "history.json", self.history)


class Factorise(Step):
    def run(self, job: Job) -> Factors:
        import torch

        from glta.training.seeds import epoch_rng
        from glta.training.trainer import Task, train

        settings = job.own(FactorSettings, "factors")
        pairs, evaluate = job.prepared.train, embeddings_ndcg(job.prepared)
        target = torch.zeros(pairs.num_users, pairs.num_items)
        target[torch.from_numpy(pairs.user), torch.from_numpy(pairs.item)] = 1
        start = torch.Generator().manual_seed(job.seed)

        class Fit(Task):
            section = "settings.toy-two.factors"
            learning_rate = settings.learning_rate

            def __init__(self):
                sides = {"user": pairs.num_users, "item": pairs.num_items}
                self.weights = {
                    name: torch.nn.Parameter(
                        0.1 * torch.randn(size, settings.width, generator=start)
                    )
                    for name, size in sides.items()
                }

            def trained(self):
                return self.weights

            def optimizer(self):
                return torch.optim.Adam(self.weights.values(), lr=settings.learning_rate)

            def batches(self, epoch):
                order = epoch_rng(job.seed, epoch).permutation(pairs.num_users)
                return np.array_split(order, 3)

            def backward(self, batch):
                mine = torch.from_numpy(batch[self.devices.share(len(batch))])
                error = self.weights["user"][mine] @ self.weights["item"].T - target[mine]
                loss = error.square().sum() / len(batch)
                loss.backward()
                return {"loss": loss}

            def tensors(self):
                return {name: p.detach() for name, p in self.weights.items()}

            def load(self, tensors):
                with torch.no_grad():
                    for name, parameter in self.weights.items():
                        parameter.copy_(tensors[name])

            def validate(self, epoch):
                user, item = (self.tensors()[name].numpy() for name in ("user", "item"))
                return evaluate(user, item)

        task = Fit()
        found = train(
            task,
            epochs=settings.epochs,
            patience=settings.patience,
            checkpoint=job.checkpoint,
            on_epoch=job.on_epoch,
        )
        user, item = (task.tensors()[name].numpy() for name in ("user", "item"))
        return Factors(user, item, found.history)


class ToyTwo(DotProduct):
    """Score by the factors."""

    name = "toy-two"


class Lift(Step):
    def run(self, job: Job) -> ToyTwo:
        arrays, _ = load_arrays(job.source("toy-factors") / "model.safetensors")
        user, item = arrays["user"], arrays["item"]
        popularity = job.prepared.train.item_degree / job.prepared.train.num_users
        lifted = np.float32(job.own(LiftSettings, "lift").weight * popularity)
        ones = np.ones(len(user), np.float32)
        return ToyTwo(np.column_stack([user, ones]), np.column_stack([item, lifted]))
'''

CONTRACT = """\
from glta.testing.contract import MethodContract


class TestToyTwo(MethodContract):
    name = "toy-two"
"""

RESUMES = """\
from pathlib import Path

import numpy as np

from glta.methods.base import Job
from glta.methods.toy_two.model import Factorise
from glta.methods.toy_two.spec import FactorSettings
from glta.testing.blocks import World

world = World.write(Path("world"))


class Killed(Exception):
    pass


def run(**more):
    settings = {"factors": FactorSettings()}
    sources = {"prepare": world.cell.prepare}
    return Factorise().run(Job("toy-factors", sources, settings, 0, **more))


def dies(record):
    if record["epoch"] == 2:
        raise Killed


whole, seen = run(), []
assert len(whole.history) > 5
try:
    run(checkpoint=Path("checkpoint"), on_epoch=dies)
except Killed:
    pass
else:
    raise AssertionError("was not killed")
resumed = run(checkpoint=Path("checkpoint"), on_epoch=seen.append)
assert resumed.history == seen == whole.history
np.testing.assert_array_equal(resumed.user, whole.user)
np.testing.assert_array_equal(resumed.item, whole.item)
"""


class House:
    """A copy of the repository with one folder more."""

    def __init__(self, folder: Path, commands: str):
        self.folder = folder
        path = [commands, str(Path(sys.executable).parent), os.environ["PATH"]]
        own = {
            "PATH": os.pathsep.join(path),
            "PYTHONPATH": str(folder),
            "DVC_SITE_CACHE_DIR": str(folder / ".site"),
            "DVC_NO_ANALYTICS": "1",
        }
        dropped = {"MLFLOW_TRACKING_URI", "GLTA_CHECKPOINT", "GLTA_RECORDS"}
        self.env = {k: v for k, v in os.environ.items() if k not in dropped} | own

    def __call__(self, *command: str, status: int = 0) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True
        )
        output = done.stdout + done.stderr
        assert done.returncode == status, output
        return output

    def python(self, code: str) -> str:
        return self(sys.executable, "-c", code)

    def yaml(self, name: str) -> dict:
        return YAML(typ="safe").load((self.folder / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def house(tmp_path_factory, commands) -> House:
    """Copy the repository, write the method's folder, and sync."""
    folder = tmp_path_factory.mktemp("house")
    for name in ("glta", "pipeline", "profiles"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=skipped)
    for name in ("Snakefile", ".dvcignore", ".gitignore"):
        shutil.copy(REPOSITORY / name, folder / name)
    (folder / "params.yaml").write_text(starting_text())
    (folder / "plan.yaml").write_text(render_plan(starting_params()))
    (folder / "dvc.yaml").write_text(render_definition())
    method = folder / "glta/methods/toy_two"
    method.mkdir()
    for name, text in (("__init__.py", ""), ("spec.py", SPEC), ("model.py", MODEL)):
        (method / name).write_text(text)
    house = House(folder, commands)
    house("git", "init", "-q")
    house("dvc", "init", "-q")
    # a parameter file of before the method says what to do, and the command does it
    assert "params sync" in house("glta", "params", "check", status=1)
    house("glta", "params", "sync")
    params = folder / "params.yaml"
    lines = params.read_text().splitlines(keepends=True)
    wanted = "methods: [popularity, toy-two, toy-two-lifted]\n"
    params.write_text("".join(wanted if ln.startswith("methods:") else ln for ln in lines))
    house("glta", "params", "sync")
    return house


def test_the_command_line_and_the_report_name_it(house):
    assert "toy-two-lifted" in house("glta", "ablations")
    said = house.python(
        "from glta.methods.registry import title; print(title('toy-two'), title('toy-two-lifted'))"
    )
    assert said == "Toy of two Toy of two lifted\n"
    listed = [line.split() for line in house("glta", "methods").splitlines()]
    names = [words[0] for words in listed]
    place = names.index("toy-two")
    assert names[place - 1] == "ials"
    assert listed[place][1:] == ["Toy", "of", "two", "cpu", "made", "up", "for", "a", "test"]


def test_parameters_have_its_settings(house):
    house("glta", "params", "check")
    house("glta", "params", "sync", "--check")
    params = house.yaml("params.yaml")
    assert params["settings"]["toy-two"] == {
        "factors": {"width": 4, "learning_rate": 0.05, "epochs": 40, "patience": 10},
        "lift": {"weight": 0.0},
    }
    for dataset in params["overrides"].values():
        assert dataset["settings"]["toy-two"] == {"factors": {}, "lift": {}}
    text = (house.folder / "params.yaml").read_text()
    assert "# Factorise, then lift popular items." in text
    assert "# Adam [> 0]" in text


def test_the_plan_has_its_steps_and_no_others(house):
    plan = house.yaml("plan.yaml")["plan"]
    wanted = {"popularity", "toy-factors", "toy-two", "toy-two-lifted", "recommend"}
    assert {name for name, datasets in plan.items() if datasets} == wanted
    assert "lightgcn" in plan


CELL = "data/${item.dataset}/${item.seed}"


def recorded(name: str) -> list[str]:
    return [f"data/code/{name}.json", f"data/params/${{item.dataset}}/{name}.json"]


def test_the_definition_has_its_stages(house):
    before = YAML(typ="safe").load(render_definition())
    stages = house.yaml("dvc.yaml")["stages"]
    assert {*stages} - {*before["stages"]} == {"toy-factors", "toy-two", "toy-two-lifted"}
    assert all(stages[name] == stage for name, stage in before["stages"].items())
    first, last, lifted = (stages[n] for n in ("toy-factors", "toy-two", "toy-two-lifted"))
    assert first["deps"] == [f"{CELL}/prepare", *recorded("toy-factors")]
    assert first["outs"] == [{f"{CELL}/toy-factors": {"type": "dir"}}]
    reads = [f"{CELL}/prepare", f"{CELL}/toy-factors"]
    assert last["deps"] == [*reads, *recorded("toy-two")]
    assert last["meta"]["model"] == f"{CELL}/models/toy-two"
    assert last["meta"]["resources"] == {"mem_mb": 1234}
    assert last["outs"] == [{f"{CELL}/models/toy-two": {"type": "dir"}}]
    assert lifted["deps"][:2] == reads
    assert lifted["deps"][2:] == recorded("toy-two-lifted")


MINE = ["toy-factors@sample-0", "toy-two@sample-0", "toy-two-lifted@sample-0"]
RESULTS = [
    f"{stage}@sample-0-{method}"
    for stage in ("recommend", "evaluate")
    for method in ("toy-two", "toy-two-lifted")
]


def test_both_engines_schedule_it(house):
    listed = {line.split()[0] for line in house("dvc", "stage", "list").splitlines()}
    assert {*MINE, *RESULTS} <= listed
    planned = house("snakemake", "-n", "--cores", "1")
    for name in (*MINE, *RESULTS):
        assert re.search(rf"\s{name}(,|$)", planned, re.M), planned
    assert "lightgcn" not in planned


def test_its_code_is_followed(house):
    ask = (
        "import json; from pipeline.engine.code import programs; "
        "print(json.dumps({k: sorted(v['files']) for k, v in programs().items()}))"
    )
    files = json.loads(house.python(ask))
    model = "glta/methods/toy_two/model.py"
    mine = {*(name.partition("@")[0] for name in MINE), "recommend-toy-two"}
    assert {name for name, found in files.items() if model in found} == {
        *mine,
        "recommend-toy-two-lifted",
    }


def test_tuning_knows_its_ranges(house):
    ask = (
        "from glta.tuning.space import space; from glta.tuning.objective import sources; "
        "print(sorted(space('toy-two')), sources('toy-two'))"
    )
    keys = ["settings.toy-two.factors.learning_rate", "settings.toy-two.lift.weight"]
    assert house.python(ask) == f"{keys} []\n"
    assert "| toy-two | `settings.toy-two.lift.weight` | 0 |" in house("glta", "ranges")


def test_it_keeps_what_every_method_promises(house):
    (house.folder / "contract_test.py").write_text(CONTRACT)
    plain = ("-q", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider")
    said = house("python", "-m", "pytest", *plain, "contract_test.py")
    assert "14 passed" in said


def test_its_first_step_resumes(house):
    """Killed in an epoch, it goes on from its checkpoint and ends with the same numbers."""
    assert house.python(RESUMES).count("training goes on from its last checkpoint") == 1


def test_its_stages_run(house):
    """From nothing to its metrics, and an edit of the last step's parameters leaves the first."""
    target = "evaluate@sample-0-toy-two"
    house("dvc", "repro", target)
    metrics = house.folder / "data/evaluate/sample/0/toy-two/metrics.json"
    assert json.loads(metrics.read_text())["ndcg@20"] > 0.01
    assert "Nothing to be done" in house("snakemake", "--cores", "1", "-n", target)
    params = house.folder / "params.yaml"
    old = params.read_text()
    params.write_text(old.replace("      weight: 0.0 ", "      weight: 0.1 "))
    try:
        said = house("glta", "why", "toy-two"), house("glta", "why", "toy-factors")
    finally:
        params.write_text(old)
    why = "toy-two@sample-0: stale: params.yaml settings.toy-two.lift.weight 0.0 -> 0.1\n"
    assert said == (why, "toy-factors@sample-0: up to date\n")
