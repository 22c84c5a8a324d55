"""Test `glta tune` as a process: kills, a second process, MLflow, and what it writes."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from glta.params.check import check_params, load_params, whole_overrides
from glta.params.file import render_params
from glta.params.model import Params
from glta.params.plan import render_plan
from glta.storage.cell import Cell
from glta.testing.blocks import block_prepared, write_prepared
from glta.tuning.objective import objective
from glta.tuning.space import present_values, space
from glta.tuning.study import Budget, Study, Trial, tune
from pipeline.tuning import command
from pipeline.tuning.board import LiveBoard, duration, seconds_left, short
from tests.starting import starting_params, starting_text

ROOT = Path(__file__).parents[2]
L2 = "settings.ease.l2"
RECENCY = "settings.ease.recency"
PRESENT = {L2: 7.0, RECENCY: 1.0}
SEARCH = """
import sys
import time
from glta.params.check import load_params
from glta.tuning.study import Budget
from pipeline.tuning import command
params = load_params().for_dataset("blocks")
command.search("ease", "blocks", params, budget=Budget(trials=int(sys.argv[1])), seed=0)
"""


def own_params() -> Params:
    return check_params(
        Params().model_dump()
        | {
            "datasets": ["blocks"],
            "tables": {"blocks": {"interactions": "none.csv"}},
            "overrides": {"blocks": whole_overrides({"settings": {"ease": {"l2": 7.0}}})},
        }
    )


def make_folder(folder: Path) -> Path:
    """Make a folder in which `glta tune ease blocks` can run.

    It has the code, the parameters and the result of `prepare`.
    """
    write_prepared(block_prepared(), folder / "data" / "blocks" / "0" / "prepare")
    (folder / "params.yaml").write_text(render_params(own_params()), encoding="utf-8")
    for name in ("glta", "pipeline"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def start(folder: Path, trials: int) -> subprocess.Popen:
    env = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | {
        "GLTA_PLAIN": "1",
        "PYTHONPATH": str(folder),
    }
    return subprocess.Popen(
        [sys.executable, "-c", SEARCH, str(trials)],
        cwd=folder,
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


def trials_in(folder: Path) -> list[tuple]:
    """Read the trials from the study's file, as a later run would."""
    from optuna import get_all_study_names

    database = folder / ".pipe/tune/blocks-0-ease.db"
    (key,) = get_all_study_names(f"sqlite:///{database}")
    return [
        (t.number, t.values, t.value) for t in Study(database, key, space("ease"), 0).finished()
    ]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    found = make_folder(tmp_path)
    monkeypatch.chdir(found)
    return found


def test_kill_9_loses_no_finished_trial(tmp_path):
    """A study that was killed twice ends with the trials and the budget of an uninterrupted one."""
    from mlflow import MlflowClient

    killed, known = make_folder(tmp_path), []
    for _ in range(2):
        process = start(killed, 14)
        told = 0
        for line in process.stderr:
            told += "blocks-0-ease:" in line
            if told == 2:
                break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        found = trials_in(killed)
        assert found[: len(known)] == known and len(found) >= len(known) + 2
        known = found
    assert len(known) < 14
    process = start(killed, 14)
    process.communicate()
    assert process.returncode == 0
    params = load_params(killed / "params.yaml").for_dataset("blocks")
    measure = objective("ease", Cell("blocks", 0, killed / "data"), params)
    left_alone = tune(
        Study(tmp_path / "alone.db", "key", space("ease"), 0), PRESENT, measure, Budget(trials=14)
    )
    assert trials_in(killed) == [(t.number, t.values, t.value) for t in left_alone]
    assert len(left_alone) == 14 and left_alone[0].values == PRESENT

    client = MlflowClient(f"sqlite:///{killed}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("glta-tune").experiment_id])
    (study,) = [run for run in runs if "study" in run.data.tags]
    by_trial = {int(run.data.tags["trial"]): run for run in runs if run is not study}
    assert len(runs) == 15 and sorted(by_trial) == list(range(14))
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in by_trial.values()} == {study.info.run_id}
    for number, values, value in trials_in(killed):
        assert by_trial[number].data.metrics["valid/ndcg_at_20"] == value
        assert by_trial[number].data.params == {key: str(values[key]) for key in PRESENT}
        assert by_trial[number].data.metrics["seconds"] > 0
    assert study.data.metrics["trials"] == 14 and study.data.params["method"] == "ease"
    assert study.data.metrics["valid/ndcg_at_20"] == max(value for _, _, value in trials_in(killed))


