"""Test that Snakemake and DVC always agree, on one toy repository.

It has the real Snakefile, oracle and runner. Every sequence ends clean: `dvc status` is empty and
`snakemake -n` has nothing to do.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from glta.storage.files import sha256_of, write_json
from pipeline.tracking.records import inputs_of
from tests.pipeline.repository import DOWNSTREAM, EVALUATES, OVERRIDE, TRAINS

pytestmark = pytest.mark.engines


def test_first_run_records_every_stage(built):
    log = (built.folder / "ran.log").read_text().split()
    assert sorted(log) == sorted([*DOWNSTREAM, "prepare"])
    built.assert_clean()
    assert "didn't change" in built.repro()
    assert (built.folder / "ran.log").read_text().split() == log
    runs = {run.data.tags["stage"]: run for run in built.runs()}
    assert {run.info.status for run in runs.values()} == {"FINISHED"} and len(built.runs()) == 6
    train = runs["train@popularity"]
    assert train.data.params == {"settings.lightgcn-text-knn.weight_steps": "21"}
    assert train.data.metrics["loss"] == 0.5 and train.data.metrics["valid_at_20"] == 0.5
    assert train.data.metrics["seconds"] > 0 and train.data.metrics["peak_memory_bytes"] > 1e6
    assert [d.dataset.name for d in train.inputs.dataset_inputs] == ["data/prepare"]
    assert len(train.data.tags["git.commit"]) == 40 and train.data.tags["git.dirty"] == "false"
    assert runs["evaluate@popularity"].data.metrics["ndcg_at_20"] == 0.21
    assert runs["report"].data.metrics["popularity/ndcg_at_20"] == 0.21
    assert {p.name for p in (built.folder / "mlartifacts").rglob("*.*")} >= {
        "index.html",
        "metrics.json",
    }
    assert (built.folder / "data/models/popularity/threads.txt").read_text() == "1"
    assert list((built.folder / ".pipe/checkpoints").iterdir()) == []
    assert list((built.folder / ".pipe/runs").iterdir()) == []


def test_every_result_leads_to_the_run_that_made_it(built):
    provenance, costs = built.provenance()
    assert {p["stage"] for p in provenance} == {*DOWNSTREAM, "prepare"} == set(costs)
    assert all(p["run_id"] and p["commit"] for p in provenance)
    report = next(run for run in built.runs() if run.data.tags["stage"] == "report")
    for p in provenance:
        # the report depends on the folder above, and its run names each result within
        if p["stage"] in EVALUATES:
            assert p["outs"].items() <= inputs_of(report.data.tags).items()


def test_parameter_there_and_back(toy):
    """DVC runs A -> B, Snakemake restores B -> A without a run, and Snakemake runs A -> C."""
    toy.set_steps(31)
    assert toy.stale() == set(TRAINS)
    assert toy.planned() == DOWNSTREAM
    toy.repro()
    assert set(toy.executed()) == DOWNSTREAM
    toy.assert_clean()
    runs = len(toy.runs())

    toy.set_steps(21)
    assert toy.stale() == set(TRAINS)
    toy.snakemake()
    assert toy.executed() == [] and len(toy.runs()) == runs
    toy.assert_clean()
    assert all(p["run_id"] for p in toy.provenance()[0])

    toy.edit("params.yaml", OVERRIDE, r"\1{weight_steps: 41}")
    toy.snakemake()
    assert set(toy.executed()) >= set(TRAINS)
    toy.assert_clean()
    assert "didn't change" in toy.repro() and toy.executed() == []
    assert (
        max(
            int(run.data.params.get("settings.lightgcn-text-knn.weight_steps", 0))
            for run in toy.runs()
        )
        == 41
    )


def test_the_oracle_reports_the_same_as_dvc_status(toy):
    """The oracle checks each file once and does not call `dvc status`.

    For every kind of change, both must report the same.
    """
    ask = (
        "import json; from pipeline.engine.oracle import read_stages; "
        "print(json.dumps(read_stages(ask=True)[1]))"
    )
    changes = {
        "nothing": lambda f: None,
        "parameter": lambda f: toy.set_steps(31),
        "program": lambda f: (f / "toy/prepare.py").write_text(
            (f / "toy/prepare.py").read_text() + "\n"
        ),
        "source": lambda f: (f / "data/raw.txt").write_text("raw 2"),
        "command": lambda f: toy.edit("dvc.yaml", r"(cmd: .*toy.report)", r"\1 --again"),
        "output": lambda f: (f / "data/models/popularity/model.txt").write_text("by hand"),
        "missing output": lambda f: (f / "data/evaluate/popularity/metrics.json").unlink(),
        "missing source": lambda f: (f / "data/raw.txt").unlink(),
        "nothing known": lambda f: (f / "dvc.lock").unlink(),
    }
    before = None
    for what, change in changes.items():
        change(toy.folder)
        told = json.loads(toy(sys.executable, "-c", ask).splitlines()[-1])
        said = subprocess.run(
            ["dvc", "status", "--json"],
            cwd=toy.folder,
            env=toy.env,
            capture_output=True,
            check=True,
        ).stdout
        assert told == {
            name: why for name, why in json.loads(said).items() if name != "data/raw.txt.dvc"
        }, what
        assert told != before and (what == "nothing") == (told == {})
        before = told


def test_lost_and_damaged_outputs_come_back(toy):
    damages = {
        "deleted file": lambda f: (f / "data/evaluate/popularity/metrics.json").unlink(),
        "deleted folder": lambda f: shutil.rmtree(f / "data/models/popularity"),
        "overwritten file": lambda f: (f / "data/models/text-knn/model.txt").write_text("by hand"),
        "deleted uncached metric": lambda f: (f / "data/report/metrics.json").unlink(),
    }
    for n, (name, damage) in enumerate(damages.items()):
        damage(toy.folder)
        assert toy.stale(), name
        toy.repro() if n % 2 else toy.snakemake()
        assert toy.executed() == [], name
    toy.assert_clean()


def test_only_content_makes_stale(toy):
    for path in toy.folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and ".git/" not in path.as_posix():
            os.utime(path)
    shutil.rmtree(toy.folder / ".snakemake")
    shutil.rmtree(toy.folder / ".pipe/keys")
    toy.assert_clean()

    with (toy.folder / "toy/train.py").open("a") as f:
        f.write("# a comment\n")
    assert toy.planned() == DOWNSTREAM
    toy.snakemake()
    # the new results equal the old ones, so no later stage has to run
    assert toy.executed() == TRAINS
    toy.assert_clean()


def test_matrix_entries_come_and_go(toy):
    """A removed entry leaves no file in the folder that the report depends on.

    Files that a user put there stay.
    """
    note = toy.folder / "data/evaluate/text-knn/note.txt"
    note.write_text("by hand")
    toy.edit("params.yaml", r"^methods: .*", "methods: [popularity]")
    assert toy.planned() == {"report"}
    toy.snakemake()
    assert toy.executed() == ["report"]
    toy.assert_clean()
    assert [p.name for p in note.parent.iterdir()] == ["note.txt"]
    assert "text-knn" not in (toy.folder / "data/report/index.html").read_text()

    toy.edit("params.yaml", r"^methods: .*", "methods: [popularity, text-knn, lightgcn]")
    toy.repro()
    assert toy.executed() == ["evaluate@lightgcn", "report", "train@lightgcn"]
    toy.assert_clean()


@pytest.mark.slow
def test_code_edited_while_a_stage_runs_is_named(toy):
    """A program's file in data/code names the code; the code itself is no dependency."""
    helper, program = toy.folder / "toy/helper.py", toy.folder / "data/code/train.json"
    helper.write_text("# one")
    write_json(program, {"files": {"toy/helper.py": sha256_of(helper)}})
    toy.edit("dvc.yaml", r"- toy/train.py", r"- toy/train.py\n      - data/code/train.json")
    toy.hold()
    engine = toy.start("dvc", "repro", "train@popularity")
    toy.wait_for_training()
    helper.write_text("# two")
    toy.release()
    assert engine.wait(60) != 0
    assert "train@popularity: changed while it ran: toy/helper.py" in toy.output()
    assert "train@popularity" in toy.stale()
    output = toy("dvc", "repro", "train@popularity", status=None)
    words = "train@popularity: toy/helper.py was edited after its hash was taken; run again"
    assert words in output and "Traceback" not in output
    write_json(program, {"files": {"toy/helper.py": sha256_of(helper)}})
    toy.repro()
    toy.assert_clean()


