"""Progress for the reader, and records of each epoch for the stage runner.

People see a rich bar in a terminal and plain lines elsewhere, both on stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

PLAIN_SECONDS = 10  # at least so long between two plain lines of one task

_quiet = False


class Advance(Protocol):
    """Tell the display of a task that some of its steps are done."""

    def __call__(self, steps: int = 1, note: str = "") -> None:
        """Add steps to those done. note: a short text to show after the count."""


@contextmanager
def quiet() -> Iterator[None]:
    """Show no progress inside this context, for callers that have a display of their own."""
    global _quiet
    before = _quiet
    _quiet = True
    try:
        yield
    finally:
        _quiet = before


def plain() -> bool:
    """Tell whether to write plain lines instead of bars.

    That is so where stderr is no terminal or one that cannot move its cursor, and where GLTA_PLAIN
    is set: the bars of commands side by side would overwrite each other.
    """
    simple = os.environ.get("GLTA_PLAIN") or os.environ.get("TERM") == "dumb"
    return bool(simple) or not sys.stderr.isatty()


@contextmanager
def bar(total: int | None, description: str) -> Iterator[Advance]:
    """Show the progress of one task, and yield the function that advances it.

    total: number of steps, None where it is unknown. Do not open a second bar inside the first: a
    terminal shows one at a time.
    """
    if _quiet:
        yield _no_display
    elif plain():
        yield _PlainLines(total, description)
    else:
        with _rich_bar(total, description) as advance:
            yield advance


def _no_display(steps: int = 1, note: str = "") -> None:
    """Show nothing."""


class _PlainLines:
    """Write one line about a task every PLAIN_SECONDS."""

    def __init__(self, total: int | None, description: str):
        self.total = total
        self.description = description
        self.done = 0
        self.last_line = time.monotonic()

    def __call__(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        if time.monotonic() - self.last_line < PLAIN_SECONDS:
            return
        self.last_line = time.monotonic()
        line = f"{self.description}: {self.done}/{self.total or '?'} {note}"
        print(line.rstrip(), file=sys.stderr, flush=True)


@contextmanager
def _rich_bar(total: int | None, description: str) -> Iterator[Advance]:
    # imported here because it is slow and only a terminal needs it
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            progress.update(task, advance=steps)
            if note:
                progress.update(task, note=note)

        yield advance


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items, and show how many are done.

    total: number of items; None takes their length, where they have one.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(total, description) as advance:
        for item in items:
            yield item
            advance()


def record_epoch(values: dict[str, Any]) -> None:
    """Record one epoch, {"epoch": number, "loss": value, ...}, for the stage runner."""
    others = {name: value for name, value in values.items() if name != "epoch"}
    record(values["epoch"], **others)


def record(step: int, **values: float) -> None:
    """Record values of one step for the stage runner, which logs them to MLflow.

    They are one line of JSON in the file that GLTA_RECORDS names: {"step": 3, "loss": 0.5, ...}.
    Nothing is written where GLTA_RECORDS is not set.
    """
    _append({"step": step, **values})


def record_error(message: str) -> None:
    """Tell the stage runner why a script ends without a result."""
    _append({"error": message})


def _append(line: dict[str, Any]) -> None:
    if path := os.environ.get("GLTA_RECORDS"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
