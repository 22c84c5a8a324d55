"""LightGCN: a linear graph convolution. Its node embeddings are what GLTA and others build on."""

from glta.methods.spec import MethodSpec, StepSpec
from glta.nn.graph.settings import EncoderSettings


class LightGCNSettings(EncoderSettings):
    """LightGCN, and the node embeddings that other methods build on."""


SPEC = MethodSpec(
    name="lightgcn",
    title="LightGCN",
    paper="He et al., SIGIR 2020, arXiv 2002.02126",
    settings=LightGCNSettings,
    recommender="glta.methods.lightgcn.model:LightGCN",
    steps=(
        StepSpec("pretrain-all", "glta.methods.lightgcn.model:PretrainAll"),
        StepSpec("pretrain-graph", "glta.methods.lightgcn.model:PretrainGraph"),
        StepSpec(
            "lightgcn",
            "glta.methods.lightgcn.model:Propagate",
            reads=("prepare", "pretrain-all"),
        ),
    ),
    capabilities=frozenset({"histories"}),
    devices=("cpu", "cuda"),
    place=50,
)
