"""Define `glta params`: check, regenerate and change params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import File, group, is_of_project, parameter_file
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

    Values stay. Missing keys and checksums of your own files are brought up to date.
    plan.yaml and dvc.yaml follow from params.yaml and the registered methods.

    All comments are written anew: your own are removed. --check shows them before.

    With --file, that file alone is regenerated. It must be a whole one.
    A file with a part of the parameters, as in experiments/, is refused.
    """
    import difflib
    from contextlib import nullcontext

    from glta.datasets.fetch import missing_files
    from glta.params.file import changes, locked_params, refuse_part, renewed
    from glta.params.plan import PLAN, render_plan
    from glta.storage.files import write_whole
    from pipeline.engine.definition import DEFINITION, render_definition

    path = parameter_file(file)
    of_project = is_of_project(path)
    if not of_project:
        refuse_part(path)
    if not check:
        # digests of large files take long; they are remembered, so that the lock is held shortly
        renewed(path)
    with nullcontext() if check else locked_params():
        # read again: `glta params use` and `glta tune` may have written meanwhile
        params, current, text = renewed(path)
        files = {path: text}
        if of_project:
            files |= {PLAN: render_plan(current), DEFINITION: render_definition()}
        stale = {each: new for each, new in files.items() if _read(each) != new}
        if not check:
            for each, new in stale.items():
                write_whole(each, new)
    for line in missing_files(params.tables, params.mirror):
        typer.echo(f"{path} {line}", err=True)
    if check and stale:
        for each, new in stale.items():
            old = _read(each).splitlines()
            diff = difflib.unified_diff(old, new.splitlines(), str(each), "generated", lineterm="")
            typer.echo("\n".join(diff))
        raise ValueError(f"{next(iter(stale))}: is not up to date; run `glta params sync`")
    for each in stale:
        typer.echo(f"{each}: written")
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

    All other values stay, tuned ones too. With --file, that file alone is changed.
    """
    from ruamel.yaml import YAML

    from glta.params import file as params_file
    from glta.params.check import load_params, read_mapping
    from glta.params.plan import sync_plan
    from glta.storage.files import write_whole

    path = parameter_file(file)
    values = read_mapping(experiment, "experiments/ has examples")
    with params_file.locked_params():
        load_params(path)
        old = path.read_text(encoding="utf-8")
        new = params_file.use(old, values, str(experiment))
        if new != old:
            write_whole(path, new)
        if is_of_project(path):
            sync_plan(load_params(path))
    plain = YAML(typ="safe")
    changes = params_file.changes(plain.load(old), plain.load(new))
    typer.echo("\n".join(changes) or f"{path}: has all these values already")
