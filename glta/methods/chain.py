"""Run the steps of a method one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from glta.config import Section
from glta.data.prepared import Prepared
from glta.methods.base import Artefact, Job, Step, ignore
from glta.methods.registry import Unit, needed_steps, specs, units
from glta.methods.spec import StepSpec, load
from glta.storage.cell import Cell
from glta.training.choices import Unrepeatable, choices

REFIT = "refit"
"""The folder within a step's folder that has the artefact of its refit."""

Sections = Callable[[str], Section]
"""Maps the dotted name of a section of params.yaml to the section, as `Params.section` does."""


def chain_of(method: str) -> Unit:
    """Return one unit of all steps of a method that its recommender depends on."""
    spec = specs()[method]
    steps = needed_steps(spec)
    made = {step.name for step in steps}
    reads = tuple(dict.fromkeys(r for step in steps for r in step.reads if r not in made))
    return Unit(method, spec, steps, reads, model=True)


def place_of(cell: Cell, name: str) -> Path:
    """Return the folder that a stage or a unit writes."""
    unit = units().get(name)
    return cell.model(name) if unit and unit.model else cell.step(name)


def run_unit(
    unit: Unit,
    cell: Cell,
    sections: Sections,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict[str, Any]], None] = ignore,
    prepared: Prepared | None = None,
    refit: bool = False,
    made: Mapping[str, Path] | None = None,
) -> Artefact:
    """Run the steps of a unit, and return the artefact of the last one.

    The artefacts of the other steps are deleted at the end.
    sections: of the parameters, with the dataset's overrides and the unit's changes applied.
    checkpoint: the folder for checkpoints; None keeps none.
    on_epoch: called with one record after each epoch. In a unit of several steps the values are
        named STEP/VALUE.
    prepared: data that take the place of the folder of the stage `prepare`.
    refit: read what the refits of earlier steps have written, where they have.
    made: folders that take the place of those of other stages and steps, by name.
    """
    with TemporaryDirectory(prefix="glta-") as scratch:
        made = dict(made or {})
        for step in unit.steps[:-1]:
            folder = Path(scratch) / step.name
            folder.mkdir()
            job = _job(unit, step, cell, sections, made, checkpoint, on_epoch, prepared, refit)
            _step(step).run(job).save(folder)
            made[step.name] = folder
        last = unit.steps[-1]
        job = _job(unit, last, cell, sections, made, checkpoint, on_epoch, prepared, refit)
        return _step(last).run(job)


def run_twice(
    unit: Unit,
    cell: Cell,
    sections: Sections,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict[str, Any]], None] = ignore,
    prepared: Prepared | None = None,
    made: Mapping[str, Path] | None = None,
) -> tuple[Artefact, Artefact]:
    """Run a unit on the training pairs, and again on training and validation pairs together.

    The second run makes the choices of the first one (`glta.training.choices`), and reads no
    validation or test pair as such. The profiles stay those of the training pairs.
    Returns both artefacts. See `run_unit` for the arguments. Raises ValueError, naming the unit,
    when a method cannot repeat its choices.
    """
    data = Prepared.load(cell.prepare) if prepared is None else prepared
    with choices() as first:
        chosen = run_unit(
            unit,
            cell,
            sections,
            checkpoint=checkpoint,
            on_epoch=on_epoch,
            prepared=prepared,
            made=made,
        )

    def again(record: dict[str, Any]) -> None:
        """Record an epoch under other names. Its validation value is that of the first run."""
        on_epoch(
            {
                name if name == "epoch" else f"refit/{name}": value
                for name, value in record.items()
                if name.rpartition("/")[2] != "valid"
            }
        )

    try:
        with choices(first):
            refitted = run_unit(
                unit,
                cell,
                sections,
                checkpoint=checkpoint / REFIT if checkpoint else None,
                on_epoch=again,
                prepared=data.for_refit(),
                refit=True,
                made=made,
            )
    except Unrepeatable as error:
        raise ValueError(f"{unit.name}: {error}") from error
    return chosen, refitted


def refit_of(folder: Path) -> Path:
    """Return the folder of a step's refit if it has one, else the step's own folder."""
    return found if (found := folder / REFIT).is_dir() else folder


def _step(step: StepSpec) -> Step:
    """Import a step and make it."""
    return load(step.run)()


def _job(
    unit: Unit,
    step: StepSpec,
    cell: Cell,
    sections: Sections,
    made: Mapping[str, Path],
    checkpoint: Path | None,
    on_epoch: Callable[[dict[str, Any]], None],
    prepared: Prepared | None,
    refit: bool,
) -> Job:
    """Make the job of one step: the folders and sections that its spec names.

    made: folders of the steps that have run already. refit: see `run_unit`.
    """

    def source(name: str) -> Path:
        folder = made.get(name) or place_of(cell, name)
        return refit_of(folder) if refit else folder

    own = f"settings.{unit.method.name}"
    extra = unit.ablation.reads if unit.ablation else ()
    several = len(unit.steps) > 1

    def named(record: dict[str, Any]) -> None:
        on_epoch({k if k == "epoch" else f"{step.name}/{k}": v for k, v in record.items()})

    parts = step.settings or ("",)
    return Job(
        step=step.name,
        sources={name: source(name) for name in (*step.reads, *extra)},
        settings={part: sections(f"{own}.{part}".rstrip(".")) for part in parts},
        seed=cell.seed,
        shared={name: sections(name) for name in step.shared},
        checkpoint=checkpoint / step.name if checkpoint and several else checkpoint,
        on_epoch=named if several else on_epoch,
        given=prepared,
    )
