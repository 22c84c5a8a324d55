"""Every method by name.

Names and modules only: nothing heavy is imported before a method is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from glta.methods.base import Method


class Entry(NamedTuple):
    title: str  # how the report writes it
    where: str  # module:class

    @property
    def module(self) -> str:
        return self.where.partition(":")[0]

    @property
    def file(self) -> str:
        return self.module.replace(".", "/") + ".py"


METHODS = {
    "popularity": Entry("Popularity", "glta.methods.popularity.model:Popularity"),
    "text-knn": Entry("Text-kNN", "glta.methods.shared.text_space:TextScores"),
    "item-knn": Entry("Item-kNN", "glta.methods.item_knn.model:ItemKNN"),
    "ease": Entry("EASE", "glta.methods.ease.model:EASE"),
    "lightgcn": Entry("LightGCN", "glta.methods.shared.graph_scores:GraphScores"),
    "lightgcn-text-knn": Entry(
        "LightGCN + text-kNN", "glta.methods.lightgcn_text_knn.model:LightGCNTextKNN"
    ),
    "lightgcn-plus": Entry("LightGCN+", "glta.methods.lightgcn_plus.model:LightGCNPlus"),
    "hccf": Entry("HCCF", "glta.methods.hccf.model:HCCF"),
    "hccf-plus": Entry("HCCF+", "glta.methods.hccf.model:HCCFPlus"),
    "rlmrec-con": Entry("RLMRec-Con", "glta.methods.rlmrec.model:RLMRecCon"),
    "rlmrec-gen": Entry("RLMRec-Gen", "glta.methods.rlmrec.model:RLMRecGen"),
    "glta-plus": Entry("GLTA+", "glta.methods.glta_plus.model:GLTAPlus"),
    "glta": Entry("GLTA", "glta.methods.glta.model:GLTA"),
}

TRAINED_ELSEWHERE = {"glta": "align_users"}
"""Methods that a stage of their own writes; all others are made by the stage `fit`."""


def method_class(name: str) -> type[Method]:
    """Import a method's class. Raises KeyError for an unknown name."""
    entry = METHODS[name]
    return getattr(import_module(entry.module), entry.where.partition(":")[2])
