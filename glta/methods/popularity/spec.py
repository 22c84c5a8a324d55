"""Popularity: the same scores for every user."""

from glta.config import NoSettings
from glta.methods.spec import MethodSpec, StepSpec

SPEC = MethodSpec(
    name="popularity",
    title="Popularity",
    paper="a baseline without a paper",
    settings=NoSettings,
    recommender="glta.methods.popularity.model:Popularity",
    steps=(StepSpec("popularity", "glta.methods.popularity.model:CountUsers"),),
    capabilities=frozenset({"histories"}),
    place=10,
)
