"""Define `glta lineage`: where results come from, and whether they are what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import InProject, Json, group, print_json, print_rich
from pipeline.project import from_project, project_root

lineage_app = group("Follow results back to their sources.")


def _target(text: str) -> str:
    """Return FILE#METRIC with the file relative to the project; ids of runs as they are.

    A file that only the project's folder has is meant from there, as documents and `dvc.lock` name
    it.
    """
    path, mark, metric = text.partition("#")
    root = project_root()
    if root and not Path(path).exists() and (root / path).exists():
        return text
    is_file = "/" in path or "." in path or Path(path).exists()
    return f"{from_project(path)}{mark}{metric}" if is_file else text


@lineage_app.command("trace", cls=InProject)
def trace(
    target: Annotated[
        str, typer.Argument(help="a result, FILE#METRIC, or the id of a run", parser=_target)
    ],
    as_json: Json = False,
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="print a flowchart for Markdown")
    ] = False,
) -> None:
    """Show the stages, runs, parameters, code and hashes behind a result.

    The trace ends at the raw archive.
    """
    from pipeline.lineage import trace

    found = trace.trace(target)
    if as_json or mermaid:
        typer.echo(found.to_json() if as_json else trace.mermaid(found))
    else:
        print_rich(trace.tree(found))


@lineage_app.command("check", cls=InProject)
def check_lineage(
    as_json: Json = False,
    strict: Annotated[bool, typer.Option("--strict", help="fail on warnings too")] = False,
) -> None:
    """Check that every result is what its stage wrote from the present inputs.

    Fails when a result was edited, has no run, or is stale.
    """
    from pipeline.lineage import trace

    found = trace.check()
    bad = found["problems"] + (found["warnings"] if strict else [])
    if as_json:
        print_json(found)
    else:
        for kind in ("problems", "warnings"):
            for entry in found[kind]:
                typer.echo(f"{kind[:-1]}: {entry['where']}: {entry['what']}; {entry['fix']}")
        archives = "".join(
            f"; {name} sha256 {digest}" for name, digest in found["archives"].items()
        )
        summary = f"{found['results']} results, {found['runs']} with their run{archives}"
        typer.echo(f"{len(bad)} problems in {summary}" if bad else f"all is as recorded: {summary}")
    raise typer.Exit(code=bool(bad))
