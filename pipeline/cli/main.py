"""Define the command `glta`. Stages are run by snakemake or dvc, not by it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from glta.storage.files import full_disk
from pipeline.cli.bundle_commands import bundle_app
from pipeline.cli.common import (
    PARAMS,
    AnyDataset,
    Dataset,
    InProject,
    Interrupted,
    Json,
    Method,
    Seed,
    group,
    in_order,
    print_json,
    print_rows,
)
from pipeline.cli.lineage_commands import lineage_app
from pipeline.cli.params_commands import params_app
from pipeline.project import enter_project, from_project, project_root

app = group("Graph-language token alignment for recommendation.")
app.add_typer(params_app, name="params")
app.add_typer(lineage_app, name="lineage")
app.add_typer(bundle_app, name="bundle")


def _show_version(wanted: bool) -> None:
    if wanted:
        from glta import __version__

        typer.echo(f"glta {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="print the version"),
    ] = False,
) -> None:
    """Graph-language token alignment for recommendation."""


@app.command()
def datasets(
    part: Annotated[str, typer.Argument(help="list only names that contain this text")] = "",
    as_json: Json = False,
) -> None:
    """List the registered datasets, and those of `tables` in params.yaml.

    The presets of papers are among the registered ones.
    """
    from glta.datasets.catalogue import REGISTRY
    from glta.params.check import load_params

    found = [
        {"name": name, "what": entry.about, "licence": entry.licence}
        for name, entry in REGISTRY.items()
    ]
    if project_root():
        enter_project()
    if PARAMS.is_file():
        found += [
            {"name": name, "what": own.interactions, "licence": own.licence}
            for name, own in load_params().tables.items()
        ]
    print_rows([row for row in found if part in row["name"]], as_json)


@app.command()
def methods(as_json: Json = False) -> None:
    """List the methods: name, title, what else they serve, devices that train them, and paper."""
    from glta.methods.registry import specs

    words = {"histories": "new users", "sequences": "new users", "new_items": "new items"}
    rows = [
        {
            "name": name,
            "title": spec.title,
            "serves": list(dict.fromkeys(w for k, w in words.items() if k in spec.capabilities)),
            "devices": list(spec.devices),
            "paper": spec.paper,
        }
        for name, spec in specs().items()
    ]
    print_rows(rows, as_json)


@app.command()
def models(as_json: Json = False) -> None:
    """List the language models that a name stands for, and where they are on this machine."""
    from glta.nn.language.model_files import PACKAGED, model_folder
    from glta.nn.language.named_models import NAMED, named_folder

    rows = [
        {
            "name": PACKAGED,
            "what": "encoder, 22 million weights",
            "licence": "Apache-2.0",
            "folder": str(model_folder(PACKAGED)),
        }
    ]
    rows += [
        {
            "name": name,
            "what": model.about,
            "licence": model.licence,
            "folder": str(named_folder(name) or f"not here; glta get-model {name}"),
        }
        for name, model in NAMED.items()
    ]
    print_rows(rows, as_json)


@app.command("get-model")
def get_named_model(
    name: Annotated[str, typer.Argument(help="one of `glta models`")],
    file: Annotated[
        Path | None,
        typer.Option(help="the package's wheel, for a machine without a network"),
    ] = None,
) -> None:
    """Get a named language model: download its package, and convert it to safetensors, once.

    It is then a value of `causal.model`, `language.model` and `profile.generator`. The folder of
    all such models is $GLTA_MODELS, or ~/.cache/glta/models.
    """
    from glta.nn.language.get_model import get_model

    typer.echo(get_model(name, file))


@app.command()
def ablations(as_json: Json = False) -> None:
    """List the ablations of all methods, with the settings that each of them changes."""
    from glta.methods.registry import units

    rows = [
        {"name": name, "changes": unit.ablation.text}
        for name, unit in units().items()
        if unit.ablation
    ]
    print_rows(rows, as_json)


@app.command(cls=InProject)
def results(as_json: Json = False) -> None:
    """List the evaluated methods by the report's metric, the highest first.

    The numbers are those of data/report/metrics.json: test pairs, means over seeds.
    """
    from glta.params.check import load_params
    from glta.report.standings import standings, standings_text

    metric = load_params().report.metric
    if as_json:
        print_json(standings(metric))
    else:
        typer.echo(standings_text(metric))


@app.command(cls=InProject)
def compare(
    method: Annotated[str, typer.Argument(help="a method or an ablation")],
    other: Annotated[str, typer.Argument(help="another one")],
    metric: Annotated[
        str,
        typer.Option(
            help="ndcg@20, recall@5, ...; among_new/ndcg@20: in lists of items without training "
            "users alone; report.metric without one"
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Compare two methods or ablations on test: difference, interval and p, on every dataset.

    The differences are those of each user, averaged over the seeds that both have. p is of a
    randomisation test by sign flips, corrected by Holm over the datasets.
    """
    from glta.params.check import load_params
    from glta.report.pairs import compare_pair, pair_text

    params = load_params()
    metric = metric or params.report.metric
    rows = compare_pair(params, method, other, metric)
    if as_json:
        print_json(rows)
    else:
        typer.echo(pair_text(rows, method, other, metric))


