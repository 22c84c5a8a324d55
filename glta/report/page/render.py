"""Make the report: one HTML page that contains everything, and the figures as separate files."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from glta.evaluation.metrics import ACCURACY, BEYOND_ACCURACY
from glta.params.inputs import shown
from glta.params.model import Params
from glta.pictures.svg import figure_style
from glta.report.analysis import Analysis
from glta.report.cells import Cells, metrics_on_test
from glta.report.draw.figures import figures
from glta.report.draw.lineage_picture import lineage_view
from glta.report.draw.marks import mark_number, mark_shapes
from glta.report.draw.score_figures import overview_figure
from glta.report.environments import environment_rows
from glta.report.page.card import card
from glta.report.page.view import costs_view, dataset_view
from glta.report.paper_tables import overview_tables
from glta.report.wording import number, percent, size

HERE = Path(__file__).parent


class RenderedReport(NamedTuple):
    """Hold the content of all files of the report.

    html: of index.html. figures: SVG by file name. metrics: of metrics.json. cards: of cards.json,
    the data card of each dataset.
    """

    html: str
    figures: dict[str, str]
    metrics: dict[str, Any]
    cards: dict[str, Any]


def render(
    params: Params,
    cells: Cells,
    *,
    costs: dict[str, dict[str, float]] | None = None,
    provenance: list[dict[str, Any]] | None = None,
) -> RenderedReport:
    """Make the report of evaluated cells.

    costs: seconds and peak_memory_bytes by stage. provenance: as
    `pipeline.lineage.results.provenance` returns it. Where either is None, the report says that
    nothing was recorded. Equal arguments give equal bytes.
    """
    analyses = [
        Analysis(name, params.for_dataset(name), cells.get(name, {})) for name in params.datasets
    ]
    drawn = {a.dataset: figures(a) for a in analyses}
    across = overview_figure(analyses)
    files = {
        f"{dataset}-{name}.svg": drawing.svg(standalone=True)
        for dataset, by_name in drawn.items()
        for name, drawing in by_name.items()
    }
    overview = None
    if across is not None:
        files["overview.svg"] = across.svg(standalone=True)
        overview = {"figure": across.svg(), "tables": overview_tables(analyses)}
    results = provenance or []
    lineages = [lineage_view(a, provenance=results, costs=costs or {}) for a in analyses]
    html = template().render(
        datasets=[dataset_view(a, drawn[a.dataset]) for a in analyses],
        marks=mark_shapes(mark_number(a, m) for a in analyses for m in a.params.methods),
        overview=overview,
        params=params,
        accuracy=ACCURACY,
        beyond=BEYOND_ACCURACY,
        costs=costs_view(costs),
        lineages=[lineage for lineage in lineages if lineage],
        provenance=results,
        commits=sorted({p["commit"] for p in results if p.get("commit")}),
        dirty=any(p.get("dirty") for p in results),
        environment=environment_rows(results),
        yaml=as_yaml(params),
        style=(HERE / "style.css").read_text(encoding="utf-8") + figure_style(),
    )
    cards = {a.dataset: card(a) for a in analyses}
    return RenderedReport(html, files, metrics_on_test(cells), cards)


def template() -> jinja2.Template:
    """Load the template of the page. It escapes all text, and fails for an undefined name."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": number,
        "size": size,
        "percent": percent,
        "safe_link": safe_link,
        "value_and_more": value_and_more,
    }
    return environment.get_template("template.html.j2")


def value_and_more(cell: str) -> list[str]:
    """Cut a cell of a paper's table before its spread or interval: .12 ±.01, +0.1 (0.0 to 0.2)."""
    return re.split(r" (?=[±(])", cell, maxsplit=1)


def safe_link(address: Any) -> str:
    """Return an http or https address, or an empty text for anything else.

    The addresses come from data files, which must not be able to put a script behind a link.
    """
    if isinstance(address, str) and address.startswith(("https://", "http://")):
        return address
    return ""


def as_yaml(params: Params) -> str:
    """Write the parameters behind the results as YAML."""
    # imported late, because only this function needs it
    from ruamel.yaml import YAML

    out = StringIO()
    yaml = YAML()
    yaml.width = 110
    yaml.dump(shown(params), out)
    return out.getvalue()
