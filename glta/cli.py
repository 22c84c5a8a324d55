"""The command `glta`: parameters and datasets at a glance. Stages are run by snakemake or dvc."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Graph-language token alignment for recommendation.")
params_app = typer.Typer(no_args_is_help=True, help="Check and regenerate params.yaml.")
app.add_typer(params_app, name="params")

File = Annotated[Path, typer.Option(help="parameter file")]


@params_app.command("check")
def check(file: File = Path("params.yaml")) -> None:
    """Say what is wrong with the parameters, or that nothing is."""
    from glta.params import load_params

    params = load_params(file)
    typer.echo(f"{file}: valid; datasets {', '.join(params.datasets)}; methods {', '.join(params.methods)}")


@params_app.command("sync")
def sync(
    file: File = Path("params.yaml"),
    check: Annotated[bool, typer.Option("--check", help="write nothing, fail when the file would change")] = False,
) -> None:
    """Rewrite params.yaml with its values, today's comments, and every key that is missing."""
    import difflib

    from ruamel.yaml import YAML, YAMLError

    from glta.files import write_whole
    from glta.params import SECTIONS, Params, check_params, load_params, render_params

    old = file.read_text(encoding="utf-8") if file.exists() else ""
    try:
        data = YAML(typ="safe").load(old) or Params().model_dump()
        overrides = dict(data.get("overrides") or {})
        for dataset in data.get("datasets") or []:  # what a stage depends on must be there, also when it is empty
            overrides[dataset] = {section: {} for section in SECTIONS} | (overrides.get(dataset) or {})
        data |= {"overrides": overrides}
    except (YAMLError, AttributeError, TypeError, ValueError):  # not of this form: let the check say how
        load_params(file)
        raise
    new = render_params(check_params(data, str(file)))
    if check and new != old:
        diff = difflib.unified_diff(old.splitlines(), new.splitlines(), str(file), "generated", lineterm="")
        typer.echo("\n".join(diff))
        raise ValueError(f"{file} is not what glta/params.py generates; run `glta params sync`")
    if new != old:
        write_whole(file, new)
        typer.echo(f"{file}: written")


@app.command()
def datasets() -> None:
    """List the registered datasets and those of params.yaml's `tables`."""
    from rich.console import Console
    from rich.table import Table

    from glta.data.registry import REGISTRY
    from glta.params import load_params

    table = Table("name", "from", "licence", title=None, box=None)
    for name, entry in REGISTRY.items():
        table.add_row(name, entry.address or "generated here", entry.licence)
    if Path("params.yaml").exists():
        for name, entry in load_params().tables.items():
            table.add_row(name, entry.interactions, entry.licence)
    Console().print(table)


@app.command()
def methods() -> None:
    """List the registered methods."""
    from glta.methods.registry import METHODS

    for name, entry in METHODS.items():
        typer.echo(f"{name:20} {entry.title}")


@app.command()
def ui(port: Annotated[int, typer.Option(help="on 127.0.0.1")] = 5000) -> None:
    """Open MLflow on the runs of this folder; runs of killed stages are closed first."""
    from pipeline.engine.records import serve_ui

    serve_ui(port)


def main() -> None:
    """Run the command; a user's mistake ends in one line and status 1."""
    try:
        app()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
