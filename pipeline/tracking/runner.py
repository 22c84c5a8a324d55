"""Run the command of one DVC stage and record it as one MLflow run.

Usage: python -m pipeline.tracking.runner -- COMMAND...
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glta.params.check import ParamsError, load_params
from glta.params.plan import PLAN, is_enough, sync_plan
from pipeline.engine.code import edited, is_program, unnoticed
from pipeline.engine.imports import ROOTS
from pipeline.engine.invocation import VARIABLE, Invocation, die_with_parent
from pipeline.engine.processor import instructions, thread_limits
from pipeline.engine.snapshot import Snapshot, Workspace, open_workspace
from pipeline.engine.warm import block, start_script
from pipeline.tracking.attempts import Attempts
from pipeline.tracking.execution import Execution
from pipeline.tracking.store import check_store, explain

CHECKPOINTS = Path(".pipe/checkpoints")
RECORDS = Path(".pipe/records")
READS = Path(".pipe/reads")
STAGES = Path(".pipe/stages")
# seconds between two looks at the script's records and checkpoints
LIVE_SECONDS = 1


class StoreError(Exception):
    """End a stage at its start, because its run cannot be recorded."""


def stop(signum: int, _) -> None:
    """Exit through the `finally` of the stage.

    SIGTERM can come more than once: from the process group, and from a dying parent.
    """
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    print(
        "interrupted; nothing is lost: run the same command again to go on",
        file=sys.stderr,
        flush=True,
    )
    sys.exit(128 + signum)


def checkpoint_folder(name: str, cmd: list[str], before: Snapshot) -> Path:
    """Make the folder for the training state of exactly this combination of inputs.

    Folders of other combinations are removed.
    """
    key = hashlib.sha256(
        json.dumps([cmd, before.inputs], sort_keys=True, default=str).encode()
    ).hexdigest()[:16]
    folder = CHECKPOINTS / name / key
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return folder.absolute()


def unnoticed_reads(reads: Path, before: Snapshot, after: Snapshot) -> str:
    """Describe a file that the script has read and its stage does not depend on; "" if none.

    reads: written by the script (`pipeline.stages.script.Reads`). Files that params.yaml names have
    checksums there. The report shows what is known of all runs, and the stage `code` reads all
    code; what they depend on cannot be told from it.
    """
    if not reads.is_file() or not any(map(is_program, before.deps)) or reads.stem == "report":
        return ""
    params = load_params()
    texts = {*_texts(params.model_dump()), os.environ.get("GLTA_MIRROR", "")}
    # a method may be called glta
    named = [os.path.relpath(text) for text in texts - {"", *ROOTS} if Path(text).exists()]
    known = [*before.deps, *after.outs, *named]
    return unnoticed(json.loads(reads.read_text(encoding="utf-8")), known)


def _texts(values: Any) -> Iterator[str]:
    """Yield all texts in a nested mapping of parameters."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, dict):
        for inner in values.values():
            yield from _texts(inner)


def environment(before: Snapshot, checkpoint: Path, records: Path, reads: Path) -> dict[str, str]:
    """Return the script's environment: its files, and what the last digits depend on."""
    own = {
        "GLTA_CHECKPOINT": str(checkpoint),
        "GLTA_RECORDS": str(records),
        "GLTA_READS": str(reads),
    }
    numbers = instructions(os.environ) | thread_limits(before.meta.get("threads", 1))
    return os.environ | numbers | own


