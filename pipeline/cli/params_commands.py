"""Define `glta params`: check, regenerate and change params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import File, group, parameter_file
from pipeline.project import from_project

params_app = group("Check and regenerate params.yaml.")


@params_app.command("check")
def check(file: File = None) -> None:
    """Check the parameters, and report the first mistake or that there is none."""
    from glta.params.check import load_params

    path = parameter_file(file)
    params = load_params(path)
    typer.echo(
        f"{path}: valid; datasets {', '.join(params.datasets)}; methods {', '.join(params.methods)}"
    )


@params_app.command("sync")
def sync(
    file: File = None,
    check: Annotated[
        bool, typer.Option("--check", help="write nothing, fail when the file would change")
    ] = False,
) -> None:
    """Regenerate params.yaml, plan.yaml and dvc.yaml.

    Values stay. Comments, missing keys and checksums of your own files are brought up to date.
    plan.yaml and dvc.yaml follow from params.yaml and the registered methods.
    """
    import difflib

    from glta.datasets.fetch import missing_files
    from glta.params.file import changes, renewed
    from glta.params.plan import PLAN, render_plan
    from glta.storage.files import write_whole
    from pipeline.engine.definition import DEFINITION, render_definition

    path = parameter_file(file)
    params, current, text = renewed(path)
    for line in missing_files(params.tables, params.mirror):
        typer.echo(f"{path} {line}", err=True)
    files = {
        path: text,
        path.with_name(PLAN.name): render_plan(current),
        path.with_name(DEFINITION.name): render_definition(),
    }
    stale = {path: new for path, new in files.items() if _read(path) != new}
    if check and stale:
        for path, new in stale.items():
            old = _read(path).splitlines()
            diff = difflib.unified_diff(old, new.splitlines(), str(path), "generated", lineterm="")
            typer.echo("\n".join(diff))
        raise ValueError(f"{next(iter(stale))}: is not up to date; run `glta params sync`")
    for path, new in stale.items():
        write_whole(path, new)
        typer.echo(f"{path}: written")
    if lines := changes(params.model_dump(), current.model_dump()):
        typer.echo("\n".join(lines))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


@params_app.command("use")
def use(
    experiment: Annotated[
        Path,
        typer.Argument(
            help="file with the parameters to change, as in experiments/", parser=from_project
        ),
    ],
    file: File = None,
) -> None:
    """Copy an experiment's values into params.yaml, and update plan.yaml.

    All other values stay, tuned ones too.
    """
    from ruamel.yaml import YAML

    from glta.params import file as params_file
    from glta.params.check import load_params, read_mapping
    from glta.params.plan import PLAN, sync_plan
    from glta.storage.files import write_whole

    path = parameter_file(file)
    values = read_mapping(experiment, "experiments/ has examples")
    with params_file.locked_params():
        load_params(path)
        old = path.read_text(encoding="utf-8")
        new = params_file.use(old, values, str(experiment))
        if new != old:
            write_whole(path, new)
        sync_plan(load_params(path), path.with_name(PLAN.name))
    plain = YAML(typ="safe")
    changes = params_file.changes(plain.load(old), plain.load(new))
    typer.echo("\n".join(changes) or f"{path}: has all these values already")
