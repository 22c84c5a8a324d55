"""LightGCN+: LightGCN with a text contrast."""

from glta.methods.spec import MethodSpec, StepSpec
from glta.nn.graph.settings import GraphTraining, TextContrastSettings


class LightGCNPlusSettings(TextContrastSettings, GraphTraining):
    """LightGCN+: LightGCN with a text contrast."""


SPEC = MethodSpec(
    name="lightgcn-plus",
    title="LightGCN+",
    paper="rival in the GLTA paper, arXiv 2502.18757",
    settings=LightGCNPlusSettings,
    recommender="glta.methods.lightgcn_plus.model:LightGCNPlus",
    steps=(
        StepSpec(
            "lightgcn-plus",
            "glta.methods.lightgcn_plus.model:TrainLightGCNPlus",
            reads=("prepare", "profile"),
            shares=True,
        ),
    ),
    devices=("cpu", "cuda"),
    place=70,
)
