"""Settings that several methods share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator

from glta.config import Choices, Search, Section, When
from glta.nn.graph.settings import ContrastSettings, GraphTraining, Keep, Temperature
from glta.nn.quantize.settings import CodeSettings

Recency = Annotated[
    float,
    Search(0.5, 1.0, ordered=True),
    Field(
        gt=0,
        le=1,
        description="a score weighs each item of the user by recency^age, with age 0 for the "
        "newest; 1: all alike; less needs times",
    ),
]

SingularPower = Annotated[
    float,
    Search(0.0, 1.0),
    Field(
        ge=0,
        le=1,
        description="power of the singular values of the item texts; 1: as they are; 0: whitened, "
        "so that all directions in which texts differ count alike",
    ),
]

WordRank = Annotated[
    int,
    Choices(384, 768),
    Field(ge=1, description="width of the word vectors: TF-IDF, reduced by an SVD"),
]

UserPower = Annotated[
    float,
    Field(
        description="a user with n items has the weight n^-user_power, so that long histories do "
        "not dominate; 0: users count alike",
    ),
]


class WordRidgeSettings(Section):
    """Word ridge: ridge regression on words."""

    l2: Annotated[float, Search(0.01, 100.0, log=True)] = Field(
        5.0, gt=0, description="L2 penalty (ridge), in mean eigenvalues of the text features"
    )
    word_rank: WordRank = 768


class WeightSettings(Section):
    """Choose the weights of a sum of component scores. A subclass says which these may be."""

    weight_steps: int = Field(
        11,
        ge=2,
        le=101,
        description="number of weights tried on validation for each component, from 0 to 1",
    )
    components: Sequence[str]

    @field_validator("components")
    @classmethod
    def _each_once(cls, value: Sequence[str]) -> Sequence[str]:
        if twice := [name for name in value if value.count(name) > 1]:
            raise ValueError(f"names {twice[0]} twice; name it once")
        return value


class HypergraphSettings(ContrastSettings, GraphTraining):
    """Train an encoder with hyperedges (HCCF and HCCF+)."""

    num_layers: Annotated[int, Search(1, 4)] = Field(
        2, ge=1, le=16, description="layers of local and global propagation"
    )
    init_std: Annotated[float, Search(3e-3, 0.3, log=True)] = Field(
        0.01,
        gt=0,
        description="standard deviation of the initial embeddings; the global part grows with its "
        "cube",
    )
    form: Annotated[Literal["learnt", "sparse"], Choices("learnt", "sparse")] = Field(
        "learnt",
        description="learnt: hyperedges of their own; sparse: the dimensions of the embeddings are "
        "the hyperedges, as the authors' Model_sparse.py, which they recommend for sparse data",
    )
    mult: Annotated[float, When("form", ("sparse",)), Search(0.01, 1.0, log=True)] = Field(
        1.0, gt=0, description="factor of the hyperedges of the sparse form"
    )
    hyperedges: Annotated[int, When("form", ("learnt",)), Search(16, 256, log=True)] = Field(
        128, ge=1, le=4096, description="number of hyperedges for users, and the same for items"
    )
    keep: Keep = Field(
        0.8, gt=0, le=1, description="share of edges and hypergraph entries kept in a training step"
    )
    contrast_weight: Annotated[float, Search(0.01, 10.0, log=True)] = Field(
        1.0, ge=0, description="weight of the contrast between local and global embeddings"
    )
    temperature: Temperature = Field(0.5, gt=0, description="temperature of that contrast")
    activation: Annotated[bool, When("form", ("learnt",)), Choices(False, True)] = Field(
        False,
        description="true: LeakyReLU of slope 0.5, as in the paper; false: none, as in the "
        "authors' torch code",
    )


class TransitionSettings(Section):
    """Count which item follows which. The defaults are a first-order Markov chain."""

    decay: Annotated[float, Search(0.0, 0.95)] = Field(
        0.0,
        ge=0,
        le=1,
        description="weight of an item of the history: decay^(number of newer items); 0: the "
        "newest item alone",
    )
    max_gap: Annotated[int, Search(1, 10)] = Field(
        1,
        ge=1,
        le=100,
        description="an item counts as following another up to this many places later, by 1/places",
    )
    popularity: Annotated[float, Search(0.0, 0.5)] = Field(
        0.0, ge=0, description="weight of log(1 + training users) of an item; 0: none"
    )


class VectorCodes(CodeSettings):
    """Make item codes from vectors of a behavioural model, or from texts."""

    vectors: Annotated[Literal["graph", "text"], Choices("graph", "text")] = Field(
        "graph",
        description="what is quantised; graph: LightGCN's propagated item embeddings; text: the "
        "items' text states",
    )
