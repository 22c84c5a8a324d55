"""Run the command of one DVC stage and record it as one MLflow run.

Usage: python -m pipeline.tracking.runner -- COMMAND...
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from glta.params.check import ParamsError, load_params
from glta.params.plan import PLAN, is_enough, sync_plan
from pipeline.engine.code import edited
from pipeline.engine.invocation import VARIABLE, BusyError, Invocation
from pipeline.engine.snapshot import Snapshot, Workspace, open_workspace

CHECKPOINTS = Path(".pipe/checkpoints")
RECORDS = Path(".pipe/records")
STAGES = Path(".pipe/stages")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
# seconds between two readings of the script's records
LIVE_SECONDS = 1


def die_with_parent(sig: int) -> None:
    """Ask Linux to send a signal when the parent dies, for whatever reason (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, sig)


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


def prepare_script() -> None:
    """Let the script die with this process, and ignore Ctrl-C.

    This process ends the script at Ctrl-C, so that the script prints no traceback of its own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(signal.SIGKILL)


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


def environment(before: Snapshot, checkpoint: Path, records: Path) -> dict[str, str]:
    """Return the script's environment: its folders and its number of threads.

    The last digits of a sum depend on the number of threads. So dvc.yaml alone sets it, and neither
    --cores nor environment variables change it.
    """
    own = {"GLTA_CHECKPOINT": str(checkpoint), "GLTA_RECORDS": str(records)}
    return os.environ | dict.fromkeys(THREADS, str(before.meta.get("threads", 1))) | own


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
                f"{PLAN}: did not fit the methods or datasets of params.yaml; it has been brought "
                "up to date: run the same command again"
            )
        # Snakemake itself claims the checkout. Its jobs on other machines outlive a kill of it, so
        # each of them claims its stage.
        if VARIABLE in os.environ:
            job = Invocation.current()._replace(pid=os.getpid())
            job.claim(STAGES / f"{name}.json", f"runs {name}")
        else:
            Invocation.current().claim()
    except (ParamsError, BusyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with open_workspace(name) as workspace:
        return run_stage(name, cmd, workspace)


def run_stage(name: str, cmd: list[str], workspace: Workspace) -> int:
    """Run the command and record it. Returns its exit status, or 1 when an input has changed."""
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
    records.parent.mkdir(parents=True, exist_ok=True)
    records.unlink(missing_ok=True)

    started = time.monotonic()
    ended: list[float] = []
    script = subprocess.Popen(
        cmd, env=environment(before, checkpoint, records), preexec_fn=prepare_script
    )

    def wait() -> None:
        script.wait()
        ended.append(time.monotonic())

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    run = None
    error = "interrupted"
    try:
        # importing MLflow takes a second or two, so it is done while the script works; without
        # these two packages it takes half a second less
        for unwanted in {"pandas", "polars"} - sys.modules.keys():
            sys.modules[unwanted] = None  # type: ignore[assignment]  # "not to be imported"
        from pipeline.tracking.records import MlflowException, Run, tracking_address

        run = Run(name, cmd, before)
        run.log_inputs()
        while waiter.is_alive():
            run.log_epochs(records)
            waiter.join(LIVE_SECONDS)
        run.log_epochs(records)
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
        else:
            run.log_results(
                after, {"seconds": ended[0] - started, "peak_memory_bytes": peak_memory}, workspace
            )
            error = ""
    # the record of this run stays open; a later run closes it
    except MlflowException as problem:
        run = None
        why = str(problem).partition("\n")[0]
        error = (
            f"MLflow at {tracking_address()} failed: {why}; repair it, or unset "
            "MLFLOW_TRACKING_URI to use mlflow.db"
        )
    finally:
        script.kill()
        script.wait()
        if run:
            run.close(error)
    if error:
        print(f"{name}: {error}; the result is discarded", file=sys.stderr)
        return max(script.returncode, 1)
    shutil.rmtree(checkpoint.parent)
    records.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    status = main(sys.argv[sys.argv.index("--") + 1 :])
    sys.stdout.flush()
    sys.stderr.flush()
    # everything is written; a normal exit takes MLflow a second
    os._exit(status)
