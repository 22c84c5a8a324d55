"""HCCF: hypergraph contrastive collaborative filtering."""

from glta.methods.shared.settings import HypergraphSettings
from glta.methods.spec import MethodSpec, StepSpec


class HCCFSettings(HypergraphSettings):
    """HCCF: hypergraph contrastive collaborative filtering."""


SPEC = MethodSpec(
    name="hccf",
    title="HCCF",
    paper="Xia et al., SIGIR 2022, arXiv 2204.12200",
    settings=HCCFSettings,
    recommender="glta.methods.hccf.model:HCCF",
    steps=(
        StepSpec(
            "hccf",
            "glta.methods.hccf.model:TrainHCCF",
            reads=("prepare",),
            shares=True,
        ),
    ),
    devices=("cpu", "cuda"),
    place=80,
)