def test_a_second_process_is_refused(folder):
    with command.alone(folder / ".pipe/tune/blocks-0-ease.lock", "ease on blocks"):
        process = start(folder, 3)
        _, said = process.communicate()
    assert process.returncode == 1
    assert f"ease on blocks is being tuned already, by process {os.getpid()}" in said
    assert not (folder / ".pipe/tune/blocks-0-ease.db").exists()


def test_data_that_changes_meanwhile_ends_the_study(folder, monkeypatch):
    train = folder / "data/blocks/0/prepare/train.parquet"

    def measured_while_it_changes(*_):
        return lambda values, **_: train.write_bytes(train.read_bytes() + b" ") and 0.5

    monkeypatch.setattr(command, "objective", measured_while_it_changes)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    with pytest.raises(ValueError, match="data or code of ease changed during tuning"):
        command.search(
            "ease", "blocks", load_params().for_dataset("blocks"), budget=Budget(trials=3), seed=0
        )
    assert trials_in(folder) == []


def trial(number: int, l2: float, value: float | None) -> Trial:
    return Trial(
        number, PRESENT | {L2: l2}, value, 2.0, datetime.now(), "" if value else "too large"
    )


def test_the_best_is_written_and_nothing_else_changes(folder, capsys):
    path = Path("params.yaml")
    before = (
        path.read_text()
        .replace("  ease:  #", "  # our own words\n  ease:  #")
        .replace("seeds: [0]", "seeds: [0, 3]")
    )
    path.write_text(before)
    present = present_values("ease", load_params().for_dataset("blocks"))
    done = [trial(0, 7.0, 0.2), trial(1, 0.00123, 0.3), trial(2, 9.0, None)]
    command.finish("ease", "blocks", done, present=present, write=False)
    assert path.read_text() == before
    assert "nothing written" in capsys.readouterr().out
    command.finish("ease", "blocks", done, present=present, write=True)
    said = capsys.readouterr().out
    assert path.read_text() == before.replace(
        "ease: {l2: 7.0}", "ease: {l2: 0.00123, recency: 1.0}"
    )
    assert re.search(
        r"^-    settings: \{.*ease: \{l2: 7\.0\},.*\n\+    settings: \{.*ease: \{l2: 0\.00123, "
        r"recency: 1\.0\},",
        said,
        re.M,
    )
    assert load_params().for_dataset("blocks").settings.ease.l2 == 0.00123
    assert load_params().settings == Params().settings


