"""Draw the report of everything that was evaluated."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from glta.params import Params
from pipeline.stage import DATA, run


def main(params: Params) -> None:
    """Write data/report: index.html, figures/ and metrics.json."""
    from glta.files import whole_folder, write_json, write_whole
    from glta.report.data import load_cells
    from glta.report.render import render

    report = render(params, load_cells(DATA / "evaluate", params), *records())
    out = DATA / "report"
    with whole_folder(out / "figures") as figures:
        for name, svg in report.figures.items():
            write_whole(figures / name, svg)
    write_json(out / "metrics.json", report.metrics)
    write_whole(out / "index.html", report.html)


def records() -> tuple[Any, Any]:
    """Return costs and provenance as the runner recorded them, None where it did not."""

    def found(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except Exception as error:  # whatever the databases of the runs have: the results can be shown without them
            print(f"report: costs and hashes are not recorded here ({type(error).__name__}: {error})", file=sys.stderr)
            return None

    try:
        from pipeline.engine.costs import costs, provenance
    except ImportError:  # by hand, without the runner's own requirements
        return None, None
    return found(costs), found(provenance)


if __name__ == "__main__":
    run(main)
