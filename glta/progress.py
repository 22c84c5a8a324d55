"""Progress for people (a rich bar, or plain lines where nobody watches a terminal) and records for
the stage runner.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
PLAIN_SECONDS = 10  # between two plain lines of one loop


_quiet = False


@contextmanager
def quiet() -> Iterator[None]:
    """Show no task within: who calls has a display of its own."""
    global _quiet
    before, _quiet = _quiet, True
    try:
        yield
    finally:
        _quiet = before


def plain() -> bool:
    """Parallel stages would overwrite each other's bars, so Snakemake's rules ask for plain
    lines.
    """
    return bool(os.environ.get("GLTA_PLAIN")) or not sys.stderr.isatty()


@contextmanager
def bar(total: int | None, description: str) -> Iterator:
    """Show a task; yields advance(steps=1, note=""). Safe to nest only one at a time."""
    if _quiet:
        yield lambda steps=1, note="": None
        return
    if plain():
        state = {"done": 0, "said": time.monotonic()}

        def advance(steps: int = 1, note: str = "") -> None:
            state["done"] += steps
            if time.monotonic() - state["said"] >= PLAIN_SECONDS:
                state["said"] = time.monotonic()
                print(
                    f"{description}: {state['done']}/{total or '?'} {note}".rstrip(),
                    file=sys.stderr,
                    flush=True,
                )

        yield advance
        return
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
    )
    with Progress(
        *columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True)
    ) as progress:
        task = progress.add_task(description, total=total, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            progress.update(task, advance=steps, **({"note": note} if note else {}))

        yield advance


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a bar."""
    total = total if total is not None else len(items) if hasattr(items, "__len__") else None
    with bar(total, description) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def epochs(total: int, description: str) -> Iterator[Callable[[dict], None]]:
    """Show a training of at most `total` epochs; yields on_epoch, which also reports each epoch to
    the stage runner.
    """
    with bar(total, description) as advance:

        def on_epoch(values: dict) -> None:
            record_epoch(values)
            advance(
                note=", ".join(
                    f"{name} {value:.4f}" for name, value in values.items() if name != "epoch"
                )
            )

        yield on_epoch


def record_epoch(values: dict) -> None:
    """Report one epoch of a training loop, {"epoch": ..., "loss": ..., ...}, to the stage
    runner.
    """
    record(values["epoch"], **{name: value for name, value in values.items() if name != "epoch"})


def record(step: int, **values: float) -> None:
    """Report one epoch to the stage runner, which logs it to MLflow; without a runner, to nobody.

    One JSON line in the file named by GLTA_RECORDS: {"step": ..., "loss": ..., ...}.
    """
    _append({"step": step, **values})


def record_error(message: str) -> None:
    """Tell the runner why a script ends without a result."""
    _append({"error": message})


def _append(line: dict) -> None:
    if path := os.environ.get("GLTA_RECORDS"):
        with open(path, "a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")
