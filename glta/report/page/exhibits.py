"""Turn the exhibits of methods into what the template prints, with means over the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from glta.methods.exhibit import Entry, Exhibit, ExhibitTable
from glta.report.analysis import Analysis
from glta.report.draw.marks import mark_number
from glta.report.known import title
from glta.report.wording import NONE, number
from glta.storage.cell import Cell


def exhibits_view(a: Analysis) -> list[dict[str, Any]]:
    """Gather the exhibits of a dataset, one a method, in the order of the parameters."""
    found = {method: _of_seeds(a, method) for method in a.cells}
    return [
        {"method": title(method), "mark": mark_number(a, method), **_shown(exhibits)}
        for method, exhibits in found.items()
        if exhibits
    ]


def _of_seeds(a: Analysis, method: str) -> dict[int, Exhibit]:
    """Return a method's exhibits by seed, in the order of the parameters.

    They are checked again, as the results may have come from another machine.
    """
    cells = a.cells[method]
    return {
        seed: Exhibit.from_json(
            cells[seed].summary["exhibit"],
            Cell(a.dataset, seed).evaluated(method) / "summary.json",
        )
        for seed in a.params.seeds
        if seed in cells and cells[seed].summary.get("exhibit")
    }


def _shown(exhibits: dict[int, Exhibit]) -> dict[str, Any]:
    """Return what is shown of one method: all but the numbers of tables is of the first seed."""
    seed, first = next(iter(exhibits.items()))
    return {
        "title": first.title,
        "text": first.text,
        "seed": seed,
        "of_first": _of_first(list(exhibits.values())),
        "tables": [_table(table, exhibits) for table in first.tables],
        "pictures": first.pictures,
    }


def _of_first(exhibits: Sequence[Exhibit]) -> str:
    """Name what is shown of the first of several seeds alone; "" when that is nothing."""
    if len(exhibits) == 1:
        return ""
    parts = {
        "text": len({exhibit.text for exhibit in exhibits}) > 1,
        "pictures": bool(exhibits[0].pictures),
    }
    return " and ".join(name for name, shown in parts.items() if shown).capitalize()


def _table(table: ExhibitTable, exhibits: dict[int, Exhibit]) -> dict[str, Any]:
    """Return a table of the first seed, with means and spreads where all seeds have its form."""
    tables = [t for e in exhibits.values() for t in e.tables if t.title == table.title]
    seeds = list(exhibits)
    alike = len(tables) == len(seeds) and len({_form(t) for t in tables}) == 1
    if len(seeds) == 1:
        which = ""
    elif alike:
        which = f"Mean over seeds {', '.join(map(str, seeds))}, ± standard deviation"
    else:
        which = f"Seed {seeds[0]} alone, as the tables of the seeds differ in more than numbers"
    shown = tables if alike else [table]
    notes = [note.rstrip(".") for note in (table.title, table.note, which) if note]
    return {
        "title": table.title,
        "caption": ". ".join(notes) + ".",
        "columns": table.columns,
        "rows": [
            [_cell(entries, table.digits) for entries in zip(*rows, strict=True)]
            for rows in zip(*(t.rows for t in shown), strict=True)
        ],
    }


def _form(table: ExhibitTable) -> tuple[Any, ...]:
    """Return all of a table that is no number. Tables with equal forms have a mean."""
    rows = (tuple("" if isinstance(e, int | float) else (e,) for e in row) for row in table.rows)
    return (table.columns, *rows)


def _cell(entries: Sequence[Entry], digits: int) -> dict[str, str]:
    """Return the text of an entry, and its spread over seeds; "" for the spread of one seed."""
    numbers = [entry for entry in entries if isinstance(entry, int | float)]
    if not numbers:
        return {"text": NONE if entries[0] is None else str(entries[0]), "spread": ""}
    # a whole number that every seed has is a count, such as the number of items
    decimals = 0 if isinstance(numbers[0], int) and len({*numbers}) == 1 else digits
    spread = number(stdev(numbers), decimals) if len(numbers) > 1 else ""
    return {"text": number(fmean(numbers), decimals), "spread": spread}