@app.command(cls=InProject)
def table(
    dataset: AnyDataset = "",
    latex: Annotated[
        bool, typer.Option("--latex", help="print LaTeX for the package booktabs, not Markdown")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the tables of a paper: accuracy, significance tests, groups, ablations, cost.

    They show what was evaluated so far. With several datasets, the methods are also compared over
    all of them together.
    """
    from pipeline.stages.report import tables

    form = "json" if as_json else "latex" if latex else "markdown"
    typer.echo(tables(dataset, form), nl=False)


@app.command("why", cls=InProject)
def why_stale(
    stage: Annotated[
        str,
        typer.Argument(
            help="a name of `dvc stage list`, or its part before the @; all stale stages without "
            "one",
            metavar="[STAGE]",
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Explain in one line why a stage would run again."""
    from pipeline.lineage.why import why

    found = why(stage)
    if as_json:
        print_json(found)
    else:
        lines = [f"{name}: {line}" for name, line in found.items()]
        typer.echo("\n".join(lines) or "every stage is up to date")


@app.command()
def ranges(as_json: Json = False) -> None:
    """List the ranges that `glta tune` searches, as Markdown."""
    from glta.tuning.space import space_rows, space_table

    if as_json:
        print_json(space_rows())
    else:
        typer.echo(space_table())


@app.command(cls=InProject)
def tune(
    method: Method,
    dataset: Dataset,
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
    trial_minutes: Annotated[
        float | None,
        typer.Option(min=0, help="stop a trial that takes longer; it cannot win"),
    ] = None,
    seed: Seed = 0,
    like: Annotated[
        list[str] | None,
        typer.Option(help="dataset whose parameters are tried first; may be given several times"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="do not write params.yaml")] = False,
) -> None:
    """Find the parameters that are best on validation, and write them into params.yaml.

    After an interruption, the same command continues the search.
    """
    from glta.tuning.study import Budget
    from pipeline.tuning.command import main

    in_order(method, dataset)
    some = 30 if trials is None and minutes is None else trials
    budget = Budget(some, minutes, trial_minutes)
    main(method, dataset, budget=budget, seed=seed, write=not dry_run, like=like or [])


@app.command(cls=InProject)
def tuned(dataset: AnyDataset = "", as_json: Json = False) -> None:
    """List the studies of `glta tune`, as Markdown.

    Columns are trials, minutes, and the validation value before and after.
    """
    from pipeline.tuning.command import overview, studies

    if as_json:
        print_json(studies(dataset))
    else:
        typer.echo(overview(dataset))


@app.command(cls=InProject)
def recommend(
    method: Method,
    dataset: Dataset,
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
            "categories",
            parser=from_project,
        ),
    ] = None,
    seed: Seed = 0,
    k: Annotated[int, typer.Option("-k", min=1, help="length of the list")] = 10,
    as_json: Json = False,
) -> None:
    """Recommend items with a trained model.

    The list is for a user of the dataset, or for a new user who is described by a list of items.
    New items, which were not in training, can be recommended too. The list of a user is looked up
    in the store that `glta cache` has made, if it fits.
    """
    from glta.serving.recommend import recommend as make

    in_order(method, dataset)
    given = [item.strip() for item in items.split(",") if item.strip()]
    found = make(method, dataset, given, user=user, new_items=new_items, seed=seed, k=k)
    if as_json:
        print_json(found)
        return
    width = max((len(row["item_id"]) for row in found), default=0)
    for rank, row in enumerate(found, 1):
        typer.echo(
            f"{rank:3}  {row['item_id']:{width}}  {row['score']:8.3f}  "
            f"{row['title']}{'  (new)' if row['new'] else ''}"
        )
    words = {"store": "looked up in the store", "popularity": "the most popular items"}
    for way in {row["way"] for row in found} & words.keys():
        typer.echo(words[way], err=True)


@app.command(cls=InProject)
def cache(
    method: Method,
    dataset: Dataset,
    new_interactions: Annotated[
        Path | None,
        typer.Option(
            help="file of interactions, CSV, JSON lines or Parquet: user_id, item_id, and perhaps "
            "timestamp; only the lists of their users are made again",
            parser=from_project,
        ),
    ] = None,
    with_test: Annotated[
        bool,
        typer.Option(
            "--with-test", help="test items count as the user's, too: for use, not for measurement"
        ),
    ] = False,
    seed: Seed = 0,
    k: Annotated[
        int | None, typer.Option("-k", min=1, help="length of the lists; 100 without it")
    ] = None,
    forget_refreshes: Annotated[
        bool,
        typer.Option(
            "--forget-refreshes",
            help="replace a store that got --new-interactions, which the new one does not have",
        ),
    ] = False,
) -> None:
    """Write the best items of every user into a store for fast look-ups.

    The lists are those that are tested: without items of training and validation. `glta recommend`
    uses the store while it fits the model. With --new-interactions, the store is kept, and brought
    up to date. Such a store is replaced with --forget-refreshes alone.
    """
    from glta.serving import cached_lists

    in_order(method, dataset)
    if new_interactions is None:
        made = cached_lists.cache(
            method,
            dataset,
            k or 100,
            seed,
            with_test=with_test,
            forget_refreshes=forget_refreshes,
        )
        typer.echo(f"{made.path}: {len(made.users)} users, {made.about.k} items each")
        return
    if k is not None or with_test:
        raise ValueError("-k, --with-test: a refresh does not change them; leave them out")
    if forget_refreshes:
        raise ValueError("--forget-refreshes: --new-interactions keeps them; give one of the two")
    done = cached_lists.refresh_cache(method, dataset, new_interactions, seed)
    typer.echo(f"new lists by {done.way}: {done.known} known users, {done.new} new users")


