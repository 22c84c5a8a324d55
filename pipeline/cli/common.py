"""What the commands share: the project's folder, file names, lists, and how mistakes end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from pipeline.project import enter_project, from_project, project_root

HELP = {"help_option_names": ["-h", "--help"]}
PARAMS = Path("params.yaml")
WIDE = 10_000
"""Columns of what is printed into a file or a pipe, so that no line is broken."""


class Interrupted(Exception):
    """Report that the user pressed Ctrl-C. The message says how to go on."""


class Commands(TyperGroup):
    """Group of commands. Ctrl-C raises Interrupted."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted(
                str(error) or "interrupted; nothing is lost: run the same command again"
            ) from None


class InProject(TyperCommand):
    """Command that works in the project's folder, wherever below it the user stands."""

    def invoke(self, ctx: Any) -> Any:
        enter_project()
        return super().invoke(ctx)


def group(about: str) -> typer.Typer:
    """Make a group of commands, which prints its help where no command is named."""
    return typer.Typer(
        cls=Commands,
        no_args_is_help=True,
        help=about,
        context_settings=HELP,
        # a mistake in this code shows Python's own traceback
        pretty_exceptions_enable=False,
    )


def quietly(names: Callable[[], Sequence[str]]) -> Callable[[str], list[str]]:
    """Make a completion of names. It offers none where they cannot be read."""

    def complete(incomplete: str) -> list[str]:
        try:
            return [name for name in names() if name.startswith(incomplete)]
        # a completion must never print an error into the user's command line
        except Exception:
            return []

    return complete


def _method_names() -> Sequence[str]:
    from glta.methods.registry import specs

    return list(specs())


def _dataset_names() -> Sequence[str]:
    from glta.params.check import load_params

    enter_project()
    return load_params().datasets


methods_like = quietly(_method_names)
datasets_like = quietly(_dataset_names)

Method = Annotated[
    str,
    typer.Argument(help="one of `glta methods`", metavar="METHOD", autocompletion=methods_like),
]
Dataset = Annotated[
    str,
    typer.Argument(
        help="one of datasets in params.yaml", metavar="DATASET", autocompletion=datasets_like
    ),
]
AnyDataset = Annotated[
    str,
    typer.Argument(
        help="one of datasets in params.yaml; all without one",
        metavar="[DATASET]",
        autocompletion=datasets_like,
    ),
]
File = Annotated[
    Path | None,
    typer.Option(help="parameter file; params.yaml of the project without it", parser=from_project),
]
Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]
Seed = Annotated[int, typer.Option(help="seed of split and training")]


def parameter_file(given: Path | None) -> Path:
    """Enter the project, and return the given parameter file or the project's own.

    A given file needs no project.
    """
    if given is None or project_root():
        enter_project()
    return given or PARAMS


def is_of_project(path: Path) -> bool:
    """Tell whether a parameter file is the one of the project that the command works in."""
    return project_root() is not None and path.resolve() == PARAMS.resolve()


def in_order(method: str, dataset: str) -> None:
    """Raise ValueError where a method and a dataset seem to be exchanged."""
    from glta.methods.registry import specs

    if method not in specs() and dataset in specs():
        raise ValueError(
            f"{method}: unknown method; the order is METHOD DATASET: {dataset} {method}"
        )


def print_json(content: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(content, indent=1, ensure_ascii=False))


def print_rows(rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    """Print rows with equal keys: as JSON, or as a table with the keys as headings.

    A terminal breaks long cells. Pipes and files get one line for each row.
    """
    if as_json:
        print_json(rows)
        return
    from rich.table import Column, Table

    keys = list(rows[0]) if rows else []
    first = [Column(key, no_wrap=True) for key in keys[:1]]
    table = Table(*first, *(key.replace("_", " ") for key in keys[1:]), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    print_rich(table)


def _cell(value: Any) -> str:
    from rich.markup import escape

    return escape(", ".join(value) if isinstance(value, list) else str(value))


def print_rich(shown: Any) -> None:
    """Print a rich table or tree; without a terminal, it is as wide as it needs."""
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    with console.capture() as captured:
        console.print(shown)
    # rich fills lines with spaces
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))
