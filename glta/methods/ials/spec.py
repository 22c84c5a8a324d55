"""iALS: matrix factorisation of all user-item pairs by alternating least squares."""

from typing import Annotated

from pydantic import Field

from glta.config import Positive, Search, Section
from glta.methods.spec import MethodSpec, StepSpec


class IALSSettings(Section):
    """iALS: matrix factorisation by alternating least squares."""

    embedding_dim: Annotated[int, Search(32, 512, log=True)] = Field(
        128, ge=1, le=4096, description="width of user and item embeddings; wide ones are better"
    )
    unobserved_weight: Annotated[float, Search(1e-3, 1.0, log=True)] = Field(
        0.1,
        gt=0,
        le=10,
        description="weight of the squared score of every user-item pair; an observed pair has "
        "weight 1",
    )
    l2: Annotated[float, Search(1e-4, 1e-1, log=True)] = Field(
        3e-3,
        gt=0,
        description="L2 penalty of an embedding, times (its observed pairs + unobserved_weight x "
        "all of its pairs) ^ frequency_power",
    )
    frequency_power: float = Field(
        1.0, ge=0, le=2, description="1: the penalty grows with the data; 0: equal for all"
    )
    init_std: float = Field(
        0.1,
        gt=0,
        description="standard deviation of the initial embeddings, times sqrt(embedding_dim)",
    )
    solver_steps: Positive = Field(
        3, description="steps of conjugate gradients for an embedding in an epoch"
    )
    epochs: Positive = Field(50, description="most epochs of a training; the paper takes 16")
    patience: Positive = Field(
        5, description="epochs in a row without a better NDCG@20 before training stops"
    )


SPEC = MethodSpec(
    name="ials",
    title="iALS",
    paper="Hu et al., ICDM 2008; as tuned by Rendle et al., RecSys 2022, arXiv 2110.14037",
    settings=IALSSettings,
    recommender="glta.methods.ials.model:IALS",
    steps=(StepSpec("ials", "glta.methods.ials.model:TrainIALS"),),
    capabilities=frozenset({"histories"}),
    place=44,
)
