"""Define the command `glta`. Stages are run by snakemake or dvc, not by it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Graph-language token alignment for recommendation.",
)
params_app = typer.Typer(no_args_is_help=True, help="Check and regenerate params.yaml.")
app.add_typer(params_app, name="params")
lineage_app = typer.Typer(no_args_is_help=True, help="Follow results back to their sources.")
app.add_typer(lineage_app, name="lineage")

File = Annotated[Path, typer.Option(help="parameter file")]


@params_app.command("check")
def check(file: File = Path("params.yaml")) -> None:
    """Check the parameters, and report the first mistake or that there is none."""
    from glta.params.check import load_params

    params = load_params(file)
    typer.echo(
        f"{file}: valid; datasets {', '.join(params.datasets)}; methods {', '.join(params.methods)}"
    )


@params_app.command("sync")
def sync(
    file: File = Path("params.yaml"),
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

    params, current, text = renewed(file)
    for line in missing_files(params.tables, params.mirror):
        typer.echo(f"{file} {line}", err=True)
    files = {
        file: text,
        file.with_name(PLAN.name): render_plan(current),
        file.with_name(DEFINITION.name): render_definition(),
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
        Path, typer.Argument(help="file with the parameters to change, as in experiments/")
    ],
    file: File = Path("params.yaml"),
) -> None:
    """Copy an experiment's values into params.yaml, and update plan.yaml.

    All other values stay, tuned ones too.
    """
    from ruamel.yaml import YAML

    from glta.params import file as params_file
    from glta.params.check import load_params, read_mapping
    from glta.params.plan import PLAN, sync_plan
    from glta.storage.files import write_whole

    values = read_mapping(experiment, "experiments/ has examples")
    with params_file.locked_params():
        load_params(file)
        old = file.read_text(encoding="utf-8")
        new = params_file.use(old, values, str(experiment))
        if new != old:
            write_whole(file, new)
        sync_plan(load_params(file), file.with_name(PLAN.name))
    plain = YAML(typ="safe")
    changes = params_file.changes(plain.load(old), plain.load(new))
    typer.echo("\n".join(changes) or f"{file}: has all these values already")


@app.command()
def datasets(
    part: Annotated[str, typer.Argument(help="list only names that contain this text")] = "",
) -> None:
    """List the registered datasets, and those of `tables` in params.yaml.

    The presets of papers are among the registered ones.
    """
    from rich.console import Console
    from rich.table import Column, Table

    from glta.datasets.catalogue import REGISTRY
    from glta.params.check import load_params

    table = Table(Column("name", no_wrap=True), "what", "licence", title=None, box=None)
    for name, entry in REGISTRY.items():
        if part in name:
            table.add_row(name, entry.about, entry.licence)
    if Path("params.yaml").exists():
        for name, own in load_params().tables.items():
            if part in name:
                table.add_row(name, own.interactions, own.licence)
    Console().print(table)


@app.command()
def methods() -> None:
    """List the methods: name, title, what else they serve, devices that train them, and paper."""
    from glta.methods.registry import specs

    words = {"histories": "new users", "new_items": "new items"}
    for name, spec in specs().items():
        serves = ", ".join(word for key, word in words.items() if key in spec.capabilities)
        devices = ", ".join(spec.devices)
        typer.echo(f"{name:18} {spec.title:20} {serves:21} {devices:9}  {spec.paper}")


@app.command()
def ablations() -> None:
    """List the ablations of all methods, with the settings that each of them changes."""
    from glta.methods.registry import units

    for name, unit in units().items():
        if unit.ablation:
            typer.echo(f"{name:36} {unit.ablation.text}")


@app.command()
def table(
    dataset: Annotated[
        str, typer.Argument(help="one of datasets in params.yaml; all without one")
    ] = "",
    latex: Annotated[
        bool, typer.Option("--latex", help="print LaTeX for the package booktabs, not Markdown")
    ] = False,
) -> None:
    """Print the tables of a paper: accuracy, significance tests, groups, ablations, cost.

    They show what was evaluated so far.
    """
    from pipeline.stages.report import tables

    typer.echo(tables(dataset, "latex" if latex else "markdown"), nl=False)


Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]


@lineage_app.command("trace")
def trace(
    target: Annotated[str, typer.Argument(help="a result, FILE#METRIC, or the id of a run")],
    as_json: Json = False,
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="print a flowchart for Markdown")
    ] = False,
) -> None:
    """Show the stages, runs, parameters, code and hashes behind a result.

    The trace ends at the raw archive.
    """
    from rich.console import Console

    from pipeline.lineage import trace

    found = trace.trace(target)
    if as_json or mermaid:
        typer.echo(found.to_json() if as_json else trace.mermaid(found))
    else:
        # without a terminal, the wide console keeps hashes on one line
        Console(highlight=False, width=None if sys.stdout.isatty() else 10_000).print(
            trace.tree(found)
        )


@lineage_app.command("check")
def check_lineage(
    as_json: Json = False,
    strict: Annotated[bool, typer.Option("--strict", help="fail on warnings too")] = False,
) -> None:
    """Check that every result is what its stage wrote from the present inputs.

    Fails when a result was edited, has no run, or is stale.
    """
    import json

    from pipeline.lineage import trace

    found = trace.check()
    bad = found["problems"] + (found["warnings"] if strict else [])
    if as_json:
        typer.echo(json.dumps(found, indent=1))
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


@app.command("why")
def why_stale(
    stage: Annotated[
        str, typer.Argument(help="a name of `dvc stage list`, or its part before the @")
    ],
    as_json: Json = False,
) -> None:
    """Explain in one line why a stage would run again."""
    import json

    from pipeline.lineage.why import why

    found = why(stage)
    typer.echo(
        json.dumps(found, indent=1)
        if as_json
        else "\n".join(f"{name}: {line}" for name, line in found.items())
    )


def _show_ranges(wanted: bool) -> None:
    if wanted:
        from glta.tuning.space import space_table

        typer.echo(space_table())
        raise typer.Exit


@app.command()
def tune(
    method: Annotated[str, typer.Argument(help="one of `glta methods`")],
    dataset: Annotated[str, typer.Argument(help="one of datasets in params.yaml")],
    trials: Annotated[
        int | None,
        typer.Option(
            min=1, help="number of trials, earlier runs included; 30 if --minutes is not given"
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="start no trial after this many minutes of trials"),
    ] = None,
    seed: Annotated[int, typer.Option(help="seed of split and training")] = 0,
    like: Annotated[
        list[str] | None,
        typer.Option(help="dataset whose parameters are tried first; may be given several times"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="do not write params.yaml")] = False,
    ranges: Annotated[
        bool,
        typer.Option(
            "--ranges",
            is_eager=True,
            callback=_show_ranges,
            help="print the ranges of all tuned parameters, as Markdown",
        ),
    ] = False,
) -> None:
    """Find the parameters that are best on validation, and write them into params.yaml.

    After an interruption, the same command continues the search.
    """
    from glta.tuning.study import Budget
    from pipeline.tuning.command import main

    budget = Budget(30 if trials is None and minutes is None else trials, minutes)
    main(method, dataset, budget=budget, seed=seed, write=not dry_run, like=like or [])


@app.command()
def tuned(
    dataset: Annotated[
        str, typer.Argument(help="one of datasets in params.yaml; all without one")
    ] = "",
) -> None:
    """List the studies of `glta tune`, as Markdown.

    Columns are trials, minutes, and the validation value before and after.
    """
    from pipeline.tuning.command import overview

    typer.echo(overview(dataset))


@app.command()
def recommend(
    dataset: Annotated[
        str, typer.Argument(help="one of datasets in params.yaml, after its stages have run")
    ],
    method: Annotated[str, typer.Argument(help="one of `glta methods`, e.g. glta-plus")],
    items: Annotated[
        str, typer.Option(help="ids of the user's items, as in your files: ID,ID,...")
    ] = "",
    user: Annotated[
        str | None, typer.Option(help="a user of the dataset; --items are added to the user's own")
    ] = None,
    new_items: Annotated[
        Path | None,
        typer.Option(
            help="file of new items, CSV, JSON lines or Parquet: item_id, title, description, "
            "categories"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="seed of split and training")] = 0,
    k: Annotated[int, typer.Option("-k", min=1, help="length of the list")] = 10,
    as_json: Json = False,
) -> None:
    """Recommend items with a trained model.

    The list is for a user of the dataset, or for a new user who is described by a list of items.
    New items, which were not in training, can be recommended too.
    """
    import json

    from glta.serving.recommend import recommend as make

    given = [item.strip() for item in items.split(",") if item.strip()]
    found = make(dataset, method, given, user=user, new_items=new_items, seed=seed, k=k)
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    width = max((len(row["item_id"]) for row in found), default=0)
    for rank, row in enumerate(found, 1):
        typer.echo(
            f"{rank:3}  {row['item_id']:{width}}  {row['score']:8.3f}  "
            f"{row['title']}{'  (new)' if row['new'] else ''}"
        )


@app.command()
def push() -> None:
    """Send all results, their records and the answers of paid language models to DVC's remote."""
    from pipeline.engine import share

    typer.echo(share.push())


@app.command()
def pull() -> None:
    """Fetch what others have pushed, and restore the results of this commit."""
    from pipeline.engine import share

    typer.echo(share.pull())


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="port on 127.0.0.1")] = 5000,
    browser: Annotated[
        bool, typer.Option(help="open the page in a browser, where there is a screen")
    ] = True,
) -> None:
    """Open MLflow on the runs of this folder. Runs of killed stages are closed first."""
    from pipeline.lineage.trace import enter_repository

    enter_repository()
    from pipeline.tracking.ui import serve_ui

    serve_ui(port, browser)


def main() -> None:
    """Run the command. A user's mistake ends in one line and exit status 1."""
    try:
        app()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