def test_plan_out_of_date_is_reported_once_and_updated(toy):
    """Plain dvc fails with one line and then works; Snakemake continues at once."""
    plan = toy.folder / "plan.yaml"
    for number, methods in enumerate((["popularity", "ease"], ["popularity", "lightgcn"])):
        toy.edit("params.yaml", r"^methods: .*", f"methods: [{', '.join(methods)}]")
        plan.write_text("plan: {}\n")
        if number:
            assert "plan.yaml: updated for params.yaml" in toy.snakemake()
        else:
            output = toy("dvc", "repro", status=None)
            errors = [line for line in output.splitlines() if line.startswith("error: ")]
            assert len(errors) == 1
            assert errors[0].startswith("error: plan.yaml: did not fit params.yaml")
            assert "run the same command again" in errors[0] and "Traceback" not in output
            assert f"{methods[1]}: [sample]" in plan.read_text()
            toy.repro()
        assert f"train@{methods[1]}" in toy.executed()
        assert f"{methods[1]}: [sample]" in plan.read_text()
        toy.assert_clean()


@pytest.mark.slow
def test_input_changed_while_a_stage_runs(toy):
    toy.set_steps(31)
    toy.hold()
    engine = toy.start("dvc", "repro")
    toy.wait_for_training()
    toy.set_steps(41)
    toy.release()
    assert engine.wait(60) != 0
    assert "changed while it ran: settings.lightgcn-text-knn.weight_steps" in toy.output()
    assert "FAILED" in {run.info.status for run in toy.runs()}
    assert toy.stale() >= set(TRAINS)
    toy.snakemake()
    assert " 41 " in (toy.folder / "data/models/popularity/model.txt").read_text()
    toy.assert_clean()


