"""Run one step of a method or of an ablation, and write its result."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from glta.data.made_from import note_data
from glta.data.prepared import Prepared
from glta.methods.base import Artefact
from glta.methods.chain import REFIT, place_of, run_twice, run_unit
from glta.methods.registry import units
from glta.params.model import Params
from glta.progress import quiet, record_epoch
from glta.storage.cell import Cell
from glta.storage.files import whole_folder
from glta.training.devices import end_with_launcher, launch
from glta.training.ranks import is_main_process, num_processes
from pipeline.stages.script import checkpoint_folder, run


def main(params: Params, dataset: str, seed: int, step: str) -> None:
    """Write data/DATASET/SEED/STEP, or data/DATASET/SEED/models/STEP for a recommender.

    With recommend.refit, the result of the refit is in its subfolder `refit`. A recommender's
    folder says which prepared data it was trained on.
    step: a step of a method, or an ablation. With training.processes, the step is started again in
    so many processes, as `accelerate launch` starts them. Every process then computes its share,
    and the main process writes.
    """
    if step not in units():
        raise ValueError(
            f"--step {step}: no method has such a step; there are {', '.join(units())}"
        )
    unit = units()[step]
    if num_processes() > 1:
        if not unit.shares:
            raise ValueError(
                f"--step {step}: cannot be shared by processes; start it without accelerate launch"
            )
        end_with_launcher()
    elif (count := params.processes_of(step)) > 1:
        arguments = ["--dataset", dataset, "--seed", str(seed), "--step", step]
        # the main process of those has noted what it has read
        sys.exit(launch("pipeline.stages.train", arguments, count))
    cell = Cell(dataset, seed)
    # every recommender depends on the stage prepare; another step may not
    data = Prepared.load(cell.prepare).digest if unit.model and is_main_process() else ""
    sections = params.with_values(unit.values).section
    options: dict[str, Any] = {"checkpoint": checkpoint_folder(), "on_epoch": record_epoch}
    refitted = None
    with nullcontext() if is_main_process() else quiet():
        if params.recommend.refit:
            made, refitted = run_twice(unit, cell, sections, **options)
        else:
            made = run_unit(unit, cell, sections, **options)
    if is_main_process():
        with whole_folder(place_of(cell, step)) as out:
            _save(made, out, data)
            if refitted:
                (out / REFIT).mkdir()
                _save(refitted, out / REFIT, data)


def _save(made: Artefact, out: Path, data: str) -> None:
    """Write an artefact. data: digest of what a recommender was trained on; "" for another one."""
    made.save(out)
    if data:
        note_data(out, data)


if __name__ == "__main__":
    run(main, shared=True)
