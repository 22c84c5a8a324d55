"""Draw all figures of one dataset.

Each figure can be read at the width of a phone. All figures of a dataset share one key.
"""

from __future__ import annotations

from glta.pictures.svg import Drawing
from glta.report.analysis import Analysis
from glta.report.draw.data_figures import degrees_figure, parts_figure, ratings_figure
from glta.report.draw.group_figures import groups_figure, popularity_figure
from glta.report.draw.score_figures import (
    coverage_figure,
    differences_figure,
    scores_figure,
)
from glta.report.draw.training_curves import training_curves


def figures(a: Analysis) -> dict[str, Drawing]:
    """Draw every figure for which a dataset has numbers, by name; none without results."""
    if a.any_cell is None:
        return {}
    drawn = {
        "scores": scores_figure(a),
        "differences": differences_figure(a),
        "popularity": popularity_figure(a),
        "groups": groups_figure(a),
        "reach": coverage_figure(a),
        **training_curves(a),
        "parts": parts_figure(a),
        "degrees-user": degrees_figure(a, "user"),
        "degrees-item": degrees_figure(a, "item"),
        "ratings": ratings_figure(a),
    }
    return {name: drawing for name, drawing in drawn.items() if drawing is not None}