def test_unknown_parameter_stops_both_engines(toy):
    toy.edit("params.yaml", r"^  user_core: 5", "  user_corr: 5")
    for engine in (["snakemake", "--cores", "2"], ["snakemake", "-n"], ["dvc", "repro"]):
        output = toy(*engine, status=None)
        assert "params.yaml prepare.user_corr = 5: unknown key; nearest is user_core" in output
        assert "Traceback" not in output
    assert toy("snakemake", "-n", status=1)
    assert toy.executed() == []


def test_an_edited_file_of_ones_own_stops_snakemake_until_it_is_stated(toy):
    own, read = toy.folder / "my.csv", toy.folder / "data/books/download/source.json"
    own.write_text("user_id,item_id")
    toy.edit("params.yaml", r"^datasets: .*", "datasets: [sample, books]")
    toy.edit("params.yaml", r"^tables: .*", "tables: {books: {interactions: my.csv}}")
    assert f'tables.books.interactions_sha256: null -> "{sha256_of(own)}"' in toy.sync()
    write_json(read, {"files": {"my.csv": {"bytes": own.stat().st_size, "sha256": sha256_of(own)}}})
    toy.assert_clean()
    own.write_text("user_id,item_ID")
    output = toy("snakemake", "-n", status=1)
    assert (
        "books: my.csv has changed since it was read: `glta params sync`" in output
        and "Traceback" not in output
    )
    toy.sync()
    toy.assert_clean()


@pytest.mark.slow
def test_raw_data_kept_by_dvc_add(toy):
    """DVC reports the .dvc file until `dvc add`; no stage has to run."""
    (toy.folder / "data/raw.txt").write_text("raw 2")
    assert toy.stale() == {"data/raw.txt.dvc", "prepare"} and "prepare" in toy.planned()
    toy.snakemake()
    assert toy.stale() == {"data/raw.txt.dvc"}
    toy.assert_clean()
    toy("dvc", "add", "-q", "data/raw.txt")
    assert toy.stale() == set()
    toy.assert_clean()


@pytest.mark.slow
def test_forced_stages_run_again(toy):
    """Snakemake's -R, -f and -F reach DVC, which would restore its copy. Each makes a new run."""
    for arguments, expected in (
        (["-R", "train@popularity"], ["train@popularity"]),
        (["-f", "data/evaluate/popularity/metrics.json"], ["evaluate@popularity"]),
        (["-F"], sorted([*DOWNSTREAM, "prepare"])),
    ):
        known = {run.info.run_id for run in toy.runs()}
        toy.snakemake(*arguments)
        assert toy.executed() == expected
        assert (
            sorted(r.data.tags["stage"] for r in toy.runs() if r.info.run_id not in known)
            == expected
        )
        toy.assert_clean()


@pytest.mark.slow
def test_hard_links_to_the_cache(toy):
    """With `cache.type hardlink`, a result and DVC's copy are one file.

    Nothing may write to it.
    """
    toy("dvc", "config", "cache.type", "hardlink")
    shutil.rmtree(toy.folder / "data/models")
    toy.repro()
    assert (toy.folder / "data/models/popularity/model.txt").stat().st_nlink == 2
    (toy.folder / "data/models/popularity/model.txt").unlink()
    (toy.folder / "data/models/popularity/model.txt").write_text("by hand")
    assert "train@popularity" in toy.stale()
    toy.snakemake()
    assert toy.executed() == []
    for steps, executed in ((31, DOWNSTREAM), (21, set())):
        toy.set_steps(steps)
        toy.snakemake()
        assert set(toy.executed()) == executed
        toy.assert_clean()
    ahead = 4e9  # seconds, in the year 2096
    for path in (toy.folder / "data").rglob("*"):
        os.utime(path, (ahead, ahead))
    toy.set_steps(41)
    toy.snakemake()
    toy.assert_clean()
    assert "didn't change" in toy.repro()
