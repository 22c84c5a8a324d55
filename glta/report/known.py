"""Tell what the report needs to know about methods; no other report module asks for a name."""

from __future__ import annotations

from glta.ablations import ABLATIONS, ablation_text, ablation_title
from glta.methods.registry import METHODS

PRETRAINED_GRAPH = "pretrain@{cell}-all"

TRAINING_STAGES = {
    "lightgcn": [PRETRAINED_GRAPH, "fit@{cell}-lightgcn"],
    "lightgcn-text-knn": [PRETRAINED_GRAPH, "fit@{cell}-lightgcn-text-knn"],
    "glta-plus": [PRETRAINED_GRAPH, "fit@{cell}-glta-plus"],
    "glta": [
        PRETRAINED_GRAPH,
        "pretrain@{cell}-graph",
        "align_items@{cell}",
        "align_users@{cell}",
    ],
}
"""The methods that other stages than `fit` train too."""


def title(name: str) -> str:
    """Return the name of a method or ablation as readers see it; an unknown name stays as it is."""
    if is_ablation(name):
        return ablation_title(name)
    return METHODS[name].title if name in METHODS else name


def is_ablation(name: str) -> bool:
    """Tell whether a name is that of an ablation."""
    return name in ABLATIONS


def base_of(ablation: str) -> str:
    """Return the method that an ablation changes.

    Raises KeyError for a name that is no ablation.
    """
    if ablation not in ABLATIONS:
        raise KeyError(ablation)
    return "glta"


def change_text(ablation: str) -> str:
    """Write the parameters that an ablation changes: align_users.tag_tokens = 0.

    Raises KeyError for a name that is no ablation.
    """
    return ablation_text(ablation)


def order() -> list[str]:
    """List all registered methods. A method's place decides its colour and mark in the figures."""
    return list(METHODS)


def training_stages(method: str) -> list[str]:
    """Name the stages whose cost counts for a method, from the graph on.

    Not counted are the stages that all methods share, prepare and profile. Each name has the
    placeholder {cell}, which stands for DATASET-SEED.
    """
    return TRAINING_STAGES.get(method, [f"fit@{{cell}}-{method}"])
