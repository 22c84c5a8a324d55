"""Run all benchmarks, print their tables, and update docs/performance.md.

python -m benchmarks [--only NAME]     docs/performance.md says how long each takes
python -m benchmarks --quick           small sizes, in seconds: checks that results are equal,
                                       and writes nothing

The records are written to benchmarks/out/NAME.json.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.performance_page import cells, write_page
from benchmarks.timing import PROCESSOR_TIME, Row, machine

NAMES = (
    "graph",
    "large_graph",
    "least_squares",
    "sequence",
    "generation",
    "splitting",
    "ranking",
    "store",
    "serving",
    "metrics",
    "alignment",
    "graph_aware",
    "startup",
    "cost",
    "device",
)
OUT = Path("benchmarks/out")


def table(name: str, rows: list[Row]) -> Table:
    shown = Table(
        "what", "this package", "against", "theirs", "ratio", "target", "note", title=name
    )
    for row in rows:
        shown.add_row(*cells(row), style="red" if row.met is False else None)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=NAMES, action="append", help="may be given several times")
    parser.add_argument("--quick", action="store_true")
    clock = "use one thread and measure processor time, for a machine shared with others"
    parser.add_argument("--processor-time", action="store_true", help=clock)
    length = "of the sustained load of `serving`"
    parser.add_argument("--minutes", type=float, default=0.5, help=length)
    args = parser.parse_args()
    # set before torch and numpy are loaded; child processes see it too
    if args.processor_time:
        os.environ |= dict.fromkeys(
            (PROCESSOR_TIME, "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1"
        )
    console = Console()
    for name in args.only or NAMES:
        options = {"minutes": args.minutes} if name == "serving" else {}
        rows = import_module(f"benchmarks.{name}").run(args.quick, **options)
        console.print(table(name, rows))
        if not args.quick:
            OUT.mkdir(parents=True, exist_ok=True)
            about = {
                "clock": "processor time, 1 thread" if args.processor_time else "wall clock",
                **machine(),
            }
            record = {"machine": about, "rows": [asdict(row) for row in rows]}
            (OUT / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
            write_page(OUT, Path("docs"))


if __name__ == "__main__":
    main()
