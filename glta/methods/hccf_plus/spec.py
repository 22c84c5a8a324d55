"""HCCF+: HCCF with a text contrast."""

from glta.methods.shared.settings import HypergraphSettings
from glta.methods.spec import MethodSpec, StepSpec
from glta.nn.graph.settings import TextContrastSettings


class HCCFPlusSettings(TextContrastSettings, HypergraphSettings):
    """HCCF+: HCCF with a text contrast."""


SPEC = MethodSpec(
    name="hccf-plus",
    title="HCCF+",
    paper="rival in the GLTA paper, arXiv 2502.18757",
    settings=HCCFPlusSettings,
    recommender="glta.methods.hccf_plus.model:HCCFPlus",
    steps=(
        StepSpec(
            "hccf-plus",
            "glta.methods.hccf_plus.model:TrainHCCFPlus",
            reads=("prepare", "profile"),
            shares=True,
        ),
    ),
    devices=("cpu", "cuda"),
    place=90,
)
