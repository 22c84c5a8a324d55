"""Make one rule for every stage of dvc.yaml.

Snakemake schedules the stages. DVC decides which of them are stale, and keeps their results.
"""

import os
import sys

sys.path.insert(0, workflow.basedir)
# use the dvc and python beside this Snakemake, even when its environment is not activated
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]

from snakemake.logging import logger

from glta.params.check import load_params
from glta.params.own_files import refuse_changed
from glta.params.own_models import refuse_other_models_of_all
from glta.params.plan import PLAN, sync_plan
from glta.storage.cell import DATA
from pipeline.engine.code import STAGE, differences, settled
from pipeline.engine.console import Console, log_of
from pipeline.engine.invocation import VARIABLE, Invocation
from pipeline.engine.oracle import Oracle, read_stages, stages_after
from pipeline.lineage.why import reasons, stale_lines
from pipeline.tracking.commit import NO_COMMIT, current_commit
from pipeline.tracking.store import check_store

CONSOLE = None
if workflow.is_main_process:
    wanted = workflow.output_settings
    # with these options, Snakemake says all that it has to say
    if not (wanted.verbose or wanted.printshellcmds):
        CONSOLE = Console.install(logger)
    INVOCATION = Invocation.of(os.getpid())
    INVOCATION.announce()


envvars:
    VARIABLE,
    *[
        name
        for name in ["MLFLOW_TRACKING_URI", "GLTA_INSTRUCTIONS", "GLTA_MIRROR"]
        if name in os.environ
    ],


try:
    PARAMS = load_params()
    if workflow.is_main_process:
        INVOCATION.claim()
        check_store()
        if problem := current_commit().problem:
            logger.info(f"{NO_COMMIT}: {problem}")
        refuse_changed(PARAMS, DATA)
        refuse_other_models_of_all(PARAMS)
        if PLAN.is_file() and sync_plan(PARAMS):
            logger.info(f"{PLAN}: updated for params.yaml")
    STAGES, STATUS = read_stages(ask=workflow.is_main_process)
    CHANGED = differences() if STATUS and STAGE in STATUS else {}
except ValueError as error:
    sys.exit(f"error: {error}")

AFTER = stages_after(STAGES)
ORACLE = Oracle(STAGES, STATUS, settled=settled(STATUS, CHANGED))
if STATUS:
    for line in stale_lines(STAGES, reasons(STAGES, STATUS, CHANGED), ORACLE.tainted):
        logger.info(line)


def force(stage) -> str:
    """Return DVC's --force for a stage that -F, -R or -f of Snakemake names.

    DVC would otherwise restore the old result. The settings exist after parsing only.
    """
    settings = workflow.dag_settings
    named = set(settings.forcerun or ()) | set(
        (settings.targets or ()) if settings.forcetargets else ()
    )
    return "--force" if settings.forceall or named & {stage.name, *stage.outs} else ""


def planned(stage) -> dict[str, int]:
    """Return the resources of a stage. Each process that shares it needs what the stage names."""
    processes = PARAMS.processes_of(stage.name)
    wanted = {
        "threads": stage.meta.get("threads", 1),
        **stage.meta.get("resources", {}),
    }
    return wanted | {
        name: processes * wanted[name]
        for name in ("threads", "mem_mb", "gpu")
        if name in wanted
    }


rule all:
    input:
        [path for stage in STAGES for path in stage.outs],


for stage in STAGES:

    rule:
        name:
            stage.name
        input:
            ORACLE.inputs(stage, ancient),
        output:
            [
                directory(path) if is_directory else path
                for path, is_directory in stage.outs.items()
            ],
        log:
            log_of(stage.name),
        priority: AFTER[stage.name]
        threads: planned(stage)["threads"]
        resources:
            **{
                name: value
                for name, value in planned(stage).items()
                if name != "threads"
            },
        params:
            stage=stage.name,
            force=lambda wildcards, stage=stage: force(stage),
        shell:
            "dvc --wait-for-lock repro -s {params.force} {params.stage:q} > {log:q} 2>&1"


onsuccess:
    if CONSOLE:
        CONSOLE.success(PARAMS.report.metric)


onerror:
    if CONSOLE:
        CONSOLE.failure()
