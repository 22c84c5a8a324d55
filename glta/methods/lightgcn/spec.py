"""LightGCN: a linear graph convolution. GLTA and other methods use its node embeddings."""

from typing import Annotated

from pydantic import Field

from glta.config import Choices
from glta.methods.spec import MethodSpec, StepSpec
from glta.nn.graph.settings import EncoderSettings


class LightGCNSettings(EncoderSettings):
    """LightGCN, and the node embeddings that other methods use."""

    # wider than the other graph methods may be: its step is the cheapest
    embedding_dim: Annotated[int, Choices(64, 128, 256, 512)] = Field(
        64, ge=1, le=4096, description="width of node embeddings"
    )


SPEC = MethodSpec(
    name="lightgcn",
    title="LightGCN",
    paper="He et al., SIGIR 2020, arXiv 2002.02126",
    settings=LightGCNSettings,
    recommender="glta.methods.lightgcn.model:LightGCN",
    steps=(
        StepSpec("pretrain-all", "glta.methods.lightgcn.model:PretrainAll", shares=True),
        StepSpec("pretrain-graph", "glta.methods.lightgcn.model:PretrainGraph", shares=True),
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
