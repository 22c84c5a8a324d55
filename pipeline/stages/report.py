"""Write the report of everything that was evaluated."""

from __future__ import annotations

import sys
from typing import Any

from glta.params.model import Params
from glta.storage.cell import folder
from pipeline.stages.script import run


def main(params: Params) -> None:
    """Write data/report: index.html, figures/, and metrics, cards, summary and ranking as JSON."""
    from glta.report.cells import load_cells, ranking, summary
    from glta.report.page.render import render
    from glta.storage.files import whole_folder, write_json, write_whole

    costs, provenance = records()
    cells = load_cells(folder("evaluate"), params)
    report = render(params, cells, costs=costs, provenance=provenance)
    out = folder("report")
    with whole_folder(out / "figures") as figures:
        for name, svg in report.figures.items():
            write_whole(figures / name, svg)
    write_json(out / "metrics.json", report.metrics)
    write_json(out / "cards.json", report.cards)
    write_json(out / "summary.json", summary(cells, params.report.metric))
    write_json(out / "ranking.json", ranking(cells, params.report.metric))
    write_whole(out / "index.html", report.html)


def tables(dataset: str, form: str) -> str:
    """Write the tables of one dataset, or of all when dataset is "", with an overview.

    form: markdown, latex or json. Raises ValueError for an unknown dataset.
    """
    from glta.params.check import load_params
    from glta.report.analysis import Analysis
    from glta.report.cells import load_cells
    from glta.report.paper_tables import overview_tables, tables, written

    params = load_params()
    if dataset not in ("", *params.datasets):
        raise ValueError(
            f"{dataset}: is not in `datasets` of params.yaml, which has "
            f"{', '.join(params.datasets)}"
        )
    cells = load_cells(folder("evaluate"), params)
    if not any(cells.values()):
        raise ValueError(f"{folder('evaluate')}: has no results; run `snakemake --cores all` first")
    costs, _ = records()
    wanted = [name for name in params.datasets if dataset in ("", name)]
    found = [Analysis(name, params.for_dataset(name), cells.get(name, {})) for name in wanted]
    return written(
        [*overview_tables(found), *(table for a in found for table in tables(a, costs))], form
    )


def records() -> tuple[Any, Any]:
    """Return costs and provenance from the recorded runs; (None, None) when they cannot be read."""
    try:
        from pipeline.lineage.results import costs, provenance

        return costs(), provenance()
    # any error of the databases of runs: the results can be shown without them
    except Exception as error:
        print(
            f"report: costs and hashes cannot be read ({type(error).__name__}: {error})",
            file=sys.stderr,
        )
        return None, None


if __name__ == "__main__":
    run(main)