@app.command(cls=InProject)
def export(
    method: Method,
    dataset: Dataset,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="folder to write; data/DATASET/SEED/bundles/METHOD without it", parser=from_project
        ),
    ] = None,
    with_test: Annotated[
        bool,
        typer.Option(
            "--with-test", help="test items count as the user's, too: for use, not for measurement"
        ),
    ] = False,
    register: Annotated[
        bool, typer.Option("--register", help="register the bundle in MLflow, too")
    ] = False,
    alias: Annotated[
        str,
        typer.Option(
            help="with --register: alias of the version; without it `best`, if the method is best "
            "on validation"
        ),
    ] = "",
) -> None:
    """Write a bundle: one folder with all that serves a trained model, for any machine.

    `glta bundle` and `glta serve` answer from it. The store that `glta cache` has made with the
    same --with-test is a part of it.
    """
    from glta.serving.export import export as write
    from pipeline.tracking.commit import current_commit

    in_order(method, dataset)
    if alias and not register:
        raise ValueError("--alias: is that of a registered version; add --register")
    code = current_commit()
    commit = f"{code.id}, changed since" if code.id and code.dirty else code.id
    folder = write(method, dataset, seed, out=out, with_test=with_test, commit=commit)
    typer.echo(str(folder))
    if register:
        from pipeline.tracking.registered_bundles import register_bundle

        name, version = register_bundle(folder, alias)
        typer.echo(f"models:/{name}/{version}")


@app.command()
def serve(
    bundle: Annotated[Path, typer.Argument(help="folder of the bundle", metavar="BUNDLE")],
    host: Annotated[str, typer.Option(help="address; 0.0.0.0 lets other machines in")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8000,
    threads: Annotated[
        int, typer.Option(min=1, help="threads that compute lists at the same time")
    ] = 2,
    queue: Annotated[
        int, typer.Option(min=1, help="requests that may wait or be computed; more get 503")
    ] = 64,
    timeout: Annotated[float, typer.Option(min=0.01, help="seconds for one request")] = 10.0,
) -> None:
    """Answer from a bundle at an address: a page at /, and REST, which /docs describes.

    SIGHUP loads the bundle in the folder again, without dropping a request.
    """
    from glta.serving.rest.server import serve as run
    from glta.serving.rest.service import Limits

    run(bundle, host, port, Limits(threads=threads, queue=queue, seconds=timeout))


@app.command(cls=InProject)
def push() -> None:
    """Send all results, their records and the answers of paid language models to DVC's remote."""
    from pipeline.engine import share

    typer.echo(share.push())


@app.command(cls=InProject)
def pull() -> None:
    """Fetch what others have pushed, and restore the results of this commit."""
    from pipeline.engine import share

    typer.echo(share.pull())


@app.command(cls=InProject)
def ui(
    port: Annotated[int, typer.Option(help="port on 127.0.0.1")] = 5000,
    browser: Annotated[
        bool, typer.Option(help="open the page in a browser, where there is a screen")
    ] = True,
) -> None:
    """Open MLflow on the runs of this project. Runs of killed stages are closed first."""

    from pipeline.tracking.ui import serve_ui

    serve_ui(port, browser)


def main() -> None:
    """Run the command. A mistake of the user ends in one line.

    Exit status: 2 for a wrong command line, 130 after Ctrl-C, 1 for all else that is wrong.
    """
    try:
        status = app(prog_name="glta", standalone_mode=False)
        sys.stdout.flush()
    except TyperException as error:
        sys.exit(_refuse(error))
    except (Interrupted, KeyboardInterrupt) as error:
        print(error or "interrupted", file=sys.stderr)
        sys.exit(130)
    # whoever reads the output has enough of it, such as `head`
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {full_disk(error) or error}")
    sys.exit(status)


def _refuse(error: TyperException) -> int:
    """Print what is wrong with the command line, in one line. Returns the exit status."""
    context = getattr(error, "ctx", None)
    message = error.format_message()
    command = context.command_path if context else "glta"
    # a group without a command has printed its help, and raises no message
    if message:
        print(f"error: {message.rstrip('.?')}; see `{command} --help`", file=sys.stderr)
    return error.exit_code
