"""Write the report: one HTML file with everything inside, and the figures once more as files of
their own.
"""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from glta.evaluation.metrics import ACCURACY, BEYOND_ACCURACY
from glta.params.model import Params
from glta.report import figures, tables
from glta.report.analysis import Analysis
from glta.report.card import card, percent
from glta.report.evaluated import Cells, test_metrics
from glta.report.lineage import lineage_view
from glta.report.svg import style
from glta.report.view import costs_view, dataset_view, number, size

HERE = Path(__file__).parent


class Report(NamedTuple):
    html: str
    figures: dict[str, str]  # file name: SVG
    metrics: dict[str, Any]  # the content of metrics.json
    cards: dict[str, Any]  # the content of cards.json: each dataset's `card`


def render(
    params: Params,
    cells: Cells,
    costs: dict[str, dict[str, float]] | None = None,
    provenance: list[dict[str, Any]] | None = None,
) -> Report:
    """Make the report from evaluated cells.

    costs: {stage: {seconds, peak_memory_bytes}}; provenance: as
    `pipeline.lineage.results.provenance` returns it. Either may be None: the report then says that
    nothing was recorded. The rest is a function of params and cells, to the last byte.
    """
    analyses = [
        Analysis(name, params.for_dataset(name), cells.get(name, {})) for name in params.datasets
    ]
    views = [dataset_view(a) for a in analyses]
    drawn = {
        f"{v['name']}-{name}.svg": d.svg(standalone=True)
        for v in views
        for name, d in v.pop("drawn").items()
    }
    across = figures.overview(analyses)
    if across:
        drawn["overview.svg"] = across.svg(standalone=True)
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
    }
    html = environment.get_template("template.html.j2").render(
        datasets=views,
        overview={"figure": across.svg(), "table": tables.overview(analyses)[0]}
        if across
        else None,
        params=params,
        accuracy=ACCURACY,
        beyond=BEYOND_ACCURACY,
        costs=costs_view(costs),
        lineages=[
            found for a in analyses if (found := lineage_view(a, provenance or [], costs or {}))
        ],
        provenance=provenance or [],
        commits=sorted({p["commit"] for p in provenance or [] if p.get("commit")}),
        dirty=any(p.get("dirty") for p in provenance or []),
        yaml=as_yaml(params),
        style=(HERE / "style.css").read_text(encoding="utf-8") + style(),
    )
    return Report(html, drawn, test_metrics(cells), {a.dataset: card(a) for a in analyses})


def safe_link(address: Any) -> str:
    """Return an http address, or nothing: data files must not be able to put scripts behind a
    link.
    """
    return (
        address if isinstance(address, str) and address.startswith(("https://", "http://")) else ""
    )


def as_yaml(params: Params) -> str:
    """Write the parameters as YAML, leaving out overrides that change nothing."""
    from ruamel.yaml import YAML

    values = json.loads(params.model_dump_json())
    values["overrides"] = without_empty(values["overrides"])
    out, yaml = StringIO(), YAML()
    yaml.width = 110
    yaml.dump(values, out)
    return out.getvalue()


def without_empty(values: dict[str, Any]) -> dict[str, Any]:
    """Drop mappings that hold nothing, those in mappings first."""
    kept = {
        key: without_empty(value) if isinstance(value, dict) else value
        for key, value in values.items()
    }
    return {key: value for key, value in kept.items() if value != {}}