def test_present_parameters_stay_when_none_is_better(folder, capsys):
    before = Path("params.yaml").read_text()
    command.finish(
        "ease",
        "blocks",
        [trial(0, 7.0, 0.2), trial(1, 5.0, 0.2), trial(2, 3.0, 0.1)],
        present=PRESENT,
        write=True,
    )
    assert Path("params.yaml").read_text() == before
    assert "no trial is better" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no training of ease has a value, the last: too large"):
        command.finish("ease", "blocks", [trial(0, 7.0, None)], present=PRESENT, write=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("popularity", "blocks", 0), "popularity has nothing to tune"),
        (("ease", "bloks", 0), "datasets = [blocks]: bloks is missing"),
        (("ease", "blocks", 7), "seeds = [0]: 7 is missing"),
        (("eese", "blocks", 0), "eese: unknown method; nearest is ease"),
    ],
)
def test_a_mistake_is_one_line(folder, arguments, said):
    method, dataset, seed = arguments
    with pytest.raises(ValueError) as error:
        command.main(method, dataset, budget=Budget(trials=1), seed=seed, write=True)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_parameters_of_other_datasets_are_tried_first(folder, monkeypatch):
    params = own_params().model_dump() | {
        "tables": {name: {"interactions": "none.csv"} for name in ("blocks", "books")}
    }
    params["overrides"]["books"] = whole_overrides({"settings": {"ease": {"l2": 3.0}}})
    Path("params.yaml").write_text(render_params(check_params(params)), encoding="utf-8")
    monkeypatch.setattr(command, "make_sources", lambda *_: None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    command.main("ease", "blocks", budget=Budget(trials=2), seed=0, write=False, like=["books"])
    assert [values for _, values, _ in trials_in(folder)] == [PRESENT, PRESENT | {L2: 3.0}]
    with pytest.raises(
        ValueError,
        match=r"^--like book: params.yaml has no overrides of that dataset, only of .*blocks, "
        r"books$",
    ):
        command.main("ease", "blocks", budget=Budget(trials=2), seed=0, write=False, like=["book"])


def test_time_left():
    done = [trial(0, 1.0, 0.2), trial(1, 1.0, 0.2)]
    assert seconds_left(Budget(trials=10), done) == 16
    assert seconds_left(Budget(trials=10, minutes=0.1), done) == 2
    assert seconds_left(Budget(minutes=1), []) == 60
    assert seconds_left(Budget(trials=10), []) is None
    assert [duration(s) for s in (42, 90, 7500)] == ["42 s", "2 min", "2 h 5 min"]


def test_the_table_shows_the_best_and_the_running_trial():
    from rich.console import Console

    done = [
        trial(0, 7.0, 0.2),
        *(trial(n, 10.0 + n, 0.01 * n) for n in range(1, 9)),
        trial(9, 4.0, None),
    ]
    assert short(["settings.ease.l2"]) == ["l2"]
    assert short(["a.rate", "b.rate", "b.decay"]) == ["a\nrate", "b\nrate", "decay"]
    board = LiveBoard("blocks-0-ease", Budget(trials=12), PRESENT, done)
    board.start(PRESENT | {L2: 3.3})
    console = Console(file=io.StringIO(), width=100)
    console.print(board)
    lines = console.file.getvalue().splitlines()
    assert [line.split()[0] for line in lines[2:]] == [
        "present",
        "trial",
        "trial",
        "trial",
        "trial",
        "running",
        "10",
    ]
    assert (
        "0.2000" in lines[2] and "3.3" in lines[7] and "10 of 12 trials, about 4 s left" in lines[8]
    )


@pytest.mark.slow
def test_the_command_makes_what_it_needs(tmp_path):
    """It starts in a repository where nothing has run yet.

    The second call continues, and leaves the file valid.
    """
    for name in ("Snakefile", "dvc.yaml", ".dvcignore"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    # a value that every trial beats
    poor = starting_text().replace("    neighbours: 100  #", "    neighbours: 1  #", 1)
    assert poor != starting_text()
    (tmp_path / "params.yaml").write_text(poor)
    (tmp_path / "plan.yaml").write_text(render_plan(starting_params()))
    for name in ("glta", "pipeline"):
        (tmp_path / name).symlink_to(ROOT / name)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = os.environ | {
        "PATH": path,
        "PYTHONPATH": str(tmp_path),
        "DVC_SITE_CACHE_DIR": str(tmp_path / ".site"),
    }
    env = {k: v for k, v in env.items() if k != "MLFLOW_TRACKING_URI"}

    def glta(*arguments: str) -> subprocess.CompletedProcess:
        code = [sys.executable, "-c", "from pipeline.cli.main import main; main()", *arguments]
        return subprocess.run(code, cwd=tmp_path, env=env, capture_output=True, text=True)

    for setup in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(setup, cwd=tmp_path, env=env, check=True)
    for trials in ("3", "14"):
        done = glta("tune", "item-knn", "sample", "--trials", trials)
        assert done.returncode == 0, done.stderr
        assert f"item-knn on sample: {trials} trials" in done.stdout
    assert "params.yaml: written" in done.stdout
    assert done.stderr.count("sample-0-item-knn: ") == 11  # the first three were known
    assert "prepare" in done.stderr and not (tmp_path / "data/sample/0/profile").exists()
    assert (
        glta("params", "check").returncode == 0
        and glta("params", "sync", "--check").returncode == 0
    )
    found = load_params(tmp_path / "params.yaml").overrides["sample"]["settings"]
    assert {"neighbours", "shrinkage"} <= set(found["item-knn"])
    assert found["item-knn"]["neighbours"] > 1


def test_two_commands_make_what_they_build_on_one_after_the_other(folder, monkeypatch):
    """DVC itself would refuse the second one, because the first is making the same stages."""
    running, together = [], []

    def slow(done, **_):
        running.append(done)
        time.sleep(0.2)
        together.append(len(running))
        running.pop()
        return subprocess.CompletedProcess(done, 0)

    monkeypatch.setattr(command.subprocess, "run", slow)
    with ThreadPoolExecutor() as pool:
        list(
            pool.map(
                lambda method: command.make_sources(Params(), method, "blocks", 0),
                ["ease", "hccf", "item-knn"],
            )
        )
    assert together == [1, 1, 1]


@pytest.mark.parametrize(
    ("shards", "stage"), [(1, "profile@blocks-0"), (3, "profile-join@blocks-0-3")]
)
def test_a_method_gets_its_profile_from_the_stage_that_writes_it(
    folder, monkeypatch, shards, stage
):
    asked = []

    def run(done, **_):
        asked.extend(done)
        return subprocess.CompletedProcess(done, 0)

    monkeypatch.setattr(command.subprocess, "run", run)
    command.make_sources(Params(shards={"profile": shards}), "text-knn", "blocks", 0)
    assert asked[-2:] == ["prepare@blocks-0", stage]


def test_what_was_tuned_is_listed(folder):
    """The list has the newest study, and none of older code or data."""
    with pytest.raises(ValueError, match=r"has no study of blocks; see `glta tune --help`"):
        command.overview("blocks")
    database = folder / ".pipe/tune/blocks-0-ease.db"
    for key, values in (("older", [0.5]), ("newer", [0.1, 0.3, 0.2])):
        left = iter(values)
        tune(
            Study(database, key, space("ease"), 0),
            PRESENT,
            lambda _, left=left: next(left),
            Budget(trials=len(values)),
        )
    assert command.overview("blocks") == command.overview()
    lines = command.overview().splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r"\| blocks-0-ease \| 3 \| 0\.\d \| 0\.1000 \| 0\.3000 \|", lines[2])


def test_what_was_tuned_on_other_datasets_is_not_listed(folder):
    """Also where the name of one begins as that of another does, with a number too."""
    names = ["blocks-0-ease", "blocks-2-0-ease", "blocks-2-b-1-item-knn", "blocks-b-0-ease"]
    for name in names:
        study = Study(folder / f".pipe/tune/{name}.db", "key", space("ease"), 0)
        tune(study, PRESENT, lambda _: 0.5, Budget(trials=1))
    found = {each: [row["study"] for row in command.studies(each)] for each in ("", "blocks")}
    assert found == {"": names, "blocks": ["blocks-0-ease"]}
    for dataset, study in zip(("blocks-2", "blocks-2-b", "blocks-b"), names[1:], strict=True):
        assert [row["study"] for row in command.studies(dataset)] == [study]
    with pytest.raises(ValueError, match=r"has no study of block;"):
        command.studies("block")
