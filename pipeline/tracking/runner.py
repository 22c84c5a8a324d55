"""python -m pipeline.tracking.runner -- COMMAND...: run the command of one DVC stage and record it
as one MLflow run.
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

CHECKPOINTS, RECORDS, STAGES = (
    Path(".pipe/checkpoints"),
    Path(".pipe/records"),
    Path(".pipe/stages"),
)
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
LIVE_SECONDS = 1  # between two looks at the script's records


def die_with_parent(sig: int) -> None:
    """Ask Linux for a signal when the parent dies, however it dies (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, sig)


def stop(signum: int, _) -> None:
    """Leave through the `finally` of the stage.

    SIGTERM comes more than once: from the group, and from a dying parent.
    """
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + signum)


def prepare_script() -> None:
    """Bind the script to this process, which also ends it at Ctrl-C: then nothing else has a say,
    or a traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(signal.SIGKILL)


def checkpoint_folder(name: str, cmd: list[str], before: Snapshot) -> Path:
    """Make the folder for the training state of exactly this combination of inputs; those of others
    are of no more use.
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
    """Tell the script where to keep its state and how many threads it has.

    The last digits of a sum depend on its threads, so dvc.yaml alone sets them: not --cores, nor an
    environment.
    """
    own = {"GLTA_CHECKPOINT": str(checkpoint), "GLTA_RECORDS": str(records)}
    return os.environ | dict.fromkeys(THREADS, str(before.meta.get("threads", 1))) | own


def main(cmd: list[str]) -> int:
    die_with_parent(signal.SIGTERM)  # else the stage outlives a killed dvc and goes on writing
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    name = os.environ["DVC_STAGE"].rsplit(":", 1)[-1]
    try:
        params = load_params()
        # an experiment may ask for fewer methods: what the others need is there already
        fewer = bool(os.environ.get("DVC_EXP_NAME")) and PLAN.is_file() and is_enough(params)
        if PLAN.is_file() and not fewer and sync_plan(params):
            raise ParamsError(
                f"{PLAN}: was made for other methods or datasets than params.yaml names now; it "
                "has been brought up to date: run the same command again"
            )
        # Snakemake has the checkout; its jobs on other machines outlive a kill of it
        if VARIABLE in os.environ:
            Invocation.current()._replace(pid=os.getpid()).claim(
                STAGES / f"{name}.json", f"runs {name}"
            )
        else:
            Invocation.current().claim()
    except (ParamsError, BusyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with open_workspace(name) as workspace:
        return run_stage(name, cmd, workspace)


def run_stage(name: str, cmd: list[str], workspace: Workspace) -> int:
    """Run the command and record it; return its exit status, or 1 when an input changed
    meanwhile.
    """
    for path in workspace.prune():
        print(
            f"{name}: removed {path}, which no stage makes any more (DVC's cache has it)",
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
    run, error = None, "interrupted"
    try:
        # MLflow takes a second or two to import, so it does while the script works, and half a
        # second less without these
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
    except MlflowException as problem:  # a later run closes this one's record
        run, why = None, str(problem).partition("\n")[0]
        error = (
            f"MLflow at {tracking_address()} failed: {why}; mend it, or unset "
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
    os._exit(status)  # everything is written; an orderly exit takes MLflow a second
