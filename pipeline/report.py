"""Draw the report of everything that was evaluated."""

from __future__ import annotations

import sys
from typing import Any

from glta.params import Params
from pipeline.stage import DATA, run


def main(params: Params) -> None:
    """Write data/report: index.html, figures/, metrics.json and cards.json."""
    from glta.files import whole_folder, write_json, write_whole
    from glta.report.data import load_cells
    from glta.report.render import render

    report = render(params, load_cells(DATA / "evaluate", params), *records())
    out = DATA / "report"
    with whole_folder(out / "figures") as figures:
        for name, svg in report.figures.items():
            write_whole(figures / name, svg)
    write_json(out / "metrics.json", report.metrics)
    write_json(out / "cards.json", report.cards)
    write_whole(out / "index.html", report.html)


def records() -> tuple[Any, Any]:
    """Return costs and provenance as the runner recorded them, None where it did not."""
    try:
        from pipeline.engine.results import costs, provenance

        return costs(), provenance()
    except Exception as error:  # whatever the databases of the runs have: the results can be shown without them
        print(f"report: costs and hashes are not recorded here ({type(error).__name__}: {error})", file=sys.stderr)
        return None, None


if __name__ == "__main__":
    run(main)
