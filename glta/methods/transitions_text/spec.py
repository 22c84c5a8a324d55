"""Transitions + text: transitions from the user's items, and items with similar texts."""

from typing import Annotated, Literal

from pydantic import Field

from glta.config import Choices, Search
from glta.methods.shared.settings import TransitionSettings
from glta.methods.spec import MethodSpec, StepSpec


class TextTransitionSettings(TransitionSettings):
    """Transitions + text: which item follows which, and which items have similar texts."""

    text_weight: Annotated[float, Search(0.05, 10.0, log=True)] = Field(
        0.5, ge=0, description="weight of the text similarity, beside log(1 + transitions)"
    )
    text: Annotated[Literal["tfidf", "states"], Choices("tfidf", "states")] = Field(
        "tfidf",
        description="texts are compared by the cosine of their words (tfidf), or of the centred "
        "states of the language model (states)",
    )


SPEC = MethodSpec(
    name="transitions-text",
    title="Transitions + text",
    paper="a baseline without a paper",
    settings=TextTransitionSettings,
    recommender="glta.methods.transitions_text.model:TextTransitions",
    steps=(
        StepSpec(
            "transitions-text",
            "glta.methods.transitions_text.model:CountAndCompare",
            reads=("prepare", "profile"),
        ),
    ),
    capabilities=frozenset({"sequences"}),
    place=14,
)
