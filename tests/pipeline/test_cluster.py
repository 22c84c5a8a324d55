"""Test stages as jobs on other machines.

The profile for Kubernetes runs with a replacement for kubectl. The options of both profiles are
checked.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.pipeline.repository import DOWNSTREAM, REPOSITORY, Toy

pytestmark = pytest.mark.engines
# options of snakemake-executor-plugin-slurm 2.8, which only a cluster's users install
SLURM = {
    f"slurm-{name}"
    for name in (
        "init-seconds-before-status-checks",
        "logdir",
        "requeue",
        "qos",
        "partition-config",
    )
}
SNAKEMAKE = (
    "snakemake",
    "--profile",
    "profiles/kubernetes",
    "--seconds-between-status-checks",
    "1",
    "--latency-wait",
    "5",
)


def with_cluster(toy: Toy) -> Toy:
    """Give a finished toy a cluster. Its folder is the shared volume."""
    beside = toy.folder.parent
    kubectl = beside / "bin/kubectl"
    kubectl.parent.mkdir()
    kubectl.write_text(
        f"#!/bin/sh\nexec {sys.executable} {REPOSITORY}/tests/pipeline/kubectl.py {beside}/jobs "
        '"$@"\n'
    )
    kubectl.chmod(0o755)
    toy.env["PATH"] = f"{kubectl.parent}:{toy.env['PATH']}"
    return toy


@pytest.fixture
def cluster(toy) -> Toy:
    """A cluster whose commands, those of its jobs too, start at once."""
    return with_cluster(toy)


def submit(cluster: Toy, *arguments: str, status: int = 0) -> str:
    return cluster(*SNAKEMAKE, *arguments, status=status)


def manifests(cluster: Toy) -> dict[str, dict]:
    found = [
        yaml.safe_load(path.read_text())
        for path in cluster.folder.parent.glob("jobs/*/manifest.yaml")
    ]
    return {each["metadata"]["annotations"]["stage"]: each["spec"] for each in found}


def test_every_stage_is_a_job_of_one_pipeline_run(cluster):
    cluster.set_steps(31)
    cluster.edit("dvc.yaml", r"resources: \{mem_mb: 100", "resources: {mem_mb: 150, gpu: 1")
    submit(cluster, "--config", 'note="B"')  # a call with quotes in it, which job scripts name
    assert set(cluster.executed()) == DOWNSTREAM
    cluster.assert_clean()
    assert cluster.stale() == set()
    assert "didn't change" in cluster.repro() and cluster.executed() == []
    parent = cluster.pipeline_runs()[0]
    assert (
        parent.info.status == "FINISHED"
        and "--profile profiles/kubernetes" in parent.data.tags["cmd"]
    )
    children = [
        run for run in cluster.runs() if run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    ]
    assert {run.data.tags["stage"] for run in children} == DOWNSTREAM and len(children) == len(
        DOWNSTREAM
    )

    jobs = manifests(cluster)
    assert set(jobs) == DOWNSTREAM
    for stage, memory, limits in (
        ("train@popularity", "150M", {"memory": "150M", "nvidia.com/gpu": 1}),
        ("report", "4000M", {"memory": "4000M"}),
    ):
        (container,) = jobs[stage]["template"]["spec"]["containers"]
        assert container["resources"] == {
            "requests": {"cpu": "1", "memory": memory},
            "limits": limits,
        }
        assert jobs[stage]["activeDeadlineSeconds"] == 720 * 60


def test_a_failed_job_fails_the_run_with_its_error(cluster):
    cluster.edit(
        "toy/train.py", r"^out = ", "assert method != 'text-knn', 'no such neighbour'\nout = "
    )
    output = submit(cluster, status=1)
    assert "AssertionError: no such neighbour" in output
    assert re.search(r"failed: train@text-knn \(job job.batch/\S+\); the end of ", output)
    assert "report" not in cluster.executed()
    failed = {run.data.tags["stage"] for run in cluster.runs() if run.info.status == "FAILED"}
    assert failed == {"train@text-knn"} and cluster.pipeline_runs()[0].info.status == "FAILED"
    cluster.edit("toy/train.py", r"^assert .*\n", "")
    cluster.repro()
    cluster.assert_clean()


@pytest.mark.slow
def test_ctrl_c_cancels_the_jobs(cold):
    """The next run continues from their checkpoints."""
    cluster = with_cluster(cold)  # of real commands, which take signals
    cluster.set_steps(31)
    cluster.hold()
    engine = cluster.start(*SNAKEMAKE, env={"PATH": cluster.env["PATH"]})
    trainings = cluster.wait_for_training(2)
    engine.send_signal(signal.SIGINT)
    assert engine.wait(60) == 130
    deadline = time.monotonic() + 30
    while alive := [pid for pid in trainings if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)
    cluster.release()
    cluster.executed()
    submit(cluster)
    assert set(cluster.executed()) == DOWNSTREAM | {"resumed@popularity", "resumed@text-knn"}
    cluster.assert_clean()


def test_a_job_that_outlived_its_snakemake_is_left_alone(toy):
    """On another machine, DVC cannot use its process number. It respects its lock on a file."""
    claim = toy.folder / ".pipe/stages/train@popularity.json"
    claim.parent.mkdir(exist_ok=True)
    who = {
        "command": "snakemake --profile profiles/slurm",
        "started": 0,
        "pid": 7,
        "user": "eve",
        "host": "node3",
    }
    claim.write_text(json.dumps(who))
    toy.set_steps(31)
    with claim.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        output = toy("snakemake", "--cores", "1", "train@popularity", status=1)
    assert (
        "`snakemake --profile profiles/slurm` of eve runs train@popularity since" in output
        and "process 7 on node3" in output
    )
    assert toy.executed() == []
    toy.snakemake("train@popularity")
    assert toy.executed() == ["train@popularity"]


def sbatch(cold: Toy, stage: str) -> str:
    """Submit one stage by the profile for Slurm. Returns the command that Slurm would get."""
    beside = cold.folder.parent
    programs = {
        "sbatch": f'printf "%s " "$@" > {beside}/submitted; exit 1',
        # asked for the account and the version
        "sacctmgr": "echo lab",
        "sacct": "echo lab",
        "sinfo": "echo slurm 24.05.3",
        "squeue": "exit 0",
        "scontrol": "exit 0",
        "sshare": "echo lab",
    }
    for name, script in programs.items():
        path = beside / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    cold.env["PATH"] = f"{beside / 'bin'}:{cold.env['PATH']}"
    cold("snakemake", "--profile", "profiles/slurm", stage, status=1)
    return (beside / "submitted").read_text()


def test_slurm_starts_a_stage_once_whatever_its_gpus(cold):
    """Slurm would start it once for each GPU with --ntasks-per-gpu; it starts its own processes."""
    plugin = pytest.importorskip("snakemake_executor_plugin_slurm")
    cold.env["PYTHONPATH"] = str(Path(plugin.__file__).parents[1])
    cold.edit("dvc.yaml", r"resources: \{mem_mb: 100", "resources: {mem_mb: 150, gpu: 2")
    cold.set_steps(31)
    found = sbatch(cold, "train@popularity")
    assert "--ntasks" not in found
    assert "--cpus-per-task=1" in found and "--mem 150" in found and "-t 720" in found


@pytest.mark.parametrize("secret", ["", "keys"])
def test_a_kubernetes_job_gets_the_secret_and_ends_soon(tmp_path, secret):
    (tmp_path / "kubectl").write_text("#!/bin/sh\ncat\n")
    (tmp_path / "kubectl").chmod(0o755)
    shown = subprocess.run(
        ["profiles/kubernetes/submit", "evaluate", "2", "4000", "0", "10", "job.sh"],
        env=os.environ
        | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SECRET": secret}
        | {"IMAGE": "python:3.13", "CLAIM": "glta", "VOLUME": "/work", "USER": "me"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    pod = yaml.safe_load(shown)["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 5
    stage = pod["containers"][0]
    assert stage["command"] == ["sh", "job.sh"]
    assert stage.get("envFrom") == ([{"secretRef": {"name": "keys"}}] if secret else None)


def test_the_profile_for_slurm_asks_for_no_tasks():
    """The test above needs the plugin, which only a cluster's users install."""
    profile = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text())
    assert profile["default-resources"]["tasks"] == 0
    # the GPUs of a stage that starts its own processes must be on one machine
    assert profile["default-resources"]["nodes"] == 1


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_profiles_have_only_options_that_exist(name, monkeypatch):
    from snakemake.cli import get_argument_parser

    profile = yaml.safe_load((REPOSITORY / f"profiles/{name}/config.yaml").read_text())
    known = {
        option.removeprefix("--")
        for action in get_argument_parser()._actions
        for option in action.option_strings
    }
    assert profile["executor"] in (name, "cluster-generic")
    assert set(profile) <= known | (
        set() if find_spec("snakemake_executor_plugin_slurm") else SLURM
    )
    for command in (value.split() for key, value in profile.items() if key.endswith("-cmd")):
        script = next(REPOSITORY / word for word in command if word.startswith("profiles/"))
        assert shutil.which(script)
