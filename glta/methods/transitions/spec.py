"""Transitions: score the items that others had right after the user's newest item."""

from glta.methods.shared.settings import TransitionSettings
from glta.methods.spec import MethodSpec, StepSpec


class PlainTransitionSettings(TransitionSettings):
    """Transitions: which item follows which. The defaults are a first-order Markov chain."""


SPEC = MethodSpec(
    name="transitions",
    title="Transitions",
    paper="a baseline without a paper; with gaps, Ludewig and Jannach, UMUAI 2018 (SR)",
    settings=PlainTransitionSettings,
    recommender="glta.methods.transitions.model:Transitions",
    steps=(StepSpec("transitions", "glta.methods.transitions.model:CountTransitions"),),
    capabilities=frozenset({"sequences"}),
    place=12,
)