def main(cmd: list[str]) -> int:
    # otherwise the stage would outlive a killed dvc and go on writing
    die_with_parent(signal.SIGTERM)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    name = os.environ["DVC_STAGE"].rsplit(":", 1)[-1]
    try:
        params = load_params()
        # an experiment may have fewer methods than the plan; the plan is still enough for it
        fewer = bool(os.environ.get("DVC_EXP_NAME")) and PLAN.is_file() and is_enough(params)
        if PLAN.is_file() and not fewer and sync_plan(params):
            raise ParamsError(
                f"{PLAN}: did not fit params.yaml; it has been brought up to date: run the same "
                "command again, or for an experiment change params.yaml first"
            )
        # Snakemake itself claims the checkout. Its jobs on other machines outlive a kill of it, so
        # each of them claims its stage.
        if VARIABLE in os.environ:
            job = Invocation.current()._replace(pid=os.getpid())
            job.claim(STAGES / f"{name}.json", f"runs {name}")
        else:
            Invocation.current().claim()
        # a wrong value of its variable
        instructions(os.environ)
    # ParamsError and BusyError among them
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    asked = {key: list(getattr(params, key)) for key in ("datasets", "seeds", "methods")}
    with open_workspace(name) as workspace:
        return run_stage(name, cmd, workspace, asked, params.processes_of(name))


def run_stage(
    name: str, cmd: list[str], workspace: Workspace, asked: dict[str, list], processes: int
) -> int:
    """Run the command and record it. Returns its exit status, or 1 when an input has changed.

    asked: datasets, seeds and methods of params.yaml, for the record. processes: that share it.
    """
    for path in workspace.prune():
        print(
            f"{name}: removed {path}, which no stage makes any more; DVC's cache still has it",
            file=sys.stderr,
        )
    before = workspace.snapshot(outputs=False)
    if moved := [file for path in before.deps for file in edited(path)]:
        print(f"{name}: {moved[0]} was edited after its hash was taken; run again", file=sys.stderr)
        return 1
    checkpoint = checkpoint_folder(name, cmd, before)
    records = (RECORDS / f"{name}.jsonl").absolute()
    reads = (READS / f"{name}.json").absolute()
    for file in (records, reads):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)

    attempts = Attempts(checkpoint)
    started = time.monotonic()
    ended: list[float] = []
    env = environment(before, checkpoint, records, reads)
    script = start_script(cmd, env, before.meta.get("threads", 1))

    def wait() -> None:
        script.wait()
        ended.append(time.monotonic())

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    recorder = None
    error = "interrupted"
    try:
        # importing MLflow takes a second or two, so it is done while the script works; without
        # these packages it takes half a second less
        block()
        execution = Execution.begin(name, cmd, before, asked, processes)
        try:
            check_store()
            from pipeline.tracking.records import Recorder

            recorder = Recorder(execution)
        except Exception as problem:
            # ValueError has one line for the user already; a run that was opened stays open, and a
            # later stage closes it
            why = str(problem) if isinstance(problem, ValueError) else explain(problem)
            raise StoreError(why) from None
        while waiter.is_alive():
            recorder.epochs(records)
            attempts.look()
            waiter.join(LIVE_SECONDS)
        recorder.epochs(records)
        peak_memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        after = workspace.snapshot(outputs=script.returncode == 0)
        moved = [
            key
            for key in before.inputs | after.inputs
            if before.inputs.get(key) != after.inputs.get(key)
        ]
        moved += [file for path in before.deps for file in edited(path)]
        if script.returncode:
            error = f"exit status {script.returncode}"
        elif moved:
            error = f"changed while it ran: {', '.join(moved)}"
        elif strange := unnoticed_reads(reads, before, after):
            error = strange
        else:
            seconds = attempts.seconds + ended[0] - started
            execution.finish(after, {"seconds": seconds, "peak_memory_bytes": peak_memory})
            recorder.succeed(workspace.model_values())
            error = ""
    except StoreError as problem:
        print(f"error: {problem}; {name} was not run", file=sys.stderr)
        return 1
    finally:
        script.kill()
        status = script.wait()
        if recorder and error:
            recorder.fail(error)
    if error:
        print(f"{name}: {error}; the result is discarded", file=sys.stderr)
        return max(status, 1)
    shutil.rmtree(checkpoint.parent)
    records.unlink(missing_ok=True)
    reads.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    status = main(sys.argv[sys.argv.index("--") + 1 :])
    sys.stdout.flush()
    sys.stderr.flush()
    # everything is written; a normal exit takes MLflow a second
    os._exit(status)
