"""Every command that a message or a page names exists, and takes the arguments that are named."""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.exceptions import Exit, TyperException

from pipeline.cli.main import app

TOOLS = ("glta", "snakemake", "dvc", "make")
PAGES = [Path("README.md"), Path("CONTRIBUTING.md"), *sorted(Path("docs").glob("*.md"))]
CODE = sorted([*Path("glta").rglob("*.py"), *Path("pipeline").rglob("*.py"), Path("Makefile")])
QUOTED = re.compile(rf"`((?:{'|'.join(TOOLS)})(?: [^`]+)?)`")
LINE = re.compile(rf"^(?: {{4,}}|\$ |\s+\$ )?((?:{'|'.join(TOOLS)})(?: .*)?)$", re.M)
BLOCK = re.compile(r"^```(?:sh)?\n(.*?)^```|((?:^(?: {4}).*\n)+)", re.M | re.S)


def texts(path: Path) -> Iterator[str]:
    """Yield the texts of a program that a user may read. Fields of f-strings become 1."""
    if path.suffix != ".py":
        yield path.read_text(encoding="utf-8")
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else "1" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def named(path: Path) -> Iterator[str]:
    """Yield the commands that a file names."""
    for text in texts(path):
        # a docstring or comment may break a line within a command
        yield from (re.sub(r"\s+", " ", found) for found in QUOTED.findall(text))
        if path.suffix == ".md":
            for fenced, indented in BLOCK.findall(text):
                yield from LINE.findall(fenced or indented)


def parts(command: str) -> Iterator[list[str]]:
    """Yield the words of each command of a line, without its comment."""
    # a sign between quotes is text
    for part in re.split(
        r"""\s*(?:\||&&|;)\s*(?=(?:[^']*'[^']*')*[^']*$)""",
        command.partition(" #")[0].partition("   ")[0],
    ):
        words = ["1" if word == "N" else word for word in shlex.split(part)]
        if words and words[0] in TOOLS:
            yield words


def trouble(words: list[str]) -> str:
    """Return what is wrong with a command; "" when it can be run."""
    tool, *arguments = words
    if "..." in arguments:
        return ""
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(said):
        try:
            {"glta": glta, "snakemake": snakemake, "dvc": dvc, "make": make}[tool](arguments)
        except (TyperException, ValueError) as error:
            return str(error) or "wrong"
        except SystemExit as end:
            return (said.getvalue() or "wrong").splitlines()[-1] if end.code else ""
    return ""


def glta(arguments: list[str]) -> None:
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="glta", **command.context_settings)
    while arguments and hasattr(command, "get_command"):
        name, *arguments = arguments
        if name.startswith("-"):
            with contextlib.suppress(Exit):
                command.make_context("glta", [name])
            return
        found = command.get_command(context, name)
        if found is None:
            raise ValueError(f"glta has no command {name}")
        command = found
    # a command may be named without its arguments
    if arguments:
        with contextlib.suppress(Exit):
            command.make_context(command.name, arguments, parent=context)


@functools.cache
def snakemake_parser():
    from snakemake.cli import get_argument_parser

    return get_argument_parser()


def snakemake(arguments: list[str]) -> None:
    from snakemake.exceptions import CliException

    try:
        found = snakemake_parser().parse_args(arguments)
    except CliException as error:
        raise ValueError(str(error)) from None
    # a run needs cores
    if arguments and not (found.cores or found.dryrun or found.profile):
        raise ValueError("snakemake asks for --cores")


def dvc(arguments: list[str]) -> None:
    from dvc.cli import DvcParserError, parse_args

    # a command may be named without its arguments
    if len(arguments) > 1 + (arguments[:1] == ["exp"]):
        try:
            parse_args(arguments)
        except DvcParserError as error:
            raise ValueError(str(error) or "dvc does not take this") from None


def make(arguments: list[str]) -> None:
    targets = re.search(r"^\.PHONY: (.*)$", Path("Makefile").read_text(), re.M)
    for word in arguments:
        if "=" not in word and word not in targets[1].split():
            raise ValueError(f"the Makefile has no {word}")


@pytest.mark.parametrize("path", [*CODE, *PAGES], ids=str)
def test_the_commands_that_a_file_names_can_be_run(path):
    wrong = [
        f"{path}: `{shlex.join(words)}`: {said}"
        for command in dict.fromkeys(named(path))
        for words in parts(command)
        if (said := trouble(words))
    ]
    assert not wrong, "\n".join(wrong)


def test_wrong_commands_are_found():
    for words in (
        ["glta", "parms"],
        ["glta", "params", "synk"],
        ["glta", "tune", "--trails", "3"],
        ["glta", "recommend", "ease"],
        ["snakemake", "-R", "report"],
        ["snakemake", "--cors", "2"],
        ["dvc", "chekout", "data"],
        ["make", "rum"],
    ):
        assert trouble(words), words
    for words in (
        ["glta"],
        ["glta", "--version"],
        ["glta", "tune"],
        ["glta", "tune", "ease", "sample", "--trials", "3"],
        ["snakemake", "--cores", "all", "--forcerun", "report"],
        ["dvc", "repro", "-s", "report"],
        ["make", "table", "MEMORY=6000"],
    ):
        assert not trouble(words), words
