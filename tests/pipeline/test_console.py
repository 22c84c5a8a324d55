"""What a run of Snakemake prints: few lines, what fails, where its log is, and what comes next."""

from __future__ import annotations

import io
import logging
import re
import signal
import time
from pathlib import Path

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from pipeline.engine import console as module
from pipeline.engine.console import Console, log_of
from pipeline.engine.oracle import Stage, _busy
from pipeline.lineage.why import stale_lines

USING = "Using workflow specific profile"


@pytest.fixture
def console(tmp_path, monkeypatch):
    """A console that prints into memory, and the logger that it listens to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLTA_PLAIN", "1")
    made = Console(io.StringIO())
    logger = logging.Logger("test", logging.DEBUG)
    logger.addHandler(made)
    yield made, logger
    made.close()


def tell(logger: logging.Logger, event: LogEvent | None, text: str = "", **values) -> None:
    level = logging.ERROR if event == LogEvent.JOB_ERROR else logging.INFO
    logger.log(level, text, extra={"event": event, **values} if event else None)


def start(logger: logging.Logger, names: list[str]) -> None:
    """Tell of a run of these stages, which all start."""
    counts = dict.fromkeys(names, 1) | {"all": 1, "total": len(names) + 1}
    tell(logger, LogEvent.RUN_INFO, stats=counts)
    for number, name in enumerate([*names, "all"]):
        tell(logger, LogEvent.JOB_INFO, rule_name=name, jobid=number)
    tell(logger, LogEvent.JOB_STARTED, jobs=list(range(len(names))))


def test_a_line_tells_what_is_done_and_what_runs(console, monkeypatch):
    made, logger = console
    monkeypatch.setattr(module, "DONE_SECONDS", 0)
    start(logger, ["prepare@a-0", "ease@a-0"])
    log = Path(log_of("ease@a-0"))
    log.parent.mkdir(parents=True)
    log.write_text("Running stage 'ease@a-0':\n> python x\nepochs: 3/20 loss 0.5\nother\n")
    tell(logger, LogEvent.JOB_FINISHED, job_id=0)
    deadline = time.monotonic() + 20
    while "1/2" not in made.stream.getvalue():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    made.close_display()
    first, second = made.stream.getvalue().splitlines()
    assert first == "2 stages to run; what they print is in .pipe/logs/"
    assert second.startswith("1/2 0:0")
    assert second.endswith("done prepare@a-0; running ease@a-0 (epochs: 3/20 loss 0.5)")


def test_many_stages_are_few_lines(console):
    made, logger = console
    names = [f"s{n}" for n in range(47)]
    start(logger, names)
    for number in range(47):
        tell(logger, LogEvent.JOB_FINISHED, job_id=number)
    made.success("ndcg@20")
    lines = made.stream.getvalue().splitlines()
    assert lines[1].endswith("done s0, s1, s2 and 44 more")
    assert lines[2].startswith("done: 47 stages in 0:0")
    assert len(lines) == 3


def test_a_failure_shows_the_end_of_its_log(console):
    made, logger = console
    start(logger, ["ease@a-0"])
    log = Path(log_of("ease@a-0"))
    log.parent.mkdir(parents=True)
    log.write_text("\n".join(f"line {n}" for n in range(40)) + "\nerror: my.csv line 3: no user\n")
    tell(logger, LogEvent.JOB_ERROR, jobid=0, rule_name="ease@a-0")
    made.failure()
    said = made.stream.getvalue()
    assert "failed: ease@a-0; the end of .pipe/logs/ease@a-0.log:\n    line 26\n" in said
    assert "    error: my.csv line 3: no user\n" in said
    assert "0 of 1 stages done; failed: ease@a-0 (.pipe/logs/ease@a-0.log)" in said
    assert "run the same command again" in said


def test_a_stage_that_did_not_start_is_told_too(console):
    made, logger = console
    start(logger, ["ease@a-0"])
    tell(logger, LogEvent.JOB_ERROR, jobid=0, rule_name="ease@a-0")
    assert "no log: the stage did not start" in made.stream.getvalue()


def test_warnings_and_unknown_messages_are_shown_and_noise_is_not(console):
    made, logger = console
    for noise in (*module.NOISE, "None"):
        logger.info(f"{noise} and so on" if noise != "None" else noise)
    tell(logger, LogEvent.RESOURCES_INFO, "Provided cores: 2")
    tell(logger, LogEvent.SHELLCMD, "dvc repro")
    assert made.stream.getvalue() == ""
    logger.info("plan.yaml: updated")
    logger.warning("the disk is nearly full")
    logger.error("MissingOutputException: no file")
    assert made.stream.getvalue().splitlines() == [
        "plan.yaml: updated",
        "the disk is nearly full",
        "MissingOutputException: no file",
    ]


def test_ctrl_c_says_how_to_go_on_and_ends_with_130(console):
    made, logger = console
    start(logger, ["ease@a-0"])
    with pytest.raises(KeyboardInterrupt):
        made.interrupt(signal.SIGINT, None)
    tell(logger, LogEvent.JOB_ERROR, jobid=0, rule_name="ease@a-0")
    with pytest.raises(SystemExit) as end:
        made.failure()
    assert end.value.code == 130
    assert made.stream.getvalue().splitlines()[1:] == [
        "interrupted after 0 of 1 stages; nothing is lost: run the same command again to go on"
    ]


def stages(count: int) -> list[Stage]:
    names = [f"{kind}@sample-0-m{n}" for n in range(count) for kind in ("recommend", "evaluate")]
    return [Stage(name, {}, {}, {}, Path()) for name in ("prepare@sample-0", *names, "report")]


def test_many_new_stages_are_one_short_reason():
    known = stages(23)
    new = {stage.name: ["it has never run"] for stage in known}
    lines = "\n".join(stale_lines(known, new, new)).splitlines()
    assert lines == [
        "stale: 48 of 48 stages; `glta why` says why of each",
        "  it has never run: prepare, recommend (23), evaluate (23), report",
    ]


def test_reasons_are_grouped_and_cut():
    known = stages(40)
    direct = {
        stage.name: [f"params.yaml a{n % 20} 1 -> 2", "b", "c", "d"]
        for n, stage in enumerate(known[:60])
    }
    direct |= {
        known[60].name: ["its result data/x is missing"],
        known[61].name: ["data/x is missing"],
    }
    text = "\n".join(stale_lines(known, direct, {stage.name for stage in known}))
    lines = text.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert "params.yaml a0 1 -> 2; b and 2 more: prepare@sample-0, evaluate@sample-0-m" in text
    assert "  other reasons: " in text
    # an input is missing as another stage is stale
    assert "its result is missing: " in text or "other reasons: " in text
    assert text.partition("depends on these: ")[2].startswith("recommend")


def test_a_run_a_failure_and_a_plan_are_short(toy):
    toy.set_steps(31)
    plan = toy.snakemake("-n").splitlines()
    assert len(plan) == 6
    assert "stale: 5 of 6 stages; `glta why` says why of each" in plan
    toy.edit("toy/train.py", r'^ran\(f"train', 'raise SystemExit("broken here")\nran(f"train')
    failed = toy("snakemake", "--cores", "1", status=1)
    assert re.search(r"failed: (train@\S+); the end of \.pipe/logs/\1\.log:", failed)
    assert "    broken here\n" in failed
    assert "RuleException" not in failed and "WorkflowError" not in failed
    assert len(failed.splitlines()) < 20
    why = toy("glta", "why")
    assert "train@popularity: stale: " in why and "report: waits for " in why
    toy.edit("toy/train.py", r'^raise SystemExit\("broken here"\)\n', "")
    ran = toy.snakemake().splitlines()
    assert len(ran) < 20
    assert any(line.startswith("done: 5 stages in ") for line in ran)
    log = (toy.folder / log_of("train@popularity")).read_text()
    assert "Running stage 'train@popularity'" in log
    assert toy("glta", "why") == "every stage is up to date\n"
    assert len(toy.snakemake().splitlines()) == 2
    everything = toy("snakemake", "--cores", "2", "--verbose", "-n")
    assert "Building DAG of jobs" in everything


def test_busy_paths_are_named_in_one_line():
    words = (
        "'/x/data/a' is busy, it is being blocked by:\n  (PID 7): dvc repro -s a\n"
        "  (PID 8): dvc b\n"
        "\nIf there are no processes with such PIDs, you can manually remove '/x/rwlock'"
    )
    said = _busy(words)
    assert said.startswith(
        "dvc status failed: /x/data/a is busy: `dvc repro -s a` (process 7), `dvc b` (process 8) is"
    )
    assert "\n" not in said and "wait for it, and run again" in said
