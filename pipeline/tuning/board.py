"""Show the progress of `glta tune`: the best trials so far and the time left.

Without a terminal, each trial is printed as one plain line.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from glta.progress import plain
from glta.tuning.space import Values, in_short
from glta.tuning.study import Budget, Trial, best_of, in_words

ROWS = 5


class Board:
    """Follow a study. done: its finished trials."""

    def __init__(self, name: str, budget: Budget, present: Values, done: list[Trial]):
        self.name = name
        self.budget = budget
        self.present = present
        self.done = done
        self.running: Values = {}
        self.began = time.monotonic()

    def start(self, values: Values) -> None:
        """Take note that a trial starts."""
        self.running = values
        self.began = time.monotonic()

    def update(self, done: list[Trial]) -> None:
        """Take note that a trial has ended. done: all finished trials."""
        self.done = done
        self.running = {}

    def progress(self) -> str:
        """Write how many trials are done and how long the rest may take."""
        of = f" of {self.budget.trials}" if self.budget.trials else ""
        left = seconds_left(self.budget, self.done)
        return f"{len(self.done)}{of} trials" + (
            "" if left is None else f", about {duration(left)} left"
        )


class PlainBoard(Board):
    """Print one line for each trial."""

    def update(self, done: list[Trial]) -> None:
        super().update(done)
        last = done[-1]
        best = best_of(done)
        found = last.error if last.value is None else f"{last.value:.4f}"
        so_far = f" (best {best.value:.4f})" if best else ""
        print(
            f"{self.name}: {self.progress()}: {found}{so_far} with {in_words(last.values)}",
            file=sys.stderr,
            flush=True,
        )


class LiveBoard(Board):
    """Draw a table of the best trials, which is updated in place."""

    def __rich__(self):
        from rich.console import Group
        from rich.table import Table

        heads = ["", "valid NDCG@20", "seconds", *short(self.present)]
        table = Table(*heads, title=self.name, title_justify="left", box=None)
        measured = [trial for trial in self.done if trial.value is not None]
        measured.sort(key=lambda trial: (-(trial.value or 0.0), trial.number))
        for trial in measured[:ROWS]:
            mark = "present" if trial.values == self.present else f"trial {trial.number}"
            table.add_row(
                mark,
                f"{trial.value:.4f}",
                f"{trial.seconds:.1f}",
                *map(in_short, trial.values.values()),
            )
        if self.running:
            passed = f"{time.monotonic() - self.began:.0f}"
            table.add_row("running", "", passed, *map(in_short, self.running.values()), style="dim")
        return Group(table, self.progress())


def short(keys: Iterable[str]) -> list[str]:
    """Shorten dotted keys to the heads of columns.

    A head is the last part of the key. Where two keys have the same last part, the part before it
    is written above.
    """
    parts = [key.split(".") for key in keys]
    last = [part[-1] for part in parts]
    return [p[-1] if last.count(p[-1]) == 1 else f"{p[-2]}\n{p[-1]}" for p in parts]


def seconds_left(budget: Budget, done: list[Trial]) -> float | None:
    """Estimate the seconds left from the mean trial so far; None when nothing is known yet."""
    spent = sum(trial.seconds for trial in done)
    limits = [] if budget.minutes is None else [60 * budget.minutes - spent]
    if budget.trials is not None and done:
        limits.append((budget.trials - len(done)) * spent / len(done))
    return max(0.0, min(limits)) if limits else None


def duration(seconds: float) -> str:
    """Write seconds as text, e.g. 42 s, 7 min, 2 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


@contextmanager
def board(name: str, budget: Budget, present: Values, done: list[Trial]) -> Iterator[Board]:
    """Show a study on stderr while it runs."""
    if plain():
        yield PlainBoard(name, budget, present, done)
        return
    from rich.console import Console
    from rich.live import Live

    shown = LiveBoard(name, budget, present, done)
    with Live(shown, console=Console(stderr=True), refresh_per_second=1):
        yield shown
